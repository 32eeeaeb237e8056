use std::os::unix::fs::PermissionsExt as _;

use cloudtaser_evidence::verify::{self, Given};

use super::*;

/// A log as a bridge leaves it, with a key and a policy of its own.
fn place() -> (tempfile::TempDir, LogConfig) {
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("log.key");
    let signer = keys::make_signer(&key_file, "log.example/bridge", KeyKind::Log).unwrap();
    let policy = format!("# ours\nlog {}\nquorum none\n", signer.verifier());
    fs::write(folder.path().join("log.policy"), policy).unwrap();
    let dir = folder.path().join("log");
    drop(Log::open(&dir, signer, Options::default()).unwrap());
    let name = "log.example/bridge".to_owned();
    (folder, LogConfig { name, dir, key_file, witnesses: None })
}

#[test]
fn the_next_key_is_made_once_and_takes_the_place_of_the_present_one() {
    let (folder, config) = place();
    let present = keys::read_signer(&config.key_file).unwrap().verifier();
    let next = prepare(&config).unwrap();
    assert_eq!(prepare(&config).unwrap(), next, "another one was made");
    assert_ne!(next, present);
    let waiting = folder.path().join("log.key.next");
    assert_eq!(fs::metadata(&waiting).unwrap().permissions().mode() & 0o777, 0o600);
    let rotated = rotate(&config).unwrap();
    assert_eq!(rotated, Rotated { old: present.clone(), new: next.clone(), size: 1 });
    assert!(!waiting.exists(), "the key is there twice");
    let signer = keys::read_signer(&config.key_file).unwrap();
    assert_eq!(signer.verifier(), next);
    let policy = fs::read_to_string(folder.path().join("log.policy")).unwrap();
    assert_eq!(policy, format!("# ours\nlog {next}\nwas {present} 1\nquorum none\n"));
    verify::folder(&config.dir, &policy.parse().unwrap(), &Given::default()).unwrap();
    drop(Log::open(&config.dir, signer, Options::default()).unwrap());
    // And once more.
    let again = rotate(&config).unwrap();
    assert_eq!((&again.old, again.size), (&next, 2));
    let policy = fs::read_to_string(folder.path().join("log.policy")).unwrap();
    verify::folder(&config.dir, &policy.parse().unwrap(), &Given::default()).unwrap();
}

#[test]
fn what_was_cut_before_the_key_took_its_place_is_done_again() {
    let (folder, config) = place();
    let next = prepare(&config).unwrap();
    let files = ["log.key", "log.key.next"].map(|name| folder.path().join(name));
    let kept = files.each_ref().map(|file| fs::read(file).unwrap());
    let done = rotate(&config).unwrap();
    for (file, bytes) in files.iter().zip(kept) {
        fs::write(file, bytes).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(rotate(&config).unwrap(), done);
    assert_eq!(keys::read_signer(&config.key_file).unwrap().verifier(), next);
}

#[test]
fn while_the_bridge_runs_or_its_witnesses_do_not_know_the_key_nothing_is_changed() {
    let (folder, config) = place();
    let signer = keys::read_signer(&config.key_file).unwrap();
    let present = signer.verifier();
    let open = Log::open(&config.dir, signer, Options::default()).unwrap();
    assert!(matches!(rotate(&config), Err(LogKeyError::Log(LogError::Locked(_)))));
    drop(open);
    let policy = folder.path().join("witnesses");
    fs::write(&policy, format!("log {present}\nquorum none\n")).unwrap();
    let config = LogConfig { witnesses: Some(policy.clone()), ..config };
    let refused = rotate(&config).unwrap_err();
    assert!(matches!(refused, LogKeyError::Unknown { .. }), "{refused}");
    assert_eq!(keys::read_signer(&config.key_file).unwrap().verifier(), present);
    let next = prepare(&config).unwrap();
    fs::write(&policy, format!("log {present}\nlog {next}\nquorum none\n")).unwrap();
    assert_eq!(rotate(&config).unwrap().new, next);
}
