use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::{
    hash::Digest,
    receipt::tests::{draft, name},
    tiles::Tiles,
    tree,
};

pub(crate) fn signer() -> Signer {
    Signer::from_seed("log.example/test", KeyKind::Log, &[1; 32]).unwrap()
}

fn open(folder: &Path) -> Result<Log, LogError> {
    Log::open(folder, signer(), Options::default())
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_receipt_comes_back_with_a_proof_that_verifies() {
    let folder = folder();
    let log = open(folder.path()).unwrap();
    for index in 0..5 {
        let appended = log.append(draft()).unwrap();
        assert_eq!((appended.index, appended.entry.sequence()), (index, index));
        appended.proof.verify(&appended.leaf).unwrap();
        appended.proof.checkpoint.verify(&signer().verifier()).unwrap();
        assert_eq!(Leaf::parse(&appended.leaf), Ok(appended.entry));
    }
}

#[test]
fn each_cluster_has_a_gapless_chain_of_its_own() {
    let folder = folder();
    let log = open(folder.path()).unwrap();
    let of = |cluster: &str| Draft { cluster: name(cluster), ..draft() };
    let first = log.append(of("a")).unwrap();
    let other = log.append(of("b")).unwrap();
    let second = log.append(of("a")).unwrap();
    assert_eq!((first.entry.sequence(), first.entry.previous()), (0, None));
    assert_eq!((other.entry.sequence(), other.entry.previous()), (0, None));
    assert_eq!(second.entry.sequence(), 1);
    assert_eq!(second.entry.previous(), Some(Digest::leaf(&first.leaf)));
    drop(log);
    let third = open(folder.path()).unwrap().append(of("a")).unwrap();
    assert_eq!(third.entry.sequence(), 2);
    assert_eq!(third.entry.previous(), Some(Digest::leaf(&second.leaf)));
}

/// Appends from several threads until there are so many.
fn fill(log: &Log, count: u64) {
    let left = AtomicU64::new(count);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let less = |left: u64| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
                    let appended = log.append(draft()).unwrap();
                    appended.proof.verify(&appended.leaf).unwrap();
                }
            });
        }
    });
}

#[test]
fn others_see_a_log_grow_that_never_rests() {
    let folder = folder();
    let log = open(folder.path()).unwrap();
    let begun = std::time::Instant::now();
    let seen = || {
        let text = fs::read_to_string(folder.path().join("checkpoint")).unwrap_or_default();
        SignedCheckpoint::parse(&text).map_or(0, |signed| signed.checkpoint().size)
    };
    while seen() < 2 {
        log.append(draft()).unwrap();
        assert!(begun.elapsed().as_secs() < 20, "nothing was published under load");
    }
}

#[test]
fn tiles_and_journal_hold_every_receipt_over_many_openings() {
    let folder = folder();
    let mut size = 0;
    for round in [1, 255, 1, 300, 20_000, 7, 20_000] {
        let log = open(folder.path()).unwrap();
        assert_eq!(log.cut_bytes(), 0);
        fill(&log, round);
        size += round;
        let appended = log.append(draft()).unwrap();
        assert_eq!((appended.index, appended.entry.sequence()), (size, size));
        size += 1;
    }
    let text = fs::read_to_string(folder.path().join("checkpoint")).unwrap();
    let published = SignedCheckpoint::parse_of(&text, &signer().verifier()).unwrap();
    let top = published.checkpoint();
    assert_eq!(top.size, size);
    let tiles = Tiles::new(folder.path(), size);
    assert_eq!(tree::root(&tiles, size).unwrap(), top.root);
    let mut edge = tree::Edge::default();
    for bundle in 0..tiles.bundles() {
        tiles.entries(bundle).unwrap().iter().for_each(|entry| edge.push(Digest::leaf(entry)));
    }
    assert_eq!(tree::root(&edge, size).unwrap(), top.root);
    let journal = fs::metadata(folder.path().join("journal")).unwrap().len();
    assert!(journal < 5 << 20, "the journal was begun anew: {journal}");
    for index in [0, 255, 256, 20_300, size - 1] {
        let path = tree::inclusion(&tiles, index, size).unwrap();
        let entries = tiles.entries(index / 256).unwrap();
        let leaf = Digest::leaf(&entries[usize::try_from(index % 256).unwrap()]);
        tree::verify_inclusion(leaf, index, (size, top.root), &path).unwrap();
    }
}

#[test]
fn tiles_that_a_power_cut_left_empty_are_written_again() {
    let folder = folder();
    let log = open(folder.path()).unwrap();
    fill(&log, 600);
    drop(log);
    let path = |tile: &str| folder.path().join("tile").join(tile);
    for tile in ["entries/000", "0/001", "1/000.p/2", "entries/002.p/88"] {
        assert!(path(tile).exists(), "{tile}");
        fs::write(path(tile), b"").unwrap();
    }
    fs::remove_file(path("entries/001")).unwrap();
    drop(open(folder.path()).unwrap());
    let policy = format!("log {}\nquorum none\n", signer().verifier()).parse().unwrap();
    crate::verify::folder(folder.path(), &policy, &crate::verify::Given::default()).unwrap();
}

/// A copy of a folder as it is now. By hand: a child that is being started holds our locks.
fn copy(from: &Path) -> tempfile::TempDir {
    fn files(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                fs::create_dir(&to).unwrap();
                files(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), &to).unwrap();
            }
        }
    }
    let to = folder();
    files(from, to.path());
    to
}

#[test]
fn a_write_that_was_cut_anywhere_is_cut_off_and_nothing_before_it() {
    let folder = folder();
    drop(open(folder.path()).unwrap().append(draft()).unwrap());
    let journal = folder.path().join("journal");
    let before = fs::read(&journal).unwrap();
    let checkpoint = fs::read(folder.path().join("checkpoint")).unwrap();
    drop(open(folder.path()).unwrap().append(draft()).unwrap());
    let after = fs::read(&journal).unwrap();
    fs::write(folder.path().join("checkpoint"), checkpoint).unwrap();
    for length in before.len()..after.len() {
        fs::write(&journal, &after[..length]).unwrap();
        let log = open(folder.path()).unwrap();
        assert_eq!(log.checkpoint().checkpoint().size, 1, "cut at {length}");
        assert_eq!(log.cut_bytes(), (length - before.len()) as u64);
        drop(log);
        assert_eq!(fs::read(&journal).unwrap(), before);
    }
}

#[test]
fn a_changed_byte_of_a_committed_receipt_is_damage_and_never_a_shorter_log() {
    let folder = folder();
    let log = open(folder.path()).unwrap();
    log.append(draft()).unwrap();
    let unpublished = copy(folder.path());
    log.append(draft()).unwrap();
    drop(log);
    let whole = fs::read(folder.path().join("journal")).unwrap();
    let journal = unpublished.path().join("journal");
    let _unpublished = fs::remove_file(unpublished.path().join("checkpoint"));
    // The last commit is the only thing that a cut cannot be told from.
    let last = whole.len() - 300;
    for at in (0..last).step_by(7) {
        let mut bent = whole.clone();
        bent[at] ^= 4;
        fs::write(&journal, &bent).unwrap();
        let error = open(unpublished.path()).unwrap_err();
        assert!(
            matches!(error, LogError::Damaged { .. } | LogError::OtherKey { .. }),
            "{at}: {error}"
        );
        assert_eq!(fs::read(&journal).unwrap(), bent, "nothing was touched");
    }
}

#[test]
fn a_log_that_lost_what_was_published_does_not_open() {
    let folder = folder();
    drop(open(folder.path()).unwrap().append(draft()).unwrap());
    let earlier = copy(folder.path());
    drop(open(folder.path()).unwrap().append(draft()).unwrap());
    let path = |file: &str| folder.path().join(file);
    fs::copy(earlier.path().join("journal"), path("journal")).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, LogError::RolledBack { published: 2, found: 1 }), "{error}");
    fs::remove_file(path("journal")).unwrap();
    assert!(matches!(open(folder.path()).unwrap_err(), LogError::Damaged { .. }));
}

#[test]
fn another_log_with_the_same_key_is_not_taken_for_this_one() {
    let (one, two) = (folder(), folder());
    drop(open(one.path()).unwrap().append(draft()).unwrap());
    let other = Draft { role: name("another"), ..draft() };
    drop(open(two.path()).unwrap().append(other).unwrap());
    fs::copy(one.path().join("checkpoint"), two.path().join("checkpoint")).unwrap();
    assert!(matches!(open(two.path()).unwrap_err(), LogError::Damaged { .. }));
}

#[test]
fn a_log_has_one_writer_and_one_key() {
    let folder = folder();
    let log = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()).unwrap_err(), LogError::Locked(_)));
    drop(log);
    let other = Signer::from_seed("log.example/test", KeyKind::Log, &[2; 32]).unwrap();
    let error = Log::open(folder.path(), other, Options::default()).unwrap_err();
    assert!(matches!(error, LogError::OtherKey { .. }), "{error}");
    let witness = Signer::from_seed("w", KeyKind::Witness, &[2; 32]).unwrap();
    let error = Log::open(folder.path(), witness, Options::default()).unwrap_err();
    assert!(matches!(error, LogError::Signer(_)), "{error}");
}

#[test]
fn a_clock_that_goes_back_by_a_day_stops_the_log_until_it_has_caught_up() {
    static NOW: AtomicU64 = AtomicU64::new(1_800_000_000_000);
    let clock = || Clock::new(|| NOW.load(Ordering::Relaxed));
    let folder = folder();
    let log = Log::open(folder.path(), signer(), Options::default().clock(clock())).unwrap();
    let first = log.append(draft()).unwrap();
    NOW.fetch_sub(86_400_000, Ordering::Relaxed);
    let error = log.append(draft()).unwrap_err();
    assert!(error.to_string().contains("went back by 86400 s"), "{error}");
    drop(log);
    let log = Log::open(folder.path(), signer(), Options::default().clock(clock())).unwrap();
    assert!(
        matches!(log.append(draft()), Err(LogError::ClockWentBack { .. })),
        "also after a start"
    );
    // A correction of a few seconds is no reason to stop, and time never runs backwards.
    NOW.store(first.entry.time_ms() - 2_000, Ordering::Relaxed);
    assert_eq!(log.append(draft()).unwrap().entry.time_ms(), first.entry.time_ms());
}

#[test]
fn a_receipt_that_is_too_long_harms_no_other() {
    let folder = folder();
    let log = open(folder.path()).unwrap();
    let mut many = draft();
    many.secrets = vec![many.secrets[0].clone(); 65];
    assert!(matches!(log.append(many), Err(LogError::Receipt(_))));
    assert!(matches!(log.keep(&vec![0; (4 << 20) + 1]), Err(LogError::Document(_))));
    assert_eq!(log.append(draft()).unwrap().index, 0);
}

/// A log that needs the witness at this address.
fn witnessed(folder: &Path, url: &str) -> Result<Log, LogError> {
    let dpo = Signer::from_seed("dpo.example", KeyKind::Witness, &[2; 32]).unwrap().verifier();
    let log = signer().verifier();
    let policy = format!("log {log}\nwitness dpo {dpo} {url}\nquorum dpo\n").parse().unwrap();
    let witnesses = Witnesses::new(policy, std::time::Duration::from_millis(500));
    Log::open(folder, signer(), Options::default().witnesses(witnesses))
}

#[test]
fn a_receipt_counts_once_the_witness_has_signed() {
    let (folder, witness) = (folder(), tempfile::tempdir().unwrap());
    let url = crate::witness::tests::serve(witness.path());
    // What was logged before there was a witness is proved to it from the tiles.
    let log = open(folder.path()).unwrap();
    fill(&log, 9000);
    drop(log);
    let dpo = Signer::from_seed("dpo.example", KeyKind::Witness, &[2; 32]).unwrap().verifier();
    for round in 0..2 {
        let log = witnessed(folder.path(), &url).unwrap();
        for _ in 0..3 {
            let appended = log.append(draft()).unwrap();
            appended.proof.verify(&appended.leaf).unwrap();
            appended.proof.checkpoint.note().verify_cosigned(&dpo).unwrap();
        }
        drop(log);
        let log = open(folder.path()).unwrap();
        fill(&log, 9000 * (1 - round));
    }
    let text = fs::read_to_string(folder.path().join("checkpoint")).unwrap();
    assert!(text.contains("dpo.example"), "what others read has the witness's signature: {text}");
}

#[test]
fn a_witness_that_is_away_stops_releases_and_logs_nothing_more() {
    let folder = folder();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let log = witnessed(folder.path(), &url).unwrap();
    let error = log.append(draft()).unwrap_err();
    assert!(matches!(&error, LogError::Unwitnessed { index: 0, .. }), "{error}");
    assert!(error.to_string().contains("dpo: Connection refused"), "{error}");
    for _ in 0..3 {
        let error = log.append(draft()).unwrap_err();
        assert!(matches!(error, LogError::WitnessesAway { .. }), "{error}");
    }
    drop(log);
    assert_eq!(open(folder.path()).unwrap().checkpoint().checkpoint().size, 1);
}

#[test]
fn a_log_that_was_rolled_back_is_told_so_by_its_witness() {
    let (folder, witness) = (folder(), tempfile::tempdir().unwrap());
    let url = crate::witness::tests::serve(witness.path());
    drop(witnessed(folder.path(), &url).unwrap().append(draft()).unwrap());
    let earlier = copy(folder.path());
    drop(witnessed(folder.path(), &url).unwrap().append(draft()).unwrap());
    drop(witnessed(folder.path(), &url).unwrap().append(draft()).unwrap());
    // Everything is the copy's, the published checkpoint included: only the witness knows.
    let log = witnessed(earlier.path(), &url).unwrap();
    let error = log.append(Draft { role: name("hidden"), ..draft() }).unwrap_err();
    assert!(error.to_string().contains("signed this log at size 3"), "{error}");
    assert!(matches!(log.append(draft()), Err(LogError::Stopped(_))));
}
