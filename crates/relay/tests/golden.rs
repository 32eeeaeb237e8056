//! The protocol's bytes, held to a file and to the document that others implement from.
//!
//! `GOLDEN=write` writes the file anew; a change of it is a change of the protocol.

#[cfg(test)]
mod tests {
    use std::{env, fmt::Write as _, fs, path::Path};

    use cloudtaser_relay::proto::{
        frame::{BeaconToBridge, BridgeToBeacon, KeyBytes, Refusal, SessionId},
        leg::{Go, Preamble},
        rendezvous::{Epoch, RendezvousId},
        ticket::{ClientTag, Ticket, TicketSecret},
    };
    use cloudtaser_tls::{Digest, MacKey, raw::PublicKey};
    use data_encoding::HEXLOWER;

    const TAG: ClientTag = ClientTag(*b"\x10\x11\x12\x13\x14\x15\x16\x17");
    const DAY: u32 = 20_781;

    fn counting<const N: usize>(from: u8) -> [u8; N] {
        std::array::from_fn(|at| from.wrapping_add(u8::try_from(at).unwrap()))
    }

    fn lines() -> Vec<(&'static str, String)> {
        let digest = Digest::new().unwrap();
        let key = PublicKey::from_bytes(counting(0));
        let fixed = RendezvousId::new(digest, &key, Epoch(0));
        let today = RendezvousId::new(digest, &key, Epoch(DAY));
        let day = TicketSecret::new(&counting(0x40)).day(digest, DAY);
        let client = day.client(digest, TAG, 32);
        let ticket = Ticket {
            tag: TAG,
            day: DAY,
            max_tunnels: 32,
            issued_at: 1_795_500_000,
            nonce: counting(0x80),
        };
        let protocol = String::from_utf8(client.protocol(digest, &today, &ticket)).unwrap();
        let session = SessionId(counting(0xa0));
        let preamble = Preamble::encode(digest, &MacKey::new(&counting(0xc0)), session, 7);
        let client_at = "192.0.2.1:50000".parse().unwrap();
        let go = Go { tunnel: counting(0xe0), tag: TAG, client: client_at }.encode();
        let mut lines = vec![
            ("rendezvous id, static", fixed.to_string()),
            ("rendezvous id, day 20781", today.to_string()),
            ("day key", HEXLOWER.encode(&day.expose())),
            ("client key", HEXLOWER.encode(&client.expose())),
            ("ticket", protocol),
            ("preamble", HEXLOWER.encode(&preamble)),
            ("go", HEXLOWER.encode(&go)),
        ];
        let key = KeyBytes(day.expose());
        let bridge = [
            ("REGISTER", BridgeToBeacon::Register { version: 1, legs: 4, epochs: vec![0, DAY] }),
            ("DAY_KEY", BridgeToBeacon::DayKey { day: DAY, key }),
            ("CREDIT", BridgeToBeacon::Credit { tunnels: 64 }),
            ("DENY", BridgeToBeacon::Deny { tag: TAG, seconds: 60 }),
            ("LEAVE", BridgeToBeacon::Leave),
            ("PING", BridgeToBeacon::Ping(counting(1))),
            ("PONG", BridgeToBeacon::Pong(counting(1))),
        ];
        let beacon = [
            ("REGISTERED", BeaconToBridge::Registered { session, max_legs: 64, others: 1 }),
            ("WANT", BeaconToBridge::Want { legs: 2 }),
            ("DRAIN", BeaconToBridge::Drain { min_ms: 500, max_ms: 10_000, left_seconds: 30 }),
            ("REFUSED", BeaconToBridge::Refused(Refusal::NotAllowed)),
        ];
        let hex = |encode: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            encode(&mut bytes);
            HEXLOWER.encode(&bytes)
        };
        lines.extend(bridge.iter().map(|(name, frame)| (*name, hex(&|out| frame.encode(out)))));
        lines.extend(beacon.iter().map(|(name, frame)| (*name, hex(&|out| frame.encode(out)))));
        lines
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
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/protocol.txt");
        if env::var_os("GOLDEN").is_some_and(|word| word == "write") {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, read("tests/golden/protocol.txt"));
    }

    #[test]
    fn the_document_shows_the_same_bytes() {
        let document: String = read("../../docs/protocol/relay.md");
        for (name, value) in lines() {
            assert!(document.contains(&value), "{name} is not in docs/protocol/relay.md: {value}");
        }
    }
}
