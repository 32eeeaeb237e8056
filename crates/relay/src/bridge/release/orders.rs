//! What people signed for this bridge, as far as it is in force: approvals of paths, and break-glass.
//!
//! Orders are files in a folder beside the log. They are looked at again whenever the folder has
//! changed, and believed as far as their signature and the policy of that moment go. Break-glass is
//! said aloud in the log before it is of any use; where that cannot be written it is of none.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use cloudtaser_core::release::{
    order::{Act, FILE_MAX, Order, SignedOrder, signed_bytes},
    policy::{self, Policy, terms::Opened, terms::Standing},
};
use cloudtaser_evidence::{
    Digest,
    names::Opening,
    receipt::{Name, ORDERS_MAX},
};
use cloudtaser_tls::raw::PublicKey;
use data_encoding::HEXLOWER;
use tracing::warn;

use crate::file::replace;

/// More files are not read.
const MANY: usize = 1024;
/// How a file with an order is called.
const EXTENSION: &str = "order";

/// Why an order is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrderFileError {
    /// It is none.
    #[error(transparent)]
    Form(#[from] cloudtaser_core::release::order::OrderError),
    /// It cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is for another bridge.
    #[error("the order is for another bridge: {0}")]
    Bridge(String),
    /// Nobody of this name may sign.
    #[error("the policy has no [[signer]] {0:?}")]
    Stranger(String),
    /// The policy does not let him.
    #[error("the policy's [break-glass] does not name {0:?}")]
    MayNot(String),
    /// The rule is not there.
    #[error("the policy has no rule {0:?}")]
    Rule(String),
    /// The signature is somebody else's, or of something else.
    #[error("the order is not signed by the key that the policy has for {0:?}")]
    Signature(String),
    /// The path is not the one that was signed.
    #[error("the path beside the order is not the one that was signed")]
    Path,
    /// It has ended.
    #[error("the order has ended")]
    Ended,
}

/// An order that was believed.
#[derive(Clone, Debug)]
pub struct Believed {
    /// What it says.
    pub order: Order,
    /// The path that it is about, in its one spelling.
    pub path: Option<String>,
    /// What the log keeps of it.
    pub document: Vec<u8>,
}

impl Believed {
    /// The hash that receipts have of it.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(&self.document)
    }

    /// For people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Order { by, until, reason, act, .. } = &self.order;
        let until = cloudtaser_evidence::date::to_text(until.saturating_mul(1000));
        match act {
            Act::Approve { workload, .. } => {
                let path = self.path.as_deref().unwrap_or("?");
                format!("{by} approves {path} for {workload} until {until}: {reason}")
            }
            Act::BreakGlass { rule, relax } => {
                let relax = relax.iter().map(|relax| relax.as_str()).collect::<Vec<_>>().join(", ");
                format!("{by} sets {relax} of rule {rule:?} aside until {until}: {reason}")
            }
        }
    }
}

/// Looks at an order as a bridge does: form, bridge, signer, signature, path, end.
///
/// # Errors
/// [`OrderFileError`].
pub fn believe(
    text: &str,
    policy: &Policy,
    bridge: &PublicKey,
    now: u64,
) -> Result<Believed, OrderFileError> {
    let (signed, order) = SignedOrder::parse(text)?;
    if order.bridge.as_bytes() != bridge.as_bytes() {
        return Err(OrderFileError::Bridge(order.bridge.to_string()));
    }
    let signer =
        policy.signer(&order.by).ok_or_else(|| OrderFileError::Stranger(order.by.clone()))?;
    let key = PublicKey::from_bytes(*signer.key.as_bytes());
    let signature = HEXLOWER.decode(signed.signature.as_bytes()).unwrap_or_default();
    if !key.verifies(&signed_bytes(&signed.order), &signature).unwrap_or(false) {
        return Err(OrderFileError::Signature(order.by));
    }
    let path = match &order.act {
        Act::Approve { name, .. } => {
            let (path, blinding) = (signed.path.as_deref(), signed.blinding.as_deref());
            let path = path.and_then(policy::canonical).ok_or(OrderFileError::Path)?;
            let blinding = blinding.and_then(Digest::from_hex).ok_or(OrderFileError::Path)?;
            if committed(&path, blinding).is_none_or(|hash| hash.to_string() != *name) {
                return Err(OrderFileError::Path);
            }
            Some(path)
        }
        Act::BreakGlass { rule, .. } => {
            if !policy.may_break(&order.by) {
                return Err(OrderFileError::MayNot(order.by));
            }
            if !policy.has_rule(rule) {
                return Err(OrderFileError::Rule(rule.clone()));
            }
            None
        }
    };
    if now >= order.until {
        return Err(OrderFileError::Ended);
    }
    let document = signed.kept(signer.key).to_bytes();
    Ok(Believed { order, path, document })
}

/// The commitment to a path, in its one spelling.
#[must_use]
pub fn committed(path: &str, blinding: Digest) -> Option<Digest> {
    let path = policy::canonical(path)?;
    let path = Name::try_from(path.as_str()).ok()?;
    Some(Opening { path, fields: Vec::new(), blinding }.hash())
}

/// Puts an order where a bridge looks.
///
/// # Errors
/// [`OrderFileError::File`].
pub fn put(folder: &Path, id: &str, text: &str) -> Result<PathBuf, OrderFileError> {
    let path = folder.join(id).with_extension(EXTENSION);
    let failed = |source| OrderFileError::File { path: path.clone(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let name = |extension| format!("{id}.{extension}");
    replace(folder, &name(EXTENSION), &name("new"), text.as_bytes()).map_err(failed)?;
    Ok(path)
}

/// The texts of all orders in a folder, with their files.
///
/// # Errors
/// What the kernel says.
pub fn texts(folder: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.len() > MANY {
        warn!(files = paths.len(), "more orders than are read: remove those that have ended");
        paths.truncate(MANY);
    }
    let limit = u64::try_from(FILE_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = |path: PathBuf| {
        let mut text = String::new();
        File::open(&path)?.take(limit).read_to_string(&mut text)?;
        Ok((path, text))
    };
    Ok(paths.into_iter().map(read).filter_map(io::Result::ok).collect())
}

/// The orders of a folder.
#[derive(Debug)]
pub(super) struct Orders {
    folder: PathBuf,
    bridge: PublicKey,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// State of the folder, and hash of the policy, for which this is what was read.
    of: Option<(SystemTime, String)>,
    orders: Vec<Believed>,
    /// Break-glass that was said aloud.
    said: BTreeSet<Digest>,
}

impl Orders {
    pub(super) fn new(folder: PathBuf, bridge: PublicKey) -> Self {
        Self { folder, bridge, seen: Mutex::default() }
    }

    /// The orders in force, each break-glass of which `say` has written down.
    pub(super) fn now(
        &self,
        policy: &Policy,
        hash: &str,
        now: u64,
        say: impl Fn(&Believed) -> io::Result<()>,
    ) -> Vec<Believed> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = fs::metadata(&self.folder).and_then(|folder| folder.modified()).ok();
        let of = changed.map(|changed| (changed, hash.to_owned()));
        if of.is_none() || seen.of != of {
            seen.orders = self.read(policy, now);
            // SECURITY: a file that came within the same tick of the clock must be seen too.
            let settled = |(at, _): &(SystemTime, String)| {
                SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now.saturating_sub(2)) > *at
            };
            seen.of = of.filter(settled);
        }
        let mut in_force = Vec::new();
        for order in seen.orders.clone() {
            if !order.order.is_in_force(now) {
                continue;
            }
            if order.order.is_break_glass() && !seen.said.contains(&order.hash()) {
                warn!(order = order.in_words(), "BREAK-GLASS: the release policy is set aside");
                if let Err(error) = say(&order) {
                    warn!(error = %error, "break-glass cannot be written down, and is of no use");
                    continue;
                }
                seen.said.insert(order.hash());
            }
            in_force.push(order);
        }
        in_force
    }

    fn read(&self, policy: &Policy, now: u64) -> Vec<Believed> {
        let texts = texts(&self.folder).unwrap_or_else(|error| {
            warn!(error = %error, "orders cannot be read: none is in force");
            Vec::new()
        });
        let mut believed = Vec::new();
        for (path, text) in texts {
            match believe(&text, policy, &self.bridge, now) {
                Ok(order) => believed.push(order),
                Err(OrderFileError::Ended) => {}
                Err(error) => {
                    let error = crate::log::chain(&error);
                    warn!(file = %path.display(), error, "an order is not believed");
                }
            }
        }
        believed
    }
}

/// What orders say of a path and a workload.
pub(super) fn standing(orders: &[Believed], path: &str, workload: &str) -> Standing {
    let path = policy::canonical(path);
    let mut standing = Standing::default();
    for believed in orders {
        let by = believed.order.by.clone();
        match &believed.order.act {
            Act::Approve { workload: of, .. } => {
                if of == workload && believed.path.is_some() && believed.path == path {
                    standing.approved_by.push(by);
                }
            }
            Act::BreakGlass { rule, relax } => {
                standing.opened.push(Opened { by, rule: rule.clone(), relax: relax.clone() });
            }
        }
    }
    standing
}

/// The orders that a release stood on, as its receipt names them.
pub(super) fn stood_on(
    orders: &[Believed],
    (path, workload): (&str, &str),
    (rule, grounds): (&str, &policy::terms::Grounds<'_>),
) -> Vec<Believed> {
    let path = policy::canonical(path);
    let counts = |believed: &&Believed| match &believed.order.act {
        Act::Approve { workload: of, .. } => {
            of == workload
                && believed.path == path
                && grounds.approved_by.contains(&believed.order.by.as_str())
        }
        Act::BreakGlass { rule: of, relax } => {
            of == rule && relax.iter().any(|relax| grounds.relaxed.contains(relax))
        }
    };
    let mut stood = orders.iter().filter(counts).cloned().collect::<Vec<_>>();
    // A receipt has room for so many; what set the policy aside comes first.
    stood.sort_by_key(|believed| !believed.order.is_break_glass());
    stood.truncate(ORDERS_MAX);
    stood
}

#[cfg(test)]
mod tests;
