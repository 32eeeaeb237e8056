//! What a client is given, so that it finds a bridge and is let in.

use std::{collections::BTreeMap, io};

use cloudtaser_tls::{
    Digest, TlsError,
    raw::{self, KeyPair, PublicKey},
};
use data_encoding::HEXLOWER;
use rustls::{ClientConfig, pki_types::ServerName};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    error::ClientError,
    rendezvous::{Epoch, RendezvousId},
    ticket::{ClientKey, ClientTag, Ticket},
};

/// The file, as the bridge writes it (TOML for people, JSON for the wrapper).
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientFile {
    /// The bridge's key.
    pub bridge: String,
    /// The client's pseudonym, hexadecimal.
    pub tag: String,
    /// How many tunnels it may have at once.
    pub max_tunnels: u16,
    /// Where beacons are.
    pub beacon: Vec<BeaconAddress>,
    /// Keys for tickets by day, hexadecimal.
    pub days: BTreeMap<String, String>,
}

/// A beacon as bridges and clients are told of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BeaconAddress {
    /// Where to dial: `host:port`.
    pub address: String,
    /// The domain in server names; the host, where it is left out and no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// By which it is known. Clients need none: they never speak to the beacon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where clients dial it, where that is another address; said to bridges alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<String>,
}

impl BeaconAddress {
    /// As clients are told of it. Its key is not their business: they never speak to the beacon.
    #[must_use]
    pub fn for_clients(&self) -> Self {
        let address = self.clients.as_ref().unwrap_or(&self.address).clone();
        Self { address, domain: Some(self.domain().to_owned()), key: None, clients: None }
    }

    /// The domain in server names.
    #[must_use]
    pub fn domain(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host);
        let host = if names_no_address(host) { host } else { NO_DOMAIN };
        self.domain.as_deref().unwrap_or(host)
    }
}

/// In server names where the beacon is dialled by its address (RFC 6066 §3: that is not one).
const NO_DOMAIN: &str = "beacon.internal";

fn names_no_address(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<std::net::IpAddr>().is_err()
}

/// A client file that is not as a bridge writes it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// A part of it.
    #[error("the client file is not as the bridge writes it: {0}")]
    Form(&'static str),
    /// The bridge's key.
    #[error("the client file names no key of a bridge")]
    Bridge(#[source] TlsError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
}

/// What the file says, read and checked.
#[derive(Debug)]
pub struct Admission {
    digest: Digest,
    bridge: PublicKey,
    beacons: Vec<BeaconAddress>,
    tag: ClientTag,
    max_tunnels: u16,
    days: BTreeMap<u32, ClientKey>,
}

/// One day's name, and the key of its tickets.
#[derive(Debug)]
pub struct Day<'a> {
    epoch: Epoch,
    id: RendezvousId,
    key: &'a ClientKey,
}

impl Admission {
    /// Reads a file's content.
    ///
    /// # Errors
    /// [`AdmissionError`].
    pub fn new(file: ClientFile) -> Result<Self, AdmissionError> {
        let bridge = file.bridge.parse().map_err(AdmissionError::Bridge)?;
        let tag = HEXLOWER.decode(file.tag.as_bytes()).ok();
        let tag = tag.and_then(|tag| tag.try_into().ok()).ok_or(AdmissionError::Form("tag"))?;
        let mut days = BTreeMap::new();
        for (day, key) in &file.days {
            let bytes = HEXLOWER.decode(key.as_bytes()).ok().map(Zeroizing::new);
            let key = bytes.as_ref().and_then(|bytes| bytes.as_slice().try_into().ok());
            match (day.parse(), key) {
                (Ok(day), Some(key)) => days.insert(day, ClientKey::new(key)),
                _ => return Err(AdmissionError::Form("days")),
            };
        }
        if file.beacon.is_empty() {
            return Err(AdmissionError::Form("beacon"));
        }
        let (beacons, max_tunnels) = (file.beacon, file.max_tunnels);
        Ok(Self { digest: Digest::new()?, bridge, beacons, tag: ClientTag(tag), max_tunnels, days })
    }

    /// The bridge's key.
    #[must_use]
    pub const fn bridge(&self) -> PublicKey {
        self.bridge
    }

    /// Hashes and MACs.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// A TLS configuration for whoever holds this key, to be completed by [`Self::hello`].
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn config(&self, key: &KeyPair) -> Result<ClientConfig, TlsError> {
        let mut config = raw::client_config(key, self.bridge)?;
        config.enable_sni = true;
        Ok(config)
    }

    /// The name and the key of a moment, in seconds since 1970.
    ///
    /// # Errors
    /// [`ClientError::Expired`].
    pub fn day(&self, now: u64) -> Result<Day<'_>, ClientError> {
        let epoch = Epoch::of(now);
        let key = self.days.get(&epoch.0).ok_or(ClientError::Expired { day: epoch.0 })?;
        Ok(Day { epoch, id: RendezvousId::new(self.digest, &self.bridge, epoch), key })
    }

    /// All beacons, in the order in which to try them.
    ///
    /// Highest random weight: clients spread over beacons, and each bridge's clients move only when
    /// their own beacon goes.
    #[must_use]
    pub fn in_order(&self, day: &Day<'_>) -> Vec<&BeaconAddress> {
        let mut beacons: Vec<&BeaconAddress> = self.beacons.iter().collect();
        let weight = |beacon: &&BeaconAddress| {
            self.digest.sha256(&[day.id.as_bytes(), beacon.address.as_bytes()])
        };
        beacons.sort_by_cached_key(|beacon| std::cmp::Reverse(weight(beacon)));
        beacons
    }

    /// Completes a configuration with a fresh ticket and the protocol, and names the server.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn hello(
        &self,
        config: &ClientConfig,
        protocol: &[u8],
        beacon: &BeaconAddress,
        day: &Day<'_>,
        now: u64,
    ) -> Result<(ClientConfig, ServerName<'static>), TlsError> {
        let mut nonce = [0; 12];
        cloudtaser_tls::random(&mut nonce)?;
        let issued_at = u32::try_from(now).unwrap_or(u32::MAX);
        let (tag, max_tunnels) = (self.tag, self.max_tunnels);
        let ticket = Ticket { tag, day: day.epoch.0, max_tunnels, issued_at, nonce };
        let mut config = config.clone();
        let shown = day.key.protocol(self.digest, &day.id, &ticket);
        config.alpn_protocols = vec![shown, protocol.to_vec()];
        let name = ServerName::try_from(day.id.server_name(beacon.domain()));
        Ok((config, name.map_err(|_odd| TlsError::ServerName)?))
    }
}

impl From<AdmissionError> for io::Error {
    fn from(error: AdmissionError) -> Self {
        Self::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(address: &str) -> BeaconAddress {
        BeaconAddress { address: address.to_owned(), domain: None, key: None, clients: None }
    }

    #[test]
    fn clients_are_told_their_own_address_and_no_key() {
        let (key, clients) = (Some("k".to_owned()), Some("beacon.ns.svc:7444".to_owned()));
        let told = BeaconAddress { key, clients, ..named("192.0.2.7:443") }.for_clients();
        assert_eq!((&*told.address, told.domain()), ("beacon.ns.svc:7444", "beacon.internal"));
        assert!(told.key.is_none() && told.clients.is_none());
        assert_eq!(named("b.example:1").for_clients().address, "b.example:1");
    }

    #[test]
    fn a_beacon_that_is_dialled_by_its_address_has_a_name_all_the_same() {
        let of = |address: &str| {
            let beacon = named(address);
            let name = format!("ctl.{}", beacon.domain());
            assert!(ServerName::try_from(name.clone()).is_ok(), "{name} is no name");
            name
        };
        assert_eq!(of("beacon.example:443"), "ctl.beacon.example");
        assert_eq!(of("192.0.2.7:443"), "ctl.beacon.internal");
        assert_eq!(of("[2001:db8::7]:443"), "ctl.beacon.internal");
    }
}
