//! A server that speaks HTTP as a script tells it to, and remembers what it was asked.
//!
//! It does not try to be OpenBao: a look-up of the token and its revocation succeed, everything
//! else is the script's.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::SECRET;

const LOOKUP: &str = r#"{"data":{"ttl":600,"renewable":true,"policies":["p"]}}"#;

/// The first byte of somebody who speaks TLS.
const TLS_HANDSHAKE: u8 = 22;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) body: String,
}

impl Seen {
    /// Whether it is about the token itself.
    pub(crate) fn is_about_token(&self) -> bool {
        self.path.starts_with("/v1/auth/token/")
    }
}

/// What the double does with the n-th request that is not about the token; the answer is whether the
/// connection stays open.
type Script = dyn Fn(usize, &Seen, &mut TcpStream) -> bool + Send + Sync;

/// The server. It ends with the test program.
#[derive(Debug)]
pub(crate) struct Double {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Double {
    /// Serves each connection in a thread.
    pub(crate) fn start(
        script: impl Fn(usize, &Seen, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::serve_on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// The same at an address that a test has chosen.
    pub(crate) fn serve_on(
        listener: TcpListener,
        script: impl Fn(usize, &Seen, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                thread::spawn(move || serve(stream, &*script, &log));
            }
        });
        Self { port, seen }
    }

    /// Answers every read with the secret.
    pub(crate) fn good() -> Self {
        Self::start(|_, _, stream| answer(stream, "200 OK", &secret_body()))
    }

    /// Gives every request the same answer.
    pub(crate) fn always(status: &'static str, body: &'static str) -> Self {
        Self::start(move |_, _, stream| answer(stream, status, body))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All that was asked.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was asked beside the token.
    pub(crate) fn reads(&self) -> usize {
        self.seen().iter().filter(|request| !request.is_about_token()).count()
    }
}

fn serve(mut stream: TcpStream, script: &Script, log: &Mutex<Vec<Seen>>) {
    while let Some(request) = read_request(&mut stream) {
        let mut all = log.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = all.iter().filter(|seen| !seen.is_about_token()).count();
        all.push(request.clone());
        drop(all);
        let stays = match request.path.as_str() {
            "/v1/auth/token/lookup-self" => answer(&mut stream, "200 OK", LOOKUP),
            "/v1/auth/token/revoke-self" => answer(&mut stream, "204 No Content", ""),
            _ => script(nth, &request, &mut stream),
        };
        if !stays {
            return;
        }
    }
}

/// The answer to a read.
pub(crate) fn secret_body() -> String {
    format!(r#"{{"data":{{"a":"{SECRET}"}}}}"#)
}

/// Writes a whole answer.
pub(crate) fn answer(stream: &mut TcpStream, status: &str, body: &str) -> bool {
    let len = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
    say(stream, &format!("{head}Content-Length: {len}\r\n\r\n{body}"))
}

/// Writes what it is given.
pub(crate) fn say(stream: &mut TcpStream, text: &str) -> bool {
    stream.write_all(text.as_bytes()).is_ok()
}

/// Writes one byte at a time, for ever.
pub(crate) fn drip(stream: &mut TcpStream) -> bool {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{";
    if !say(stream, head) {
        return false;
    }
    while say(stream, " ") {
        thread::sleep(Duration::from_millis(100));
    }
    false
}

fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let field = |wanted: &str| {
                head.lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                    .map(|(_, value)| value.trim().to_owned())
            };
            let wanted = field("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
            if body.len() >= wanted {
                let mut words = head.split_whitespace().map(str::to_owned);
                return Some(Seen {
                    method: words.next()?,
                    path: words.next()?,
                    token: field("x-vault-token"),
                    body: body.to_owned(),
                });
            }
        }
        if bytes.first() == Some(&TLS_HANDSHAKE) {
            answer(stream, "400 Bad Request", "Client sent an HTTPS request to an HTTP server.");
            return None;
        }
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            len => bytes.extend_from_slice(&chunk[..len]),
        }
    }
}
