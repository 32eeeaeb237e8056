//! The other parts that this program plays: the target, and small processes under guard.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;

use cloudtaser_sys::secretmem::SecretFile;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::processes::{AGENT, NEEDLE, STORM, USER};

/// Holds the secret in its environment, its heap and a sealed page whose descriptor stays open.
pub(crate) fn target() {
    let secret = env::var("GUEST_SECRET").unwrap();
    match SecretFile::create(4096) {
        Ok(file) => {
            let mut page = file.map().unwrap();
            assert!(page.write(0, secret.as_bytes()));
            println!("sealed {}", crate::wrapped::digest(&secret));
            thread::spawn(thread::park);
            thread::park();
            drop((page, file));
        }
        Err(error) => {
            println!("not sealed: {error} {}", crate::wrapped::digest(&secret));
            thread::park();
        }
    }
}

/// Becomes a program of an ordinary user.
pub(crate) fn as_user(command: &[&str]) {
    let error = Command::new(command[0]).args(&command[1..]).uid(USER).gid(USER).exec();
    panic!("{error}");
}

/// Becomes the agent under the eyes of whoever started this.
pub(crate) fn traced() {
    nix::sys::ptrace::traceme().unwrap();
    let error = Command::new(AGENT).arg("run").exec();
    panic!("{error}");
}

/// What a guarded process must still be able to do: read its own files and those of its children.
pub(crate) fn look_around() {
    let own = fs::read("/proc/self/maps").and_then(|_maps| fs::read("/proc/self/environ"));
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let child_environ = fs::read(format!("/proc/{}/environ", child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    println!("{:?}", own.and(child_environ).map(|_bytes| ()));
}

/// Whether the kernel told the dynamic linker to trust nothing: `AT_SECURE` in `/proc/self/auxv`.
pub(crate) fn is_secure() -> Option<u64> {
    const AT_SECURE: u64 = 23;
    let bytes = fs::read("/proc/self/auxv").unwrap();
    let pairs = bytes.chunks_exact(16).map(|pair| {
        let word = |at: usize| u64::from_ne_bytes(*pair[at..].first_chunk().unwrap());
        (word(0), word(8))
    });
    pairs.into_iter().find(|(key, _)| *key == AT_SECURE).map(|(_, value)| value)
}

/// Sends a signal, and says what came of it.
pub(crate) fn signal(pid: &str, name: &str) {
    let signal: Signal = name.parse().unwrap();
    println!("{:?}", kill(Pid::from_raw(pid.parse().unwrap()), signal));
}

/// Starts many short processes with the secret in their environment.
pub(crate) fn storm() {
    let secret = fs::read_to_string(NEEDLE).unwrap();
    for _ in 0..STORM {
        let mut child = Command::new("/bin/sleep");
        child.arg("0.01").env("GUEST_SECRET", &secret).status().unwrap();
    }
}
