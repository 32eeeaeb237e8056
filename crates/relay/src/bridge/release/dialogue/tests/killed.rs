//! A bridge that is killed under load, again and again: what was answered has its receipt, every
//! line has its leaf, and no number is missing.

use std::{
    env,
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use cloudtaser_evidence::{tiles::Tiles, verify};

use super::*;

/// Set in the child: the folder of its bridge.
const CHILD: &str = "CLOUDTASER_KILLED_BRIDGE";
const KILLS: usize = 200;
/// A machine that does not get so far by then stops at [`LEAST`].
const BOUND: Duration = Duration::from_secs(55);
const LEAST: usize = 20;
const SESSIONS: u8 = 4;
const POLICY: &str = r#"
[[rule]]
name = "all"
paths = ["secret/app", "database/creds/app"]
identities = ["eu:shop/web"]
limit = { releases = 1000000 }
"#;

fn config(folder: &Path, openbao: String) -> ReleaseConfig {
    let limits = LoginLimits { at_once: 100_000, restarts: 0, unclean: Unclean::Refuse };
    ReleaseConfig { limits, ..config_in(folder, openbao) }
}

/// Releases until it is killed; tells of each receipt once its answer would have left. 40 bytes
/// each: number and leaf hash, which a pipe takes whole or not at all.
#[test]
fn child() {
    let Some(folder) = env::var_os(CHILD) else { return };
    let (openbao, _) = openbao();
    let releaser = Releaser::open(config(Path::new(&folder), openbao), bridge().public()).unwrap();
    let releaser = Arc::new(releaser);
    thread::scope(|scope| {
        for number in 1..=SESSIONS {
            let releaser = Arc::clone(&releaser);
            scope.spawn(move || {
                let mut session = Dialogue::new(releaser, "one".to_owned(), [0; 32], [number; 32]);
                entered(session.next(hello(&key(), number)));
                loop {
                    let paths = ["secret/app", "secret/none", "database/creds/app"];
                    for receipt in sealed(session.next(read(&paths))).receipts {
                        let mut told = receipt.number.to_be_bytes().to_vec();
                        told.extend(HEXLOWER.decode(receipt.hash.as_bytes()).unwrap());
                        std::io::stderr().write_all(&told).unwrap();
                    }
                }
            });
        }
    });
}

/// From when on a child has so long to live.
#[derive(Clone, Copy)]
enum Since {
    /// While it opens what the one before left.
    ItsStart,
    /// While it releases.
    ItsFirstAnswer,
}

/// Starts a child, kills it after a while, and takes what it told.
fn killed_after(folder: &Path, since: Since, pause: Duration) -> Vec<(u64, LogDigest)> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "bridge::release::dialogue::tests::killed::child"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stderr.take().unwrap();
    let (first, begun) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        let mut told = vec![0; 40];
        if pipe.read_exact(&mut told).is_err() {
            return Vec::new();
        }
        let _nobody_waits = first.send(());
        pipe.read_to_end(&mut told).unwrap();
        told
    });
    if let Since::ItsFirstAnswer = since {
        let _ended = begun.recv_timeout(BOUND);
    }
    thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
    let told = reader.join().unwrap();
    let one = |bytes: &[u8]| {
        let number = u64::from_be_bytes(bytes[..8].try_into().unwrap());
        (number, LogDigest::from_slice(&bytes[8..]).expect("a child said something else"))
    };
    told.chunks_exact(40).map(one).collect()
}

/// Random enough, and the same in each run of one seed.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn however_often_a_bridge_is_killed_each_answer_has_its_receipt_and_each_line_its_leaf() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
    let begun = Instant::now();
    let mut seed = u64::from(std::process::id()) | 1;
    println!("seed {seed}");
    let (mut told, mut kills) = (Vec::new(), 0);
    while kills < LEAST || (kills < KILLS && begun.elapsed() < BOUND) {
        let pause = Duration::from_micros(next(&mut seed) % 120_000);
        let since = if kills % 4 == 0 { Since::ItsStart } else { Since::ItsFirstAnswer };
        told.extend(killed_after(folder.path(), since, pause));
        kills += 1;
    }
    // One that is not killed finds everything in order, and has nothing left to mend.
    drop(
        Releaser::open(config(folder.path(), "http://127.0.0.1:1".to_owned()), bridge().public())
            .unwrap(),
    );
    let state = folder.path().join("state");
    let policy = std::fs::read_to_string(state.join("log.policy")).unwrap();
    let given = verify::Given::default();
    let report = verify::folder(&state.join("log"), &policy.parse().unwrap(), &given).unwrap();
    println!("{kills} kills, {} told, {} logged, {:?}", told.len(), report.size, begun.elapsed());
    assert!(!told.is_empty(), "no child ever answered anything");
    assert!(report.tally.whole_log && report.tally.missing() == 0);
    let tiles = Tiles::new(&state.join("log"), report.size);
    let mut leaves = Vec::new();
    for bundle in 0..tiles.bundles() {
        leaves.extend(tiles.entries(bundle).unwrap().iter().map(|entry| LogDigest::leaf(entry)));
    }
    let leaf = |number: u64| leaves.get(usize::try_from(number).unwrap());
    for (number, hash) in &told {
        assert_eq!(leaf(*number), Some(hash), "what was answered has no receipt: {number}");
    }
    // Each line of the audit file has the number after the one before, and its leaf is in the log.
    let (mut last, mut released) = (0, 0_u64);
    for line in BufReader::new(File::open(state.join("audit.jsonl")).unwrap()).lines() {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(line["seq"], last + 1, "a number is missing");
        last += 1;
        if let Some(log) = line.get("log") {
            let hash = LogDigest::from_hex(log["hash"].as_str().unwrap());
            assert_eq!(leaf(log["number"].as_u64().unwrap()).copied(), hash, "{line}");
        } else {
            assert_eq!(line["event"], "login", "something was decided without a leaf: {line}");
        }
        released += u64::from(line["decision"] == "released");
    }
    // What was counted against the limit is never less than what was released.
    let uses = std::fs::read_to_string(state.join("uses.jsonl")).unwrap();
    let counted = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.get("times").map_or(1, |times| times.as_u64().unwrap())
    };
    let counted = uses.lines().map(counted).sum::<u64>();
    assert!(counted >= released, "{counted} counted, {released} released");
}
