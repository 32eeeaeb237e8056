//! The two sides and the floor: how each is told to start the same app with the same secrets.
//!
//! Both sides log in by the same AppRole and trust the same authority; neither gets a cache or a
//! setting that the other has not. What differs is what each cannot do without.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::server::Server;

/// Begins each line of the app: the peer prints a banner of its own before it.
pub(crate) const MARK: &str = "app:";

/// Who starts the app.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Subject {
    /// `bao agent` with an `exec` block.
    Agent,
    /// Nobody: the app alone, with the values in its environment. The floor of every figure, and
    /// the control of every scan, which must find something here.
    Bare,
    /// `cloudtaser-wrapper run`.
    Wrapper,
}

impl Subject {
    /// The name in results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Agent => "bao-agent",
            Self::Bare => "bare",
            Self::Wrapper => "cloudtaser-wrapper",
        }
    }
}

/// Road to the server.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Transport {
    /// Plain HTTP on loopback.
    Http,
    /// HTTPS with the server's own authority.
    Tls,
}

impl Transport {
    /// The name in results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
        }
    }
}

/// What is to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) subject: Subject,
    pub(crate) transport: Transport,
    /// Whether the app is told of new values.
    pub(crate) rotation: Rotation,
    /// The app.
    pub(crate) app: &'a [String],
    /// The values of the secrets 1, 2 and so on.
    pub(crate) values: &'a [String],
}

/// Whether new values are looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rotation {
    /// As each side does by default.
    Off,
    /// As often as each side allows.
    On,
}

/// Programs and server of one run.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) bao: PathBuf,
    pub(crate) wrapper: PathBuf,
    pub(crate) server: &'a Server,
    pub(crate) scratch: &'a Path,
}

impl Stage<'_> {
    /// The program that stays as parent of the app; none for the bare app.
    pub(crate) fn supervisor(&self, subject: Subject) -> Option<&Path> {
        match subject {
            Subject::Agent => Some(&self.bao),
            Subject::Bare => None,
            Subject::Wrapper => Some(&self.wrapper),
        }
    }

    /// The command, with its files written.
    pub(crate) fn command(&self, task: &Task<'_>) -> anyhow::Result<Command> {
        let mut command = match task.subject {
            Subject::Agent => self.agent(task)?,
            Subject::Bare => bare(task)?,
            Subject::Wrapper => self.wrapper(task),
        };
        command.env("HOME", self.scratch).env("PATH", "/usr/bin:/bin");
        Ok(command)
    }

    fn address(&self, transport: Transport) -> &str {
        match transport {
            Transport::Http => &self.server.http,
            Transport::Tls => &self.server.https,
        }
    }

    fn wrapper(&self, task: &Task<'_>) -> Command {
        let mut command = Command::new(&self.wrapper);
        command.env_clear();
        command
            .env("VAULT_ADDR", self.address(task.transport))
            .env("VAULT_AUTH_METHOD", "approle")
            .env("VAULT_ROLE_ID_FILE", &self.server.role_id_file)
            .env("VAULT_SECRET_ID_FILE", &self.server.secret_id_file);
        if task.transport == Transport::Tls {
            command.env("VAULT_CACERT", &self.server.ca_file);
        }
        if task.rotation == Rotation::On {
            command.env("CLOUDTASER_ROTATE_EVERY", "500ms");
            command.env("CLOUDTASER_ROTATE_ACTION", "in-place");
        }
        for number in 1..=task.values.len() {
            let reference = format!("vault:secret/data/bench/{number}#value");
            command.env(variable(number), reference);
        }
        command.args(["run", "--quiet", "--"]).args(task.app);
        command
    }

    fn agent(&self, task: &Task<'_>) -> anyhow::Result<Command> {
        let config = self.agent_config(task)?;
        let rotation = if task.rotation == Rotation::On { "on" } else { "off" };
        let transport = task.transport.name();
        let name = format!("agent-{transport}-{rotation}-{}.hcl", task.values.len());
        let file = self.scratch.join(name);
        fs::write(&file, config)?;
        let mut command = Command::new(&self.bao);
        command.env_clear();
        command.arg("agent").arg("-log-level=error");
        command.arg(format!("-config={}", file.display()));
        Ok(command)
    }

    fn agent_config(&self, task: &Task<'_>) -> anyhow::Result<String> {
        let server = self.server;
        let mut config = String::new();
        writeln!(config, "vault {{\n  address = {:?}", self.address(task.transport))?;
        if task.transport == Transport::Tls {
            writeln!(config, "  ca_cert = {:?}", server.ca_file)?;
        }
        writeln!(
            config,
            "}}\nauto_auth {{\n  method \"approle\" {{\n    config = {{\n      \
             role_id_file_path = {:?}\n      secret_id_file_path = {:?}\n      \
             remove_secret_id_file_after_reading = false\n    }}\n  }}\n}}",
            server.role_id_file, server.secret_id_file,
        )?;
        writeln!(config, "template_config {{\n  exit_on_retry_failure = true")?;
        if task.rotation == Rotation::On {
            writeln!(config, "  static_secret_render_interval = \"1s\"")?;
        }
        writeln!(config, "}}")?;
        for number in 1..=task.values.len() {
            let template = format!(
                "{{{{ with secret \"secret/data/bench/{number}\" }}}}{{{{ .Data.data.value }}}}\
                 {{{{ end }}}}"
            );
            writeln!(
                config,
                "env_template {:?} {{\n  contents = {template:?}\n  \
                 error_on_missing_key = true\n}}",
                variable(number)
            )?;
        }
        writeln!(config, "exec {{\n  command = {:?}\n}}", task.app)?;
        Ok(config)
    }
}

fn bare(task: &Task<'_>) -> anyhow::Result<Command> {
    let (program, arguments) = task.app.split_first().context("no app to run")?;
    let mut command = Command::new(program);
    command.env_clear().args(arguments);
    for (number, value) in (1..).zip(task.values) {
        command.env(variable(number), value);
    }
    Ok(command)
}

/// The variable that holds a secret.
pub(crate) fn variable(number: usize) -> String {
    format!("SECRET_{number}")
}

/// An app that tells its last secret and ends.
pub(crate) fn teller(values: &[String]) -> Vec<String> {
    shell(&format!("echo \"{MARK}${}\"", variable(values.len())))
}

/// An app that tells its last secret and stays for a while.
pub(crate) fn sitter(values: &[String]) -> Vec<String> {
    shell(&format!("echo \"{MARK}${}\"; exec sleep 20", variable(values.len())))
}

fn shell(script: &str) -> Vec<String> {
    vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()]
}
