//! Other products on the agent's hooks, before it and after it: each holds its own verdicts, the
//! agent says who is asked when, and what would read the memory of processes is refused or told.
//! And loaders that are known by their content.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::modules;
use crate::orders;
use crate::outlive::wait_for_end;
use crate::processes::{
    AGENT, GUEST, LOADER, NEEDLE, Running, SMALL, denied, guard, plain, read, start_target, status,
    write_needle,
};
use crate::records;
use crate::scale::yes;
use crate::scenario::{PATIENCE, Scenario};
use crate::second::{As, Second};

/// A program of an image, as the operator lists it: the guest with other bytes behind it.
const IMAGE: &str = "/bin/of-an-image";
/// Who copies what processes write, or their functions are given.
const TRACERS: [(As, &str); 3] =
    [(As::Tracer, "tracer"), (As::Tail, "tail-call"), (As::Uprobe, "uprobe")];
/// What starts containers, where nodes have it.
const RUNTIME: &str = "/usr/bin/runc";
/// The same after an update.
const UPDATED: &str = "/bin/of-an-update";

/// The whole of it.
pub(crate) fn run(expected: &str) {
    let mut own = Scenario::new();
    write_needle();
    drop(fs::write("/proc/sys/kernel/yama/ptrace_scope", "0"));
    own.an_earlier_tracer_is_told();
    records::collect();
    let how = if expected.contains("(lsm") { As::Module } else { As::Front };
    let first = Second::start(GUEST, how);
    write_image(IMAGE);
    if how == As::Module {
        fs::create_dir_all("/usr/bin").unwrap();
        write_image(RUNTIME);
    }
    let content = read(plain(&[AGENT, "loader", IMAGE]));
    let both = ["--allow-loader", LOADER, "--allow-loader", &content];
    modules::stand_in();
    let listed = if how == As::Module { &both[..] } else { &[] };
    let agent = own.agent("state", expected, &[&modules::WANTED, listed].concat());
    own.modules_were_asked_for();
    own.beside(first, how, expected);
    let said = status();
    own.check("state-at-the-end", yes(said.starts_with(expected), || said.clone()));
    println!("@@STATE\t{}", status());
    if how == As::Module {
        own.goes_when_its_runtime_asks(agent);
    }
    own.end();
}

fn write_image(path: &str) {
    let mut bytes = fs::read(GUEST).unwrap();
    bytes.extend_from_slice(path.as_bytes());
    drop(fs::remove_file(path));
    fs::write(path, bytes).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, mode).unwrap();
}

impl Scenario {
    /// A tracer that was there before the agent reads what guarded processes write: the agent
    /// cannot undo that, and says so.
    fn an_earlier_tracer_is_told(&mut self) {
        for (what, name) in TRACERS {
            self.an_earlier_one_is_told(what, name);
        }
    }

    fn an_earlier_one_is_told(&mut self, what: As, name: &str) {
        let tracer = Second::start(GUEST, what);
        let pid = tracer.pid();
        let output = Command::new(AGENT).args(["run", "--once"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = said.contains("DEGRADED")
            && said.contains(&format!("can read the memory of processes: {}", what.programs()[0]))
            && said.contains(&format!("process {pid}"));
        self.check(&format!("an-earlier-{name}-is-told"), yes(told, || said.clone()));
        let (mut writer, secret) = if what == As::Uprobe { teller() } else { writer(false) };
        let copied = tracer.end_asked(&writer.pid().to_string());
        let found = yes(copied.contains(&secret), || copied.clone());
        self.check(&format!("an-earlier-{name}-does-read"), found);
        drop(writer.0.stdin.take());
    }

    /// The node's own runtime loads, until an update puts another file in its place: that is told, since
    /// no container starts from then on.
    fn an_update_of_the_runtime_is_told(&mut self) {
        let load = || read(plain(&[RUNTIME, "load"]));
        let listed = || {
            let report = Command::new(AGENT).args(["status", "--json"]).output().unwrap();
            let report: Value = serde_json::from_slice(&report.stdout).unwrap_or_default();
            report["loaders"].as_u64().unwrap_or_default()
        };
        let before = listed();
        let said = load();
        self.check("runtime-loads", yes(said == "Ok(())", || said.clone()));
        write_image("/usr/bin/new");
        fs::rename("/usr/bin/new", RUNTIME).unwrap();
        let said = load();
        self.check("updated-runtime-does-not", yes(said == "Err(EPERM)", || said.clone()));
        let words = format!("refused as a loader: {RUNTIME} (");
        let told = until(|| yes(status().contains(&words), status));
        self.check("updated-runtime-is-told", told);
        // Another file gets its number, and must not be taken for it.
        let forgotten = until(|| yes(listed() + 1 == before, || listed().to_string()));
        self.check("what-it-replaced-is-forgotten", forgotten);
        self.an_updated_runtime_is_admitted();
    }

    /// By an order that names what the new file holds, and no other content than that.
    fn an_updated_runtime_is_admitted(&mut self) {
        let order = format!("cloudtaser-agent admit {RUNTIME}");
        let said = status();
        self.check("status-names-the-order", yes(said.contains(&order), || said.clone()));
        let records = || fs::read_to_string(records::FILE).unwrap_or_default();
        let setting = format!("\"setting\":\"`{order}`");
        let load = || read(plain(&[RUNTIME, "load"]));
        // A record names a program that still runs when it is made; one that is gone by then asks
        // again, as a runtime does.
        let named = until(|| {
            let is_named = records().contains(&setting);
            yes(is_named, || format!("{setting}, and last {}", load()))
        });
        self.check("record-names-the-order", named);
        let admit = ["admit", RUNTIME, "--reason", "runc 2", "--key", orders::SECRET];
        let refused = |why: &str| {
            let output = orders::run(&admit);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            yes(!output.status.success() && said.contains(why), || said.clone())
        };
        let writer = OpenOptions::new().append(true).open(RUNTIME).unwrap();
        self.check("not-while-somebody-writes-it", refused("has /usr/bin/runc open for writing"));
        drop(writer);
        let unsigned = orders::run(&admit[..4]).stdout;
        let signed = orders::fed(&["sign", "--key", orders::SECRET], &unsigned).stdout;
        let mut file = OpenOptions::new().append(true).open(RUNTIME).unwrap();
        file.write_all(b"x").unwrap();
        drop(file);
        let output = orders::fed(&["submit"], &signed);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let right = !output.status.success() && said.contains("no loader of this node");
        self.check("not-what-was-changed-since", yes(right, || said.clone()));
        let said = load();
        self.check("and-does-not-load", yes(said == "Err(EPERM)", || said.clone()));
        let written = OpenOptions::new().append(true).open(RUNTIME).map(drop);
        self.check("and-is-anybodys-again", written.map_err(|error| error.to_string()));
        let output = orders::run(&admit);
        let words = || String::from_utf8_lossy(&output.stderr).into_owned();
        self.check("updated-runtime-is-admitted", yes(output.status.success(), words));
        let said = load();
        self.check("admitted-runtime-loads", yes(said == "Ok(())", || said.clone()));
        let written = OpenOptions::new().append(true).open(RUNTIME);
        self.check("admitted-runtime-is-not-written", denied(written));
        let said = status();
        self.check("and-nothing-is-refused", yes(!said.contains("refused as a"), || said.clone()));
    }

    /// As runc ends a pod of the agent's: by one signal of a listed loader, and by no other.
    fn goes_when_its_runtime_asks(&mut self, mut agent: Running) {
        let target = start_target(true);
        let pid = agent.pid().to_string();
        for (who, signal) in [(GUEST, "SIGTERM"), (LOADER, "SIGKILL"), (LOADER, "SIGSTOP")] {
            let said = read(plain(&[who, "signal", &pid, signal]));
            let name = format!("no-{signal}-of-{}", who.trim_start_matches("/bin/"));
            self.check(&name, yes(said == "Err(EPERM)", || said.clone()));
        }
        // The one that an order admitted.
        let said = read(plain(&[RUNTIME, "signal", &pid, "SIGTERM"]));
        self.check("its-runtime-asks-it-to-go", yes(said == "Ok(())", || said.clone()));
        self.check("and-it-goes", yes(wait_for_end(&mut agent.0), || "it stays".to_owned()));
        let environ = File::open(format!("/proc/{}/environ", target.pid()));
        self.check("what-it-guarded-stays-guarded", denied(environ));
        let said = read(plain(&[GUEST, "load"]));
        self.check("and-the-node-as-well", yes(said == "Err(EPERM)", || said.clone()));
    }

    /// Both orders, both facts.
    fn beside(&mut self, second: Second, how: As, expected: &str) {
        let behind = how.programs()[0];
        self.names("first", "behind", behind, GUEST);
        self.holds("first");
        if how == As::Module {
            let later = Second::start(LOADER, how);
            self.names("later", "before", behind, LOADER);
            self.metric("asked=\"before\"} 1");
            self.holds("later");
            let saw = later.end();
            self.check("later-sees-its-hooks", yes(saw == "true", || saw.clone()));
        }
        self.metric("asked=\"after\"} 1");
        let state = status();
        self.check("beside-state", yes(state.starts_with(expected), || state.clone()));
        let told = state.contains("others are asked after the agent at");
        self.check("beside-status-says-who", yes(told, || state.clone()));
        // Behind the agent what it refuses is not seen, and all else is.
        let saw = second.end();
        self.check("first-sees-its-hooks", yes(saw == "true", || saw.clone()));
        self.a_later_tracer_is_refused();
        if how == As::Module {
            self.contents();
            self.an_update_of_the_runtime_is_told();
        }
    }

    /// The other one refuses what it forbids, and ours holds beside it.
    fn holds(&mut self, name: &str) {
        let forbidden = File::create("/tmp/forbidden");
        self.check(&format!("{name}-refuses"), denied(forbidden));
        let target = Running(guard(&["/bin/sleep", "300"]).spawn().unwrap());
        let environ = format!("/proc/{}/environ", target.pid());
        let refused = until(|| denied(File::open(&environ)));
        self.check(&format!("{name}-beside-ours"), refused);
        let unguarded = Running(plain(&["/bin/sleep", "300"]).spawn().unwrap());
        let traced =
            cloudtaser_sys::roads::Attached::to(nix::unistd::Pid::from_raw(unguarded.pid()));
        self.check(&format!("{name}-traces-others"), traced.map(drop).map_err(|e| e.to_string()));
    }

    /// The agent names hook, order and owner.
    fn names(&mut self, name: &str, side: &str, program: &str, owner: &str) {
        let found = until(|| {
            let report: Value = serde_json::from_str(&json()).map_err(|error| error.to_string())?;
            let hooks = report["neighbours"]["hooks"].as_array().cloned().unwrap_or_default();
            let hook = hooks.iter().find(|hook| hook["hook"] == "file_open");
            let others = hook.and_then(|hook| hook[side].as_array().cloned()).unwrap_or_default();
            // The kernel keeps 15 letters of a name.
            let is_it = |other: &Value| {
                program.starts_with(other["name"].as_str().unwrap_or("?"))
                    && other["owner"]["exe"] == owner
            };
            let right = others.iter().any(is_it);
            yes(right, || format!("{}", report["neighbours"]))
        });
        self.check(&format!("{name}-is-{side}-the-agent"), found);
    }

    fn metric(&mut self, wanted: &str) {
        let found = until(|| {
            let mut stream =
                UnixStream::connect(records::METRICS).map_err(|error| error.to_string())?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").map_err(|e| e.to_string())?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
            let line = format!("cloudtaser_agent_other_programs{{hook=\"file_open\",{wanted}");
            yes(text.contains(&line), || text.clone())
        });
        let side = wanted.split('"').nth(1).unwrap();
        self.check(&format!("metric-of-those-asked-{side}"), found);
    }

    /// The same tracer later: refused, and its record names the setting.
    fn a_later_tracer_is_refused(&mut self) {
        // They stay until they were looked at.
        let tried = TRACERS.map(|(what, name)| (name, Second::try_start(GUEST, what)));
        for (name, tried) in &tried {
            let said = tried.as_ref().err().map_or("let in", |refused| &refused.said);
            let right = said.starts_with("refused");
            self.check(&format!("a-later-{name}-is-refused"), yes(right, || said.to_owned()));
        }
        let recorded = until(|| {
            let text = fs::read_to_string(records::FILE).unwrap_or_default();
            let wanted = format!("\"setting\":\"--allow-loader {GUEST}\"");
            let line = text.lines().find(|line| line.contains("\"road\":\"bpf-load\""));
            yes(text.contains(&wanted), || format!("{line:?}"))
        });
        self.check("a-refused-loader-is-told-the-setting", recorded);
    }

    /// By content: whatever the file's inode, and nothing that is not just that.
    fn contents(&mut self) {
        let load = |path: &str| read(plain(&[path, "load"]));
        let check = |own: &mut Self, name: &str, said: String, wanted: &str| {
            own.check(name, yes(said == wanted, || said.clone()));
        };
        check(self, "loader-of-an-image", load(IMAGE), "Ok(())");
        let said = read(plain(&[IMAGE, "secure"]));
        check(self, "loader-of-an-image-is-secure", said, "Some(1)");
        // Another pod, or the same image unpacked again.
        write_image(IMAGE);
        check(self, "loader-of-an-image-by-another-inode", load(IMAGE), "Ok(())");
        let running = Running(plain(&[IMAGE, "wait"]).spawn().unwrap());
        // Of one that is executed right here the kernel itself says that it is busy (ETXTBSY).
        let written = until(|| match OpenOptions::new().write(true).open(IMAGE) {
            Err(error) if matches!(error.raw_os_error(), Some(1 | 13 | 26)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        self.check("loader-of-an-image-is-not-written", written);
        let attached =
            cloudtaser_sys::roads::Attached::to(nix::unistd::Pid::from_raw(running.pid()));
        self.check(
            "loader-of-an-image-is-not-traced",
            crate::processes::denied_by(attached.map(drop)),
        );
        drop(running);
        // Where somebody else may answer for the content.
        fs::copy(IMAGE, "/tmp/of-an-image").unwrap();
        check(self, "loader-of-an-image-elsewhere", load("/tmp/of-an-image"), "Err(EPERM)");
        let said = read(plain(&[GUEST, "traced-load", IMAGE]));
        check(self, "loader-of-an-image-under-a-tracer", said, "Err(EPERM)");
        let said = read(plain(&[GUEST, "traced-load", LOADER]));
        check(self, "listed-loader-under-a-tracer", said, "Err(EPERM)");
        check(self, "listed-loader-without-one", load(LOADER), "Ok(())");
        let script = "/bin/script";
        fs::write(script, format!("#!{LOADER} secure\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(script, mode).unwrap();
        check(self, "listed-loader-of-a-script-is-secure", read(plain(&[script])), "Some(1)");
        let mut bytes = fs::read(IMAGE).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        write_image(IMAGE);
        let file = OpenOptions::new().write(true).open(IMAGE);
        let changed = file.and_then(|mut file| file.write_all(&bytes));
        self.check("its-file-is-anybodys-then", changed.map_err(|error| error.to_string()));
        check(self, "loader-of-another-content", load(IMAGE), "Err(EPERM)");
        write_image(UPDATED);
        check(self, "loader-of-an-update", load(UPDATED), "Err(EPERM)");
        let update = read(plain(&[AGENT, "loader", UPDATED]));
        let order = ["admit", &update, "--reason", "an update", "--key", orders::SECRET];
        let said = Command::new(AGENT).args(order).output().unwrap();
        self.check("loader-is-admitted", yes(said.status.success(), || format!("{said:?}")));
        check(self, "loader-of-an-admitted-update", load(UPDATED), "Ok(())");
        let report: Value = serde_json::from_str(&json()).unwrap_or_default();
        let contents = &report["contents"];
        let right = contents["listed"] == 2
            && contents["recognised"].as_u64() >= Some(3)
            && contents["refused"].to_string().contains("elsewhere")
            && contents["refused"].to_string().contains("traced")
            && contents["refused"].to_string().contains("other");
        self.check("status-counts-contents", yes(right, || contents.to_string()));
    }
}

/// Hands the secret to a function again and again, as a string.
fn teller() -> (Running, String) {
    let secret = fs::read_to_string(NEEDLE).unwrap();
    let mut start = plain(&[SMALL, "tell"]);
    start.env_clear().env("GUEST_SECRET", &secret).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut teller = Running(start.spawn().unwrap());
    let mut lines = BufReader::new(teller.0.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    (teller, secret)
}

/// Writes the secret again and again: what a tracer of writes copies.
fn writer(guarded: bool) -> (Running, String) {
    const SCRIPT: &str = "while :; do echo \"$GUEST_SECRET\"; read -t 1 over || :; done";
    let secret = fs::read_to_string(NEEDLE).unwrap();
    let command = ["/bin/sh", "-c", SCRIPT];
    let mut start = if guarded { guard(&command) } else { plain(&command) };
    start.env("GUEST_SECRET", &secret).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut writer = Running(start.spawn().unwrap());
    let mut lines = BufReader::new(writer.0.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    thread::spawn(move || lines.lines().count());
    (writer, secret)
}

fn json() -> String {
    read(plain(&[AGENT, "status", "--json"]))
}

fn until(mut try_it: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match try_it() {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() > end => return Err(why),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Executes a program under a tracer that lets it run.
pub(crate) fn traced_load(path: &str) {
    use nix::sys::ptrace;
    use nix::sys::wait::{WaitStatus, waitpid};
    let shell = format!("read go; exec {path} load");
    let mut start = plain(&["/bin/sh", "-c", &shell]);
    let mut child = Running(start.stdin(Stdio::piped()).spawn().unwrap());
    let pid = nix::unistd::Pid::from_raw(child.pid());
    ptrace::seize(pid, ptrace::Options::empty()).unwrap();
    drop(child.0.stdin.take().map(|mut go| go.write_all(b"go\n")));
    loop {
        match waitpid(pid, None).unwrap() {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return,
            WaitStatus::Stopped(_, signal) => {
                // Of an exec, which is reported as SIGTRAP; no program of ours gets another.
                let signal = (signal != nix::sys::signal::Signal::SIGTRAP).then_some(signal);
                ptrace::cont(pid, signal).unwrap();
            }
            _ => ptrace::cont(pid, None).unwrap(),
        }
    }
}
