//! The little of HTTP/1.1 that a witness needs, behind a TLS terminator or on the loopback.
//!
//! One request per connection; sizes, times and the number of connections are bounded. Requests are
//! not authenticated: what counts are signatures.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream, ToSocketAddrs as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Answer, Witness};
use crate::note::NOTE_MAX;

/// For one connection, in all.
const DEADLINE: Duration = Duration::from_secs(10);
/// Connections at a time; more are closed.
const CONNECTIONS_MAX: usize = 64;
/// Request line and headers.
const HEAD_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;

/// An answer that is not what HTTP has, or none in time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The address is none.
    #[error("{0} is no address: http://HOST[:PORT][/PREFIX] is expected")]
    Url(String),
    /// There is no connection, or it broke.
    #[error("no answer")]
    Io(#[from] io::Error),
    /// What came is no answer.
    #[error("the answer is not HTTP")]
    Form,
    /// What came is too long.
    #[error("the answer is too long")]
    TooLong,
}

/// Answers requests until the listener fails.
///
/// # Errors
/// Those of the listener.
pub fn serve(listener: &TcpListener, witness: &Arc<Witness>) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors, most likely; they come back as connections end.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        if open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let (witness, count) = (Arc::clone(witness), Arc::clone(&open));
        let connection = move || {
            // Whoever hangs up, or is too slow, learns nothing; there is nobody to tell.
            let _ended = answer(stream, &witness);
            count.fetch_sub(1, Ordering::AcqRel);
        };
        if thread::Builder::new().spawn(connection).is_err() {
            open.fetch_sub(1, Ordering::AcqRel);
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream, witness: &Witness) -> Result<(), HttpError> {
    let until = Instant::now() + DEADLINE;
    let read = read_message(&mut stream, until, |head| {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head) {
            Ok(httparse::Status::Complete(end)) => {
                let start = (request.method.unwrap_or(""), request.path.unwrap_or(""));
                let start = (start.0.to_owned(), start.1.to_owned());
                Ok(Some((start, end, content_length(request.headers)?.unwrap_or(0))))
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Err(_) => Err(HttpError::Form),
        }
    });
    let answer = match read {
        Ok(((method, path), body)) => route(witness, &method, &path, &body),
        Err(HttpError::TooLong) => Answer::text(413, "too long\n"),
        Err(HttpError::Form) => Answer::text(400, "this is not HTTP as it is understood here\n"),
        Err(error) => return Err(error),
    };
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.status,
        phrase(answer.status),
        answer.content_type,
        answer.body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(answer.body.as_bytes())?;
    Ok(())
}

fn route(witness: &Witness, method: &str, path: &str, body: &[u8]) -> Answer {
    let last: Vec<&str> = path.rsplit('/').collect();
    match (method, last.as_slice()) {
        ("POST", ["add-checkpoint", ..]) => witness.add_checkpoint(body),
        ("GET", ["checkpoint", origin_hash, ..]) => witness.checkpoint(origin_hash),
        _ => Answer::text(404, "POST add-checkpoint, or GET HASH/checkpoint\n"),
    }
}

const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        413 => "Content Too Large",
        422 => "Unprocessable Entity",
        _ => "Service Unavailable",
    }
}

/// The length of a body; none where it is not told.
fn content_length(headers: &[httparse::Header<'_>]) -> Result<Option<usize>, HttpError> {
    let named = |name: &str| {
        let found = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| header.value).collect::<Vec<_>>()
    };
    if !named("transfer-encoding").is_empty() {
        return Err(HttpError::Form);
    }
    match named("content-length").as_slice() {
        [] => Ok(None),
        [length] => {
            let length = str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            length.ok_or(HttpError::Form).map(Some)
        }
        _ => Err(HttpError::Form),
    }
}

/// Reads a head as `parse` understands it, and the body that it announces.
fn read_message<T>(
    stream: &mut TcpStream,
    until: Instant,
    parse: impl Fn(&[u8]) -> Result<Option<(T, usize, usize)>, HttpError>,
) -> Result<(T, Vec<u8>), HttpError> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let mut known = None;
    loop {
        if known.is_none() {
            known = parse(&bytes)?;
            if known.is_none() && bytes.len() > HEAD_MAX {
                return Err(HttpError::TooLong);
            }
        }
        if let Some((_, head, body)) = &known {
            if *body > NOTE_MAX || *head > HEAD_MAX {
                return Err(HttpError::TooLong);
            }
            if bytes.len() >= head + body {
                break;
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        stream.set_read_timeout(Some(left))?;
        stream.set_write_timeout(Some(left))?;
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
    let (start, head, body) = known.ok_or(HttpError::Form)?;
    let body = bytes.get(head..head + body).unwrap_or_default().to_vec();
    Ok((start, body))
}

/// Posts a body to `url` + `add-checkpoint`; tells status and body.
///
/// # Errors
/// [`HttpError`].
pub fn post(url: &str, body: &str, timeout: Duration) -> Result<(u16, String), HttpError> {
    let until = Instant::now() + timeout;
    let wrong = || HttpError::Url(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || !plain(host) || !plain(prefix) {
        return Err(wrong());
    }
    let port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut stream = connect(&port, until)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(timeout))?;
    let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
    let request = format!(
        "POST /{prefix}{slash}add-checkpoint HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let (status, body) = read_message(&mut stream, until, |head| {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(head) {
            Ok(httparse::Status::Complete(end)) => {
                let length = content_length(response.headers)?.ok_or(HttpError::Form)?;
                Ok(Some((response.code.unwrap_or(0), end, length)))
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Err(_) => Err(HttpError::Form),
        }
    })?;
    String::from_utf8(body).map(|body| (status, body)).map_err(|_bad| HttpError::Form)
}

fn connect(host: &str, until: Instant) -> Result<TcpStream, HttpError> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in host.to_socket_addrs()? {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last.into())
}
