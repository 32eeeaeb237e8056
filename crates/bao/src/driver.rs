//! Sends requests and receives answers: the one place with a connection, a clock and a pause.
//!
//! Redirects: OpenBao's standby nodes answer 307 with the active node's address. It is followed
//! with method and body kept, at most three times, and only to the same scheme. The token goes to
//! another host or port only over TLS that is verified: then the one who says so is OpenBao (or it
//! could not have answered), and the one who is told must show a certificate under the same trust,
//! pins and server name. Over plain HTTP, or with verification skipped, nothing of this holds, and
//! the redirect is an error. 301, 302 and 303 are never followed: OpenBao does not send them, log-in
//! pages do.
//!
//! No proxy is used, whatever the environment says.

use std::{
    io::Read,
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_core::Secret;
use cloudtaser_tls::{TlsClient, explain};
use ureq::{
    Agent, Body,
    http::{HeaderValue, Method, Request as HttpRequest, Response, StatusCode, Uri},
};
use zeroize::Zeroizing;

use crate::{
    address::Address,
    answer,
    deadline::{Deadline, Stop},
    dial::{Dial, KeyExchanges, Names, NotConnected},
    dns::{DnsError, Files},
    error::{BaoError, Failure, Operation},
    jitter::Jitter,
    json::{Flaw, check},
    request::Request,
    retry::{Outcome, patience, pause, retry_after, worth_repeating},
    transit,
};

/// ureq's default is eight times this; the buffers lie in scarce sealed memory.
const BUFFER_LEN: usize = 16 << 10;
/// Less than the buffer, so that a header that is too large is seen as such and not as a stall.
const MAX_HEADER_LEN: usize = BUFFER_LEN / 2;
/// Standby to active is one step; three allow for a change of leader on the way.
const MAX_REDIRECTS: usize = 3;
/// Shorter than the idle time-out of OpenBao and of what stands before it, so that a connection is
/// not used while the other end closes it.
const MAX_IDLE: Duration = Duration::from_secs(15);
/// First size of a buffer for a body of unknown length.
const FIRST_BODY_LEN: usize = 8 << 10;

/// The connection to OpenBao.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) agent: Agent,
    pub(crate) exchanges: Arc<KeyExchanges>,
    pub(crate) address: Address,
    pub(crate) namespace: Option<String>,
    pub(crate) verifies: bool,
    pub(crate) max_body: usize,
    pub(crate) try_timeout: Duration,
    pub(crate) max_tries: Option<u32>,
    pub(crate) jitter: Box<dyn Jitter>,
    pub(crate) stop: Arc<Stop>,
}

/// A complete answer.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: Secret,
    retry_after: Option<Duration>,
}

/// What one try came to, when it came to no answer.
struct Lost {
    failure: Failure,
    outcome: Outcome,
}

pub(crate) fn agent(tls: Option<TlsClient>, files: Files, exchanges: Arc<KeyExchanges>) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(2)
        .max_idle_connections_per_host(2)
        .max_idle_age(MAX_IDLE)
        .input_buffer_size(BUFFER_LEN)
        .output_buffer_size(BUFFER_LEN)
        .max_response_header_size(MAX_HEADER_LEN)
        .user_agent(concat!("cloudtaser/", env!("CARGO_PKG_VERSION")))
        .accept("application/json")
        .build();
    Agent::with_parts(config, Dial { tls, exchanges }, Names(files))
}

impl Driver {
    /// Sends a request until it is answered with success, refused for good, or time is up.
    ///
    /// The error is the last real cause, with the number of tries and the time they took.
    pub(crate) fn exchange(
        &self,
        request: &Request,
        token: Option<&Secret>,
        deadline: &Deadline,
    ) -> Result<Answered, BaoError> {
        if let Err(failure) = request.check() {
            return Err(BaoError::new(request.operation, Some(request.place()), failure));
        }
        let mut tries = 0;
        let started = Instant::now();
        let mut last = None;
        let mut lasting = None;
        loop {
            let failure = match self.time_for_try(deadline) {
                Ok(time) => {
                    tries += 1;
                    let (failure, outcome, asked) = match self.try_once(request, token, time) {
                        Ok(answered) if answered.status < 300 => return Ok(answered),
                        Ok(answered) => {
                            let outcome = Outcome::Answered(answered.status);
                            let asked = answered.retry_after;
                            (refusal(&answered, request), outcome, asked)
                        }
                        Err(lost) => (lost.failure, lost.outcome, None),
                    };
                    let again = worth_repeating(outcome, request.safety)
                        && self.max_tries.is_none_or(|max| tries < max);
                    let pause = pause(tries, asked, &*self.jitter);
                    let (_, since) = lasting
                        .filter(|(known, _)| *known == outcome)
                        .unwrap_or_else(|| (outcome, Instant::now()));
                    lasting = Some((outcome, since));
                    let left = patience(outcome, since.elapsed(), deadline.remaining());
                    if again && pause < left && self.stop.sleep(pause) {
                        last = Some(failure);
                        continue;
                    }
                    if self.stop.is_raised() { Failure::Stopped } else { failure }
                }
                // A try that time ended is the consequence; what came before it is the cause.
                Err(failure) => last.filter(|_| !self.stop.is_raised()).unwrap_or(failure),
            };
            let mut error = BaoError::new(request.operation, Some(request.place()), failure);
            (error.tries, error.elapsed) = (tries, started.elapsed());
            return Err(error);
        }
    }

    fn time_for_try(&self, deadline: &Deadline) -> Result<Duration, Failure> {
        let left = deadline.remaining();
        if self.stop.is_raised() {
            Err(Failure::Stopped)
        } else if left.is_zero() {
            Err(Failure::Timeout)
        } else {
            Ok(left.min(self.try_timeout))
        }
    }

    fn try_once(
        &self,
        request: &Request,
        token: Option<&Secret>,
        time: Duration,
    ) -> Result<Answered, Lost> {
        let deadline = Deadline::after(time);
        let mut url = self.address.url(&request.target());
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&url, request, token, deadline.remaining())?;
            match response.status() {
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    let to = response.headers().get("location").and_then(|to| to.to_str().ok());
                    url = self.follow(&url, to).map_err(|reason| Lost {
                        failure: Failure::Redirect(reason),
                        outcome: Outcome::Permanent,
                    })?;
                }
                status if status.is_redirection() => {
                    let reason = "OpenBao sends no such redirect: is this its address";
                    let failure = Failure::Redirect(reason);
                    return Err(Lost { failure, outcome: Outcome::Permanent });
                }
                _ => return self.receive(response),
            }
        }
        // A cluster without a leader can send its clients around: time may mend it.
        let failure = Failure::Redirect("more than three, one after the other");
        Err(Lost { failure, outcome: Outcome::Answered(503) })
    }

    fn send(
        &self,
        url: &str,
        request: &Request,
        token: Option<&Secret>,
        time: Duration,
    ) -> Result<Response<Body>, Lost> {
        let unusable = |reason| Lost {
            failure: Failure::Credential { path: None, reason, source: None },
            outcome: Outcome::Permanent,
        };
        let method = if request.body.is_some() { Method::POST } else { Method::GET };
        let mut built =
            HttpRequest::builder().method(method).uri(url).header("x-vault-request", "true");
        if let Some(token) = token {
            let mut value = HeaderValue::from_bytes(token.expose())
                .ok()
                .ok_or_else(|| unusable("has characters that a token cannot have"))?;
            value.set_sensitive(true);
            built = built.header("x-vault-token", value);
        }
        if let Some(namespace) = request.namespace.as_ref().or(self.namespace.as_ref()) {
            built = built.header("x-vault-namespace", namespace);
        }
        let bad = |_| unusable("or a path does not fit into a request");
        let sent = match &request.body {
            Some(body) => {
                let built = built.header("content-type", "application/json");
                let http = built.body(body.expose()).map_err(bad)?;
                let http = self.agent.configure_request(http).timeout_global(Some(time)).build();
                self.agent.run(http)
            }
            None => {
                let http = built.body(()).map_err(bad)?;
                let http = self.agent.configure_request(http).timeout_global(Some(time)).build();
                self.agent.run(http)
            }
        };
        sent.map_err(lost)
    }

    /// Where a redirect may lead.
    fn follow(&self, from: &str, to: Option<&str>) -> Result<String, &'static str> {
        let to = to.ok_or("it leads nowhere")?;
        let (Ok(from), Ok(to)) = (from.parse::<Uri>(), to.parse::<Uri>()) else {
            return Err("it leads to no URL");
        };
        let (Some(scheme), Some(authority)) = (from.scheme(), from.authority()) else {
            return Err("it leads nowhere");
        };
        let path = to.path_and_query().map_or("/", |path| path.as_str());
        let target = to.authority().unwrap_or(authority);
        if to.scheme().is_some_and(|other| other != scheme) {
            return Err("it leads from https to http or back");
        }
        if target.as_str().contains('@') {
            return Err("it has a user name in it");
        }
        if target != authority && !(self.address.is_tls() && self.verifies) {
            return Err("it leads to another host, whose identity cannot be verified");
        }
        Ok(format!("{scheme}://{target}{path}"))
    }

    fn receive(&self, response: Response<Body>) -> Result<Answered, Lost> {
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after = header("retry-after").and_then(retry_after);
        let len = header("content-length").and_then(|len| len.parse().ok());
        let body = read_body(response.into_body().into_reader(), len, self.max_body)?;
        // An answer of success must be whole. One of failure may be whatever a gateway says.
        if status < 300 && !body.is_empty() {
            check(body.expose()).map_err(|flaw| match flaw {
                Flaw::Cut => Lost { failure: Failure::Cut, outcome: Outcome::LostAfterSending },
                Flaw::NotJson => Lost { failure: Failure::NotJson, outcome: Outcome::Permanent },
            })?;
        }
        Ok(Answered { status, body, retry_after })
    }
}

/// Reads a body into a buffer that is wiped, also when it has to move because it grows.
fn read_body(mut from: impl Read, len: Option<usize>, limit: usize) -> Result<Secret, Lost> {
    let too_large = || Lost { failure: Failure::TooLarge { limit }, outcome: Outcome::Permanent };
    if len.is_some_and(|len| len > limit) {
        return Err(too_large());
    }
    let mut buffer = Zeroizing::new(vec![0; len.unwrap_or(FIRST_BODY_LEN).clamp(1, limit)]);
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            // One byte over the limit tells a body that is too large from one that just fits.
            let mut next = [0];
            if read_some(&mut from, &mut next)? == 0 {
                break;
            }
            if filled >= limit {
                return Err(too_large());
            }
            let mut larger = Zeroizing::new(vec![0; (filled * 2).clamp(filled + 1, limit)]);
            for (to, byte) in larger.iter_mut().zip(buffer.iter().chain(&next)) {
                *to = *byte;
            }
            buffer = larger;
            filled += 1;
            continue;
        }
        match read_some(&mut from, buffer.get_mut(filled..).unwrap_or(&mut []))? {
            0 => break,
            more => filled += more,
        }
    }
    buffer.truncate(filled);
    Ok(Secret::new(std::mem::take(&mut *buffer)))
}

fn read_some(from: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Lost> {
    from.read(buffer).map_err(|error| lost(error.into()))
}

/// Why OpenBao did not grant what was asked for.
fn refusal(answered: &Answered, request: &Request) -> Failure {
    let text = answered.body.expose();
    if request.operation == Operation::Decrypt
        && let Some(entry) = transit::failed_entry(text)
    {
        return entry;
    }
    // Go's own words, which are no JSON.
    if text.starts_with(b"Client sent an HTTP request to an HTTPS server") {
        return Failure::Address("TLS is spoken at this port: write https");
    }
    match answered.status {
        404 => answer::missing(text).unwrap_or_else(|| Failure::NotFound {
            tried: vec![request.place().path],
            written: None,
            errors: answer::errors(text),
        }),
        status => Failure::Status { status, errors: answer::errors(text) },
    }
}

/// What an error of ureq means, and whether the request may have been carried out.
fn lost(error: ureq::Error) -> Lost {
    let after = |failure| Lost { failure, outcome: Outcome::LostAfterSending };
    let never = |failure| Lost { failure, outcome: Outcome::Permanent };
    match error {
        ureq::Error::Other(other) => match other.downcast::<NotConnected>() {
            Ok(problem) => not_connected(*problem),
            Err(_) => after(Failure::Cut),
        },
        ureq::Error::Timeout(_) => after(Failure::Timeout),
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            after(Failure::Timeout)
        }
        ureq::Error::LargeResponseHeader(..) => never(Failure::Shape("its header is too large")),
        ureq::Error::Protocol(_) => never(Failure::Shape("it is no HTTP")),
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => {
            never(Failure::Address("path, namespace or address do not fit into a request"))
        }
        // TLS 1.3: the server verifies the client's certificate after the client has sent its request,
        // so a refusal of it arrives in place of an answer.
        ureq::Error::Io(error) => match error.downcast::<rustls::Error>() {
            Ok(error) => never(tls(&error)),
            Err(_) => after(Failure::Cut),
        },
        ureq::Error::Rustls(error) => never(tls(&error)),
        _ => after(Failure::Cut),
    }
}

fn not_connected(problem: NotConnected) -> Lost {
    let retry = |failure| Lost { failure, outcome: Outcome::NotSent };
    let never = |failure| Lost { failure, outcome: Outcome::Permanent };
    match problem {
        NotConnected::Io(error) => retry(Failure::Connect(error)),
        NotConnected::Name(error) => {
            let outcome = match error {
                DnsError::BadName { .. } => Outcome::Permanent,
                DnsError::NoSuchName { .. } => Outcome::NoSuchName,
                _ => Outcome::NotSent,
            };
            Lost { failure: Failure::Name(error), outcome }
        }
        NotConnected::NoTls => never(Failure::Address("it is https, and no TLS was set up")),
        NotConnected::ServerName => never(Failure::Setup(cloudtaser_tls::TlsError::ServerName)),
        NotConnected::Timeout => retry(Failure::Timeout),
        NotConnected::Tls(error) => never(tls(&error)),
    }
}

fn tls(error: &rustls::Error) -> Failure {
    let (blame, meaning) = explain(error);
    Failure::Tls { blame, meaning }
}

#[cfg(test)]
mod tests;
