//! Roads below the file system, and signals whose masks differ between threads.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, IoSlice, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use cloudtaser_sys::roads;
use cloudtaser_sys::secretmem::SecretFile;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::Pid;

use crate::processes::{GUEST, Running, denied, denied_by, guard, plain, read};
use crate::scenario::Scenario;

/// What the machine swaps to, and a disk that nothing is on; in memory where it has no others.
const DISKS: [[&str; 2]; 2] = [["/dev/nvme0n1", "/dev/nvme1n1"], ["/dev/ram0", "/dev/ram1"]];
const SEALED: &str = "/tmp/sealed.sock";

fn disks() -> [&'static str; 2] {
    *DISKS.iter().find(|[swap, _]| Path::new(swap).exists()).expect("the machine has no disk")
}

/// What the machine swaps to.
pub(crate) fn swap() -> &'static str {
    disks()[0]
}

/// A disk that nothing is on.
pub(crate) fn other() -> &'static str {
    disks()[1]
}

/// Handles from before the agent.
pub(crate) struct Before {
    swap: File,
}

impl Before {
    /// Swaps, and opens the device as an attacker would have.
    pub(crate) fn open() -> Self {
        for command in [["mkswap", swap()], ["swapon", swap()]] {
            let mut start = plain(&["/bin/busybox", command[0], command[1]]);
            assert!(start.stdout(Stdio::null()).status().unwrap().success(), "{command:?}");
        }
        let swap = File::open(swap()).unwrap();
        assert_eq!(swap.read_at(&mut [0; 512], 0).unwrap(), 512);
        Self { swap }
    }
}

impl Scenario {
    /// Root at disks, ports and registers, and at a process whose leader holds a signal back.
    pub(crate) fn hardware(&mut self, before: &Before) {
        self.check("swap-open", denied(File::open(swap())));
        self.check("swap-write", denied(OpenOptions::new().write(true).open(swap())));
        self.check("earlier-swap", denied(before.swap.read_at(&mut [0; 512], 0)));
        let other = File::options().read(true).write(true).open(disks()[1]);
        let other = other.and_then(|disk| {
            disk.write_at(&[7; 512], 0)?;
            disk.read_at(&mut [0; 512], 0)
        });
        self.check("another-disk-is-open", other.map(drop).map_err(|error| error.to_string()));
        self.check("ports", denied_by(roads::take_ports()));
        for (name, right) in [("mixed", false), ("all", true)] {
            let outcome = masked(name);
            let outcome =
                if right { outcome.map_err(|e| e.to_string()) } else { denied_by(outcome) };
            self.check(&format!("core-signal-held-by-{name}"), outcome);
        }
        // Where the kernel was told to have no sealed memory there is nothing to hand over.
        if SecretFile::create(4096).is_ok() {
            self.check("sealed-file-is-not-handed-out", handed_over(false));
            self.check("sealed-file-within-its-tree", handed_over(true));
        }
    }
}

/// SIGABRT to a guarded process that holds it back in its leader, or in all threads.
fn masked(which: &str) -> nix::Result<()> {
    let mut start = guard(&[GUEST, "masked", which]);
    let mut target = Running(start.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    let mut output = BufReader::new(target.0.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    let sent = kill(Pid::from_raw(target.pid()), Signal::SIGABRT);
    thread::sleep(Duration::from_millis(100));
    if sent.is_ok() && target.0.try_wait().unwrap().is_some() {
        return Err(nix::Error::EOWNERDEAD);
    }
    sent
}

/// The process of [`masked`].
pub(crate) fn hold(which: &str) {
    let mut held = SigSet::empty();
    held.add(Signal::SIGABRT);
    let free = which == "mixed";
    held.thread_block().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        if free {
            held.thread_unblock().unwrap();
        }
        tell.send(()).unwrap();
        thread::park();
    });
    told.recv().unwrap();
    println!("held");
    thread::park();
}

/// A guarded process sends a sealed file; whether its receiver is of the same tree.
fn handed_over(same_tree: bool) -> Result<(), String> {
    if same_tree {
        let said = read(guard(&[GUEST, "seal-pair"]));
        return (said == "1 received").then_some(()).ok_or(said);
    }
    drop(std::fs::remove_file(SEALED));
    let listener = UnixListener::bind(SEALED).unwrap();
    let mut sender = Running(guard(&[GUEST, "seal"]).stdin(Stdio::null()).spawn().unwrap());
    let (stream, _) = listener.accept().unwrap();
    let count = receive(&stream);
    sender.0.wait().unwrap();
    (count == 0).then_some(()).ok_or_else(|| format!("{count} received"))
}

/// The sender.
pub(crate) fn send_seal() {
    send(&UnixStream::connect(SEALED).unwrap());
}

/// Sender and receiver in one tree.
pub(crate) fn seal_pair() {
    let (one, other) = UnixStream::pair().unwrap();
    send(&one);
    println!("{} received", receive(&other));
}

fn send(stream: &UnixStream) {
    let file = SecretFile::create(4096).unwrap();
    let mut page = file.map().unwrap();
    assert!(page.write(0, b"s3cr3t"));
    let files = [file.as_fd().as_raw_fd()];
    let message = [ControlMessage::ScmRights(&files)];
    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(b"x")], &message, MsgFlags::empty(), None)
        .unwrap();
}

fn receive(stream: &UnixStream) -> usize {
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let got =
        recvmsg::<()>(stream.as_raw_fd(), &mut bytes, Some(&mut space), MsgFlags::empty()).unwrap();
    // What the kernel did not hand over leaves a message that is cut.
    let files = got.cmsgs().into_iter().flatten().filter_map(|message| match message {
        ControlMessageOwned::ScmRights(files) => Some(files.len()),
        _ => None,
    });
    files.sum()
}
