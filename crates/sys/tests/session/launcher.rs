//! Starts the `launch` example and waits for it, no longer than a limit.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The secret `PW` of every test.
pub(crate) const VALUE: &str = "hunter2-canary-q9z";
const LIMIT: Duration = Duration::from_secs(60);

/// A command line for the example.
pub(crate) struct Launcher {
    flags: Vec<&'static str>,
    value: &'static str,
    user: Option<u32>,
}

impl Launcher {
    pub(crate) fn new() -> Self {
        Self { flags: Vec::new(), value: VALUE, user: None }
    }

    pub(crate) fn flag(mut self, flag: &'static str) -> Self {
        self.flags.push(flag);
        self
    }

    /// Another value for `PW`.
    pub(crate) fn value(mut self, value: &'static str) -> Self {
        self.value = value;
        self
    }

    /// Another user, without any privilege.
    pub(crate) const fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Runs a command to its end; `None`, having said so, where this kernel has no secret memory.
    pub(crate) fn run(self, command: &[&str]) -> Option<Output> {
        let mut child = self.start(command)?;
        let mut out = child.stdout.take().unwrap();
        let mut err = child.stderr.take().unwrap();
        let out = thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).map(|_| bytes).unwrap_or_default()
        });
        let err = thread::spawn(move || {
            let mut bytes = Vec::new();
            err.read_to_end(&mut bytes).map(|_| bytes).unwrap_or_default()
        });
        let status = wait(&mut child);
        let output = Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() };
        println!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(output)
    }

    /// Starts a command.
    pub(crate) fn start(self, command: &[&str]) -> Option<Child> {
        if let Err(error) = cloudtaser_sys::secretmem::SecretFile::create(1) {
            println!("SKIP: {error}");
            return None;
        }
        let mut launch = Command::new(example());
        if let Some(user) = self.user {
            launch.uid(user).gid(user);
        }
        launch.args(&self.flags).arg("--").args(command).env("SECRETS_FILE", secrets(self.value));
        launch.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Some(launch.spawn().unwrap())
    }
}

/// Waits, and ends a command that takes too long.
pub(crate) fn wait(child: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("took longer than {LIMIT:?}: {:?}", child.wait());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// What a command printed.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A file with the secrets. Not the environment, whose block a child shares with its parent until
/// it starts its program.
fn secrets(value: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    // Its name is in the launcher's environment, so it may not spell the value either.
    let name: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let file = folder.join(name);
    if !file.exists() {
        // Written elsewhere first, since another test may read it at this moment.
        let mut fresh = tempfile::NamedTempFile::new_in(folder).unwrap();
        writeln!(fresh, "PW={value}").unwrap();
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fresh.as_file().set_permissions(readable).unwrap();
        fresh.persist(&file).unwrap();
    }
    file
}

fn example() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples/launch")
}
