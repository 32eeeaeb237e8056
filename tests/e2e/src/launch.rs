//! A launch of an app, by the wrapper or bare, with everything that the app inherits said here.
//!
//! The environment is built from nothing, so that what the machine has set never decides a test.

use std::{
    ffi::{OsStr, OsString},
    io::{Read, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use crate::{Bao, programs, scan, scratch};

/// What an app finds programs by.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The unprivileged user and group of the tests.
pub(crate) const UNPRIVILEGED: u32 = 1000;

/// How long a launch may take before it is ended and the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who runs the launch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum User {
    /// The user of the test, root where that is root.
    Same,
    /// uid and gid 1000 without groups and capabilities, with `NoNewPrivs`: a restricted pod.
    Unprivileged,
}

/// A launch that is being described.
#[derive(Clone, Debug)]
pub struct Launch {
    wrapper: Option<PathBuf>,
    flags: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    before: Vec<OsString>,
    cwd: Option<PathBuf>,
    user: User,
    patience: Duration,
}

impl Launch {
    /// Without the wrapper: what the app sees then is what it must see.
    #[must_use]
    pub fn bare() -> Self {
        let mut launch = Self {
            wrapper: None,
            flags: Vec::new(),
            env: Vec::new(),
            before: Vec::new(),
            cwd: None,
            user: User::Same,
            patience: PATIENCE,
        };
        launch = launch.env("PATH", PATH).env("HOME", "/");
        launch
    }

    /// By the wrapper, with no setting but what is given later.
    #[must_use]
    pub fn wrapped_bare() -> Self {
        Self { wrapper: Some(programs::wrapper()), ..Self::bare() }
    }

    /// By the wrapper, quietly, with the address, authority and token file of this OpenBao.
    #[must_use]
    pub fn wrapped(bao: &Bao) -> Self {
        Self { wrapper: Some(bao.wrapper()), ..Self::bare() }
            .flag("--quiet")
            .env("VAULT_ADDR", bao.url())
            .env("VAULT_CACERT", bao.ca())
            .env("VAULT_TOKEN_FILE", bao.token_file())
    }

    /// A flag of `cloudtaser-wrapper run`.
    #[must_use]
    pub fn flag(mut self, flag: impl AsRef<OsStr>) -> Self {
        self.flags.push(flag.as_ref().into());
        self
    }

    /// Removes a flag that was given before.
    #[must_use]
    pub fn without_flag(mut self, flag: &str) -> Self {
        self.flags.retain(|given| given != flag);
        self
    }

    /// A variable; the last of a name wins.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self = self.without_env(&name);
        self.env.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.retain(|(given, _)| given != name.as_ref());
        self
    }

    /// A program that is put before the launch and executes it, such as `prlimit --memlock=0`.
    /// The last one given stands first.
    #[must_use]
    pub fn behind<A: AsRef<OsStr>>(mut self, program: impl IntoIterator<Item = A>) -> Self {
        self.before.splice(0..0, program.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    /// The working directory; `/` without.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Who runs it.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// How long it may take; a minute without.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The command, for a test that wants to start it in its own way.
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, app: impl IntoIterator<Item = A>) -> Command {
        let mut argv: Vec<OsString> = Vec::new();
        if self.user == User::Unprivileged {
            let drop = "setpriv --reuid 1000 --regid 1000 --clear-groups --no-new-privs \
                        --inh-caps=-all --bounding-set=-all --";
            argv.extend(drop.split_whitespace().map(OsString::from));
        }
        argv.extend(self.before.iter().cloned());
        if let Some(wrapper) = &self.wrapper {
            argv.extend([wrapper.clone().into(), "run".into()]);
            argv.extend(self.flags.iter().cloned());
            argv.push("--".into());
        }
        argv.extend(app.into_iter().map(|arg| arg.as_ref().into()));
        // `Command` would look for a program without a slash by the test's own PATH.
        let program = match argv[0].to_str().filter(|name| !name.contains('/')) {
            Some(name) => programs::on_path(name).unwrap_or_else(|| name.into()),
            None => argv[0].clone().into(),
        };
        let mut command = Command::new(program);
        command.args(&argv[1..]).env_clear().envs(self.env.iter().cloned());
        command.current_dir(self.cwd.clone().unwrap_or_else(|| "/".into()));
        command
    }

    /// Starts it with a pipe at each of the three standard descriptors.
    pub fn spawn<A: AsRef<OsStr>>(&self, app: impl IntoIterator<Item = A>) -> Running {
        let mut command = self.command(app);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = Captured::of(child.stdout.take().expect("a pipe"));
        let stderr = Captured::of(child.stderr.take().expect("a pipe"));
        let end = Instant::now() + self.patience;
        Running { child, stdin, stdout, stderr, end, status: None }
    }

    /// Runs it to its end with nothing on standard input.
    pub fn run<A: AsRef<OsStr>>(&self, app: impl IntoIterator<Item = A>) -> Output {
        let mut running = self.spawn(app);
        running.close_stdin();
        running.wait()
    }
}

/// A launch that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Captured,
    stderr: Captured,
    end: Instant,
    status: Option<ExitStatus>,
}

impl Running {
    /// The process that was started: the wrapper, or the app itself where there is none.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// The first child of the wrapper, as soon as there is one.
    #[must_use]
    pub fn app(&self) -> i32 {
        let what = "the app's process";
        scratch::until(what, PATIENCE, || scan::children(self.pid()).first().copied())
    }

    /// Writes to the app's standard input.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input is still open");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("the app reads");
    }

    /// Ends the app's standard input.
    pub fn close_stdin(&mut self) {
        drop(self.stdin.take());
    }

    /// Sends a signal to the process that was started.
    pub fn signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(self.pid()), signal).expect("a signal can be sent");
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.so_far()
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// Waits until standard output satisfies this; panics when the launch ends or time runs out.
    pub fn until_stdout(&mut self, what: &str, is: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        loop {
            // Ended is asked first: what was written before the end is then all there.
            let ended = self.ended();
            let so_far = if ended { self.stdout.whole() } else { self.stdout.so_far() };
            if is(&so_far) {
                return so_far;
            }
            assert!(!ended && Instant::now() < self.end, "no {what}: {}", self.story());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for a text on standard error.
    pub fn until_stderr(&mut self, text: &str) {
        while !self.stderr().contains(text) {
            let over = self.ended() || Instant::now() > self.end;
            assert!(!over || self.stderr().contains(text), "no {text:?}: {}", self.story());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child of ours");
        }
        self.status.is_some()
    }

    /// Waits for the end; one that does not come in time is a failure of the test.
    pub fn wait(mut self) -> Output {
        while !self.ended() {
            assert!(Instant::now() < self.end, "it does not end: {}", self.story());
            thread::sleep(Duration::from_millis(1));
        }
        let status = self.status.expect("it has ended");
        let stderr = String::from_utf8_lossy(&self.stderr.whole()).into_owned();
        Output { status, stdout: self.stdout.whole(), stderr }
    }

    fn story(&self) -> String {
        let out = self.stdout.so_far();
        let shown = String::from_utf8_lossy(&out[..out.len().min(2000)]).into_owned();
        format!("status {:?}, stdout {shown:?}, stderr {}", self.status, self.stderr())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended() {
            return;
        }
        // The app first, while the wrapper is its parent and the pids are surely still theirs.
        for pid in scan::descendants(self.pid()).into_iter().chain([self.pid()]) {
            let _gone = signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        drop(self.child.wait());
    }
}

/// What a launch left behind.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything on standard output.
    pub stdout: Vec<u8>,
    /// Everything on standard error, as text.
    pub stderr: String,
}

impl Output {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The exit code, 128+N for a death by signal N.
    #[must_use]
    pub fn code(&self) -> i32 {
        let died = || self.status.signal().map(|signal| 128 + signal);
        self.status.code().or_else(died).unwrap_or(-1)
    }

    /// Demands exit code 0.
    #[must_use]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "{}: {}{}", self.status, self.text(), self.stderr);
        self
    }
}

/// A pipe that is read to its end in the background.
#[derive(Debug)]
struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let into = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 16 * 1024];
            while let Ok(len @ 1..) = pipe.read(&mut chunk) {
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&chunk[..len]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All of it; a process that was left behind with the pipe open delays this by a second.
    fn whole(&mut self) -> Vec<u8> {
        let end = Instant::now() + Duration::from_secs(1);
        while let Some(reader) = &self.reader {
            if reader.is_finished() || Instant::now() > end {
                self.reader = None;
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.so_far()
    }
}
