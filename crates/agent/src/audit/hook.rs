//! Posts records to a collector on this node: in order, again and again until it takes them.
//!
//! One request at a time. A record may arrive twice, when an answer was lost, and then has the same
//! number.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::Counts;
use super::spool::{Batch, Reader, Spool};
use crate::events;
use crate::net::{Endpoint, Stream};

/// For one request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A collector that comes back is noticed within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Of an answer only the first line is read.
const ANSWER: u64 = 1024;

/// The thread that posts.
pub(crate) struct Hook {
    pub(crate) endpoint: Endpoint,
    pub(crate) spool: Arc<Spool>,
    pub(crate) reader: Reader,
    pub(crate) counts: Arc<Counts>,
}

impl Hook {
    /// Starts it.
    pub(crate) fn start(mut self) -> io::Result<()> {
        thread::Builder::new()
            .name("audit-hook".to_owned())
            .spawn(move || {
                let mut failures = 0;
                loop {
                    match self.step() {
                        Ok(()) => failures = 0,
                        Err(error) => {
                            if failures == 0 {
                                self.say(&error);
                            }
                            failures += 1;
                            thread::sleep(pause(failures, random()));
                        }
                    }
                }
            })
            .map(drop)
    }

    /// Posts what is next.
    fn step(&mut self) -> anyhow::Result<()> {
        let next = self.spool.next(&mut self.reader, LONGEST_PAUSE).context("the spool")?;
        let Some(batch) = next else { return Ok(()) };
        if !batch.lines.is_empty() {
            let posted = post(&self.endpoint, &batch);
            let count = if posted.is_ok() { &self.counts.posted } else { &self.counts.unposted };
            count.fetch_add(1, Ordering::Relaxed);
            posted?;
        }
        self.spool.acknowledge(&mut self.reader, &batch).context("the spool")
    }

    fn say(&self, error: &anyhow::Error) {
        events::write(&json!({
            "event": "the audit hook waits",
            "url": self.endpoint.address.to_string(),
            "why": format!("{error:#}"),
        }));
    }
}

fn post(endpoint: &Endpoint, batch: &Batch) -> anyhow::Result<()> {
    let mut stream = Stream::connect(&endpoint.address, PATIENCE).context("no connection")?;
    let Endpoint { host, path, .. } = endpoint;
    let len = batch.lines.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: {len}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).context("the request was not taken")?;
    stream.write_all(&batch.lines).context("the request was not taken")?;
    let mut answer = Vec::new();
    let mut limited = stream.take(ANSWER);
    while !answer.contains(&b'\n') {
        let mut bytes = [0; 256];
        let read = limited.read(&mut bytes).context("no answer")?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(bytes.get(..read).unwrap_or_default());
    }
    let status = status(&answer).context("the answer is not HTTP")?;
    anyhow::ensure!((200..300).contains(&status), "the answer was {status}");
    Ok(())
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    let version = words.next()?;
    let code = words.next()?;
    (version.starts_with("HTTP/1.") && code.len() == 3).then(|| code.parse().ok())?
}

/// Half of a growing time, and a random part of the other half, so that nodes do not march in step.
fn pause(failures: u32, random: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10));
    let half = doubled.min(LONGEST_PAUSE) / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Without random bytes the pause is the longest.
fn random() -> u32 {
    let mut bytes = [0; 4];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_or(u32::MAX, |()| u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;

    /// A collector that answers with these words, one per request, and returns the bodies.
    fn collector(answers: &'static [&'static str]) -> (Endpoint, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let bodies = thread::spawn(move || {
            let mut bodies = Vec::new();
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                let mut len = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if let Some(number) = line.strip_prefix("Content-Length: ") {
                        len = number.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        break;
                    }
                }
                let mut body = vec![0; len];
                reader.read_exact(&mut body).unwrap();
                bodies.push(String::from_utf8(body).unwrap());
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
            bodies
        });
        (url.parse().unwrap(), bodies)
    }

    #[test]
    fn what_was_refused_comes_again_before_what_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, reader) = Spool::open(folder.path().into(), 1 << 20).unwrap();
        let spool = Arc::new(spool);
        let answers =
            &["HTTP/1.1 503 Busy\r\n\r\n", "HTTP/1.1 204 \r\n\r\n", "HTTP/1.0 200 OK\r\n"];
        let (endpoint, bodies) = collector(answers);
        let counts = Arc::new(Counts::default());
        let mut hook =
            Hook { endpoint, spool: Arc::clone(&spool), reader, counts: Arc::clone(&counts) };
        spool.append(b"{\"sequence\":1}\n", 1, 1).unwrap();
        assert!(hook.step().unwrap_err().to_string().contains("503"));
        spool.append(b"{\"sequence\":2}\n", 2, 2).unwrap();
        hook.step().unwrap();
        spool.append(b"{\"sequence\":3}\n", 3, 3).unwrap();
        hook.step().unwrap();
        let [one, two, three] = [1, 2, 3].map(|n| format!("{{\"sequence\":{n}}}\n"));
        assert_eq!(bodies.join().unwrap(), [one.clone(), one + &two, three]);
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        assert_eq!((count(&counts.posted), count(&counts.unposted)), (2, 1));
        assert_eq!(spool.len_bytes(), 0);
    }

    #[test]
    fn only_http_is_an_answer() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 200"), Some(200));
        for other in [b"".as_slice(), b"SSH-2.0 x", b"HTTP/1.1", b"HTTP/1.1 2000 x", b"\xff"] {
            assert_eq!(status(other), None);
        }
    }

    #[test]
    fn pauses_grow_and_spread() {
        assert_eq!(pause(1, 0), FIRST_PAUSE / 2);
        assert_eq!(pause(1, u32::MAX), FIRST_PAUSE);
        assert_eq!(pause(u32::MAX, u32::MAX), LONGEST_PAUSE);
        assert_eq!(pause(u32::MAX, 0), LONGEST_PAUSE / 2);
    }
}
