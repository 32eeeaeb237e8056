//! The beacon's configuration: one TOML file, where a word that is not known is an error.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use cloudtaser_tls::{
    TlsError,
    raw::{KeyPair, PublicKey},
};
use serde::Deserialize;

use crate::file::{ConfigError, beside, parse_key, read_key, read_toml};

/// A configuration, read and checked.
#[derive(Debug)]
pub struct Config {
    /// Where clients and bridges connect.
    pub listen: SocketAddr,
    /// Where clients connect, in the place of `listen`, which then is for bridges alone.
    pub clients: Option<SocketAddr>,
    /// Where metrics and health are asked for.
    pub admin: Option<SocketAddr>,
    /// A socket of this machine, where a beacon that is to follow this one asks for its place.
    pub handover_socket: Option<PathBuf>,
    /// By which bridges know this beacon.
    pub key: KeyPair,
    /// Who may register.
    pub bridges: Bridges,
    /// What is borne.
    pub limits: Limits,
}

/// Who may register a name.
#[derive(Clone, Debug)]
pub enum Bridges {
    /// Whoever has a key. For trying it out.
    Any,
    /// The holders of these keys.
    Only(BTreeSet<PublicKey>),
}

/// What a beacon bears at most.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections that have not yet said what they want.
    pub pending: usize,
    /// Those from one source: an IPv4 address or an IPv6 /64.
    pub pending_per_source: u32,
    /// How long a connection may take to say what it wants, in all.
    pub hello_seconds: u16,
    /// Tunnels.
    pub tunnels: usize,
    /// How old a tunnel may grow.
    pub tunnel_seconds: u32,
    /// How long one side of a tunnel may go on when the other has ended.
    pub half_open_seconds: u32,
    /// How long a client waits for a leg.
    pub pairing_seconds: u16,
    /// Clients that wait for legs of one bridge.
    pub waiting_per_bridge: usize,
    /// Control connections.
    pub bridges: usize,
    /// Control connections that prove one key.
    pub bridges_per_key: usize,
    /// Idle legs of one control connection.
    pub legs_per_bridge: u16,
    /// What the kernel may keep of a connection in each direction, before it doubles it for its own
    /// needs and bounds it by its own limits; 0 leaves it to the kernel.
    pub socket_kib: u32,
    /// How long tunnels may go on after a stop.
    pub drain_seconds: u16,
    /// Threads. One carries some 20 Gbit or 14,000 new tunnels in a second, and costs least for
    /// each; more share the work.
    pub threads: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending: 10_000,
            pending_per_source: 256,
            hello_seconds: 3,
            tunnels: 100_000,
            tunnel_seconds: 86_400,
            half_open_seconds: 300,
            pairing_seconds: 5,
            waiting_per_bridge: 1024,
            bridges: 10_000,
            bridges_per_key: 8,
            legs_per_bridge: 64,
            socket_kib: 512,
            drain_seconds: 30,
            threads: 1,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: SocketAddr,
    clients: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    handover_socket: Option<PathBuf>,
    key_file: PathBuf,
    #[serde(default)]
    any_bridge: bool,
    #[serde(default)]
    bridges: Vec<String>,
    #[serde(default)]
    limits: Limits,
}

impl Config {
    /// Reads the file, and the key that it names (relative to the file's folder).
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file: File = read_toml(path)?;
        let bridges = file.bridges.iter().map(|text| parse_key("bridges", text));
        let bridges = bridges.collect::<Result<BTreeSet<_>, _>>()?;
        let bridges = match (file.any_bridge, bridges.is_empty()) {
            (true, true) => Bridges::Any,
            (false, false) => Bridges::Only(bridges),
            (true, false) => {
                return Err(ConfigError::Missing("any_bridge = true makes the list bridges moot"));
            }
            (false, true) => {
                return Err(ConfigError::Missing(
                    "no bridge may register: list their keys in bridges, or set any_bridge = true",
                ));
            }
        };
        if file.limits.pending == 0 || file.limits.tunnels == 0 || file.limits.hello_seconds == 0 {
            return Err(ConfigError::Missing("a limit of 0 lets nobody in"));
        }
        if file.clients.is_some() && file.handover_socket.is_some() {
            return Err(ConfigError::Missing(
                "a beacon with an address of its own for clients has no handover_socket: one \
                 listener is handed over, and not two",
            ));
        }
        Ok(Self {
            listen: file.listen,
            clients: file.clients,
            admin: file.admin,
            handover_socket: file.handover_socket.map(|socket| beside(path, &socket)),
            key: read_key(&beside(path, &file.key_file))?,
            bridges,
            limits: file.limits,
        })
    }

    /// For trying it out: a key of its own, every bridge is welcome, and nothing but the loopback.
    ///
    /// # Errors
    /// Where there is no randomness or the CPU is too old.
    pub fn development(listen: SocketAddr, admin: Option<SocketAddr>) -> Result<Self, TlsError> {
        let (key, _pem) = KeyPair::generate()?;
        let (bridges, limits) = (Bridges::Any, Limits::default());
        Ok(Self { listen, clients: None, admin, handover_socket: None, key, bridges, limits })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let (_, pem) = KeyPair::generate().unwrap();
        fs::write(folder.path().join("key.pem"), pem.expose()).unwrap();
        let path = folder.path().join("beacon.toml");
        fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    const LEAST: &str = "listen = \"127.0.0.1:0\"\nkey_file = \"key.pem\"\n";

    #[test]
    fn an_open_relay_has_to_be_asked_for() {
        assert!(matches!(read(LEAST), Err(ConfigError::Missing(_))));
        let open = read(&format!("{LEAST}any_bridge = true\n")).unwrap();
        assert!(matches!(open.bridges, Bridges::Any));
        let (key, _) = KeyPair::generate().unwrap();
        let listed = read(&format!("{LEAST}bridges = [\"{}\"]\n", key.public())).unwrap();
        assert!(matches!(listed.bridges, Bridges::Only(keys) if keys.contains(&key.public())));
    }

    #[test]
    fn a_word_that_is_not_known_is_an_error() {
        for odd in ["any_bridges = true\n", "any_bridge = true\n[limits]\npendig = 3\n"] {
            let error = read(&format!("{LEAST}{odd}")).unwrap_err();
            assert!(matches!(error, ConfigError::Syntax { .. }), "{error}");
        }
        assert!(read(&format!("{LEAST}any_bridge = true\n[limits]\npending = 0\n")).is_err());
    }

    #[test]
    fn two_listeners_cannot_be_handed_over() {
        let (clients, socket) = ("clients = \"127.0.0.1:0\"\n", "handover_socket = \"run/h\"\n");
        let with = |more: &str| read(&format!("{LEAST}{more}any_bridge = true\n"));
        assert!(with(clients).unwrap().clients.is_some());
        assert!(with(socket).unwrap().handover_socket.unwrap().is_absolute());
        let both = with(&format!("{clients}{socket}")).unwrap_err();
        assert!(both.to_string().contains("handover_socket"), "{both}");
    }
}
