//! Writes manual pages and completions of beacon, bridge and broker into a folder, from what their
//! command lines say of themselves. `cargo xtask codegen` runs it; no program carries it with it.

#![forbid(unsafe_code)]

use std::{env, fs, io, path::Path};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

#[path = "../src/bin/beacon.rs"]
#[expect(dead_code, reason = "it is not run, only asked what it can be told")]
mod beacon;
#[path = "../src/bin/bridge/main.rs"]
#[expect(dead_code, reason = "as the beacon")]
mod bridge;
#[path = "../src/bin/broker/main.rs"]
#[expect(dead_code, reason = "as the beacon")]
mod broker;

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).ok_or_else(|| io::Error::other("which folder?"))?;
    let folder = Path::new(&folder);
    let programs = [beacon::Cli::command(), bridge::Cli::command(), broker::Cli::command()];
    for program in programs {
        let pages = folder.join("man");
        fs::create_dir_all(&pages)?;
        for shell in SHELLS {
            let scripts = folder.join(shell.to_string());
            fs::create_dir_all(&scripts)?;
            let name = program.get_name().to_owned();
            let script = clap_complete::generate_to(shell, &mut program.clone(), &*name, &scripts)?;
            // A shell finds the others by the program's name.
            if shell == Shell::Bash {
                fs::rename(script, scripts.join(name))?;
            }
        }
        let mut program = program.disable_help_subcommand(true);
        // Gives each verb the name of the program before its own.
        program.build();
        for command in [&program].into_iter().chain(program.get_subcommands()) {
            fs::write(pages.join(format!("{}.1", name(command))), page(command, &program)?)?;
        }
    }
    Ok(())
}

/// The program's name, or program-VERB.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command, program: &Command) -> io::Result<Vec<u8>> {
    let source = format!("cloudtaser {}", program.get_version().unwrap_or_default());
    // A date would have to be invented; left out altogether, its place is taken by the source.
    let man = Man::new(command.clone()).title(name(command).to_ascii_uppercase());
    let man = man.date(" ").source(source).manual("cloudtaser");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for block in after.split("\n\n") {
        page.extend_from_slice(section(block).as_bytes());
    }
    let others = ["cloudtaser", "cloudtaser-beacon", "cloudtaser-bridge", "cloudtaser-broker"];
    let others = others.into_iter().filter(|other| *other != name(command));
    let others: Vec<_> = others.map(|other| format!("\\fB{}\\fR(1)", escaped(other))).collect();
    page.extend_from_slice(format!(".SH SEE ALSO\n{}\n", others.join(",\n")).as_bytes());
    Ok(page)
}

/// `Word: text`, or a heading with lines of commands.
fn section(block: &str) -> String {
    if let Some((heading, lines)) = block.split_once(":\n") {
        return format!(".SH {}\n.nf\n{}\n.fi\n", heading.to_uppercase(), escaped(lines));
    }
    match block.split_once(": ") {
        Some(("Exit", text)) => format!(".SH EXIT STATUS\n{}\n", escaped(text)),
        Some((heading, text)) => format!(".SH {}\n{}\n", heading.to_uppercase(), escaped(text)),
        None if block.is_empty() => String::new(),
        None => format!(".SH NOTES\n{}\n", escaped(block)),
    }
}

/// Text in which nothing is a command to roff.
fn escaped(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        if line.starts_with('.') { format!("\\&{line}") } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}
