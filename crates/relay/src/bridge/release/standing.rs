//! Whether OpenBao serves: looked at while the bridge runs, and said when it changes.
//!
//! Each request meets a seal or an outage by itself, and its wrapper is told why. This is for the
//! bridge's own people, who should not learn of it from a cluster that cannot start anything.

use std::{fmt, sync::Arc, time::Duration};

use cloudtaser_bao::{Client, Deadline, Seal};
use tokio::{task::spawn_blocking, time::sleep};
use tracing::{info, warn};

use super::{ReleaseError, Releaser, workload};
use crate::log::chain;

/// An unseal is waited for by people, and a question costs OpenBao next to nothing.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// It stands beside the bridge.
const PATIENCE: Duration = Duration::from_secs(2);

/// How OpenBao stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It cannot be asked, and why.
    Away(String),
    /// It is sealed.
    Sealed,
    /// It serves.
    Serves,
    /// It has never been initialised.
    Uninitialised,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) => write!(f, "OpenBao cannot be reached: {why}"),
            Self::Sealed => f.write_str("OpenBao is sealed: unseal it"),
            Self::Serves => f.write_str("OpenBao serves"),
            Self::Uninitialised => f.write_str("OpenBao is not initialised"),
        }
    }
}

impl Standing {
    /// In one word, for machines.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Away(_) => "away",
            Self::Sealed => "sealed",
            Self::Serves => "serves",
            Self::Uninitialised => "uninitialised",
        }
    }

    fn of(client: &Client) -> Self {
        match client.seal(&Deadline::after(PATIENCE)) {
            Ok(Seal::Open) => Self::Serves,
            Ok(Seal::Sealed) => Self::Sealed,
            Ok(Seal::Uninitialised) => Self::Uninitialised,
            Err(error) => Self::Away(chain(&error)),
        }
    }
}

/// How the OpenBao of a configuration stands now. It blocks.
///
/// # Errors
/// [`ReleaseError`] where the configuration makes no connection.
pub fn standing(config: &super::config::ReleaseConfig) -> Result<Standing, ReleaseError> {
    Ok(Standing::of(&workload::client(config)?))
}

/// Looks for as long as the bridge runs.
pub(in crate::bridge) async fn watch(releaser: Arc<Releaser>) {
    let client = match workload::client(&releaser.config) {
        Ok(client) => Arc::new(client),
        Err(error) => return warn!(error = chain(&error), "OpenBao is not watched"),
    };
    let mut last = Standing::Serves;
    loop {
        let asked = Arc::clone(&client);
        let Ok(now) = spawn_blocking(move || Standing::of(&asked)).await else { return };
        // The words of a failure differ from one time to the next, which is no news.
        if now.word() != last.word() {
            match &now {
                Standing::Serves => info!("OpenBao serves again"),
                other => {
                    warn!(why = %other, "apps that run go on, and those that start wait");
                }
            }
        }
        last = now;
        sleep(LOOK_EVERY).await;
    }
}
