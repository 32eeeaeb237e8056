//! The unmodified programs that the demo protects. None knows of cloudtaser: each reads one
//! environment variable, prints the SHA-256 of what it got, and stays.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use cloudtaser_core::names;
use serde::Serialize;

use super::{
    interrupt::Interrupts,
    scratch::{AppUser, Running, Scratch},
    user,
};
use crate::tools;

/// The variable that every app reads.
pub(crate) const VARIABLE: &str = "DB_PASSWORD";

const SHELL: &str = include_str!("apps/entrypoint.sh");
const PYTHON: &str = include_str!("apps/app.py");
const C: &str = include_str!("apps/app.c");
const GO: &str = include_str!("apps/app.go");

/// A cold compiler; Go's first build compiles its standard library.
const COMPILE_PATIENCE: Duration = Duration::from_secs(25);

/// What a program's own runtime does with its environment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Copies {
    /// It leaves the value where it was put.
    None,
    /// It copies the environment into ordinary memory of its own when it starts.
    ByRuntime,
}

/// One app, ready to be started.
#[derive(Debug)]
pub(crate) struct App {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) what: String,
    /// What its runtime does.
    pub(crate) copies: Copies,
    /// The program that it executes in the end, where that is another one.
    pub(crate) becomes: Option<&'static str>,
    /// The command line.
    pub(crate) command: Vec<OsString>,
}

/// An app that is not part of this run, and why.
#[derive(Debug, Serialize)]
pub(crate) struct Skipped {
    /// Its name.
    pub(crate) name: &'static str,
    /// Why.
    pub(crate) why: String,
}

/// The apps that can be run here, and those that cannot.
#[derive(Debug, Default)]
pub(crate) struct Apps {
    /// To be run.
    pub(crate) ready: Vec<App>,
    /// Not to be run.
    pub(crate) skipped: Vec<Skipped>,
}

impl Apps {
    /// Writes and compiles what this machine has tools for.
    pub(crate) fn prepare(
        scratch: &Scratch,
        who: AppUser,
        interrupts: &Interrupts,
    ) -> Result<Self> {
        let mut apps = Self::default();
        apps.shell(scratch)?;
        apps.python(scratch, who)?;
        apps.c(scratch, interrupts)?;
        apps.go(scratch, interrupts)?;
        Ok(apps)
    }

    fn shell(&mut self, scratch: &Scratch) -> Result<()> {
        let script = scratch.file("entrypoint.sh", SHELL.as_bytes(), 0o555)?;
        self.ready.push(App {
            name: "shell",
            what: "a shell entrypoint: child processes, then exec of the main program".to_owned(),
            copies: Copies::None,
            becomes: Some("sleep"),
            command: vec![script.into()],
        });
        Ok(())
    }

    fn python(&mut self, scratch: &Scratch, who: AppUser) -> Result<()> {
        let Some(python) = user::usable_by(who, "python3") else {
            let why = format!("no python3 on the PATH that uid {} can start", who.uid);
            self.skip("python", why);
            return Ok(());
        };
        let script = scratch.file("app.py", PYTHON.as_bytes(), 0o444)?;
        self.ready.push(App {
            name: "python",
            what: format!("{} reading os.environ", python.display()),
            copies: Copies::ByRuntime,
            becomes: None,
            command: vec![python.into(), script.into()],
        });
        Ok(())
    }

    fn c(&mut self, scratch: &Scratch, interrupts: &Interrupts) -> Result<()> {
        if let Some(compiled) = std::env::var_os(names::ENV_DEMO_C) {
            let program = scratch
                .program("app-c", Path::new(&compiled))
                .with_context(|| format!("{}={}", names::ENV_DEMO_C, compiled.to_string_lossy()))?;
            self.ready.push(App {
                name: "c",
                what: "a static program that was compiled elsewhere".to_owned(),
                copies: Copies::None,
                becomes: None,
                command: vec![program.into()],
            });
            return Ok(());
        }
        let Some(compiler) =
            ["musl-gcc", "gcc", "cc", "clang"].into_iter().find_map(tools::on_path)
        else {
            self.skip("c", "no C compiler on the PATH".to_owned());
            return Ok(());
        };
        let source = scratch.file("app.c", C.as_bytes(), 0o444)?;
        let program = scratch.path("app-c");
        let mut command = Command::new(&compiler);
        command.args(["-static", "-O1", "-o"]).arg(&program).arg(source);
        match compile(&mut command, interrupts)? {
            None => self.ready.push(App {
                name: "c",
                what: format!("a static program made by {}", compiler.display()),
                copies: Copies::None,
                becomes: None,
                command: vec![program.into()],
            }),
            Some(why) => self.skip("c", format!("{}: {why}", compiler.display())),
        }
        Ok(())
    }

    fn go(&mut self, scratch: &Scratch, interrupts: &Interrupts) -> Result<()> {
        let Some(go) = tools::on_path("go") else {
            self.skip("go", "no go on the PATH".to_owned());
            return Ok(());
        };
        let source = scratch.file("app.go", GO.as_bytes(), 0o444)?;
        let program = scratch.path("app-go");
        let mut command = Command::new(&go);
        command.args(["build", "-o"]).arg(&program).arg(source).env("CGO_ENABLED", "0");
        // Go refuses to work without a place for its cache, which it finds by these two.
        if ["HOME", "GOCACHE"].iter().all(|name| std::env::var_os(name).is_none()) {
            command.env("GOCACHE", scratch.path("go-cache"));
        }
        match compile(&mut command, interrupts)? {
            None => self.ready.push(App {
                name: "go",
                what: format!("a static program made by {}", go.display()),
                copies: Copies::ByRuntime,
                becomes: None,
                command: vec![program.into()],
            }),
            Some(why) => self.skip("go", why),
        }
        Ok(())
    }

    fn skip(&mut self, name: &'static str, why: String) {
        self.skipped.push(Skipped { name, why });
    }
}

/// Runs a compiler; tells why there is no program, if there is none.
fn compile(command: &mut Command, interrupts: &Interrupts) -> Result<Option<String>> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = match Running::start(command) {
        Ok(running) => running,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let started = Instant::now();
    let ended = interrupts.wait(COMPILE_PATIENCE, || Ok(running.ended()?))?;
    Ok(match ended {
        Some(status) if status.success() => None,
        Some(status) => Some(format!("does not make a static program here ({status})")),
        None => Some(format!("not done after {} s", started.elapsed().as_secs())),
    })
}

/// How an app gets its password.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// By the wrapper.
    With,
    /// By an ordinary environment, as a Kubernetes Secret gives it.
    Without,
}

impl Mode {
    /// The word for names and tables.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::With => "with",
            Self::Without => "without",
        }
    }
}

/// What starting an app under the wrapper takes.
#[derive(Debug)]
pub(crate) struct Vault<'a> {
    pub(crate) wrapper: &'a Path,
    pub(crate) address: &'a str,
    pub(crate) ca: &'a Path,
    pub(crate) token: &'a Path,
}

/// The command that starts an app.
pub(crate) fn command(app: &App, mode: Mode, vault: &Vault<'_>, canary: &str) -> Command {
    let mut words = app.command.iter();
    let first = words.next().cloned().unwrap_or_default();
    let mut command = match mode {
        Mode::Without => {
            let mut command = Command::new(first);
            command.env_clear().env(VARIABLE, canary);
            command
        }
        Mode::With => {
            let mut command = Command::new(vault.wrapper);
            command.args(["run", "--"]).arg(first).env_clear();
            command.env("VAULT_ADDR", vault.address).env("VAULT_CACERT", vault.ca);
            command.env("VAULT_TOKEN_FILE", vault.token);
            command.env(VARIABLE, "vault:secret/data/demo#password");
            command
        }
    };
    command.args(words).env("PATH", user::APP_PATH).current_dir("/").stdin(Stdio::null());
    command
}

/// Files that an app's output goes to.
pub(crate) fn output_paths(scratch: &Scratch, app: &App, mode: Mode) -> (PathBuf, PathBuf) {
    let path = |stream| scratch.path(&format!("{}-{}.{stream}", app.name, mode.as_str()));
    (path("out"), path("err"))
}
