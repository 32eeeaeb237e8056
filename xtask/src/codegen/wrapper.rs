//! The wrapper's manual page and completions, from its help text.
//!
//! The text is read by its form: blocks between empty lines, `Usage:` and `Flags:` among them, a
//! flag's words from a fixed column on. A form that is not understood is an error, so that nobody
//! publishes half a page.

use anyhow::{Context as _, ensure};

/// The help text, taken apart.
#[derive(Debug)]
pub(super) struct Help {
    about: String,
    usage: Vec<String>,
    flags: Vec<Flag>,
    /// Everything behind the flags.
    rest: Vec<String>,
}

#[derive(Debug, Eq, PartialEq)]
struct Flag {
    short: Option<String>,
    long: String,
    value: Option<String>,
    text: String,
}

impl Help {
    /// Takes the text apart.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut blocks = text.trim_end().split("\n\n");
        let about = blocks.next().context("the help text is empty")?.to_owned();
        let usage = blocks.next().and_then(|block| block.strip_prefix("Usage: "));
        let usage = usage.context("the help text has no usage")?;
        let usage = usage.lines().map(|line| line.trim().to_owned()).collect();
        let flags = blocks.next().and_then(|block| block.strip_prefix("Flags:\n"));
        let flags = parse_flags(flags.context("the help text has no flags")?)?;
        Ok(Self { about, usage, flags, rest: blocks.map(str::to_owned).collect() })
    }

    /// The manual page.
    pub(super) fn page(&self, version: &str) -> String {
        let mut page = format!(
            ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH CLOUDTASER-WRAPPER 1 \"\" \"{version}\" \
             \"cloudtaser\"\n.SH NAME\ncloudtaser\\-wrapper \\- start a program with secrets from \
             OpenBao in sealed memory\n.SH SYNOPSIS\n"
        );
        page += &self.usage.iter().map(|line| roff(line)).collect::<Vec<_>>().join("\n.br\n");
        page += &format!("\n.SH DESCRIPTION\n{}\n.SH OPTIONS\n", roff(&self.about));
        for flag in &self.flags {
            let names = [flag.short.as_ref(), Some(&flag.long)].into_iter().flatten();
            let names: Vec<_> = names.map(|name| format!("\\fB{}\\fR", roff(name))).collect();
            let value = flag.value.iter().map(|value| format!(" \\fI{}\\fR", roff(value)));
            let value = value.collect::<String>();
            page += &format!(".TP\n{}{value}\n{}\n", names.join(", "), roff(&flag.text));
        }
        for block in &self.rest {
            page += &section(block);
        }
        page + ".SH SEE ALSO\n\\fBcloudtaser\\fR(1),\n\\fBcloudtaser\\-run\\fR(1)\n"
    }

    /// Completions for a shell: flags up to `--`, then commands.
    pub(super) fn completions(&self, shell: &str) -> String {
        match shell {
            "bash" => self.bash(),
            "fish" => self.fish(),
            _ => self.zsh(),
        }
    }

    fn bash(&self) -> String {
        let flags = self.flags.iter().flat_map(|flag| flag.short.iter().chain([&flag.long]));
        let flags = flags.map(String::as_str).collect::<Vec<_>>().join(" ");
        format!(
            "_cloudtaser_wrapper() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} word
    COMPREPLY=()
    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do
        if [[ $word == -- ]]; then
            COMPREPLY=($(compgen -c -- \"$current\"))
            return
        fi
    done
    case $previous in
        --plan) COMPREPLY=($(compgen -f -- \"$current\")) ;;
        --log-format) COMPREPLY=($(compgen -W 'text json' -- \"$current\")) ;;
        --require) ;;
        *)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W '{flags} --' -- \"$current\"))
            elif (( COMP_CWORD == 1 )); then
                COMPREPLY=($(compgen -W run -- \"$current\") $(compgen -c -- \"$current\"))
            fi
            ;;
    esac
}}
complete -o bashdefault -F _cloudtaser_wrapper cloudtaser-wrapper
"
        )
    }

    fn fish(&self) -> String {
        let mut script = "set -l before 'not contains -- -- (commandline -opc)'\n".to_owned();
        script +=
            "complete -c cloudtaser-wrapper -n __fish_use_subcommand -a run -d 'start a program'\n";
        script += "complete -c cloudtaser-wrapper -n 'contains -- -- (commandline -opc)' -a '(__fish_complete_subcommand --fcs-skip=2)'\n";
        for flag in &self.flags {
            let short = flag.short.iter().map(|name| format!(" -s {}", name.trim_matches('-')));
            let short = short.collect::<String>();
            let value = match flag.long.as_str() {
                "--log-format" => " -x -a 'text json'",
                "--plan" => " -r -F",
                _ if flag.value.is_some() => " -x",
                _ => "",
            };
            let (long, text) = (flag.long.trim_matches('-'), quoted(&flag.text));
            script += &format!(
                "complete -c cloudtaser-wrapper -n $before{short} -l {long}{value} -d '{text}'\n"
            );
        }
        script
    }

    fn zsh(&self) -> String {
        let mut script = "#compdef cloudtaser-wrapper\n\n_arguments -S \\\n".to_owned();
        for flag in &self.flags {
            let text =
                quoted(&flag.text).replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
            let value = match (flag.long.as_str(), &flag.value) {
                ("--log-format", _) => ":form:(text json)".to_owned(),
                ("--plan", _) => ":file:_files".to_owned(),
                (_, Some(value)) => format!(":{}: ", value.to_lowercase()),
                (_, None) => String::new(),
            };
            for name in flag.short.iter().chain([&flag.long]) {
                script += &format!("    '{name}[{text}]{value}' \\\n");
            }
        }
        script + "    '1:command:(run)' \\\n    '*::app: _normal'\n"
    }
}

/// Lines of `  -q, --quiet   words`, which go on in lines that begin further right.
fn parse_flags(text: &str) -> anyhow::Result<Vec<Flag>> {
    let mut flags: Vec<Flag> = Vec::new();
    for line in text.lines() {
        let line = line.strip_prefix("  ").context("a flag that is not indented")?;
        if !line.starts_with('-') {
            let last = flags.last_mut().context("words before the first flag")?;
            last.text = format!("{} {}", last.text, line.trim());
            continue;
        }
        let (names, text) = line.split_once("  ").context("a flag without words")?;
        let (short, long) = match names.split_once(", ") {
            Some((short, long)) => (Some(short.to_owned()), long),
            None => (None, names),
        };
        let (long, value) = match long.split_once(' ') {
            Some((long, value)) => (long, Some(value.to_owned())),
            None => (long, None),
        };
        ensure!(long.starts_with("--"), "a flag without a long name: {long}");
        let (long, text) = (long.to_owned(), text.trim().to_owned());
        flags.push(Flag { short, long, value, text });
    }
    Ok(flags)
}

/// A block behind the flags: lines that are indented are kept as they are, under what introduces
/// them.
fn section(block: &str) -> String {
    let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
    if first.ends_with(':') && rest.lines().all(|line| line.starts_with("  ")) {
        let (word, words) = first.split_once(' ').unwrap_or((first, ""));
        let heading = word.trim_end_matches(':').to_uppercase();
        // A heading says already what one word could.
        let intro = if words.is_empty() { String::new() } else { format!("{}\n", roff(first)) };
        return format!(".SH {heading}\n{intro}.nf\n{}\n.fi\n", roff(rest));
    }
    match block.split_once(": ") {
        Some(("Exit codes", text)) => format!(".SH EXIT STATUS\n{}\n", roff(text)),
        _ => format!(".SH ENVIRONMENT\n{}\n", roff(block)),
    }
}

/// Text in which nothing is a command to roff.
fn roff(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        if line.starts_with('.') { format!("\\&{line}") } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// For a string between single quotes, which no text of ours needs inside it.
fn quoted(text: &str) -> String {
    text.replace('\'', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Starts.\n\nUsage: w run [FLAGS] -- C\n       w C\n\nFlags:\n  --plan FILE     \
                        read it\n                  from there\n  -q, --quiet     less\n\nReferences \
                        are:\n  a'b   c\n\nServer from\n.env.\n\nExit codes: 0; 64 usage.\n";

    #[test]
    fn the_text_is_taken_apart() {
        let help = Help::parse(HELP).unwrap();
        assert_eq!(help.usage, ["w run [FLAGS] -- C", "w C"]);
        let flag = |short: Option<&str>, long: &str, value: Option<&str>, text: &str| Flag {
            short: short.map(str::to_owned),
            long: long.to_owned(),
            value: value.map(str::to_owned),
            text: text.to_owned(),
        };
        let plan = flag(None, "--plan", Some("FILE"), "read it from there");
        assert_eq!(help.flags, [plan, flag(Some("-q"), "--quiet", None, "less")]);
        assert!(Help::parse("Starts.\n\nFlags:\n").is_err());
        assert!(Help::parse("Starts.\n\nUsage: w\n\nFlags:\n  --plan\n").is_err());
    }

    #[test]
    fn a_page_has_every_part_and_no_stray_commands() {
        let page = Help::parse(HELP).unwrap().page("w 1");
        for part in [
            ".SH SYNOPSIS\nw run [FLAGS] \\-\\- C\n.br\nw C\n",
            ".TP\n\\fB\\-\\-plan\\fR \\fIFILE\\fR\nread it from there\n",
            ".TP\n\\fB\\-q\\fR, \\fB\\-\\-quiet\\fR\nless\n",
            ".SH REFERENCES\nReferences are:\n.nf\n  a\\(aqb   c\n.fi\n",
            ".SH ENVIRONMENT\nServer from\n\\&.env.\n",
            ".SH EXIT STATUS\n0; 64 usage.\n",
        ] {
            assert!(page.contains(part), "no {part:?} in\n{page}");
        }
    }

    #[test]
    fn completions_know_every_flag() {
        let help = Help::parse(HELP).unwrap();
        for (shell, names) in [
            ("bash", ["--plan", "-q --quiet"]),
            ("fish", ["-l plan", "-s q -l quiet"]),
            ("zsh", ["'--plan[", "'-q["]),
        ] {
            let script = help.completions(shell);
            assert!(names.iter().all(|name| script.contains(name)), "{script}");
        }
    }
}
