//! Orders of an operator: taken once, in turn, and only with a signature by the key that the set was
//! loaded with. What they open ends in the kernel, by its own clock, whether an agent runs or not.

use std::path::PathBuf;

use anyhow::Context as _;
use cloudtaser_core::agent::content::Content;
use cloudtaser_core::agent::order::{Act, Allow, Order, OrderError, Target};
use data_encoding::HEXLOWER;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::abi::{Authority, Grant, GrantKey, GrantKind};
use crate::caller::{Caller, started, tracer};
use crate::events;
use crate::host;
use crate::keys::OperatorKey;
use crate::loaders::Contents;
use crate::loaders::admitted::{self, Held};
use crate::table::Table;
use crate::terms;

/// The group of what is granted to the node as a whole.
const NODE: u32 = 0;
/// A second, as the kernel counts.
const SECOND: u64 = 1_000_000_000;

/// The maps of orders.
#[derive(Debug)]
pub(crate) struct Orders {
    authority: MapHandle,
    grants: MapHandle,
    /// Grants whose end is still to be seen to.
    running: Vec<(GrantKey, Grant)>,
}

/// Why an order is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefusedOrder {
    /// There is no key.
    #[error(
        "no operator's key was given when the programs were loaded (--operator-key), so that nobody \
         can order anything before the node boots again"
    )]
    NoKey,
    /// Somebody else's, or another text.
    #[error("the operator's key did not sign this order")]
    Signature,
    /// Not an order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// For another load, boot or node.
    #[error("the order is for another load of the programs: a reboot or another node came between")]
    Instance,
    /// It was taken already, or another one was taken since it was written.
    #[error("the order has number {0} and the next one is {1}: it was taken, or came too late")]
    Serial(u64, u64),
    /// Nobody's memory.
    #[error("process {0} is not guarded, or is another one by now")]
    Target(i32),
    /// Nothing to revoke.
    #[error("no grant of order {0} is in force")]
    NoGrant(u64),
    /// The kernel.
    #[error("the order cannot be carried out: {0:#}")]
    Failed(#[from] anyhow::Error),
}

/// A grant as it is shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Shown {
    /// Number of its order.
    pub(crate) order: u64,
    /// What.
    pub(crate) allow: String,
    /// Whose memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<u32>,
    /// 0: it is over.
    pub(crate) seconds_left: u64,
    /// How often it let something through.
    pub(crate) uses: u64,
}

/// What is known of orders, as `grants --json` prints it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Known {
    schema: u32,
    /// The public half, in hex; none where no order is taken.
    pub(crate) key: Option<String>,
    /// What the next order must name.
    pub(crate) instance: String,
    /// Its number.
    pub(crate) next: u64,
    /// In the order in which they were taken.
    pub(crate) grants: Vec<Shown>,
}

/// What came of an order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Taken {
    /// What to tell.
    Done(String),
    /// The agent is to unload.
    Unload,
}

impl Orders {
    /// Of loaded or pinned programs.
    pub(crate) fn open(authority: MapHandle, grants: MapHandle) -> anyhow::Result<Self> {
        let mut own = Self { authority, grants, running: Vec::new() };
        own.running = own.all()?.into_iter().filter(|(_, grant)| left(grant) > 0).collect();
        Ok(own)
    }

    /// What the next order must name, and what was granted.
    pub(crate) fn report(&self) -> anyhow::Result<serde_json::Value> {
        let authority = terms::read(&self.authority)?;
        let known = Known {
            schema: 1,
            key: OperatorKey::from_bytes(authority.key).map(|key| key.to_string()),
            instance: HEXLOWER.encode(&authority.instance),
            next: authority.serial,
            grants: self.all()?.iter().map(shown).collect(),
        };
        Ok(serde_json::to_value(known)?)
    }

    /// Takes an order, and carries it out.
    pub(crate) fn take(
        &mut self,
        text: &str,
        signature: &str,
        table: &Table,
        (loaders, named): (&Contents, &[PathBuf]),
    ) -> Result<Taken, RefusedOrder> {
        let mut authority = terms::read(&self.authority)?;
        let order = accepted(&authority, text, signature)?;
        // Everything that can be refused is, before the number is used up.
        let ready = self.prepare(&order, table, (loaders, named))?;
        authority.serial += 1;
        authority.unloading = matches!(ready, Ready::Unload);
        // SECURITY: first: whatever happens next, this order is not taken twice.
        terms::write(&self.authority, &authority)?;
        match ready {
            Ready::Grant(key, grant) => {
                self.grants
                    .update(&key.bytes(), &grant.bytes(), MapFlags::ANY)
                    .context("the table of grants is full")?;
                self.running.retain(|(known, _)| *known != key);
                self.running.push((key, grant));
                let (what, seconds) = (word(key.kind), left(&grant).div_ceil(SECOND));
                Ok(Taken::Done(format!("order {}: {what} for {seconds} s", order.serial)))
            }
            Ready::Revoke(key, grant) => {
                let over = Grant { until_ns: 0, ..grant };
                self.grants.update(&key.bytes(), &over.bytes(), MapFlags::EXIST).map_err(failed)?;
                self.see_to_ends(table);
                Ok(Taken::Done(format!("the grant of order {} is over", grant.serial)))
            }
            Ready::Admit(loader) => {
                loaders.admit(&loader)?;
                Ok(Taken::Done(format!("order {}: {loader} may load BPF", order.serial)))
            }
            Ready::AdmitFile(file) => {
                let path = file.list()?;
                Ok(Taken::Done(format!("order {}: {} may load BPF", order.serial, path.display())))
            }
            Ready::Unload => Ok(Taken::Unload),
        }
    }

    fn prepare<'a>(
        &self,
        order: &Order,
        table: &Table,
        (loaders, named): (&'a Contents, &[PathBuf]),
    ) -> Result<Ready<'a>, RefusedOrder> {
        match order.act {
            Act::Unload => Ok(Ready::Unload),
            Act::Admit { loader } => {
                loaders.may_admit()?;
                Ok(Ready::Admit(loader))
            }
            Act::AdmitFile { loader } => {
                Ok(Ready::AdmitFile(admitted::find(loaders, named, &loader)?))
            }
            Act::Revoke { order } => {
                let known = self.all()?;
                let found = known.into_iter().find(|(_, grant)| grant.serial == order);
                let (key, grant) = found
                    .filter(|(_, grant)| left(grant) > 0)
                    .ok_or(RefusedOrder::NoGrant(order))?;
                Ok(Ready::Revoke(key, grant))
            }
            Act::Grant { allow, target, seconds } => {
                let group = target.map_or(Ok(NODE), |target| group_of(target, table))?;
                let key = GrantKey { group, kind: kind(allow) };
                self.make_room(key)?;
                let known = self.grants.lookup(&key.bytes(), MapFlags::ANY).map_err(failed)?;
                let uses = known.as_deref().and_then(Grant::parse).map_or(0, |known| known.uses);
                let until_ns = now_ns().saturating_add(u64::from(seconds) * SECOND);
                Ok(Ready::Grant(key, Grant { until_ns, uses, serial: order.serial }))
            }
        }
    }

    /// Forgets the oldest grant of a process that is over, where the table has no place. Those of the
    /// node stay: that they were used is part of what the state says.
    fn make_room(&self, wanted: GrantKey) -> anyhow::Result<()> {
        let known = self.all()?;
        let full = u32::try_from(known.len()).is_ok_and(|len| len >= self.grants.max_entries());
        if !full || known.iter().any(|(key, _)| *key == wanted) {
            return Ok(());
        }
        let over = known.iter().filter(|(key, grant)| key.group != NODE && left(grant) == 0);
        let oldest = over.min_by_key(|(_, grant)| grant.serial);
        let (key, _) = oldest.context("the table of grants is full")?;
        Ok(self.grants.delete(&key.bytes())?)
    }

    /// Ends who attached under a grant that is over: no hook asks a debugger again. Whether one was.
    pub(crate) fn see_to_ends(&mut self, table: &Table) -> bool {
        let Ok(known) = self.all() else { return false };
        let holds = |key: &GrantKey| known.iter().any(|(k, grant)| k == key && left(grant) > 0);
        let (running, over): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.running).into_iter().partition(|(key, _)| holds(key));
        self.running = running;
        let ended_some = !over.is_empty();
        for (key, grant) in over {
            let ended =
                if key.kind == GrantKind::Memory { detach(key.group, table) } else { vec![] };
            events::write(&json!({
                "event": "a grant is over",
                "order": grant.serial,
                "allow": word(key.kind),
                "debuggers_ended": ended,
            }));
        }
        ended_some
    }

    /// What the state must say of orders: what is open on the node now, and what may stay open.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let Ok(known) = self.all() else { return vec!["the grants cannot be read".to_owned()] };
        let of_node = known.iter().filter(|(key, _)| key.group == NODE);
        let told = of_node.filter_map(|(key, grant)| {
            let what = word(key.kind);
            match (left(grant), key.kind) {
                (1.., _) => Some(format!("open by order {}: {what}", grant.serial)),
                (0, GrantKind::Kernel | GrantKind::Tracing) if grant.uses > 0 => Some(format!(
                    "{what} was let in by order {}, and may be there still",
                    grant.serial
                )),
                _ => None,
            }
        });
        told.collect()
    }

    fn all(&self) -> anyhow::Result<Vec<(GrantKey, Grant)>> {
        let mut all = Vec::new();
        for key in self.grants.keys() {
            let value = self.grants.lookup(&key, MapFlags::ANY)?;
            let grant = value.as_deref().and_then(Grant::parse);
            all.extend(GrantKey::parse(&key).zip(grant));
        }
        all.sort_by_key(|(_, grant)| grant.serial);
        Ok(all)
    }
}

enum Ready<'a> {
    Grant(GrantKey, Grant),
    Revoke(GrantKey, Grant),
    Admit(Content),
    AdmitFile(Held<'a>),
    Unload,
}

/// Reads an order that is signed, is for this load, and is the next.
fn accepted(authority: &Authority, text: &str, signature: &str) -> Result<Order, RefusedOrder> {
    let key = OperatorKey::from_bytes(authority.key).ok_or(RefusedOrder::NoKey)?;
    // SECURITY: nothing of the text is looked at before.
    if !key.has_signed(text, signature) {
        return Err(RefusedOrder::Signature);
    }
    let order = Order::parse(text)?;
    if order.instance != HEXLOWER.encode(&authority.instance) {
        return Err(RefusedOrder::Instance);
    }
    if order.serial != authority.serial {
        return Err(RefusedOrder::Serial(order.serial, authority.serial));
    }
    Ok(order)
}

/// Writes down what was ordered, by whom it was brought, and what came of it.
pub(crate) fn log(text: &str, caller: &Caller, outcome: &Result<Taken, RefusedOrder>) {
    let refused = outcome.as_ref().err();
    // An order that nobody signed is anybody's text.
    let shown = match refused {
        Some(RefusedOrder::NoKey | RefusedOrder::Signature) => None,
        _ => Order::parse(text).ok(),
    };
    events::write(&json!({
        "event": if refused.is_some() { "an order was refused" } else { "an order was taken" },
        "order": shown,
        "why": refused.map(ToString::to_string),
        "pid": caller.pid.as_raw(),
        "cgroup": caller.cgroup,
    }));
}

fn group_of(target: Target, table: &Table) -> Result<u32, RefusedOrder> {
    let pid = Pid::from_raw(target.pid);
    let group = table.group(pid);
    // Asked last: the number was this process's all the time.
    let same = started(pid) == Some(target.started);
    group.filter(|_| same).ok_or(RefusedOrder::Target(target.pid))
}

/// Ends the processes outside a group that trace one inside; their numbers.
fn detach(group: u32, table: &Table) -> Vec<i32> {
    let mut ended = Vec::new();
    for pid in table.members(group) {
        let Some(tracer) = tracer(pid) else { continue };
        if table.group(tracer) != Some(group) && kill(tracer, Signal::SIGKILL).is_ok() {
            ended.push(tracer.as_raw());
        }
    }
    ended.sort_unstable();
    ended.dedup();
    ended
}

fn shown((key, grant): &(GrantKey, Grant)) -> Shown {
    Shown {
        order: grant.serial,
        allow: word(key.kind).to_owned(),
        group: (key.group != NODE).then_some(key.group),
        seconds_left: left(grant).div_ceil(SECOND),
        uses: grant.uses,
    }
}

/// Nanoseconds.
fn left(grant: &Grant) -> u64 {
    grant.until_ns.saturating_sub(now_ns())
}

fn now_ns() -> u64 {
    u64::try_from(host::since_boot().as_nanos()).unwrap_or(u64::MAX)
}

const fn kind(allow: Allow) -> GrantKind {
    match allow {
        Allow::Memory => GrantKind::Memory,
        Allow::Kernel => GrantKind::Kernel,
        Allow::Devices => GrantKind::Devices,
        Allow::Tracing => GrantKind::Tracing,
    }
}

const fn word(kind: GrantKind) -> &'static str {
    match kind {
        GrantKind::Memory => Allow::Memory.as_str(),
        GrantKind::Kernel => Allow::Kernel.as_str(),
        GrantKind::Devices => Allow::Devices.as_str(),
        GrantKind::Tracing => Allow::Tracing.as_str(),
    }
}

fn failed(error: libbpf_rs::Error) -> RefusedOrder {
    RefusedOrder::Failed(error.into())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    fn signer() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn authority() -> Authority {
        let key = signer().verifying_key().to_bytes();
        Authority { key, instance: [1; 16], serial: 5, ..Authority::default() }
    }

    fn order(serial: u64) -> (String, String) {
        let instance = "01".repeat(16);
        let order = Order { instance, serial, act: Act::Unload, reason: "x".to_owned() };
        let text = order.to_text().unwrap();
        let bytes = cloudtaser_core::agent::order::signed_bytes(&text);
        (text, HEXLOWER.encode(&signer().sign(&bytes).to_bytes()))
    }

    fn refusal(authority: &Authority, (text, signature): &(String, String)) -> String {
        accepted(authority, text, signature).unwrap_err().to_string()
    }

    #[test]
    fn an_order_is_taken_in_its_turn_and_not_again() {
        let (text, signature) = order(5);
        assert_eq!(accepted(&authority(), &text, &signature).unwrap().serial, 5);
        let later = Authority { serial: 6, ..authority() };
        assert!(refusal(&later, &order(5)).contains("has number 5 and the next one is 6"));
        assert!(refusal(&authority(), &order(6)).contains("has number 6"));
    }

    #[test]
    fn an_order_for_another_load_is_none_for_this_one() {
        let other = Authority { instance: [2; 16], ..authority() };
        assert!(refusal(&other, &order(5)).contains("another load"));
    }

    #[test]
    fn without_the_key_there_are_no_orders() {
        let none = Authority { key: [0; 32], ..authority() };
        assert!(refusal(&none, &order(5)).contains("--operator-key"));
        let key = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
        let anothers = Authority { key, ..authority() };
        assert!(refusal(&anothers, &order(5)).contains("did not sign"));
        let (text, signature) = order(5);
        let changed = (text.replace("\"x\"", "\"y\""), signature);
        assert!(refusal(&authority(), &changed).contains("did not sign"));
    }

    #[test]
    fn words_are_those_of_orders() {
        for allow in [Allow::Memory, Allow::Kernel, Allow::Devices, Allow::Tracing] {
            assert_eq!(word(kind(allow)), allow.as_str());
        }
    }
}
