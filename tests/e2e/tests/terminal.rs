//! The wrapper between a terminal and an app: what the keyboard sends comes once, a job that is
//! stopped is stopped for the shell too, and a shell as the app keeps its job control.
//!
//! Each test drives a pseudo-terminal; `setsid` makes it the controlling terminal of what runs in
//! it. What was typed is echoed, so that expected texts are never typed as they stand.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        fs::File,
        io::{Read as _, Write as _},
        os::{fd::OwnedFd, unix::fs::OpenOptionsExt as _},
        path::{Path, PathBuf},
        process::{Child, Command},
        sync::{Arc, Mutex, PoisonError},
        thread,
        time::{Duration, Instant},
    };

    use cloudtaser_e2e::{Bao, Launch, Scratch, canary, descendants, on_path, skip, status_field};
    use nix::{
        fcntl::OFlag,
        pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
        sys::signal::Signal,
    };
    use serde_json::json;

    use super::common::{
        PATIENCE, eventually, is_alive, kill,
        programs::{self, COUNT_SIGNALS},
    };

    const CTRL_C: &str = "\u{3}";
    const CTRL_Z: &str = "\u{1a}";
    const CTRL_BACKSLASH: &str = "\u{1c}";

    /// A terminal with one program in it.
    struct Terminal {
        child: Child,
        keyboard: Option<File>,
        screen: Arc<Mutex<Vec<u8>>>,
        device: PathBuf,
    }

    impl Terminal {
        fn run<A: AsRef<OsStr>>(launch: Launch, app: impl IntoIterator<Item = A>) -> Self {
            Self::start(
                launch.behind(["setsid", "--ctty", "--wait"]).env("TERM", "dumb").command(app),
            )
        }

        fn start(mut command: Command) -> Self {
            let (keyboard, device) = pseudo_terminal();
            let end = || side(&device);
            command.stdin(end()).stdout(end()).stderr(end());
            let child = command.spawn().unwrap();
            // The command holds descriptors of its own until it is dropped.
            drop(command);
            let mut reader = keyboard.try_clone().unwrap();
            let screen = Arc::<Mutex<Vec<u8>>>::default();
            let shown = Arc::clone(&screen);
            thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(len @ 1..) = reader.read(&mut chunk) {
                    shown.lock().unwrap_or_else(PoisonError::into_inner).extend(&chunk[..len]);
                }
            });
            Self { child, keyboard: Some(keyboard), screen, device }
        }

        fn pid(&self) -> i32 {
            i32::try_from(self.child.id()).unwrap()
        }

        fn shows(&self) -> String {
            let bytes = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&bytes).replace('\r', "")
        }

        fn types(&mut self, text: &str) {
            self.keyboard.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
        }

        fn until(&self, text: &str) {
            let end = Instant::now() + PATIENCE;
            while !self.shows().contains(text) {
                assert!(Instant::now() < end, "no {text:?} on the screen:\n{}", self.shows());
                thread::sleep(Duration::from_millis(5));
            }
        }

        /// The number that the screen shows behind a text.
        fn number(&self, text: &str) -> i32 {
            self.until(text);
            let mut number = None;
            eventually("a number and the end of its line", || {
                let shown = self.shows();
                let (_, rest) = shown.split_once(text).unwrap();
                number = rest.split_once('\n').map(|(line, _)| line.trim().parse().unwrap());
                number.is_some()
            });
            number.unwrap()
        }

        /// Changes the size of the window once: `stty` makes a change of its own of each number.
        fn resize(&self, what: &str, to: u16) {
            let size = [what.to_owned(), to.to_string()];
            let status = Command::new("stty").arg("-F").arg(&self.device).args(size).status();
            assert!(status.unwrap().success());
        }

        fn code(mut self) -> Option<i32> {
            let mut status = None;
            eventually(&format!("the end of what showed\n{}", self.shows()), || {
                status = self.child.try_wait().unwrap();
                status.is_some()
            });
            status.and_then(|status| status.code())
        }
    }

    /// A new terminal: the keyboard's end, which no child inherits, and the name of the other.
    fn pseudo_terminal() -> (File, PathBuf) {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let keyboard = posix_openpt(flags).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let device = ptsname_r(&keyboard).unwrap();
        (File::from(OwnedFd::from(keyboard)), device.into())
    }

    /// The app's end of a terminal, which does not become ours.
    fn side(device: &Path) -> File {
        let flags = OFlag::O_NOCTTY.bits();
        File::options().read(true).write(true).custom_flags(flags).open(device).unwrap()
    }

    impl Drop for Terminal {
        fn drop(&mut self) {
            if matches!(self.child.try_wait(), Ok(None)) {
                for pid in descendants(self.pid()).into_iter().chain([self.pid()]) {
                    let _gone =
                        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
                }
                let _reaped = self.child.wait();
            }
        }
    }

    fn is_ready() -> bool {
        let missing = ["setsid", "stty"].into_iter().find(|program| on_path(program).is_none());
        if let Some(missing) = missing {
            println!("SKIP: {missing} is not installed");
        }
        missing.is_none()
    }

    /// A launch with a secret and one without.
    fn both() -> [Launch; 2] {
        let bao = Bao::shared();
        bao.put("terminal", &json!({ "a": canary() }));
        [Launch::wrapped(bao).env("S", "vault:secret/data/terminal#a"), Launch::wrapped(bao)]
    }

    fn is_stopped(pid: i32) -> bool {
        status_field(pid, "State").is_some_and(|state| state.starts_with('T'))
    }

    #[test]
    fn keys_and_window_changes_reach_the_app_once() {
        let scratch = Scratch::new();
        let Some(count) = programs::c(&scratch, "count", COUNT_SIGNALS) else { return };
        if !is_ready() {
            return;
        }
        for launch in both() {
            let mut terminal = Terminal::run(launch, [&count]);
            terminal.until("ready");
            terminal.types(CTRL_C);
            terminal.until("signal 2 ");
            terminal.types(CTRL_BACKSLASH);
            terminal.until("signal 3 ");
            terminal.types(CTRL_Z);
            terminal.until("signal 20 ");
            terminal.resize("rows", 33);
            terminal.until("signal 28 ");
            // What would come twice has come by now.
            thread::sleep(Duration::from_millis(500));
            for number in [2, 3, 20, 28] {
                let heard = terminal.shows().matches(&format!("signal {number} ")).count();
                assert_eq!(heard, 1, "signal {number}: {}", terminal.shows());
            }
            assert!(!is_stopped(terminal.pid()), "the app did not stop, and the wrapper did");
            let app = *descendants(terminal.pid()).first().unwrap();
            kill(app, Signal::SIGKILL);
            assert_eq!(terminal.code(), Some(137));
        }
    }

    #[test]
    fn the_code_of_an_app_that_handles_an_interrupt_is_passed_on() {
        if !is_ready() {
            return;
        }
        for launch in both() {
            let app = "trap 'exit 7' INT; echo rea''dy; while :; do sleep 0.05; done";
            let mut terminal = Terminal::run(launch, ["sh", "-c", app]);
            terminal.until("ready");
            terminal.types(CTRL_C);
            assert_eq!(terminal.code(), Some(7));
        }
    }

    #[test]
    fn the_app_sees_the_size_of_its_window() {
        if !is_ready() {
            return;
        }
        for launch in both() {
            let mut terminal =
                Terminal::run(launch, ["sh", "-c", "echo rea''dy; read -r _; stty size"]);
            terminal.until("ready");
            terminal.resize("rows", 31);
            terminal.resize("cols", 77);
            terminal.types("\n");
            terminal.until("31 77");
            assert_eq!(terminal.code(), Some(0));
        }
    }

    #[test]
    fn a_terminal_that_goes_away_hangs_the_app_up() {
        if !is_ready() {
            return;
        }
        let scratch = Scratch::new();
        for (nth, launch) in both().into_iter().enumerate() {
            let file = scratch.path().join(format!("hangup-{nth}"));
            let app = format!(
                "trap 'echo hup >>{}; exit 0' HUP; echo rea''dy; while :; do sleep 0.05; done",
                file.display()
            );
            // A reader of the screen would keep the terminal open: this one has none.
            let (mut screen, device) = pseudo_terminal();
            let end = || side(&device);
            let mut command =
                launch.behind(["setsid", "--ctty", "--wait"]).command(["sh", "-c", &app]);
            let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
            drop(command);
            let (mut shown, mut chunk) = (Vec::new(), [0; 100]);
            while !String::from_utf8_lossy(&shown).contains("ready") {
                let len = screen.read(&mut chunk).unwrap();
                shown.extend(&chunk[..len]);
            }
            drop(screen);
            eventually("the app is told", || file.is_file());
            eventually("the end", || child.try_wait().unwrap().is_some());
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "hup\n");
        }
    }

    /// One line for a shell that starts this launch.
    fn line(command: &Command) -> String {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let quoted =
            words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")));
        quoted.collect::<Vec<_>>().join(" ") + "\n"
    }

    #[test]
    fn a_job_that_is_stopped_goes_on_in_the_foreground_of_a_shell() {
        if !is_ready() {
            return;
        }
        for shell in [&["bash", "--norc", "--noediting", "-i"][..], &["dash", "-i"]] {
            if on_path(shell[0]).is_none() {
                skip!("{} is not installed", shell[0]);
            }
            for launch in both() {
                let app = "echo \"a''pp $$\"; read -r line; echo \"got $line\"; exit 6"
                    .replace("a''pp", "app");
                let started = launch.command(["sh", "-c", &app]);
                let environment =
                    started.get_envs().filter_map(|(name, value)| Some((name, value?)));
                let bare = Launch::bare().env("TERM", "dumb");
                let bare = environment.fold(bare, |launch, (name, value)| launch.env(name, value));
                // The shell itself has no reference: only the wrapper's line gives it one.
                let reference = started.get_envs().find(|(name, _)| *name == "S").is_some();
                let bare = bare.without_env("S").env("PS1", "$ ");
                let mut terminal =
                    Terminal::start(bare.behind(["setsid", "--ctty", "--wait"]).command(shell));
                terminal.until("$ ");
                let prefix = if reference { "S=vault:secret/data/terminal#a " } else { "" };
                terminal.types(&format!("{prefix}{}", line(&started)));
                let app = terminal.number("\napp ");
                let wrapper = parent(app);
                terminal.types(CTRL_Z);
                eventually("both stop", || is_stopped(app) && is_stopped(wrapper));
                terminal.types("echo at the pro''mpt\n");
                terminal.until("at the prompt");
                terminal.types("fg\n");
                eventually("both go on", || !is_stopped(app) && !is_stopped(wrapper));
                terminal.types("a line\n");
                terminal.until("got a line");
                terminal.types("echo \"co\"de $?\n");
                terminal.until("code 6");
                assert!(!is_alive(wrapper));
                terminal.types("exit 0\n");
                assert_eq!(terminal.code(), Some(0));
            }
        }
    }

    fn parent(pid: i32) -> i32 {
        status_field(pid, "PPid").unwrap().parse().unwrap()
    }

    #[test]
    fn a_shell_as_the_app_has_job_control() {
        if !is_ready() {
            return;
        }
        if on_path("bash").is_none() {
            skip!("bash is not installed");
        }
        for launch in both() {
            let launch = launch.env("PS1", "$ ");
            let mut terminal = Terminal::run(launch, ["bash", "--norc", "--noediting", "-i"]);
            terminal.until("$ ");
            terminal.types("sh -c 'echo \"jo\"b $$; exec sleep 100'\n");
            let job = terminal.number("\njob ");
            terminal.types(CTRL_Z);
            terminal.until("Stopped");
            assert!(is_stopped(job) && !is_stopped(terminal.pid()), "{}", terminal.shows());
            terminal.types("echo still he''re\n");
            terminal.until("still here");
            terminal.types("fg\n");
            eventually("the job goes on", || !is_stopped(job));
            terminal.types(CTRL_C);
            eventually("the job ends", || !is_alive(job));
            terminal.types("echo \"co\"de $?\n");
            terminal.until("code 130");
            terminal.types("exit 11\n");
            let shown = terminal.shows();
            assert!(!shown.contains("no job control") && !shown.contains("cannot set"), "{shown}");
            assert_eq!(terminal.code(), Some(11));
        }
    }
}
