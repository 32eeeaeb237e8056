use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;

pub(crate) fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

/// The draft that golden bytes and other tests begin with.
pub(crate) fn draft() -> Draft {
    Draft {
        cluster: name("prod-fra"),
        workload: Workload {
            namespace: name("payments"),
            service_account: name("api"),
            pod: name("0a1b2c3d-0000-4000-8000-000000000001"),
        },
        role: name("payments-api"),
        secrets: vec![SecretEntry {
            name: Digest::of(b"a name"),
            version: Some(7),
            request: Some(name("8f2c5b1e-1111-2222-3333-444455556666")),
        }],
        policy: Digest::of(b"policy"),
        protection: Rows::new([
            Verdict::Partial,
            Verdict::Open,
            Verdict::Partial,
            Verdict::Closed,
            Verdict::Open,
            Verdict::Open,
        ]),
        assurance: Assurance::L0,
        wrapper: Some(Digest::of(b"wrapper")),
        session: Digest::of(b"session"),
        evidence: None,
        decision: Decision::Released,
        bridge: Some(Digest::of(b"bridge")),
        key_exchange: Some(name("X25519MLKEM768")),
        sealing: None,
        orders: None,
    }
}

#[test]
fn the_bytes_of_a_receipt_are_these() {
    let receipt = Receipt::new(draft(), 0, 1_700_000_000_000, None);
    let bytes = receipt.to_bytes().unwrap();
    let expected = concat!(
        "a4",                   // a map of four: there is no receipt before
        "0001",                 // 0: format 1
        "0100",                 // 1: number 0
        "021b0000018bcfe56800", // 2: the time
        "04ac",                 // 4: what the bridge said, twelve things
        "006870726f642d667261", // 0: "prod-fra"
        "01a300687061796d656e747301636170690278243061316232633364",
        "2d303030302d343030302d383030302d303030303030303030303031",
        "026c7061796d656e74732d617069",
        "0381a3005820",
    );
    let hex = HEXLOWER.encode(&bytes);
    assert!(hex.starts_with(expected), "{hex}");
    assert_eq!(bytes.len(), 345);
    assert_eq!(
        Digest::leaf(&bytes).to_string(),
        "304098f5289997d0a84994d79a251758cb770fa1dc97deec0af3db65dc8d8c51"
    );
    assert_eq!(Receipt::parse(&bytes), Ok(receipt));
}

#[test]
fn another_way_to_write_the_same_is_refused() {
    let bytes = Receipt::new(draft(), 0, 5, None).to_bytes().unwrap();
    // 0: format 1, written as a longer integer.
    let mut longer = bytes.clone();
    longer.splice(2..3, [0x18, 0x01]);
    assert_eq!(Receipt::parse(&longer), Err(ReceiptError::NotCanonical));
    let mut more = bytes.clone();
    more.push(0);
    assert!(Receipt::parse(&more).is_err());
    // An entry that no format knows.
    let mut unknown = bytes.clone();
    unknown[0] += 1;
    unknown.extend([0x09, 0x00]);
    assert_eq!(Receipt::parse(&unknown), Err(ReceiptError::NotCanonical));
    let mut future = bytes;
    future[2] = 2;
    assert_eq!(Receipt::parse(&future), Err(ReceiptError::Format(2)));
}

#[test]
fn texts_are_bounded_and_printable() {
    for wrong in ["", "a\nb", "\u{7f}", &"x".repeat(254)] {
        assert!(Name::try_from(wrong).is_err(), "{wrong:?}");
    }
    let mut many = draft();
    many.secrets = vec![many.secrets[0].clone(); SECRETS_MAX + 1];
    assert_eq!(Receipt::new(many, 0, 0, None).to_bytes(), Err(ReceiptError::TooManySecrets));
}

prop_compose! {
    /// Any draft.
    pub(crate) fn any_draft()(
        cluster in "[a-c]",
        role in "[ -~]{1,40}",
        version in any::<Option<u64>>(),
        hash in any::<[u8; 32]>(),
        evidence in any::<bool>(),
        rows in any::<[u8; 6]>(),
        assurance in 0_usize..5,
        refused in proptest::option::of("[a-z-]{1,20}"),
        secrets in 0_usize..4,
    ) -> Draft {
        let verdict = |row: u8| Verdict::ALL[usize::from(row) % 3];
        let entry = SecretEntry { name: Digest::new(hash), version, request: None };
        Draft {
            cluster: name(&cluster),
            role: name(&role),
            secrets: vec![entry; secrets],
            protection: Rows::new(rows.map(verdict)),
            assurance: Assurance::ALL[assurance],
            evidence: evidence.then(|| Digest::of(b"evidence")),
            decision: refused.map_or(Decision::Released, |why| Decision::Refused(name(&why))),
            sealing: evidence.then(|| Sealing { suite: name("X-Wing"), recipient: Digest::new(hash) }),
            ..draft()
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        draft in any_draft(),
        sequence in any::<u64>(),
        time in any::<u64>(),
        previous in any::<Option<[u8; 32]>>(),
    ) {
        let receipt = Receipt::new(draft, sequence, time, previous.map(Digest::new));
        let bytes = receipt.to_bytes().unwrap();
        prop_assert_eq!(Receipt::parse(&bytes), Ok(receipt));
    }

    #[test]
    fn no_flipped_bit_is_the_same_receipt(draft in any_draft(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let receipt = Receipt::new(draft, 3, 4, None);
        let mut bytes = receipt.to_bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert_ne!(Receipt::parse(&bytes), Ok(receipt));
    }
}
