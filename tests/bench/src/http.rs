//! Requests to the test server over loopback, without TLS: set-up and writes, never what is measured.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Longest that the server may take for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// The administration of one server.
#[derive(Debug)]
pub(crate) struct Admin {
    port: u16,
    token: String,
}

impl Admin {
    /// For the listener on this port.
    pub(crate) const fn new(port: u16, token: String) -> Self {
        Self { port, token }
    }

    /// Reads; `null` where the server answers without a body.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call("GET", path, "")
    }

    /// Writes.
    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call("POST", path, &body.to_string())
    }

    fn call(&self, verb: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let answer = self.exchange(verb, path, body).with_context(|| format!("{verb} {path}"))?;
        let (head, body) =
            answer.split_once("\r\n\r\n").context("the answer has no end of head")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(matches!(status, "200" | "204"), "{verb} {path}: status {status}: {body}");
        if body.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(body).with_context(|| format!("{verb} {path}: not JSON"))
    }

    /// HTTP/1.0, so that the body ends with the connection and needs no framing.
    fn exchange(&self, verb: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let token = &self.token;
        let len = body.len();
        let request = format!(
            "{verb} /v1/{path} HTTP/1.0\r\nHost: localhost\r\nX-Vault-Token: {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}
