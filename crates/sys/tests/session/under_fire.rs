//! A session while signals fly, tasks die, readers poll and values change.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::launcher::{Launcher, VALUE, stdout, wait};

const LIMIT: Duration = Duration::from_secs(20);

/// Parent of a process, by its number.
fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:\t"))?.parse().ok()
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn children(of: u32) -> Vec<u32> {
    processes().filter(|pid| parent(*pid) == Some(of)).collect()
}

/// Waits until something is so, or says what is not.
fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn kill(pid: u32, signal: &str) {
    let status = std::process::Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.unwrap().success(), "kill {signal} {pid}");
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Whether the environment block of a process holds the needle, for a reader with every right.
fn is_bare(pid: u32, needle: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|block| contains(&block, needle))
}

#[test]
fn a_root_reader_that_polls_through_five_hundred_execs_sees_no_value() {
    // A value of its own, since other tests have theirs in ordinary environments on purpose.
    const CANARY: &str = "polled-canary-7431";
    // Three shells at a time, each with children that fork, search PATH in vain, and exec.
    let script = "n() { i=0; while [ $i -lt 55 ]; do
            sh -c 'test \"$PW\" = polled-canary-7431 || echo BAD'
            env -u NOTHING /bin/sh -c 'test \"$PW\" = polled-canary-7431 || echo BAD'
            i=$((i+1)); done; }
        n & n & n & wait; echo done";
    let launcher = Launcher::new().flag("--report").value(CANARY);
    let Some(mut child) = launcher.start(&["bash", "-c", script]) else { return };
    let root = child.id();
    let stop = AtomicBool::new(false);
    let (hits, seen) = thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let (mut hits, mut seen) = (Vec::new(), BTreeSet::new());
            while !stop.load(Ordering::Relaxed) {
                // Descendants have higher numbers, unless the numbers wrapped: then they are missed.
                for pid in processes().filter(|pid| *pid > root) {
                    hits.extend(is_bare(pid, CANARY.as_bytes()).then_some(pid));
                    seen.insert(pid);
                }
            }
            (hits, seen.len())
        });
        wait(&mut child);
        stop.store(true, Ordering::Relaxed);
        poller.join().unwrap()
    });
    let output = child.wait_with_output().unwrap();
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stdout(&output), "done\n", "{report}");
    assert!(hits.is_empty(), "{hits:?} {report}");
    assert!(report.contains("scrubbed: 0") && report.contains("killed: 0"), "{report}");
    println!("{seen} processes seen; {report}");
    assert!(seen > 5, "the reader was too slow to prove anything: {seen}");
}

#[test]
fn signals_in_the_middle_of_an_exec_are_neither_lost_nor_seen_by_it() {
    // The child counts signals while it asks in vain for a program; handlers restart calls, as
    // most do. Every signal must be counted, and every failure must be the kernel's own.
    let script = "import os, signal, time
count = 0
def note(*_):
    global count
    count += 1
signal.signal(signal.SIGRTMIN + 3, note)
signal.siginterrupt(signal.SIGRTMIN + 3, False)
parent = os.getpid()
ready, go = os.pipe()
child = os.fork()
if child == 0:
    os.read(ready, 1)
    for _ in range(400): os.kill(parent, signal.SIGRTMIN + 3)
    os._exit(0)
os.write(go, b'x')
errors = set()
while True:
    try: os.execve('/nowhere', ['x'], os.environ)
    except OSError as error: errors.add(error.errno)
    if os.waitpid(child, os.WNOHANG)[0] == child: break
for _ in range(20):
    try: os.execve('/nowhere', ['x'], os.environ)
    except OSError as error: errors.add(error.errno)
print(count > 0, sorted(errors), os.environ['PW'])";
    let Some(output) = Launcher::new().flag("--report").run(&["python3", "-c", script]) else {
        return;
    };
    assert_eq!(stdout(&output), format!("True [2] {VALUE}\n"));
}

#[test]
fn stopped_and_continued_tasks_end_up_with_their_values() {
    let script = "i=0; while [ $i -lt 60 ]; do
            sh -c 'test \"$PW\" = hunter2-canary-q9z || echo BAD' & p=$!
            kill -STOP $p; kill -CONT $p; wait $p || echo CODE $?
            i=$((i+1)); done; echo done";
    let Some(output) = Launcher::new().flag("--report").run(&["bash", "-c", script]) else {
        return;
    };
    assert_eq!(stdout(&output), "done\n");
}

#[test]
fn a_stop_that_is_taken_back_while_an_image_gets_its_values_does_not_last() {
    // posix_spawn comes back when the new image stands, which is when it is given its values.
    let script = "import os, signal, time
def spin(micros):
    until = time.perf_counter_ns() + 1000 * micros
    while time.perf_counter_ns() < until: pass
for turn in range(300):
    child = os.posix_spawn('/bin/sh', ['sh', '-c', 'test \"$PW\" = hunter2-canary-q9z'], os.environ)
    spin(turn * 7 % 200)
    os.kill(child, signal.SIGSTOP)
    spin(turn * 11 % 90)
    os.kill(child, signal.SIGCONT)
    assert os.waitpid(child, 0)[1] == 0
for turn in range(60):
    child = os.posix_spawn('/bin/sh', ['sh', '-c', 'test \"$PW\" = hunter2-canary-q9z'], os.environ)
    spin(turn * 7 % 200)
    os.kill(child, signal.SIGSTOP)
    ended, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.kill(child, signal.SIGCONT)
        ended, status = os.waitpid(child, 0)
    assert status == 0, status
print('done')";
    let Some(mut child) = Launcher::new().flag("--report").start(&["python3", "-c", script]) else {
        return;
    };
    // A test that hangs is ended by its runner, without a word on what hung.
    let deadline = Instant::now() + 3 * LIMIT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("a child stayed stopped");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(stdout(&output), "done\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn tasks_that_are_killed_on_the_way_leave_the_session_in_order() {
    let script = "i=0; while [ $i -lt 150 ]; do sh -c : & kill -9 $!; i=$((i+1)); done; wait
        sh -c 'echo $PW'";
    let Some(output) = Launcher::new().flag("--report").run(&["bash", "-c", script]) else {
        return;
    };
    assert_eq!(stdout(&output), format!("{VALUE}\n"));
}

#[test]
fn many_threads_that_race_to_start_a_program_leave_one_winner() {
    let script = "import os, threading
gate = threading.Barrier(8)
def run():
    gate.wait()
    os.execv('/bin/sh', ['sh', '-c', 'echo $PW'])
for _ in range(7): threading.Thread(target=run).start()
run()";
    for _ in 0..10 {
        let Some(output) = Launcher::new().run(&["python3", "-c", script]) else { return };
        assert_eq!(stdout(&output), format!("{VALUE}\n"));
    }
}

#[test]
fn signals_reach_the_app_and_its_code_comes_back() {
    for (signal, code) in [("-TERM", 9), ("-INT", 9), ("-USR1", 9), ("-HUP", 9)] {
        let script = "trap 'exit 9' TERM INT USR1 HUP; echo ready; while :; do sleep 0.01; done";
        let Some(mut child) = Launcher::new().start(&["sh", "-c", script]) else { return };
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        kill(child.id(), signal);
        assert_eq!(wait(&mut child).code(), Some(code), "{signal}");
    }
}

#[test]
fn a_queued_signal_keeps_its_value() {
    let script = "import signal, ctypes, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN + 2])
print('ready', flush=True)
class Info(ctypes.Structure):
    _fields_ = [('signo', ctypes.c_int), ('errno', ctypes.c_int), ('code', ctypes.c_int),
                ('gap', ctypes.c_int), ('pid', ctypes.c_int), ('uid', ctypes.c_int),
                ('value', ctypes.c_long), ('rest', ctypes.c_char * 96)]
info, mask = Info(), (ctypes.c_ulong * 16)(1 << (signal.SIGRTMIN + 2 - 1))
ctypes.CDLL(None).sigwaitinfo(mask, ctypes.byref(info))
print(info.code, info.value)";
    let Some(mut child) = Launcher::new().start(&["python3", "-c", script]) else { return };
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let send = "import ctypes, signal, sys
ctypes.CDLL(None).sigqueue(int(sys.argv[1]), signal.SIGRTMIN + 2, ctypes.c_void_p(4711))";
    let pid = child.id().to_string();
    let sent = std::process::Command::new("python3").args(["-c", send, &pid]).status().unwrap();
    assert!(sent.success());
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "-1 4711\n");
    assert!(wait(&mut child).success());
}

#[test]
fn orphans_are_reaped_and_still_followed() {
    let script = "(sh -c 'sleep 0.1; sh -c \"echo \\$PW\"' &) ; echo first";
    let launcher = Launcher::new().flag("--linger");
    let Some(output) = launcher.run(&["sh", "-c", script]) else { return };
    assert_eq!(stdout(&output), format!("first\n{VALUE}\n"));
}

#[test]
fn the_app_ends_with_its_supervisor() {
    let script = "echo ready; exec sleep 600";
    let Some(mut child) = Launcher::new().start(&["sh", "-c", script]) else { return };
    let app = until("the app runs", || children(child.id()).first().copied());
    until("the app sleeps", || {
        fs::read(format!("/proc/{app}/cmdline")).ok().filter(|line| line.starts_with(b"sleep"))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    until("the app is gone", || {
        let status = fs::read_to_string(format!("/proc/{app}/status")).unwrap_or_default();
        (!status.contains("State:") || status.contains("zombie")).then_some(())
    });
}

#[test]
fn whenever_the_supervisor_is_killed_nothing_runs_without_its_value() {
    // A loop of execs, the supervisor killed at some point of one. What still runs then may fail
    // to start programs, but a program that runs has its value.
    let script = "trap '' TERM; i=0; while [ $i -lt 40 ]; do
        sh -c 'test \"$PW\" = hunter2-canary-q9z || echo BAD' 2>/dev/null; i=$((i+1)); done";
    for delay in 0..25 {
        let Some(mut child) = Launcher::new().start(&["bash", "-c", script]) else { return };
        thread::sleep(Duration::from_micros(9_000 + delay * 700));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(stdout(&output), "", "after {delay}");
    }
}

#[test]
fn a_new_value_reaches_running_images_and_later_programs() {
    let script = "read x; echo $PW; sh -c 'echo $PW'; read x; echo done";
    let launcher = Launcher::new().flag("--keep").flag("--control");
    // dash reads its environment in place; standard input is the launcher's, so a fifo is used.
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("exec <{}; echo ready; {script}", fifo.display());
    let command = ["dash", "-c", script.as_str()];
    let Some(mut child) = launcher.start(&command) else { return };
    let mut go = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(out.next().as_deref(), Some("ready"));
    let mut control = child.stdin.take().unwrap();
    control.write_all(b"rotate PW another-value-0\n").unwrap();
    let answer = log.next().unwrap();
    assert!(answer.contains("images: 1") && answer.contains("fits: true"), "{answer}");
    go.write_all(b"\n").unwrap();
    assert_eq!(out.next().as_deref(), Some("another-value-0"));
    assert_eq!(out.next().as_deref(), Some("another-value-0"));
    go.write_all(b"\n").unwrap();
    assert_eq!(out.next().as_deref(), Some("done"));
    assert!(wait(&mut child).success());
}

#[test]
fn the_app_can_be_started_again_under_the_same_session() {
    let launcher = Launcher::new().flag("--relaunch");
    let Some(output) = launcher.run(&["sh", "-c", "sh -c 'echo $PW'; exit 3"]) else { return };
    assert_eq!(stdout(&output), format!("{VALUE}\n{VALUE}\n"));
    assert_eq!(output.status.code(), Some(3));
}
