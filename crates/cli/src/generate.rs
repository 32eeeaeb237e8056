//! `cloudtaser completions` and `cloudtaser man`: files made from the verbs themselves.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use cloudtaser_core::exit::Code;

use crate::ui;

/// Prints completions for a shell.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  cloudtaser completions bash > /etc/bash_completion.d/cloudtaser"
)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Prints the manual page, or writes one per verb.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  cloudtaser man | man -l -\n  cloudtaser man --dir /usr/share/man/man1"
)]
pub(crate) struct ManArgs {
    /// Write one page per verb into this directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs `completions`.
pub(crate) fn completions(args: &CompletionsArgs, mut program: Command) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut program, "cloudtaser", &mut text);
    ui::raw(&text);
    ExitCode::from(Code::Ok.number())
}

/// Runs `man`.
pub(crate) fn man(args: &ManArgs, program: Command) -> Result<ExitCode> {
    let mut program = program.disable_help_subcommand(true);
    // Gives each verb the name of the program before its own.
    program.build();
    match &args.dir {
        Some(directory) => {
            for command in with_verbs(&program) {
                let path = directory.join(format!("{}.1", name(command)));
                fs::write(&path, page(command, &program)?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        None => ui::raw(&page(&program, &program)?),
    }
    Ok(ExitCode::from(Code::Ok.number()))
}

/// A command, its verbs and theirs.
fn with_verbs(command: &Command) -> Vec<&Command> {
    let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
    [command].into_iter().chain(verbs.flat_map(with_verbs)).collect()
}

/// The manual page of the program or of a verb.
fn page(command: &Command, program: &Command) -> Result<Vec<u8>> {
    let version = program.get_version().unwrap_or_default();
    let source = format!("cloudtaser {version}");
    let title = name(command).to_ascii_uppercase();
    // A date would have to be invented; left out altogether, its place is taken by the source.
    let man = Man::new(command.clone()).title(title).date(" ").source(source);
    let man = man.manual("cloudtaser");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let usage: Vec<_> = usage.lines().map(|line| escaped(line.trim())).collect();
    page.extend_from_slice(format!(".SH SYNOPSIS\n{}\n", usage.join("\n.br\n")).as_bytes());
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    page.extend_from_slice(sections(&after).as_bytes());
    let others = [program].into_iter().chain(program.get_subcommands());
    let others = others.map(name).filter(|other| *other != name(command));
    let others = others.map(str::to_owned).chain(["cloudtaser-wrapper".to_owned()]);
    let others: Vec<_> = others.map(|other| format!("\\fB{}\\fR(1)", escaped(&other))).collect();
    page.extend_from_slice(format!(".SH SEE ALSO\n{}\n", others.join(",\n")).as_bytes());
    Ok(page)
}

/// `cloudtaser`, or `cloudtaser-VERB`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The text behind the options: a heading with indented lines keeps its lines, `Word: text` is a
/// section of its own, and the rest are notes.
fn sections(text: &str) -> String {
    let mut roff = String::new();
    let mut last = "";
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
        if let Some(heading) = first.strip_suffix(':')
            && rest.lines().all(|line| line.starts_with("  "))
        {
            let lines = escaped(rest);
            roff += &format!(".SH {}\n.nf\n{lines}\n.fi\n", heading.to_uppercase());
            last = "";
            continue;
        }
        let (heading, text) = match block.split_once(": ") {
            Some(("Exit", text)) => ("EXIT STATUS", text),
            Some(("JSON", text)) => ("JSON", text),
            _ => ("NOTES", block),
        };
        let begin = if heading == last { ".PP".to_owned() } else { format!(".SH {heading}") };
        roff += &format!("{begin}\n{}\n", escaped(text));
        last = heading;
    }
    roff
}

/// Text in which nothing is a command to roff.
fn escaped(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        if line.starts_with('.') { format!("\\&{line}") } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_options_becomes_sections() {
        let text = "Examples:\n  a --b\n  .c\n\nNeeds a \\ and\n'it'.\n\nTwo.\n\nExit: 0, or\n1.";
        let roff = ".SH EXAMPLES\n.nf\n  a \\-\\-b\n  .c\n.fi\n.SH NOTES\nNeeds a \\e and\n\
                    \\(aqit\\(aq.\n.PP\nTwo.\n.SH EXIT STATUS\n0, or\n1.\n";
        assert_eq!(sections(text), roff);
        assert_eq!(escaped(".x"), "\\&.x");
    }
}
