//! Work that is tried again and again, and is told of once when it begins to fail.

use std::sync::Arc;

use tracing::warn;

use crate::{log::chain, metrics::Metrics};

/// Whether it fails at the moment.
pub(crate) struct Trouble {
    metrics: Arc<Metrics>,
    /// What cannot be done.
    what: &'static str,
    lasts: bool,
}

impl Trouble {
    /// None yet.
    pub(crate) const fn new(metrics: Arc<Metrics>, what: &'static str) -> Self {
        Self { metrics, what, lasts: false }
    }

    /// What a try gave; `None` where it failed, which is counted, and logged if the last did not.
    pub(crate) fn heed<T>(&mut self, tried: anyhow::Result<T>) -> Option<T> {
        match tried {
            Ok(given) => {
                self.lasts = false;
                Some(given)
            }
            Err(error) => {
                self.metrics.api_failures.inc();
                if !self.lasts {
                    warn!(error = chain(error.as_ref()), "{}", self.what);
                }
                self.lasts = true;
                None
            }
        }
    }
}
