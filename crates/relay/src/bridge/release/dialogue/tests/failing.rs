//! What a bridge does when its disk, its clock or its witnesses fail: it says which, and releases
//! nothing; where the failure ends, it goes on.

use std::{path::Path, process::Command};

use cloudtaser_evidence::{
    log::Clock,
    note::KeyKind,
    receipt::{Assurance, Decision, Name, Rows, Workload as Who},
};

use super::*;

/// A small file system of its own, as root.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        let mounted = mount.stderr(std::process::Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        println!("SKIP: a small tmpfs cannot be mounted here (root is needed)");
        None
    }

    fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        assert!(mount.args(["-o", how]).arg(self.0.path()).status().unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A bridge in this folder, with a limit on its rule, and somebody who is logged in.
fn logged_in(folder: &Path, witnesses: Option<&str>) -> (Dialogue, Asked) {
    let (openbao, asked) = openbao();
    let limited = format!("{POLICY}limit = {{ releases = 1000 }}\n");
    std::fs::write(folder.join("policy.toml"), limited).unwrap();
    let mut config = config_in(folder, openbao);
    // Each who comes here is another launch of one pod.
    config.limits.at_once = 100;
    if let Some(policy) = witnesses {
        let file = folder.join("witness.policy");
        std::fs::write(&file, policy).unwrap();
        config.log.witnesses = Some(file);
    }
    let releaser = Arc::new(Releaser::open(config, bridge().public()).unwrap());
    let mut session = Dialogue::new(releaser, "one".to_owned(), [0; 32], [1; 32]);
    entered(session.next(hello(&key(), 1)));
    (session, asked)
}

/// A read that is refused since nothing can be written down, and why.
#[track_caller]
fn unwritten(session: &mut Dialogue) -> String {
    match session.next(read(&["secret/app"])) {
        Next::Answer(BridgeToWrapper::Refused(refused)) => match refused.why {
            Why::Denied { denial: Denial::Record, meaning } => meaning,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn released(session: &mut Dialogue) {
    assert!(matches!(answers(session.next(read(&["secret/app"])), 1)[..], [Answer::Fields { .. }]));
}

#[test]
fn a_full_disk_releases_nothing_and_room_mends_it() {
    let Some(disk) = Tmpfs::new("2m") else { return };
    let (mut session, _) = logged_in(disk.0.path(), None);
    released(&mut session);
    let filler = disk.0.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    // What pages there are already have some room left.
    let why = (0..10_000).find_map(|_| match session.next(read(&["secret/app"])) {
        Next::Answer(BridgeToWrapper::Sealed(_)) => None,
        Next::Answer(BridgeToWrapper::Refused(refused)) => Some(refused.why),
        other => panic!("{other:?}"),
    });
    let Some(Why::Denied { denial: Denial::Record, meaning }) = why else { panic!("{why:?}") };
    assert!(meaning.contains("No space left"), "{meaning}");
    std::fs::remove_file(&filler).unwrap();
    released(&mut session);
}

#[test]
fn a_disk_that_became_read_only_releases_nothing_until_it_is_not() {
    let Some(disk) = Tmpfs::new("4m") else { return };
    let (mut session, _) = logged_in(disk.0.path(), None);
    released(&mut session);
    // Files that are open for writing keep a disk from becoming so, except by force of an error:
    // the bridge that comes next finds it.
    drop(session);
    disk.remount("remount,ro");
    let config = config_in(disk.0.path(), "http://127.0.0.1:1".to_owned());
    let error = Releaser::open(config, bridge().public()).unwrap_err();
    let why = crate::log::chain(&error);
    assert!(why.contains("Read-only file system"), "{why}");
    disk.remount("remount,rw");
    let (mut session, _) = logged_in(disk.0.path(), None);
    released(&mut session);
}

#[test]
fn a_clock_that_is_a_day_behind_the_last_receipt_releases_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let signer = || Signer::from_seed("log.example", KeyKind::Log, &[9; 32]).unwrap();
    let key = state.join("log.key");
    std::fs::write(&key, signer().to_secret().as_bytes()).unwrap();
    let tomorrow = || Clock::system().now_ms() + 86_400_000;
    let options = Options::default().clock(Clock::new(tomorrow));
    let log = Log::open(&state.join("log"), signer(), options).unwrap();
    log.append(draft()).unwrap();
    drop(log);
    let (mut session, _) = logged_in(folder.path(), None);
    let why = unwritten(&mut session);
    assert!(why.contains("the clock went back by") && why.contains("mend the clock"), "{why}");
}

#[test]
fn without_its_witnesses_a_bridge_releases_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let witness = Signer::from_seed("dpo.example", KeyKind::Witness, &[2; 32]).unwrap();
    let log = Signer::from_seed("log.example", KeyKind::Log, &[9; 32]).unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("log.key"), log.to_secret().as_bytes()).unwrap();
    let (log, dpo) = (log.verifier(), witness.verifier());
    // Nobody listens there.
    let policy = format!("log {log}\nwitness dpo {dpo} http://127.0.0.1:1/\nquorum dpo\n");
    let (mut session, _) = logged_in(folder.path(), Some(&policy));
    for _ in 0..2 {
        let why = unwritten(&mut session);
        assert!(why.contains("too few witnesses"), "{why}");
    }
}

fn draft() -> cloudtaser_evidence::Draft {
    let name = |text: &str| Name::try_from(text).unwrap();
    cloudtaser_evidence::Draft {
        cluster: name("one"),
        workload: Who { namespace: name("shop"), service_account: name("web"), pod: name("pod-1") },
        role: name("app"),
        secrets: Vec::new(),
        policy: LogDigest::of(b"policy"),
        protection: Rows::new([cloudtaser_core::level::Verdict::Open; 6]),
        assurance: Assurance::L0,
        wrapper: None,
        session: LogDigest::of(b"session"),
        evidence: None,
        decision: Decision::Released,
        bridge: None,
        key_exchange: None,
        sealing: None,
        orders: None,
    }
}
