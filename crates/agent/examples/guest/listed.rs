//! Loaders that are known by their content, and the node's own when an update replaces it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::beside::{json, until};
use crate::orders;
use crate::outlive::wait_for_end;
use crate::processes::{AGENT, GUEST, LOADER, Running, denied, plain, read, start_target, status};
use crate::records;
use crate::scale::yes;
use crate::scenario::Scenario;

/// A program of an image, as the operator lists it: the guest with other bytes behind it.
pub(crate) const IMAGE: &str = "/bin/of-an-image";
/// What starts containers, where nodes have it.
pub(crate) const RUNTIME: &str = "/usr/bin/runc";
/// The same after an update.
const UPDATED: &str = "/bin/of-an-update";

/// The guest under another name, with other bytes behind it.
pub(crate) fn write_image(path: &str) {
    let mut bytes = fs::read(GUEST).unwrap();
    bytes.extend_from_slice(path.as_bytes());
    drop(fs::remove_file(path));
    fs::write(path, bytes).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, mode).unwrap();
}

impl Scenario {
    /// By content: whatever the file's inode, and nothing that is not just that.
    pub(crate) fn contents(&mut self) {
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

    /// The node's own runtime loads, until an update puts another file in its place: that is told, since
    /// no container starts from then on.
    pub(crate) fn an_update_of_the_runtime_is_told(&mut self) {
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
    pub(crate) fn goes_when_its_runtime_asks(&mut self, mut agent: Running) {
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
