use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_795_500_000;

struct Parties {
    bridge: KeyPair,
    cluster: KeyPair,
    session: KeyPair,
}

fn parties() -> Parties {
    let key = || KeyPair::generate().unwrap().0;
    Parties { bridge: key(), cluster: key(), session: key() }
}

fn issue(parties: &Parties) -> Certificate {
    let cluster = parties.cluster.public();
    Certificate::issue(&parties.bridge, cluster, [9; 16], (NOW, NOW + 86_400)).unwrap()
}

fn with_leaf(parties: &Parties, times: (u64, u64)) -> Credential {
    let certificate = issue(parties);
    let leaf = certificate.leaf(&parties.cluster, parties.session.public(), times).unwrap();
    Credential { certificate, leaf: Some(leaf) }
}

#[test]
fn what_the_bridge_and_the_cluster_wrote_says_whose_session_it_is() {
    let all = parties();
    let credential = with_leaf(&all, (NOW, NOW + 600));
    let (bridge, session) = (all.bridge.public(), all.session.public());
    assert_eq!(credential.check(&bridge, &session, NOW), Ok(all.cluster.public()));
    let own = Credential { certificate: issue(&all), leaf: None };
    assert_eq!(own.check(&bridge, &all.cluster.public(), NOW), Ok(all.cluster.public()));
    assert_eq!(own.check(&bridge, &session, NOW), Err(Untrue::Key));
    assert_eq!(credential.check(&bridge, &all.cluster.public(), NOW), Err(Untrue::Key));
}

#[test]
fn it_is_good_from_a_minute_before_its_time_and_not_a_second_after() {
    let all = parties();
    let credential = with_leaf(&all, (NOW, NOW + 600));
    let check = |now| credential.check(&all.bridge.public(), &all.session.public(), now);
    assert!(check(NOW - SKEW_SECONDS).is_ok());
    assert_eq!(check(NOW - SKEW_SECONDS - 1), Err(Untrue::Expired));
    assert!(check(NOW + 599).is_ok());
    assert_eq!(check(NOW + 600), Err(Untrue::Expired));
    let own = Credential { certificate: issue(&all), leaf: None };
    let late = own.check(&all.bridge.public(), &all.cluster.public(), NOW + 86_400);
    assert_eq!(late, Err(Untrue::Expired));
}

#[test]
fn a_leaf_for_longer_than_an_hour_is_good_for_nothing() {
    let all = parties();
    let credential = with_leaf(&all, (NOW, NOW + MAX_LEAF_SECONDS + 1));
    let checked = credential.check(&all.bridge.public(), &all.session.public(), NOW);
    assert_eq!(checked, Err(Untrue::Expired));
}

#[test]
fn another_bridges_or_clusters_word_is_none() {
    let (all, others) = (parties(), parties());
    let credential = with_leaf(&all, (NOW, NOW + 600));
    let checked = credential.check(&others.bridge.public(), &all.session.public(), NOW);
    assert_eq!(checked, Err(Untrue::Signature));
    let certificate = issue(&all);
    let thief = certificate.leaf(&others.cluster, all.session.public(), (NOW, NOW + 600)).unwrap();
    let stolen = Credential { certificate, leaf: Some(thief) };
    let checked = stolen.check(&all.bridge.public(), &all.session.public(), NOW);
    assert_eq!(checked, Err(Untrue::Signature));
    // A leaf of an older certificate of the same cluster is not one of the new.
    let newer =
        Certificate::issue(&all.bridge, all.cluster.public(), [8; 16], (NOW, NOW + 9)).unwrap();
    let mixed = Credential { certificate: newer, leaf: credential.leaf };
    let checked = mixed.check(&all.bridge.public(), &all.session.public(), NOW);
    assert_eq!(checked, Err(Untrue::Signature));
}

#[test]
fn no_bit_of_it_can_be_changed() {
    let all = parties();
    let bytes = with_leaf(&all, (NOW, NOW + 600)).encode();
    assert_eq!(bytes.len(), CERTIFICATE_LEN + LEAF_LEN);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 4;
        let checked = Credential::decode(&changed)
            .map(|read| read.check(&all.bridge.public(), &all.session.public(), NOW));
        assert!(!matches!(checked, Some(Ok(_))), "byte {at}");
    }
    for len in 0..bytes.len() {
        let read = Credential::decode(&bytes[..len]);
        assert_eq!(read.is_some(), len == CERTIFICATE_LEN, "{len}");
    }
}

#[test]
fn every_byte_of_an_admission_is_read_as_it_is_written() {
    for code in 0..=u8::MAX {
        assert!(Admission::of(code).is_none_or(|admission| admission.code() == code));
    }
}

proptest! {
    #[test]
    fn what_was_read_is_written_again(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Some(read) = Presentation::decode(&bytes) {
            prop_assert_eq!(&read.encode()[2..], &bytes[..]);
        }
        let certificate = [b"CTC1", &bytes[..]].concat();
        if let Some(read) = Credential::decode(&certificate) {
            prop_assert_eq!(read.encode(), certificate);
        }
    }
}
