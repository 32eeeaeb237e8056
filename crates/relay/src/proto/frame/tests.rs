use proptest::{collection::vec, prelude::*};

use super::*;

fn from_bridge() -> impl Strategy<Value = BridgeToBeacon> {
    prop_oneof![
        any::<u32>().prop_map(|tunnels| BridgeToBeacon::Credit { tunnels }),
        any::<(u32, [u8; 32])>()
            .prop_map(|(day, key)| BridgeToBeacon::DayKey { day, key: KeyBytes(key) }),
        any::<([u8; 8], u32)>()
            .prop_map(|(tag, seconds)| BridgeToBeacon::Deny { tag: ClientTag(tag), seconds }),
        Just(BridgeToBeacon::Leave),
        any::<[u8; 8]>().prop_map(BridgeToBeacon::Ping),
        any::<[u8; 8]>().prop_map(BridgeToBeacon::Pong),
        (any::<u16>(), any::<u16>(), vec(any::<u32>(), 0..=MAX_EPOCHS))
            .prop_map(|(version, legs, epochs)| BridgeToBeacon::Register { version, legs, epochs }),
    ]
}

fn from_beacon() -> impl Strategy<Value = BeaconToBridge> {
    prop_oneof![
        any::<(u32, u32, u32)>().prop_map(|(min_ms, max_ms, left_seconds)| {
            BeaconToBridge::Drain { min_ms, max_ms, left_seconds }
        }),
        any::<[u8; 8]>().prop_map(BeaconToBridge::Ping),
        any::<[u8; 8]>().prop_map(BeaconToBridge::Pong),
        any::<u16>().prop_map(|code| BeaconToBridge::Refused(Refusal::of(code))),
        any::<([u8; 16], u16, u16)>().prop_map(|(session, max_legs, others)| {
            BeaconToBridge::Registered { session: SessionId(session), max_legs, others }
        }),
        any::<u16>().prop_map(|legs| BeaconToBridge::Want { legs }),
    ]
}

fn holds<F: Frame + PartialEq + fmt::Debug>(frame: &F, more: &[u8]) {
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    for cut in 0..bytes.len() {
        let mut part = bytes[..cut].to_vec();
        assert_eq!(decode::<F>(&mut part), Ok(None), "cut at {cut}");
        assert_eq!(part, &bytes[..cut], "a part is kept");
    }
    bytes.extend_from_slice(more);
    assert_eq!(decode::<F>(&mut bytes).unwrap().as_ref(), Some(frame));
    assert_eq!(bytes, more, "what follows is kept");
}

proptest! {
    #[test]
    fn what_a_bridge_says_is_read_as_written(frame in from_bridge(), more in vec(any::<u8>(), 0..9)) {
        holds(&frame, &more);
    }

    #[test]
    fn what_a_beacon_says_is_read_as_written(frame in from_beacon(), more in vec(any::<u8>(), 0..9)) {
        holds(&frame, &more);
    }
}

#[test]
fn a_type_that_is_not_known_is_passed_over() {
    let mut bytes = vec![200, 0, 0, 2, 1, 1];
    BridgeToBeacon::Leave.encode(&mut bytes);
    assert_eq!(decode(&mut bytes), Ok(Some(BridgeToBeacon::Leave)));
    assert!(bytes.is_empty());
}

#[test]
fn what_does_not_fit_ends_the_connection() {
    let odd: [&[u8]; 5] = [
        &[LEAVE, 0, 0, 1, 0],
        &[LEAVE, 1, 0, 0],
        &[200, 1, 0, 0],
        &[CREDIT, 0, 0, 3, 0, 0, 0],
        &[200, 0, 0xff, 0xff],
    ];
    for bytes in odd {
        assert_eq!(decode::<BridgeToBeacon>(&mut bytes.to_vec()), Err(Malformed), "{bytes:?}");
    }
    let mut nine = vec![REGISTER, 0, 0, 40];
    nine.resize(44, 0);
    assert_eq!(decode::<BridgeToBeacon>(&mut nine), Err(Malformed));
}

#[test]
fn a_key_is_not_shown() {
    let frame = BridgeToBeacon::DayKey { day: 1, key: KeyBytes([0xab; 32]) };
    assert_eq!(format!("{frame:?}"), "DayKey { day: 1, key: KeyBytes(redacted) }");
}
