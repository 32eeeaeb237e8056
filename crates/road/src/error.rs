//! Why there is no session with a bridge, in words for the one who has to mend it.

use std::io;

use cloudtaser_core::Blame;
use cloudtaser_tls::TlsError;

use crate::credential::Reception;

/// Why there is no session. What can be mended by waiting is told apart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No beacon can be reached.
    #[error("beacon {beacon} cannot be reached")]
    Beacon {
        /// Which.
        beacon: String,
        /// Why.
        source: io::Error,
    },
    /// The connection ended before the bridge said anything.
    #[error(
        "beacon {beacon} closed the connection without a word: the bridge is not there, the ticket \
         is not (or no longer) good, the client has too many tunnels, or a clock is wrong"
    )]
    Silence {
        /// Which.
        beacon: String,
    },
    /// There is no key for today's tickets.
    #[error("the client file has no key for day {day}: have the bridge write a new one (admit)")]
    Expired {
        /// Days since 1970.
        day: u32,
    },
    /// Something between here and the bridge is not the bridge.
    #[error("who answers is not the bridge: something on the way opens TLS, and that is refused")]
    Intercepted(#[source] io::Error),
    /// The bridge does not know this client's key.
    #[error("the bridge refuses this client: its key is not among the clients of the bridge")]
    Unknown(#[source] io::Error),
    /// The bridge does not do this for this client.
    #[error(
        "the bridge refuses this client: what it asks for ({protocol}) is not open to it there"
    )]
    Forbidden {
        /// The protocol.
        protocol: &'static str,
    },
    /// The bridge does not let this cluster in.
    #[error("the bridge does not let this cluster in: {0}")]
    TurnedAway(Reception),
    /// The broker's cluster is not enrolled.
    #[error(
        "broker {broker} has no certificate of the bridge: the cluster was not approved, or was put out"
    )]
    NotEnrolled {
        /// Which.
        broker: String,
    },
    /// The broker reaches no beacon, or waits for a bridge to dial it.
    #[error("broker {broker} reaches no beacon (in reverse mode: no bridge has dialled in)")]
    NoBeacon {
        /// Which.
        broker: String,
    },
    /// The session failed otherwise.
    #[error("the session with the bridge failed")]
    Session(#[source] io::Error),
    /// The bridge has no connection to OpenBao.
    #[error("the bridge cannot reach OpenBao")]
    Unreachable,
    /// The bridge carries as much as it may.
    #[error("the bridge carries as many sessions as it may")]
    Busy,
    /// The caller asked to stop.
    #[error("stopped on request")]
    Stopped,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
}

impl ClientError {
    /// Whether another attempt may have another end.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Beacon { .. }
                | Self::Silence { .. }
                | Self::NoBeacon { .. }
                | Self::NotEnrolled { .. }
                | Self::Session(_)
                | Self::Unreachable
                | Self::Busy
        )
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Intercepted(_) => Blame::Attack,
            Self::Expired { .. }
            | Self::Unknown(_)
            | Self::Forbidden { .. }
            | Self::TurnedAway(_) => Blame::Configuration,
            Self::Tls(error) => error.blame(),
            _ => Blame::Peer,
        }
    }

    /// What an error of a session means to the one who has to mend it.
    #[must_use]
    pub fn explain(error: io::Error, beacon: String) -> Self {
        use rustls::{AlertDescription as Alert, Error};
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match cause {
            Some(Error::AlertReceived(
                Alert::CertificateUnknown | Alert::BadCertificate | Alert::UnknownCA,
            )) => Self::Unknown(error),
            Some(Error::AlertReceived(Alert::NoApplicationProtocol)) => {
                Self::Forbidden { protocol: "a protocol that this bridge does not have" }
            }
            Some(
                Error::InvalidCertificate(_)
                | Error::PeerIncompatible(_)
                | Error::AlertReceived(_)
                | Error::InvalidMessage(_),
            ) => Self::Intercepted(error),
            Some(_) => Self::Session(error),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe => Self::Silence { beacon },
                _ => Self::Session(error),
            },
        }
    }
}
