use std::thread;

use cloudtaser_tls::raw::PublicKey;

use super::*;
use crate::{enrol::state::NewInvitation, proto::enrol::InvitationId};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(&folder.path().join("state")).unwrap();
    (folder, store)
}

fn invite(store: &Store, number: u16) {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    let invited = NewInvitation {
        id: InvitationId(id),
        secret_hash: [1; 32],
        name: format!("n{number}"),
        not_after: 10,
        max_tunnels: 1,
        approved: false,
    };
    let done = store.act("a test", 5, |state| match state.invite(invited, 5) {
        Ok(act) => (Ok(()), Some(act)),
        Err(error) => (Err(error), None),
    });
    done.unwrap().unwrap();
}

fn revisions(store: &Store) -> Vec<u64> {
    let text = fs::read_to_string(store.folder.join(AUDIT)).unwrap_or_default();
    let revision = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.pointer("/revision").unwrap().as_u64().unwrap()
    };
    text.lines().map(revision).collect()
}

#[test]
fn every_act_has_one_line_and_is_there_after_it() {
    let (_folder, store) = store();
    for number in 0..5 {
        invite(&store, number);
    }
    assert_eq!(revisions(&store), [1, 2, 3, 4, 5]);
    let again = Store::open(&store.folder).unwrap().read().unwrap();
    assert_eq!((again.revision, again.invitations.len()), (5, 5));
    let text = fs::read_to_string(store.folder.join(AUDIT)).unwrap();
    let first = r#"{"revision":1,"at":5,"by":"a test","act":"invited","name":"n0","invitation":"00000000000000000000000000000000"}"#;
    assert_eq!(text.lines().next(), Some(first));
}

#[test]
fn a_crash_before_the_line_is_made_good_by_the_next_act() {
    let (_folder, store) = store();
    invite(&store, 1);
    let before = fs::read(store.folder.join(AUDIT)).unwrap();
    invite(&store, 2);
    let whole = fs::read(store.folder.join(AUDIT)).unwrap();
    // The state of the second act is on the disk, and of its line this much.
    for cut in before.len()..=whole.len() {
        fs::write(store.folder.join(AUDIT), &whole[..cut]).unwrap();
        store.act("a test", 5, |_| ((), None)).unwrap();
        assert_eq!(revisions(&store), [1, 2], "cut at {cut}");
    }
    invite(&store, 3);
    assert_eq!(revisions(&store), [1, 2, 3]);
}

#[test]
fn a_crash_while_the_state_is_written_leaves_the_old_one() {
    let (_folder, store) = store();
    invite(&store, 1);
    fs::write(store.folder.join(NEXT), b"{\"revision\": 9, \"inv").unwrap();
    assert_eq!(store.read().unwrap().revision, 1);
    invite(&store, 2);
    assert_eq!(revisions(&store), [1, 2]);
}

#[test]
fn a_damaged_state_is_an_error_and_not_an_empty_one() {
    let (_folder, store) = store();
    invite(&store, 1);
    for damage in [&b"{}x"[..], b"", b"{\"revision\": 1, \"clusters\": [], \"more\": 1}"] {
        fs::write(store.folder.join(STATE), damage).unwrap();
        assert!(matches!(store.read(), Err(StoreError::Damaged { .. })), "{damage:?}");
        assert!(store.act("a test", 5, |_| ((), None)).is_err());
    }
    fs::remove_file(store.folder.join(STATE)).unwrap();
    assert!(matches!(Store::open(&store.folder), Err(StoreError::Disk { .. })));
}

#[test]
fn acts_of_several_at_once_come_one_after_the_other() {
    let (_folder, store) = store();
    thread::scope(|scope| {
        for worker in 0..4_u16 {
            let store = &store;
            scope.spawn(move || (0..10).for_each(|number| invite(store, worker * 100 + number)));
        }
    });
    assert_eq!(revisions(&store), (1..=40).collect::<Vec<_>>());
    assert_eq!(store.read().unwrap().invitations.len(), 40);
}

#[test]
fn another_state_is_another_version() {
    let (_folder, store) = store();
    let before = store.version().unwrap();
    assert_eq!(store.version().unwrap(), before);
    invite(&store, 1);
    assert_ne!(store.version().unwrap(), before);
    let key = PublicKey::from_bytes([1; 32]);
    assert!(store.read().unwrap().approved(&key).is_none());
}
