//! Entries for the fuzzers: what must hold for any bytes that the network may bring.
//!
//! Each function panics where a promise is broken and says nothing otherwise. None is in a build
//! that is shipped.

use cloudtaser_road::{issuer::KeySet, jwks::Jwks};
use cloudtaser_tls::{Digest, MacKey, raw::PublicKey};

use super::{
    broker::{self, Pass},
    credential::{Credential, Presentation},
    enrol::{BridgeToCluster, ClusterToBridge},
    frame::{self, BeaconToBridge, BridgeToBeacon, Frame},
    hello::{self, MAX_LEN, Peek},
    invitation::Invitation,
    leg::{Go, Preamble},
    rendezvous::{Epoch, RendezvousId},
    ticket::{Shown, TicketSecret},
};

/// Any bytes as the beginning of a connection.
///
/// SECURITY: what is refused stays refused and what is whole stays the same, whatever follows; so a
/// sender gains nothing by how it cuts its bytes.
pub fn hello(bytes: &[u8]) {
    let whole = hello::peek(bytes);
    match &whole {
        Peek::More { needed } => assert!(*needed > bytes.len() && *needed <= MAX_LEN),
        decided => {
            let more = [bytes, &[22, 3, 1, 0, 1, 0]].concat();
            assert_eq!(&hello::peek(&more), decided, "what follows changes the judgement");
        }
    }
    for cut in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = hello::peek(bytes.get(..cut).unwrap_or_default());
        assert!(matches!(part, Peek::More { .. }) || part == whole, "a part is judged otherwise");
    }
    if let Peek::Hello(hello) = whole {
        let id = hello.server_name.as_deref().and_then(RendezvousId::of_server_name);
        if let Some(id) = id {
            let again = RendezvousId::of_server_name(id.server_name("a").as_bytes());
            assert_eq!(again, Some(id));
        }
        let _shown = Shown::among(&hello.protocols);
    }
}

/// Any bytes as frames of both directions, as a preamble, and as what a bridge hears.
pub fn frames(bytes: &[u8]) {
    all_frames::<BridgeToBeacon>(bytes);
    all_frames::<BeaconToBridge>(bytes);
    let Ok(digest) = Digest::new() else { return };
    if let Some(preamble) = bytes.first_chunk().and_then(Preamble::decode) {
        assert!(!preamble.is_true(digest, &MacKey::new(&[0x5a; 32])), "a MAC was guessed");
    }
    if let Some(go) = bytes.first_chunk().and_then(Go::decode) {
        assert_eq!(Go::decode(&go.encode()), Some(go));
    }
}

/// Any bytes as the name of a protocol.
///
/// SECURITY: nobody without the key makes a ticket that is true.
pub fn ticket(bytes: &[u8]) {
    let Some(shown) = Shown::of_protocol(bytes) else { return };
    let Ok(digest) = Digest::new() else { return };
    let day = TicketSecret::new(&[0x5a; 32]).day(digest, shown.day());
    let id = RendezvousId::new(digest, &PublicKey::from_bytes([0x5a; 32]), Epoch(0));
    assert!(shown.check(digest, &day, &id, 0).is_err(), "a MAC was guessed");
}

/// Any bytes as what is said around enrolment: frames both ways, a presentation, a broker's
/// request and answer, an invitation, the keys of an issuer.
///
/// SECURITY: nobody without the keys makes a credential that is true; and what a person compares is
/// what is believed.
pub fn enrolment(bytes: &[u8]) {
    all_frames::<ClusterToBridge>(bytes);
    all_frames::<BridgeToCluster>(bytes);
    if let Some(read) = Presentation::decode(bytes) {
        assert_eq!(read.encode().get(2..), Some(bytes));
        untrue(&read.credential);
    }
    if let Some(read) = Credential::decode(bytes) {
        untrue(&read);
    }
    if let Some(pass) = Pass::decode(bytes) {
        untrue(&pass.credential);
    }
    if let Some(key) = bytes.first_chunk().and_then(broker::requested) {
        assert_eq!(Some(&broker::request(&key)), bytes.first_chunk());
    }
    if let Some(Ok(shown)) = Jwks::parse(bytes).map(|keys| KeySet::new("https://a", &keys)) {
        assert_eq!(KeySet::decode(&shown.encode()).as_ref(), Some(&shown));
        let written = Jwks::parse(shown.to_jwks().as_bytes()).unwrap_or_default();
        assert_eq!(
            KeySet::new("https://a", &written).as_ref(),
            Ok(&shown),
            "another set is written"
        );
    }
    let (Ok(digest), Ok(text)) = (Digest::new(), std::str::from_utf8(bytes)) else { return };
    if let Ok(invitation) = Invitation::parse(digest, text) {
        assert_eq!(*invitation.to_text(digest), text.trim());
    }
}

fn untrue(credential: &Credential) {
    let bridge = PublicKey::from_bytes([0x5a; 32]);
    let key = credential.leaf.as_ref().map_or(credential.certificate.cluster, |leaf| leaf.key);
    let now = credential.certificate.not_before;
    assert!(credential.check(&bridge, &key, now).is_err(), "a signature was guessed");
}

fn all_frames<F: Frame + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let mut rest = bytes.to_vec();
    while let Ok(Some(frame)) = frame::decode::<F>(&mut rest) {
        let mut written = Vec::new();
        frame.write(&mut written);
        assert_eq!(frame::decode::<F>(&mut written), Ok(Some(frame)), "written and read again");
        assert!(written.is_empty());
    }
}

#[cfg(test)]
mod tests {
    include!("../../../../fuzz/replay.rs");

    #[test]
    fn every_corpus_file_is_replayed() {
        replay("relay_hello", super::hello);
        replay("relay_frames", super::frames);
        replay("relay_ticket", super::ticket);
        replay("release_token", crate::bridge::release::token::fuzz::token);
        replay("openbao_audit", crate::bridge::release::changes::fuzz::line);
        replay("relay_enrolment", super::enrolment);
    }
}
