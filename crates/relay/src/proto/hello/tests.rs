use std::sync::Arc;

use cloudtaser_tls::raw::{self, KeyPair};
use proptest::{collection::vec, prelude::*};
use rustls::ClientConnection;

use super::*;

const NAME: &str = "abcd.r.beacon.example";

/// The hello that rustls sends with these protocols.
pub(crate) fn real(protocols: &[&[u8]]) -> Vec<u8> {
    let (key, _) = KeyPair::generate().unwrap();
    let mut config = raw::client_config(&key, key.public()).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = NAME.try_into().unwrap();
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

fn expected() -> Hello {
    Hello {
        server_name: Some(NAME.into()),
        protocols: vec![b"brp1.x".to_vec(), b"h2".to_vec()],
        hybrid: true,
    }
}

/// The same message in records of these lengths, over and over.
fn fragmented(hello: &[u8], lens: &[usize]) -> Vec<u8> {
    let mut message = &hello[RECORD_HEADER_LEN..];
    let mut out = Vec::new();
    for len in lens.iter().cycle() {
        let (part, rest) = message.split_at((*len).min(message.len()));
        out.extend([RECORD_HANDSHAKE, 3, 1]);
        out.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        out.extend_from_slice(part);
        message = rest;
        if message.is_empty() {
            return out;
        }
    }
    out
}

/// Every part of a hello asks for more, and the hello does not change by what follows it.
fn is_read_whole_only(bytes: &[u8]) {
    for cut in 0..bytes.len() {
        match peek(&bytes[..cut]) {
            Peek::More { needed } => assert!(needed > cut && needed <= bytes.len(), "cut at {cut}"),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
    assert_eq!(peek(bytes), Peek::Hello(expected()));
    let more = [bytes, &[23, 3, 3, 0, 1, 0]].concat();
    assert_eq!(peek(&more), Peek::Hello(expected()));
}

#[test]
fn a_hybrid_hello_is_read_when_it_is_whole_and_not_before() {
    let bytes = real(&[b"brp1.x", b"h2"]);
    assert!(bytes.len() > 1300, "{}", bytes.len());
    is_read_whole_only(&bytes);
}

#[test]
fn a_hello_in_many_records_is_one_hello() {
    is_read_whole_only(&fragmented(&real(&[b"brp1.x", b"h2"]), &[1, 2, 3, 500, 41]));
}

#[test]
fn other_things_are_refused_at_their_first_odd_byte() {
    let cases: [(&[u8], Refused); 6] = [
        (b"GET / HTTP/1.1\r\n", Refused::NotTls),
        (b"\x16\x02", Refused::NotTls),
        (b"\x16\x03\x01\x00\x01\x02", Refused::NotTls),
        (b"\x16\x03\x01\x00\x00", Refused::Malformed),
        (b"\x16\x03\x01\x40\x00", Refused::TooLong),
        (b"\x16\x03\x01\x00\x04\x01\x00\xff\xff", Refused::TooLong),
    ];
    for (bytes, why) in cases {
        assert_eq!(peek(bytes), Peek::Refused(why), "{bytes:?}");
    }
}

#[test]
fn a_record_that_is_too_long_is_refused_however_much_of_it_is_there() {
    let bytes = [&[22, 3, 1, 0x20, 0, 1, 0, 0, 2, 3, 3][..], &[0; 20]].concat();
    for cut in RECORD_HEADER_LEN..bytes.len() {
        assert_eq!(peek(&bytes[..cut]), Peek::Refused(Refused::TooLong));
    }
}

#[test]
fn a_hello_that_contradicts_itself_is_malformed() {
    let bytes = real(&[b"h2"]);
    // The length of the session id, which moves everything behind it.
    let mut changed = bytes;
    changed[RECORD_HEADER_LEN + 4 + 2 + 32] ^= 0x55;
    assert_eq!(peek(&changed), Peek::Refused(Refused::Malformed));
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        drop(peek(&bytes));
        let record = [&[22, 3, 1, 0, 200, 1, 0, 0, 196][..], &bytes].concat();
        drop(peek(&record));
    }

    #[test]
    fn a_changed_hello_is_judged_without_a_panic(at in 0_usize..1600, to: u8, lens in vec(1_usize..700, 1..5)) {
        let mut bytes = fragmented(&real(&[b"brp1.x", b"h2"]), &lens);
        let len = bytes.len();
        bytes[at % len] = to;
        drop(peek(&bytes));
    }
}
