//! The command line of the wrapper: few flags, parsed by hand, since a parser library would be a
//! third of the program that is copied into every pod.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::PathBuf};

use cloudtaser_core::level::{Requirement, RequirementError};

/// Shown by `--help`.
pub(crate) const HELP: &str = "\
Starts a program with secrets from OpenBao in sealed memory, and stays as its parent.

Usage: cloudtaser-wrapper run [FLAGS] -- COMMAND [ARG]...
       cloudtaser-wrapper COMMAND [ARG]...
       cloudtaser-wrapper deliver FOLDER

Flags:
  --plan FILE        read the launch plan (JSON) from FILE; - is standard input
  --file NAME=REF    let the app open /run/cloudtaser/NAME, which no file system holds;
                     REF is a reference as below; may be repeated
  --require LIST     refuse to start below these levels, e.g. memory=sealed,T3=partial
  --explain          print what protects the app here, per adversary, and exit;
                     nothing is fetched and nothing is started
  --log-format FORM  form of log lines, on standard error: text or json
  -q, --quiet        log warnings and errors only
  -h, --help         print this help
  -V, --version      print the version

Example:
  DB_PASSWORD=vault:secret/data/db#password cloudtaser-wrapper run -- ./server

References in the values of variables are resolved, everything else is passed on:
  vault:secret/data/db#password         a field (bao: works as well)
  vault:secret/data/db#password#3       of version 3
  vault:secret/data/db#{{ u }}:{{ p }}  a template over the fields
  >>vault:pki/issue/web#certificate#{\"common_name\":\"a\"}   write, then take a field
  postgres://${vault:kv/db#user}@db     inside a text
  vault:v1:...                          a Transit ciphertext
  vault:login                           the token of the login

Server and login come from the plan or from VAULT_ADDR, VAULT_ROLE, VAULT_PATH,
VAULT_AUTH_METHOD, VAULT_TOKEN_FILE, VAULT_CACERT, VAULT_NAMESPACE and so on (BAO_
and CLOUDTASER_ twins win over VAULT_). The app sees none of them.

Where OpenBao opens no port, a bridge decides what is released, and the login is by the
pod's own token. CLOUDTASER_BRIDGE_KEY is the bridge's key and CLOUDTASER_BROKER_ADDR the
cluster's broker; or CLOUDTASER_VIA names the file that cloudtaser-bridge admit --json
wrote, and CLOUDTASER_VIA_KEY the client's key. CLOUDTASER_MODE=direct goes to OpenBao
itself all the same; =reverse demands the broker, which the bridge dials then.

The node agent is asked to guard the launch before anything is fetched; it listens at
/run/cloudtaser-agent/agent.sock unless the plan or CLOUDTASER_AGENT names another
path. --require agent=enforcing refuses to log in, and to start, without its guard.

deliver copies this program into FOLDER, for other containers of the pod to start
under it, and the PEM text of CLOUDTASER_DELIVER_CA beside it as ca.pem.

Exit codes: the app's own; 128+N when signal N ended it; 64 usage, 69 OpenBao not
reachable, 70 internal, 76 refused by OpenBao or the bridge, 77 below a required level
or something opens TLS on the way, 125 not launched, 126 not executable, 127 not found.
";

/// What the command line asks for.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Args {
    /// Copy the program into a folder.
    Deliver(PathBuf),
    /// Print the help.
    Help,
    /// Start a program, or only say what would protect it.
    Run(Run),
    /// Print the version.
    Version,
}

/// Flags of `run`.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Run {
    /// The program and its arguments; empty only with `explain`.
    pub(crate) command: Vec<OsString>,
    /// Whether the level is only printed.
    pub(crate) purpose: Purpose,
    /// Plan file; `-` is standard input.
    pub(crate) plan: Option<OsString>,
    /// Secret files: name and reference.
    pub(crate) files: Vec<(String, String)>,
    /// Levels to be reached.
    pub(crate) require: Vec<Requirement>,
    /// Form of log lines, where given.
    pub(crate) json_log: Option<bool>,
    /// Whether only warnings are logged.
    pub(crate) quiet: bool,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// Say what would protect the app.
    Explain,
    /// Start the app.
    #[default]
    Launch,
}

/// A command line that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ArgsError {
    /// `deliver` with nothing, or more than one folder, behind it.
    #[error("deliver takes one folder; write: cloudtaser-wrapper deliver FOLDER")]
    Deliver,
    /// `--file` with something else.
    #[error("--file takes NAME=REFERENCE, as in --file key.pem=vault:secret/data/web#key")]
    File,
    /// Nothing to start.
    #[error("no command given; write: cloudtaser-wrapper run -- COMMAND [ARG]... (or --help)")]
    NoCommand,
    /// `--log-format` with something else.
    #[error("--log-format takes text or json")]
    LogFormat,
    /// A requirement that cannot be read.
    #[error("--require")]
    Require(#[source] RequirementError),
    /// A flag without its value.
    #[error("{flag} needs a value")]
    Value {
        /// The flag.
        flag: &'static str,
    },
    /// A flag that does not exist.
    #[error("there is no flag {flag}; see --help (flags of the app go behind --)")]
    Unknown {
        /// The flag, as far as it is text.
        flag: String,
    },
}

/// Reads the arguments behind the program's own name.
///
/// # Errors
/// [`ArgsError`] says which argument is wrong.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, ArgsError> {
    let mut args = args.into_iter().peekable();
    if args.next_if(|first| first == "deliver").is_some() {
        return match (args.next(), args.next()) {
            (Some(folder), None) => Ok(Args::Deliver(folder.into())),
            _ => Err(ArgsError::Deliver),
        };
    }
    let verb = args.next_if(|first| first == "run").is_some();
    let mut run = Run::default();
    while let Some(flag) = args.next_if(|arg| verb || arg.as_bytes().starts_with(b"-")) {
        let Some(text) = flag.to_str().filter(|text| text.starts_with('-') && *text != "-") else {
            run.command.push(flag);
            break;
        };
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text, None),
        };
        let mut value =
            |flag| inline.clone().or_else(|| args.next()).ok_or(ArgsError::Value { flag });
        match name {
            "--" => break,
            "-h" | "--help" => return Ok(Args::Help),
            "-V" | "--version" => return Ok(Args::Version),
            "-q" | "--quiet" => run.quiet = true,
            "--explain" => run.purpose = Purpose::Explain,
            "--plan" => run.plan = Some(value("--plan")?),
            "--file" => {
                let file = value("--file")?;
                let file = file.to_str().and_then(|file| file.split_once('='));
                let (name, reference) = file.ok_or(ArgsError::File)?;
                run.files.push((name.to_owned(), reference.to_owned()));
            }
            "--require" => {
                let list = value("--require")?;
                let list = list.to_string_lossy();
                run.require.extend(Requirement::parse_list(&list).map_err(ArgsError::Require)?);
            }
            "--log-format" => {
                run.json_log = Some(match value("--log-format")?.to_str() {
                    Some("json") => true,
                    Some("text") => false,
                    _ => return Err(ArgsError::LogFormat),
                });
            }
            _ => return Err(ArgsError::Unknown { flag: name.to_owned() }),
        }
    }
    run.command.extend(args);
    if run.command.is_empty() && run.purpose == Purpose::Launch {
        return Err(ArgsError::NoCommand);
    }
    Ok(Args::Run(run))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Run {
        match parse(args.iter().map(OsString::from)) {
            Ok(Args::Run(run)) => run,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn both_ways_of_calling_start_the_same_command() {
        assert_eq!(run(&["run", "--", "sh", "-c", "x"]), run(&["sh", "-c", "x"]));
        assert_eq!(run(&["run", "sh", "-c", "x"]), run(&["--", "sh", "-c", "x"]));
    }

    #[test]
    fn flags_behind_the_command_belong_to_the_command() {
        let run = run(&["run", "-q", "app", "--help", "-q", "--", "run"]);
        assert_eq!(run.command, ["app", "--help", "-q", "--", "run"]);
        assert!(run.quiet);
    }

    #[test]
    fn values_stand_behind_a_space_or_an_equals_sign() {
        let spaced = run(&["run", "--require", "memory=sealed", "--plan", "p", "--", "a"]);
        let joined = run(&["run", "--require=memory=sealed", "--plan=p", "--", "a"]);
        assert_eq!(spaced, joined);
        assert_eq!(spaced.require.len(), 1);
    }

    #[test]
    fn wrong_lines_are_refused() {
        for args in [
            &["run"][..],
            &[],
            &["run", "--"],
            &["--nope", "--", "a"],
            &["run", "--plan"],
            &["run", "--file", "key", "--", "a"],
            &["run", "--require", "memory=best", "--", "a"],
            &["run", "--log-format", "xml", "--", "a"],
            &["deliver"],
            &["deliver", "a", "b"],
        ] {
            assert!(parse(args.iter().map(OsString::from)).is_err(), "{args:?}");
        }
    }

    #[test]
    fn a_file_is_a_name_and_a_reference() {
        let run = run(&["run", "--file", "k=vault:a/b#c=d", "--file=l=vault:a/b#e", "--", "a"]);
        let files = [("k", "vault:a/b#c=d"), ("l", "vault:a/b#e")];
        assert_eq!(run.files, files.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn deliver_takes_a_folder_and_a_command_of_that_name_can_still_be_run() {
        let args = ["deliver", "/x"].map(OsString::from);
        assert_eq!(parse(args).unwrap(), Args::Deliver("/x".into()));
        assert_eq!(run(&["run", "deliver", "x"]).command, ["deliver", "x"]);
    }

    #[test]
    fn explain_needs_no_command() {
        assert_eq!(run(&["run", "--explain"]).purpose, Purpose::Explain);
    }
}
