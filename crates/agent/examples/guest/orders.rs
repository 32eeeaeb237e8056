//! What an operator may open, who else may not, and that all of it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use cloudtaser_sys::roads;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use nix::unistd::Pid;

use crate::hardware;
use crate::outlive;
use crate::processes::{
    AGENT, GUEST, Running, denied, denied_by, plain, read, start_target, status,
};
use crate::scale::eventually;
use crate::scenario::Scenario;

/// The operator's key, as no node has it, and another one.
pub(crate) const PUBLIC: &str = "/tmp/operator.pub";
pub(crate) const SECRET: &str = "/tmp/operator.key";
const OTHER: &str = "/tmp/other.key";
/// Until it is over.
const SHORT: &str = "2s";
const LONG: &str = "10m";

/// Makes the keys.
pub(crate) fn write_keys() {
    for (seed, secret) in [(7, SECRET), (8, OTHER)] {
        let key = SigningKey::from_bytes(&[seed; 32]);
        fs::write(secret, key.to_pkcs8_pem(LineEnding::LF).unwrap()).unwrap();
        if secret == SECRET {
            let public = key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
            fs::write(PUBLIC, public).unwrap();
        }
    }
}

impl Scenario {
    /// Orders, with an agent that has the key.
    pub(crate) fn orders(&mut self, expected: &str) {
        let target = start_target(true);
        let other = start_target(true);
        let pid = target.pid().to_string();
        let refused = run(&["unload", "--reason", "x", "--key", OTHER]);
        self.check("order-by-another-key", refused_for(&refused, "did not sign"));
        self.memory(&target, &other);
        let own = std::process::id().to_string();
        let grant = ["grant", "--pid", &own, "--for", "1m", "--reason", "x", "--key", SECRET];
        self.check("grant-of-who-is-not-guarded", refused_for(&run(&grant), "not guarded"));
        self.replay(&pid);
        self.node(expected);
        let listed = read(plain(&[AGENT, "grants"]));
        let right = listed.contains("memory of group") && listed.contains("over, used");
        self.check("grants-are-listed", right.then_some(()).ok_or(listed));
    }

    /// One process, for root, for a while.
    fn memory(&mut self, target: &Running, other: &Running) {
        let pid = target.pid().to_string();
        let environ = format!("/proc/{pid}/environ");
        let grant = |long: &str| {
            run(&["grant", "--pid", &pid, "--for", long, "--reason", "it hangs", "--key", SECRET])
        };
        let granted = grant(LONG);
        self.check("grant-of-memory", took(&granted));
        let opened = File::open(&environ).map(drop).map_err(|error| error.to_string());
        self.check("granted-environ", opened);
        let attached = roads::Attached::to(Pid::from_raw(target.pid()));
        self.check("granted-ptrace", attached.map(drop).map_err(|error| error.to_string()));
        let theirs = File::open(format!("/proc/{}/environ", other.pid()));
        self.check("grant-is-of-one-process", denied(theirs));
        // Same uid as the target, and no root.
        let said = read(plain(&[GUEST, "as-user", GUEST, "try", &environ]));
        self.check("grant-is-for-root", (said == "refused").then_some(()).ok_or(said));
        let mut shell = plain(&["/bin/busybox", "unshare", "-p", "-f", GUEST, "try", &environ]);
        let said = read({
            shell.stderr(Stdio::null());
            shell
        });
        self.check("grant-is-for-root-of-the-node", (said == "refused").then_some(()).ok_or(said));
        let mut debugger = plain(&[GUEST, "trace", &pid]);
        let mut debugger = Running(debugger.stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(debugger.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.check("granted-debugger", (line == "attached\n").then_some(()).ok_or(line));
        let shorter = grant(SHORT);
        self.check("a-later-order-is-the-one-that-counts", took(&shorter));
        thread::sleep(Duration::from_secs(3));
        self.check("granted-environ-is-over", denied(File::open(&environ)));
        let ended = eventually(|| debugger.0.try_wait().unwrap().is_some());
        self.check(
            "debugger-is-ended",
            ended.then_some(()).ok_or_else(|| "it traces on".to_owned()),
        );
        self.check("target-lives-on", alive(target));
        let log = fs::read_to_string("/tmp/agent.log").unwrap();
        let told = log.contains("an order was taken") && log.contains("it hangs");
        self.check("order-is-logged", told.then_some(()).ok_or(log));
        // It stands behind the records of what was denied before.
        let used = eventually(|| {
            let records = fs::read_to_string(crate::records::FILE).unwrap();
            records.contains(r#""event":"granted""#)
        });
        self.check(
            "each-use-is-recorded",
            used.then_some(()).ok_or_else(|| "no record".to_owned()),
        );
    }

    /// The same order twice, one from an earlier load, and one in pieces.
    fn replay(&mut self, pid: &str) {
        let grant = ["grant", "--pid", pid, "--for", LONG, "--reason", "offline"];
        let order = run(&grant);
        let signed = fed(&["sign", "--key", SECRET], &order.stdout);
        let once = fed(&["submit"], &signed.stdout);
        self.check("signed-elsewhere", took(&once));
        let environ = format!("/proc/{pid}/environ");
        let opened = File::open(&environ).map(drop).map_err(|error| error.to_string());
        self.check("granted-by-a-signed-order", opened);
        let number = String::from_utf8_lossy(&once.stdout);
        let number = number.split([' ', ':']).nth(1).unwrap_or_default().to_owned();
        let revoke = ["revoke", &number, "--reason", "done", "--key", SECRET];
        let revoked = run(&revoke);
        self.check("revoke", took(&revoked));
        self.check("revoked-environ", denied(File::open(&environ)));
        let again = fed(&["submit"], &signed.stdout);
        self.check("replayed-order", refused_for(&again, "it was taken"));
        let forged = String::from_utf8_lossy(&signed.stdout).replace("offline", "0ffline");
        let forged = fed(&["submit"], forged.as_bytes());
        self.check("changed-order", refused_for(&forged, "did not sign"));
    }

    /// The whole node: a kernel that looks at a module, a program, a disk.
    fn node(&mut self, expected: &str) {
        let order = |allow: &str| {
            run(&["grant", "--allow", allow, "--for", LONG, "--reason", "x", "--key", SECRET])
        };
        let granted = order("devices");
        self.check("grant-of-devices", took(&granted));
        let opened = File::open(hardware::swap()).map(drop).map_err(|error| error.to_string());
        self.check("granted-swap", opened);
        let mut more = plain(&["/bin/busybox", "mkswap", hardware::other()]);
        assert!(more.stdout(Stdio::null()).status().unwrap().success());
        let swapped = roads::swap_to(hardware::other().as_ref());
        self.check("granted-swapon", swapped.map_err(|error| error.to_string()));
        let off = plain(&["/bin/busybox", "swapoff", hardware::other()]).status().unwrap();
        self.check("granted-swapoff", off.success().then_some(()).ok_or_else(|| off.to_string()));
        let said = status();
        let words = "open by order";
        self.check("status-says-so", said.contains(words).then_some(()).ok_or(said));
        let number = String::from_utf8_lossy(&granted.stdout);
        let number = number.split([' ', ':']).nth(1).unwrap_or_default();
        drop(run(&["revoke", number, "--reason", "x", "--key", SECRET]));
        self.check("revoked-swap", denied(OpenOptions::new().read(true).open(hardware::swap())));
        let said = status();
        self.check("and-no-more", said.starts_with(expected).then_some(()).ok_or(said));
    }

    /// The last thing of a run: what was let in stays in the state, and then all goes.
    pub(crate) fn unloads(&mut self, expected: &str) -> Running {
        let target = start_target(true);
        let order = |allow: &str, long: &str| {
            run(&["grant", "--allow", allow, "--for", long, "--reason", "x", "--key", SECRET])
        };
        drop((order("kernel", LONG), order("tracing", LONG)));
        let module = roads::offer_module();
        let looked = module != Err(nix::Error::EPERM);
        self.check("granted-module", looked.then_some(()).ok_or_else(|| format!("{module:?}")));
        let loaded = roads::load_program();
        self.check("granted-program", loaded.map_err(|error| error.to_string()));
        drop((order("kernel", "1s"), order("tracing", "1s")));
        thread::sleep(Duration::from_secs(2));
        self.check("granted-module-is-over", denied_by(roads::offer_module()));
        self.check("granted-program-is-over", denied_by(roads::load_program()));
        let report = read(plain(&[AGENT, "status"]));
        let said = report.contains("kernel was let in by order");
        self.check("what-was-let-in-stays-said", said.then_some(()).ok_or(report));
        let refused = run(&["unload", "--reason", "x", "--key", OTHER]);
        self.check("unload-by-another-key", refused_for(&refused, "did not sign"));
        self.check("still-guarded", denied(File::open(format!("/proc/{}/mem", target.pid()))));
        let pid = target.pid().to_string();
        let kept = run(&["grant", "--pid", &pid, "--for", LONG, "--reason", "for later"]);
        let kept = fed(&["sign", "--key", SECRET], &kept.stdout);
        let unloaded = run(&["unload", "--reason", "the end", "--key", SECRET]);
        self.check("unload", took(&unloaded));
        let said = status();
        self.check("agent-ends", said.starts_with("OFF").then_some(()).ok_or(said));
        let left = fs::exists(outlive::PINS).unwrap();
        self.check("no-pin-is-left", (!left).then_some(()).ok_or_else(|| "there are".to_owned()));
        // The kernel lets go of programs when it comes to it.
        let open = eventually(|| {
            File::open(format!("/proc/{}/mem", target.pid())).is_ok()
                && roads::load_program().is_ok()
        });
        self.check("all-is-open-again", open.then_some(()).ok_or_else(|| "it is not".to_owned()));
        let agent = self.agent("loads-again", expected, &[]);
        let earlier = fed(&["submit"], &kept.stdout);
        self.check("order-of-an-earlier-load", refused_for(&earlier, "another load"));
        agent
    }
}

/// Tries to open a file, and says what came of it.
pub(crate) fn try_open(path: &str) {
    println!("{}", if denied(File::open(path)).is_ok() { "refused" } else { "open" });
}

/// A verb of an operator.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(AGENT).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The same with something on its standard input.
pub(crate) fn fed(arguments: &[&str], input: &[u8]) -> Output {
    let mut start = Command::new(AGENT);
    start.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Whether it was refused, for this reason.
fn refused_for(output: &Output, why: &str) -> Result<(), String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success() && said.contains(why)).then_some(()).ok_or(said)
}

fn took(output: &Output) -> Result<(), String> {
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or_else(said)
}

fn alive(target: &Running) -> Result<(), String> {
    let state = fs::read_to_string(format!("/proc/{}/stat", target.pid())).unwrap_or_default();
    let right = !state.contains(") Z ") && !state.is_empty();
    right.then_some(()).ok_or(state)
}
