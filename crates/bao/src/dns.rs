//! A stub resolver of our own, because a static program has no other that reads `resolv.conf`.
//!
//! `files` and `message` are pure and take any bytes; `client` has the sockets. It asks the servers
//! that `resolv.conf` names, believes only answers to its own question from the server it asked, and
//! does no caching: a connection is opened a few times in a program's life.
//!
//! Not done: DNSSEC, EDNS, `sortlist`, NSS modules, mDNS. Addresses of IPv4 come before those of
//! IPv6; the connection is tried to each in turn.

pub(crate) mod client;
pub(crate) mod files;
pub(crate) mod message;

use std::{io, net::IpAddr, path::PathBuf, time::Duration};

/// The files that a resolver reads.
#[derive(Clone, Debug)]
pub struct Files {
    /// Names that need no server.
    pub hosts: PathBuf,
    /// Servers and search list.
    pub resolv_conf: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into() }
    }
}

/// The addresses of a host, which may be an address already.
///
/// # Errors
/// [`DnsError`].
pub fn resolve(files: &Files, host: &str, time: Duration) -> Result<Vec<IpAddr>, DnsError> {
    client::resolve(files, host, time)
}

/// Why a name gave no address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// The name is no host name.
    #[error("{name:?} is not a host name")]
    BadName {
        /// The name.
        name: String,
    },
    /// A name is there, without any address: a service none of whose instances is ready.
    #[error("{name} has no address yet (the DNS servers are {servers})")]
    NoAddress {
        /// The servers asked.
        servers: String,
        /// The name that was asked for.
        name: String,
    },
    /// A server says of each name that may be meant that it does not exist.
    #[error("there is no host {host}: the DNS servers ({servers}) know none of {}", tried.join(", "))]
    NoSuchName {
        /// The name as it was written.
        host: String,
        /// The servers asked.
        servers: String,
        /// The names that were asked for, with the search list.
        tried: Vec<String>,
    },
    /// No server gave a usable answer.
    #[error("no usable answer from the DNS servers ({servers})")]
    NoAnswer {
        /// The servers asked.
        servers: String,
        /// The last thing that went wrong.
        source: Option<io::Error>,
    },
    /// The time was up.
    #[error("the DNS servers did not answer in time ({servers})")]
    Timeout {
        /// The servers asked.
        servers: String,
    },
}
