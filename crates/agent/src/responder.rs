//! Answers `GET /metrics`, and nothing else, for whoever may reach the address that was asked for.
//!
//! A few threads that take one connection each: that many peers at once, the others wait in the
//! kernel's queue. A request has a size and a connection a time that it cannot exceed.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::net::{Listener, Stream};

/// One scraper and a curious person.
const THREADS: usize = 2;
/// Scrapers send some hundred bytes.
const REQUEST: u64 = 4096;
/// From the connection to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers with what `text` gives, for as long as the program runs.
pub(crate) fn start(
    listener: Listener,
    text: impl Fn() -> String + Send + Sync + 'static,
) -> io::Result<()> {
    let shared = Arc::new((listener, text));
    for _ in 0..THREADS {
        let shared = Arc::clone(&shared);
        thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            let (listener, text) = &*shared;
            loop {
                match listener.accept(PATIENCE) {
                    // Who does not wait for his answer does without.
                    Ok(stream) => drop(answer(stream, text)),
                    // Out of descriptors, as a rule: no hot loop until there are some.
                    Err(_passing) => thread::sleep(PATIENCE),
                }
            }
        })?;
    }
    Ok(())
}

fn answer(mut stream: Stream, text: impl Fn() -> String) -> io::Result<()> {
    let mut request = Vec::new();
    let mut limited = (&mut stream).take(REQUEST);
    while !has_ended(&request) {
        let mut bytes = [0; 1024];
        match limited.read(&mut bytes)? {
            0 => break,
            read => request.extend_from_slice(bytes.get(..read).unwrap_or_default()),
        }
    }
    let (status, body) = match judge(&request) {
        Ok(()) => ("200 OK", text()),
        Err(status) => (status, String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn has_ended(request: &[u8]) -> bool {
    request.windows(4).any(|four| four == b"\r\n\r\n")
}

fn judge(request: &[u8]) -> Result<(), &'static str> {
    if !has_ended(request) {
        return Err("400 Bad Request");
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let path = target.split(|byte| *byte == b'?').next();
    match (method, path, words.next()) {
        (Some(b"GET"), Some(b"/metrics"), Some(b"HTTP/1.0" | b"HTTP/1.1")) => Ok(()),
        (Some(b"GET"), Some(_), Some(b"HTTP/1.0" | b"HTTP/1.1")) => Err("404 Not Found"),
        (Some(_), Some(_), Some(b"HTTP/1.0" | b"HTTP/1.1")) => Err("405 Method Not Allowed"),
        _ => Err("400 Bad Request"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::net::Address;

    fn ask(address: &Address, request: &[u8]) -> String {
        let mut stream = Stream::connect(address, Duration::from_secs(5)).unwrap();
        // A refused request is answered before it is read to its end.
        drop(stream.write_all(request));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        String::from_utf8(answer).unwrap()
    }

    fn started() -> Address {
        let listener = Listener::open(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address();
        start(listener, || "a 1\n".to_owned()).unwrap();
        address
    }

    #[test]
    fn only_the_metrics_are_there() {
        let address = started();
        let got = ask(&address, b"GET /metrics?x=y HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\na 1\n"), "{got}");
        let status = |request: &str| {
            let got = ask(&address, request.as_bytes());
            got.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), "404");
        assert_eq!(status("GET /metrics/.. HTTP/1.1\r\n\r\n"), "404");
        assert_eq!(status("POST /metrics HTTP/1.1\r\n\r\n"), "405");
        assert_eq!(status("GET /metrics\r\n\r\n"), "400");
        assert_eq!(status("\r\n\r\n"), "400");
    }

    #[test]
    fn a_request_without_end_is_cut() {
        let started = Instant::now();
        let endless = "GET /metrics HTTP/1.1\r\n".to_owned() + &"a: b\r\n".repeat(2000);
        let got = ask(&self::started(), endless.as_bytes());
        // The rest that was not read makes the kernel reset the connection; that is no answer.
        assert!(got.is_empty() || got.starts_with("HTTP/1.1 400"), "{got}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn silent_peers_are_thrown_out_and_the_next_one_is_served() {
        let address = started();
        let patience = Duration::from_secs(30);
        let silent: Vec<_> =
            (0..THREADS * 2).map(|_| Stream::connect(&address, patience).unwrap()).collect();
        let mut late = Stream::connect(&address, patience).unwrap();
        late.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut got = String::new();
        late.read_to_string(&mut got).unwrap();
        assert!(got.ends_with("a 1\n"), "{got}");
        drop(silent);
    }
}
