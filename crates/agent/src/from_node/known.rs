//! Arguments that an earlier version of this program does not know.
//!
//! A manifest is for the image that it names; while something is pinned, an earlier program runs in
//! the image's place. It would end at a flag that came later (code 64), again and again until the node
//! boots. So it is asked first, by a flag that no version has: its answer names the first argument
//! that it does not take, and does nothing else.

use std::path::Path;
use std::process::{Command, Stdio};

/// A flag that no version has.
const ASKED: &str = "--is-everything-before-this-known";

/// What is left of the arguments, and what was left out of them.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Known {
    pub(super) kept: Vec<String>,
    pub(super) dropped: Vec<String>,
}

/// Asks a program on the node.
pub(super) fn of_program(file: &Path, arguments: &[String]) -> Known {
    of(arguments, |arguments| {
        let mut command = Command::new(file);
        command.args(arguments).env_clear().stdin(Stdio::null());
        // Who gives no answer is given everything.
        command.output().map(|said| String::from_utf8_lossy(&said.stderr).into_owned()).ok()
    })
}

/// Leaves out what `answer` names, until it names the flag that no version has.
fn of(arguments: &[String], answer: impl Fn(&[String]) -> Option<String>) -> Known {
    let mut known = Known { kept: arguments.to_vec(), dropped: Vec::new() };
    for _ in arguments {
        let asked = [&known.kept[..], &[ASKED.to_owned()]].concat();
        let Some(said) = answer(&asked) else { break };
        let first = said.lines().next().unwrap_or_default();
        if first.contains(ASKED) {
            break;
        }
        let is_named = |argument: &String| {
            let flag = argument.split('=').next().unwrap_or_default();
            flag.starts_with("--") && names(first, flag)
        };
        let Some(at) = known.kept.iter().position(is_named) else { break };
        let has_value = !known.kept.get(at).is_some_and(|flag| flag.contains('='))
            && known.kept.get(at + 1).is_some_and(|next| !next.starts_with('-'));
        let end = if has_value { at + 2 } else { at + 1 };
        known.dropped.extend(known.kept.drain(at..end));
    }
    known
}

/// Whether a message has this flag as a word: `'--x'`, or `'--x <N>'` where its value is refused.
fn names(message: &str, flag: &str) -> bool {
    let quoted = message.split('\'').skip(1).step_by(2);
    quoted.into_iter().any(|word| word.split([' ', '=']).next() == Some(flag))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    /// What this version says, as an earlier one does.
    fn answer(arguments: &[String]) -> Option<String> {
        let program = ["cloudtaser-agent".to_owned()];
        let refused = crate::Cli::try_parse_from([&program[..], arguments].concat()).unwrap_err();
        Some(refused.to_string())
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_known_stays_as_it_is() {
        let all = words("run --canary-every 5 --preload=kubernetes --leave-open bpf");
        let known = of(&all, answer);
        assert_eq!(known, Known { kept: all, dropped: Vec::new() });
    }

    #[test]
    fn what_came_later_is_left_out_with_its_value() {
        let all = words(
            "run --later one --canary-every 5 --later-too=two --block-devices newest \
             --leave-open bpf --switch --preload kubernetes",
        );
        let known = of(&all, answer);
        assert_eq!(known.kept, words("run --canary-every 5 --leave-open bpf --preload kubernetes"));
        assert_eq!(
            known.dropped,
            words("--later one --later-too=two --block-devices newest --switch")
        );
    }

    #[test]
    fn a_program_that_says_something_else_is_given_everything() {
        let all = words("run --later");
        for said in [Some("Segmentation fault"), Some(""), None] {
            let known = of(&all, |_| said.map(str::to_owned));
            assert_eq!(known.kept, all, "{said:?}");
        }
    }
}
