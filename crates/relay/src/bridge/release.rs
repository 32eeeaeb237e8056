//! The bridge as the point where it is decided what is released: verifies a workload's token, logs
//! in to OpenBao as that workload's role, asks the policy, reads, records, answers.
//!
//! Plaintext is touched on threads of their own alone, whose stacks are wiped after each exchange;
//! the heap of the whole program is sealed (`docs/adr/0024`). Nothing is cached in clear: a value
//! lives from OpenBao's answer to the wrapper's.
//!
//! Invariant: nothing leaves before its receipt is durable.
//!
//! Reading order: [`config`], [`issuer_keys`], [`token`], `attest`, `ledger`, [`receipt`], `books`, `policy`, `workload`,
//! `dialogue`, `line`, `lines`, [`changes`], [`standing`].

pub mod around;
pub mod changes;
pub mod config;
pub mod issuer_keys;
pub mod log_key;
pub mod orders;
pub mod receipt;
pub mod standing;
pub mod token;

mod attest;
mod books;
mod dialogue;
mod ledger;
mod line;
mod lines;
mod metrics;
mod policy;
mod quota;
mod uses;
mod workload;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use cloudtaser_evidence::names::NameKey;
use cloudtaser_sys::heap;
use cloudtaser_tls::{Digest, MacKey, raw::PublicKey};

pub(super) use self::line::{Parties, busy, serve};
use self::{
    around::Around,
    books::Books,
    changes::Watchers,
    config::{ReleaseConfig, Unsealed},
    issuer_keys::Look,
    ledger::{Ledger, Present},
    metrics::Metrics,
    orders::{Believed, Orders},
    policy::PolicyStore,
    quota::Quota,
    receipt::{AuditFile, Event, Receipt, ReceiptSink, StoodOn},
    uses::Uses,
    workload::Workload,
};
use crate::file::ConfigError;

/// The folder with what people signed, beside the log.
pub const ORDERS: &str = "orders";

/// What hashes of paths begin with.
const PATH_LABEL: &[u8] = b"ct-release/1 path";
/// Logins that wait for their wrappers to come back, at most.
const MAX_LINGERING: usize = 4096;

/// Why a bridge cannot release.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// A file that it needs.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that it keeps.
    #[error("cannot use {}", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection to OpenBao cannot be set up.
    #[error("OpenBao connection")]
    OpenBao(#[from] cloudtaser_bao::BaoError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] cloudtaser_tls::TlsError),
    /// The heap is not sealed.
    #[error(
        "the bridge's memory is not sealed ({reason}), so root on this host could read values in it: \
         raise LimitMEMLOCK, or say unsealed = \"allow\" in [release]"
    )]
    Unsealed {
        /// What the kernel says.
        reason: String,
    },
}

/// Everything that releases need, shared by all sessions.
#[derive(Debug)]
pub struct Releaser {
    config: ReleaseConfig,
    digest: Digest,
    path_key: MacKey,
    policy: PolicyStore,
    ledger: Ledger,
    receipts: Box<dyn ReceiptSink>,
    lingering: Mutex<BTreeMap<[u8; 32], (Workload, Instant)>>,
    refusals: Quota,
    present: Present,
    uses: Uses,
    orders: Orders,
    around: Around,
    metrics: Metrics,
    watchers: Arc<Watchers>,
}

impl Releaser {
    /// Opens the files that are kept.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn open(config: ReleaseConfig, bridge: PublicKey) -> Result<Self, ReleaseError> {
        let state = |path: PathBuf| move |source| ReleaseError::State { path, source };
        let folder = &config.state_dir;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(state(folder.clone()))?;
        let digest = Digest::new()?;
        let [key_path, audit, logins, used] =
            ["audit.key", "audit.jsonl", "logins.jsonl", "uses.jsonl"]
                .map(|name| folder.join(name));
        let path_key = receipt::path_key(&key_path).map_err(state(key_path))?;
        let names = NameKey::new(path_key.expose().into());
        let file = AuditFile::open(&audit, digest).map_err(state(audit))?;
        let log = config.log.dir.clone();
        let receipts = Books::open(file, names, &config.log).map_err(state(log))?;
        let ledger = Ledger::open(&logins, config.limits).map_err(state(logins))?;
        let uses = Uses::open(&used).map_err(state(used))?;
        let orders = Orders::new(folder.join(ORDERS), bridge);
        let policy = PolicyStore::read(&config.policy_file, digest)?;
        // Not made later, so that what is wrong with it is known at the start.
        drop(workload::client(&config)?);
        let lingering = Mutex::default();
        let receipts = Box::new(receipts);
        let (refusals, present) = (Quota::default(), Present::default());
        let watchers = Arc::<Watchers>::default();
        if let Some(path) = &config.openbao_audit {
            let started = changes::tail::start(path.clone(), config.namespace.clone(), &watchers);
            started.map_err(state(path.clone()))?;
        }
        Ok(Self {
            config,
            digest,
            path_key,
            policy,
            ledger,
            receipts,
            lingering,
            refusals,
            present,
            uses,
            orders,
            around: Around::default(),
            metrics: Metrics::default(),
            watchers,
        })
    }

    /// Demands a sealed heap, unless it was said that another will do.
    ///
    /// # Errors
    /// [`ReleaseError::Unsealed`].
    pub fn demand_sealed(&self) -> Result<(), ReleaseError> {
        let state = heap::state();
        if state.is_sealed() || self.config.unsealed == Unsealed::Allow {
            return Ok(());
        }
        let unknown = || "no sealed heap in this program".to_owned();
        let reason = state.refused.map_or_else(unknown, |errno| errno.to_string());
        Err(ReleaseError::Unsealed { reason })
    }

    /// Reads policy and keys anew. What cannot be read changes nothing.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn reload(&self) -> Result<String, ConfigError> {
        self.look_at_keys(Look::Anew);
        self.policy.reload(&self.config.policy_file, self.digest)
    }

    /// What people signed that is in force. Break-glass is in the log by then.
    fn orders_now(&self, now: u64) -> Vec<Believed> {
        let loaded = self.policy.now();
        self.orders.now(&loaded.policy, &loaded.hash, now, |believed| {
            let words = believed.in_words();
            let mut line = Receipt::aloud(Event::BreakGlass, words, loaded.hash.clone());
            line.orders = vec![StoodOn::new(believed)];
            self.receipts.append(vec![line]).map(drop)
        })
    }

    /// Looks at what people signed, so that it is said aloud before it is of any use.
    pub fn look_at_orders(&self) {
        let in_force = self.orders_now(crate::clock::unix_seconds());
        let broken = in_force.iter().filter(|order| order.order.is_break_glass()).count();
        self.metrics.orders(in_force.len() - broken, broken);
    }

    /// Writes what is counted to the file that the configuration names, where it names one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write_metrics(&self) -> io::Result<()> {
        let Some(file) = &self.config.metrics_file else { return Ok(()) };
        let new = file.with_extension("new");
        let audit = self.config.audit.is_some().then(|| self.around.counts());
        fs::write(&new, self.metrics.text(audit))?;
        fs::rename(&new, file)
    }

    /// Requests of OpenBao's that a session here caused.
    fn caused(&self, requests: &[String]) {
        if self.config.audit.is_some() {
            self.around.caused(requests, Instant::now());
        }
    }

    /// Whether this client may talk to OpenBao itself.
    pub(super) fn has_door(&self, client: &str) -> bool {
        // SECURITY: a way past the decision is asked for by name.
        self.config.doors.iter().any(|door| door == client)
    }

    /// The hash of a path, by which its receipts are found.
    #[must_use]
    pub fn path_hash(&self, path: &str) -> String {
        receipt::path_hash(self.digest, &self.path_key, path)
    }

    /// Keeps a login whose wrapper is away, for a while.
    fn linger(&self, workload: Workload) {
        let mut lingering = self.lingering.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        lingering.retain(|_, (_, until)| *until > now);
        // One that is forgotten costs its wrapper another login.
        if lingering.len() < MAX_LINGERING {
            let until = now + Duration::from_secs(self.config.linger_seconds.into());
            lingering.insert(workload.instance, (workload, until));
        }
    }

    /// The login of an instance that comes back.
    fn lingered(&self, instance: &[u8; 32]) -> Option<Workload> {
        let mut lingering = self.lingering.lock().unwrap_or_else(PoisonError::into_inner);
        let (workload, until) = lingering.remove(instance)?;
        (until > Instant::now()).then_some(workload)
    }
}
