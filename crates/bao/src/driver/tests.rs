use std::io;

use super::*;
use crate::jitter::RandomJitter;

/// Gives its bytes a few at a time.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.1.min(buffer.len()).min(self.0.len());
        let (now, later) = self.0.split_at(len);
        buffer[..len].copy_from_slice(now);
        self.0 = later;
        Ok(len)
    }
}

fn driver(address: &str, verifies: bool) -> Driver {
    Driver {
        agent: agent(None, Files::default(), Arc::default()),
        exchanges: Arc::default(),
        address: Address::parse(address).unwrap(),
        namespace: None,
        verifies,
        max_body: 100,
        try_timeout: Duration::from_secs(1),
        max_tries: None,
        jitter: Box::new(RandomJitter),
        stop: Arc::new(Stop::default()),
    }
}

#[test]
fn a_body_of_any_length_up_to_the_limit_is_read_whole() {
    let bytes: Vec<u8> = (0..50_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for len in [0, 1, 8191, 8192, 8193, 16384, 16385, 50_000] {
        for announced in [None, Some(len)] {
            for step in [1000, usize::MAX] {
                let body = read_body(Trickle(&bytes[..len], step), announced, 50_000).ok().unwrap();
                assert!(body.expose() == &bytes[..len], "{len} {announced:?} {step}");
            }
        }
    }
}

#[test]
fn a_body_over_the_limit_is_refused_whether_announced_or_not() {
    for announced in [None, Some(101)] {
        let lost = read_body(Trickle(&[b' '; 101], 7), announced, 100).err().unwrap();
        assert!(matches!(lost.failure, Failure::TooLarge { limit: 100 }));
        assert_eq!(lost.outcome, Outcome::Permanent);
    }
    assert_eq!(read_body(Trickle(&[b' '; 100], 7), None, 100).ok().unwrap().len(), 100);
}

#[test]
fn a_redirect_to_another_host_needs_tls_that_is_verified() {
    let from = "https://a:8200/v1/kv/x?version=1";
    let to = "https://b:8200/v1/kv/x?version=1";
    assert_eq!(driver("https://a:8200", true).follow(from, Some(to)).unwrap(), to);
    assert!(driver("https://a:8200", false).follow(from, Some(to)).is_err());
    let plain = driver("http://a:8200", true);
    assert!(plain.follow("http://a:8200/v1/x", Some("http://b:8200/v1/x")).is_err());
    assert!(plain.follow("http://a:8200/v1/x", Some("http://a:8201/v1/x")).is_err());
    assert_eq!(plain.follow("http://a:8200/v1/x", Some("/v1/y")).unwrap(), "http://a:8200/v1/y");
}

#[test]
fn a_redirect_never_changes_the_scheme() {
    let driver = driver("https://a", true);
    for to in ["http://a/v1/x", "ftp://a/x", "https://u:p@a/v1/x"] {
        assert!(driver.follow("https://a/v1/x", Some(to)).is_err(), "{to}");
    }
    assert!(driver.follow("https://a/v1/x", None).is_err());
}
