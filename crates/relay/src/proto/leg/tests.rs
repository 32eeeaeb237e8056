use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;

fn digest() -> Digest {
    Digest::new().unwrap()
}

proptest! {
    #[test]
    fn a_preamble_is_true_for_its_key_alone(session: [u8; 16], counter: u64, key: [u8; 32], at in 0..PREAMBLE_LEN) {
        let key = MacKey::new(&key);
        let mut bytes = Preamble::encode(digest(), &key, SessionId(session), counter);
        let read = Preamble::decode(&bytes).unwrap();
        prop_assert_eq!((read.session, read.counter), (SessionId(session), counter));
        prop_assert!(read.is_true(digest(), &key));
        prop_assert!(!read.is_true(digest(), &MacKey::new(&[1; 32])));
        bytes[at] ^= 1;
        prop_assert!(!Preamble::decode(&bytes).is_some_and(|read| read.is_true(digest(), &key)));
    }

    #[test]
    fn what_a_bridge_hears_is_read_as_written(tunnel: [u8; 16], tag: [u8; 8], v6: [u8; 16], v4: bool, port: u16) {
        let client = if v4 { IpAddr::from([v6[0], v6[1], v6[2], v6[3]]) } else { IpAddr::from(v6).to_canonical() };
        let go = Go { tunnel, tag: ClientTag(tag), client: SocketAddr::new(client, port) };
        prop_assert_eq!(Go::decode(&go.encode()), Some(go));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), PREAMBLE_LEN)) {
        let _ = Preamble::decode(bytes.first_chunk().unwrap());
        if let Some(go) = Go::decode(bytes.first_chunk().unwrap()) {
            prop_assert_eq!(&go.encode()[..], &bytes[..GO_LEN]);
        }
    }

    #[test]
    fn no_counter_is_new_twice(counters in vec(0_u64..300, 0..400)) {
        let (mut used, mut model, mut most) = (Used::default(), BTreeSet::new(), 0);
        for counter in counters {
            let new = used.mark(counter);
            let first = model.insert(counter);
            prop_assert!(first || !new, "{} was new twice", counter);
            most = most.max(counter);
            if first && most - counter < 128 {
                prop_assert!(new, "{} is in the window", counter);
            }
        }
    }
}

#[test]
fn the_last_counter_of_all_is_not_used() {
    let mut used = Used::default();
    assert!(used.mark(u64::MAX - 1));
    assert!(!used.mark(u64::MAX));
    assert!(!used.mark(0));
}
