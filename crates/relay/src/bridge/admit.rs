//! What a client is given, so that it finds the bridge and is let in: written by the bridge, read
//! by [`crate::client`].
//!
//! Until there is enrolment this file is made by hand and carried by hand. It holds keys for
//! tickets, for as many days as are asked for; it does not hold the client's own key, without which
//! it opens nothing.

use cloudtaser_road::admission::{BeaconAddress, ClientFile};
use cloudtaser_tls::{TlsError, raw::PublicKey};
use data_encoding::HEXLOWER;

use super::config::Config;
use crate::{
    clock::unix_seconds,
    proto::{rendezvous::Epoch, ticket::ClientTag},
};

/// For so many days at most can a client be let in at once.
pub const MAX_DAYS: u16 = 400;

/// Makes the file for a client with this key, from today on.
///
/// # Errors
/// [`TlsError::Cpu`].
pub fn client_file(
    config: &Config,
    client: &PublicKey,
    days: u16,
    max_tunnels: u16,
) -> Result<ClientFile, TlsError> {
    let digest = cloudtaser_tls::Digest::new()?;
    let tag = tag_of(digest, client);
    let today = Epoch::of(unix_seconds()).0;
    let days = (today..=today.saturating_add(days.min(MAX_DAYS).into())).map(|day| {
        let key = config.tickets.day(digest, day).client(digest, tag, max_tunnels);
        (day.to_string(), HEXLOWER.encode(&key.expose()))
    });
    let beacon = config.beacons.iter().map(BeaconAddress::for_clients);
    Ok(ClientFile {
        bridge: config.key.public().to_string(),
        tag: tag.to_string(),
        max_tunnels,
        beacon: beacon.collect(),
        days: days.collect(),
    })
}

/// The file for people, which the proxy reads.
///
/// # Errors
/// [`toml::ser::Error`].
pub fn as_toml(file: &ClientFile, client: &PublicKey) -> Result<String, toml::ser::Error> {
    let text = toml::to_string(file)?;
    Ok(format!(
        "# For the client with the key {client}. Whoever has this file can knock at the bridge.\n{text}"
    ))
}

/// A client's pseudonym follows from its key, so that nothing has to be kept.
pub(super) fn tag_of(digest: cloudtaser_tls::Digest, client: &PublicKey) -> ClientTag {
    let hash = digest.sha256(&[b"brp1/tag", client.as_bytes()]);
    let mut tag = [0; 8];
    tag.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    ClientTag(tag)
}
