//! What the wrapper owes to its app as a parent: signals, exit codes, orphans, and an end of its own
//! that leaves nothing half done.
//!
//! Apps count what they get. Nothing is measured in time but by bounds of seconds.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command, thread, time::Duration};

    use cloudtaser_e2e::{
        Bao, Launch, Running, Scratch, User, canary, descendants, is_root, on_path, status_field,
    };
    use nix::sys::signal::Signal;
    use serde_json::json;

    use super::common::{
        as_pid_1, eventually, is_alive, kill,
        programs::{self, CHECK_VALUE, COUNT_SIGNALS, QUEUE_SIGNAL, fnv1a},
        python,
    };

    /// Not to be caught, or about the wrapper's own children, or the runtime's own.
    const NOT_FORWARDED: [i32; 4] = [9, 17, 19, 23];

    /// Used by the C library itself, which lets nobody handle them.
    const TAKEN_BY_LIBC: [i32; 2] = [32, 33];

    /// A launch with a secret and one without: they are different roads in the wrapper.
    fn both() -> [Launch; 2] {
        let bao = Bao::shared();
        bao.put("signals", &json!({ "a": canary() }));
        [Launch::wrapped(bao).env("S", "vault:secret/data/signals#a"), Launch::wrapped(bao)]
    }

    /// The same, and a restricted pod's: uid 1000, no capabilities, `NoNewPrivs`.
    fn everywhere() -> Vec<Launch> {
        let mut all = Vec::from(both());
        if is_root() && on_path("setpriv").is_some() {
            let [secret, _] = both();
            all.push(secret.user(User::Unprivileged));
        } else {
            println!("SKIP: the part without privileges: it takes root and setpriv to drop them");
        }
        all
    }

    fn lines(running: &Running, prefix: &str) -> Vec<String> {
        let out = String::from_utf8_lossy(&running.stdout()).into_owned();
        out.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }

    fn all_but(left_out: &[i32]) -> Vec<i32> {
        let is_left_out =
            |number: &i32| left_out.contains(number) || TAKEN_BY_LIBC.contains(number);
        (1..=64).filter(|number| !is_left_out(number)).collect()
    }

    fn send(pid: i32, number: i32) {
        let sent = Command::new("kill").args([format!("-{number}"), pid.to_string()]).status();
        assert!(sent.unwrap().success(), "signal {number}");
    }

    #[test]
    fn every_signal_reaches_the_app_once() {
        let scratch = Scratch::new();
        let Some(count) = programs::c(&scratch, "count", COUNT_SIGNALS) else { return };
        for launch in everywhere() {
            let mut running = launch.spawn([&count]);
            running.until_stdout("readiness", |out| out.starts_with(b"ready\n"));
            let forwarded = all_but(&NOT_FORWARDED);
            for number in &forwarded {
                send(running.pid(), *number);
                let came = || !lines(&running, &format!("signal {number} ")).is_empty();
                eventually(&format!("signal {number}"), came);
            }
            // What comes twice, or was not to come, has come by now.
            thread::sleep(Duration::from_millis(500));
            for number in forwarded {
                let heard = lines(&running, &format!("signal {number} "));
                assert_eq!(heard.len(), 1, "{heard:?}");
            }
            kill(running.app(), Signal::SIGKILL);
            assert_eq!(running.wait().status.code(), Some(137));
        }
    }

    #[test]
    fn signals_about_the_wrapper_itself_are_not_forwarded() {
        let scratch = Scratch::new();
        let Some(count) = programs::c(&scratch, "count", COUNT_SIGNALS) else { return };
        for launch in everywhere() {
            let mut running = launch.spawn([&count]);
            running.until_stdout("readiness", |out| out.starts_with(b"ready\n"));
            for number in [17, 23] {
                send(running.pid(), number);
            }
            send(running.pid(), 10);
            eventually("USR1", || !lines(&running, "signal 10 ").is_empty());
            assert!(
                lines(&running, "signal 17 ").is_empty()
                    && lines(&running, "signal 23 ").is_empty()
            );
            kill(running.app(), Signal::SIGKILL);
            running.wait();
        }
    }

    #[test]
    fn queued_signals_keep_their_number_order_and_values() {
        let scratch = Scratch::new();
        let Some(count) = programs::c(&scratch, "count", COUNT_SIGNALS) else { return };
        let Some(queue) = programs::c(&scratch, "queue", QUEUE_SIGNAL) else { return };
        for launch in everywhere() {
            let mut running = launch.spawn([&count]);
            running.until_stdout("readiness", |out| out.starts_with(b"ready\n"));
            let expected =
                (0..20).map(|nth| format!("signal 40 value {}", 4711 + nth)).collect::<Vec<_>>();
            for nth in 0..20 {
                let words = [running.pid().to_string(), "40".into(), (4711 + nth).to_string()];
                assert!(Command::new(&queue).args(words).status().unwrap().success());
            }
            eventually("all of them", || lines(&running, "signal 40 ").len() >= 20);
            thread::sleep(Duration::from_millis(200));
            assert_eq!(lines(&running, "signal 40 "), expected);
            kill(running.app(), Signal::SIGKILL);
            running.wait();
        }
    }

    #[test]
    fn the_app_starts_with_the_signals_as_it_would_have_them() {
        // No shell: some clear their mask when they start.
        let show = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
        let bare = Launch::bare().run(show).ok().text();
        assert!(bare.contains("SigBlk"), "{bare}");
        for launch in everywhere() {
            assert_eq!(launch.run(show).ok().text(), bare);
        }
    }

    #[test]
    fn every_exit_code_is_the_apps_own() {
        let plain = Launch::wrapped_bare().flag("--quiet");
        for code in 0..=255 {
            let output = plain.run(["sh", "-c", &format!("exit {code}")]);
            assert_eq!(output.status.code(), Some(code), "{}", output.stderr);
        }
        let [secret, _] = both();
        for code in [0, 1, 2, 64, 69, 76, 77, 125, 126, 127, 128, 137, 255] {
            let output = secret.run(["sh", "-c", &format!("exit {code}")]);
            assert_eq!(output.status.code(), Some(code), "{}", output.stderr);
        }
    }

    #[test]
    fn a_death_by_signal_is_128_and_its_number() {
        // CHLD, CONT, URG and WINCH do nothing by default; the four stops stop.
        let deadly = all_but(&[17, 18, 23, 28, 19, 20, 21, 22]);
        let [secret, plain] = both();
        for number in &deadly {
            let output = plain.run(["sh", "-c", &format!("ulimit -c 0; kill -{number} $$")]);
            assert_eq!(output.status.code(), Some(128 + number), "{}", output.stderr);
        }
        for number in [1, 2, 6, 9, 11, 15] {
            let output = secret.run(["sh", "-c", &format!("ulimit -c 0; kill -{number} $$")]);
            assert_eq!(output.status.code(), Some(128 + number), "{}", output.stderr);
        }
    }

    #[test]
    fn an_app_that_handles_its_stop_ends_with_its_own_code() {
        let app = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done";
        for launch in everywhere() {
            let mut running = launch.spawn(["sh", "-c", app]);
            running.until_stdout("readiness", |out| out.starts_with(b"ready\n"));
            running.signal(Signal::SIGTERM);
            assert_eq!(running.wait().status.code(), Some(5));
            let running = launch.spawn(["sleep", "60"]);
            eventually("sleep", || comm(running.app()) == "sleep");
            running.signal(Signal::SIGTERM);
            assert_eq!(running.wait().status.code(), Some(143));
        }
    }

    fn comm(pid: i32) -> String {
        fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
    }

    #[test]
    fn a_stopped_app_goes_on_when_it_is_told_to() {
        for launch in everywhere() {
            let app = "trap '' TERM; echo ready; read -r line; echo \"got $line\"; exit 6";
            let mut running = launch.spawn(["sh", "-c", app]);
            running.until_stdout("readiness", |out| out.starts_with(b"ready\n"));
            let app = running.app();
            running.signal(Signal::SIGTSTP);
            eventually("the app stops", || {
                status_field(app, "State").is_some_and(|state| state.starts_with('T'))
            });
            running.signal(Signal::SIGCONT);
            eventually("the app goes on", || {
                status_field(app, "State").is_some_and(|state| !state.starts_with('T'))
            });
            // A stop that nobody can catch is the app's affair; the wrapper waits.
            kill(app, Signal::SIGSTOP);
            thread::sleep(Duration::from_millis(100));
            assert!(is_alive(running.pid()) && !running.ended());
            kill(app, Signal::SIGCONT);
            running.write(b"line\n");
            let output = running.wait();
            assert_eq!(
                (output.status.code(), output.text().as_str()),
                (Some(6), "ready\ngot line\n")
            );
        }
    }

    /// Forks fifty children that fork and leave, and waits until no zombie is left.
    const ORPHANS: &str = r#"
import os, time
for _ in range(50):
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(0.05)
            os._exit(7)
        os._exit(0)
    os.waitpid(child, 0)
def states():
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit() and int(name) not in (1, os.getpid()):
            try:
                found.append(open(f'/proc/{name}/stat').read().rsplit(')', 1)[1].split()[0])
            except OSError:
                pass
    return found
print('orphans', len(states()) > 0, flush=True)
end = time.monotonic() + 30
while states() and time.monotonic() < end:
    time.sleep(0.02)
print('left', len(states()), flush=True)
os._exit(4)
"#;

    #[test]
    fn orphans_are_reaped_as_pid_1() {
        let Some(words) = as_pid_1() else { return };
        let Some(python) = python() else { return };
        for launch in both() {
            let output = launch.behind(words).run([python, "-c", ORPHANS]);
            assert_eq!(output.text(), "orphans True\nleft 0\n", "{}", output.stderr);
            assert_eq!(output.status.code(), Some(4));
        }
    }

    #[test]
    fn signals_and_codes_are_the_same_as_pid_1() {
        let Some(words) = as_pid_1() else { return };
        let app = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done";
        for launch in both() {
            let launch = launch.behind(words);
            let mut running = launch.spawn(["sh", "-c", app]);
            running.until_stdout("readiness", |out| out.starts_with(b"ready\n"));
            let wrapper = descendants(running.pid())[0];
            kill(wrapper, Signal::SIGTERM);
            assert_eq!(running.wait().status.code(), Some(5));
            assert_eq!(launch.run(["sh", "-c", "exit 9"]).status.code(), Some(9));
            assert_eq!(launch.run(["sh", "-c", "kill -9 $$"]).status.code(), Some(137));
        }
    }

    #[test]
    fn a_stop_is_heard_as_pid_1_by_an_app_that_has_no_handler() {
        let Some(words) = as_pid_1() else { return };
        for launch in both() {
            let mut running = launch.behind(words).spawn(["sh", "-c", "echo ready; exec sleep 60"]);
            running.until_stdout("readiness", |out| out.starts_with(b"ready\n"));
            kill(descendants(running.pid())[0], Signal::SIGTERM);
            assert_eq!(running.wait().status.code(), Some(143));
        }
    }

    #[test]
    fn an_app_whose_wrapper_was_killed_is_told_to_stop() {
        let scratch = Scratch::new();
        for (nth, launch) in both().into_iter().enumerate() {
            let told = scratch.path().join(format!("told-{nth}"));
            let app = format!(
                "trap 'echo told >{}; exit 0' TERM; echo ready; while :; do read -r _ || read -r _ </dev/zero; done",
                told.display()
            );
            let mut running = launch.spawn(["sh", "-c", &app]);
            running.until_stdout("readiness", |out| out.starts_with(b"ready\n"));
            let app = running.app();
            running.signal(Signal::SIGKILL);
            assert_eq!(running.wait().code(), 137);
            eventually("the app is told", || told.is_file());
            eventually("the app ends", || !is_alive(app));
        }
    }

    #[test]
    fn a_supervisor_killed_in_a_storm_of_execs_leaves_no_program_with_an_empty_secret() {
        let scratch = Scratch::new();
        let Some(check) = programs::c(&scratch, "check", CHECK_VALUE) else { return };
        let bao = Bao::shared();
        let value = canary();
        bao.put("storm", &json!({ "a": value }));
        let launch = Launch::wrapped(bao).env("S", "vault:secret/data/storm#a");
        let (mut good, mut rounds) = (0, 0);
        // Moments spread over some thirty execs of a round.
        for moment in [0, 1, 2, 3, 5, 7, 8, 11, 13, 14, 17, 19, 23, 26, 29, 31, 37, 41, 43, 47] {
            let file = scratch.path().join(format!("storm-{moment}"));
            let one = format!("{} S {} {}", check.display(), fnv1a(&value), file.display());
            let app = format!(
                "trap '' TERM; echo ready; for i in 1 2 3 4; do (while {one}; do :; done) & done; wait"
            );
            let mut running = launch.spawn(["sh", "-c", &app]);
            running.until_stdout("readiness", |out| out.starts_with(b"ready\n"));
            let tree = descendants(running.pid());
            eventually("the storm begins", || file.is_file());
            thread::sleep(Duration::from_millis(moment));
            let mut tree = [tree, descendants(running.pid())].concat();
            running.signal(Signal::SIGKILL);
            running.wait();
            thread::sleep(Duration::from_millis(100));
            for pid in tree.drain(..).filter(|pid| runs_in(*pid, &file)) {
                let _gone =
                    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
            }
            let text = fs::read_to_string(&file).unwrap();
            let bad = text.lines().filter(|line| *line != "good").collect::<Vec<_>>();
            assert!(bad.is_empty(), "killed after {moment} ms: {bad:?}");
            good += text.lines().count();
            rounds += 1;
        }
        assert!(good > rounds, "there was no storm: {good} programs in {rounds} rounds");
    }

    /// Whether a process is of this round's app: its file is in its command line.
    fn runs_in(pid: i32, file: &Path) -> bool {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&file.display().to_string())
    }
}
