//! The bytes of enrolment, held to a file and to the document that others implement from.
//!
//! `GOLDEN=write` writes the file anew; a change of it is a change of the protocol.

#[cfg(test)]
mod tests {
    use std::{env, fmt::Write as _, fs, path::Path};

    use cloudtaser_core::Secret;
    use cloudtaser_relay::proto::{
        broker::{self, Answer, Pass},
        credential::{Certificate, Credential, Presentation},
        enrol::{
            Belief, BridgeToCluster, ClusterToBridge, DayBytes, Grant, InvitationId,
            InvitationSecret, KeySet, Refusal,
        },
        invitation::Invitation,
        ticket::ClientTag,
    };
    use cloudtaser_tls::{Digest, raw::KeyPair};
    use data_encoding::{BASE64, HEXLOWER};

    const NOW: u64 = 1_795_500_000;
    const DISCOVERY: &[u8] = br#"{"issuer":"https://kubernetes.default.svc"}"#;
    /// The key of RFC 7515, appendix A.3.
    const JWKS: &[u8] = br#"{"keys":[{"kty":"EC","crv":"P-256","kid":"one","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    const TAG: ClientTag = ClientTag(*b"\x10\x11\x12\x13\x14\x15\x16\x17");

    fn counting<const N: usize>(from: u8) -> [u8; N] {
        std::array::from_fn(|at| from.wrapping_add(u8::try_from(at).unwrap()))
    }

    /// The key with this seed.
    fn pair(seed: u8) -> KeyPair {
        let head = HEXLOWER.decode(b"302e020100300506032b657004220420").unwrap();
        let der = [&head[..], &counting::<32>(seed)].concat();
        let body = BASE64.encode(&der);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        KeyPair::from_pem(&Secret::from(pem)).unwrap()
    }

    fn lines() -> Vec<(&'static str, String)> {
        let (bridge, cluster, session) = (pair(0), pair(0x20), pair(0x40));
        let key = cluster.public();
        let certificate =
            Certificate::issue(&bridge, key, counting(0x60), (NOW, NOW + 86_400)).unwrap();
        let leaf = certificate.leaf(&cluster, session.public(), (NOW, NOW + 600)).unwrap();
        let credential = Credential { certificate, leaf: Some(leaf) };
        let presentation = Presentation { protocol: b"ct-proxy/1".to_vec(), credential };
        let days = || vec![(20_781, DayBytes::new(counting(0x80)))];
        let invitation = Invitation {
            bridge: bridge.public(),
            id: InvitationId(counting(0xa0)),
            secret: InvitationSecret::new(counting(0xb0)),
            not_after: NOW,
            tag: TAG,
            max_tunnels: 4,
            beacons: vec![("beacon.example:443".to_owned(), "beacon.example".to_owned())],
            days: days(),
        };
        let frame = |encode: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            encode(&mut bytes);
            HEXLOWER.encode(&bytes)
        };
        let secret = InvitationSecret::new(counting(0xb0));
        let join = ClusterToBridge::Join { invitation: invitation.id, secret };
        let grant = Grant { certificate, tag: TAG, max_tunnels: 1024, days: days() };
        let pass = Pass {
            bridge: bridge.public(),
            server_name: "id.r.beacon.example".to_owned(),
            ticket: b"brp1.AAAA".to_vec(),
            credential,
        };
        let grant = BridgeToCluster::Grant(grant);
        let refused = BridgeToCluster::Refused(Refusal::Revoked);
        let shown = KeySet::read(DISCOVERY, JWKS).unwrap();
        let keys = ClusterToBridge::Keys(shown.clone());
        let heard = BridgeToCluster::Heard(Belief::Waits);
        vec![
            ("bridge", bridge.public().to_string()),
            ("cluster", key.to_string()),
            ("session", session.public().to_string()),
            ("certificate", HEXLOWER.encode(&certificate.encode())),
            ("credential", HEXLOWER.encode(&credential.encode())),
            ("presentation", HEXLOWER.encode(&presentation.encode())),
            ("invitation", invitation.to_text(Digest::new().unwrap()).to_string()),
            ("JOIN", frame(&|out| join.encode(out))),
            ("ASK", frame(&|out| ClusterToBridge::Ask.encode(out))),
            ("KEYS", frame(&|out| keys.encode(out))),
            ("fingerprint", shown.fingerprint(Digest::new().unwrap()).to_string()),
            ("HEARD", frame(&|out| heard.encode(out))),
            ("PENDING", frame(&|out| BridgeToCluster::Pending.encode(out))),
            ("GRANT", frame(&|out| grant.encode(out))),
            ("REFUSED", frame(&|out| refused.encode(out))),
            ("request", HEXLOWER.encode(&broker::request(&session.public()))),
            ("pass", HEXLOWER.encode(&Answer::Pass(Box::new(pass)).encode())),
        ]
    }

    fn read(relative: &str) -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)).unwrap_or_default()
    }

    #[test]
    fn the_bytes_are_those_of_the_file() {
        let mut text = String::new();
        for (name, value) in lines() {
            writeln!(text, "{name}: {value}").unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/enrolment.txt");
        if env::var_os("GOLDEN").is_some_and(|word| word == "write") {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, read("tests/golden/enrolment.txt"));
    }

    #[test]
    fn the_document_shows_the_same_bytes() {
        let document: String = read("../../docs/protocol/enrolment.md");
        for (name, value) in lines() {
            assert!(document.contains(&value), "{name} is not in enrolment.md: {value}");
        }
    }
}
