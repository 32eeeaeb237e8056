//! The bridge's configuration: one TOML file, where a word that is not known is an error.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cloudtaser_core::Secret;
use cloudtaser_tls::raw::{KeyPair, PublicKey};
use data_encoding::HEXLOWER;
use serde::Deserialize;

pub use cloudtaser_road::admission::BeaconAddress;

use super::release::config::{ReleaseConfig, Section};
use crate::{
    file::{ConfigError, beside, parse_key, read_key, read_toml},
    proto::ticket::TicketSecret,
};

/// A configuration, read and checked.
#[derive(Debug)]
pub struct Config {
    /// The root key: the bridge's name is a hash of it, and clients know the bridge by it.
    pub key: KeyPair,
    /// From which the keys of tickets come.
    pub tickets: TicketSecret,
    /// Where OpenBao listens: `host:port`.
    pub openbao: String,
    /// All beacons; the bridge is on each.
    pub beacons: Vec<BeaconAddress>,
    /// Who may open a session.
    pub clients: Vec<KnownClient>,
    /// Where it is kept which clusters may, in the place of that list.
    pub enrolment: Option<Enrolment>,
    /// Idle legs at each beacon.
    pub legs: u16,
    /// Sessions at once, over all beacons.
    pub max_sessions: u16,
    /// How long sessions may go on after a stop.
    pub drain_seconds: u16,
    /// How the bridge releases, where it does.
    pub release: Option<ReleaseConfig>,
}

/// Clusters that enrol.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// The folder with all that is known of them.
    pub folder: PathBuf,
    /// For how long a certificate is good.
    pub certificate_hours: u16,
}

/// A client that may open a session.
#[derive(Clone, Debug)]
pub struct KnownClient {
    /// In this file and in logs.
    pub name: String,
    /// What proves it.
    pub key: PublicKey,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    key_file: PathBuf,
    ticket_file: PathBuf,
    openbao: String,
    #[serde(default)]
    beacon: Vec<BeaconAddress>,
    #[serde(default)]
    client: Vec<FileClient>,
    enrolment: Option<PathBuf>,
    #[serde(default = "day")]
    certificate_hours: u16,
    #[serde(default = "four")]
    legs: u16,
    #[serde(default = "thousand")]
    max_sessions: u16,
    #[serde(default = "thirty")]
    drain_seconds: u16,
    release: Option<Section>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileClient {
    name: String,
    key: String,
}

/// A week: a certificate is not looked at again while a session goes on, but revocation is.
const MAX_CERTIFICATE_HOURS: u16 = 168;

const fn day() -> u16 {
    24
}

const fn four() -> u16 {
    4
}

const fn thirty() -> u16 {
    30
}

const fn thousand() -> u16 {
    1000
}

impl Config {
    /// Reads the file, and the keys that it names (relative to the file's folder).
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file: File = read_toml(path)?;
        if file.beacon.is_empty() {
            return Err(ConfigError::Missing("no beacon: name at least one in [[beacon]]"));
        }
        if file.enrolment.is_some() && !file.client.is_empty() {
            return Err(ConfigError::Missing(
                "with an enrolment nobody is let in by a list: invite whom [[client]] names",
            ));
        }
        if file.certificate_hours == 0 || file.certificate_hours > MAX_CERTIFICATE_HOURS {
            return Err(ConfigError::Missing("certificate_hours has to be from 1 to 168"));
        }
        if file.max_sessions == 0 || file.legs == 0 {
            return Err(ConfigError::Missing("a limit of 0 lets nobody in"));
        }
        for beacon in &file.beacon {
            let key = beacon.key.as_deref().ok_or(ConfigError::Missing(
                "a [[beacon]] needs its key, or anybody on the way could pose as it",
            ))?;
            parse_key(&beacon.address, key)?;
        }
        let known = |client: FileClient| {
            let key = parse_key(&client.name, &client.key)?;
            Ok(KnownClient { name: client.name, key })
        };
        // The names of clusters that enrol are not known yet.
        let names = file.client.iter().map(|client| client.name.clone()).collect::<Vec<_>>();
        let names = file.enrolment.is_none().then_some(&*names);
        let release = file.release.map(|section| section.read(path, names)).transpose()?;
        Ok(Self {
            key: read_key(&beside(path, &file.key_file))?,
            tickets: read_tickets(&beside(path, &file.ticket_file))?,
            openbao: file.openbao,
            beacons: file.beacon,
            clients: file.client.into_iter().map(known).collect::<Result<_, ConfigError>>()?,
            enrolment: file.enrolment.map(|folder| Enrolment {
                folder: beside(path, &folder),
                certificate_hours: file.certificate_hours,
            }),
            legs: file.legs,
            max_sessions: file.max_sessions,
            drain_seconds: file.drain_seconds,
            release,
        })
    }

    /// The name of a client's key.
    pub(crate) fn name_of(&self, key: &PublicKey) -> &str {
        self.clients.iter().find(|client| client.key == *key).map_or("?", |client| &*client.name)
    }
}

fn read_tickets(path: &Path) -> Result<TicketSecret, ConfigError> {
    let text = fs::read(path)
        .map(Secret::new)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let text = text.expose().trim_ascii();
    let bytes = HEXLOWER.decode(text).ok().map(zeroize::Zeroizing::new);
    let secret = bytes.and_then(|bytes| bytes.as_slice().first_chunk().map(TicketSecret::new));
    secret.filter(|_| text.len() == 64).ok_or(ConfigError::Missing(
        "the ticket_file must have 64 hexadecimal digits, as `init` writes it",
    ))
}
