//! From a denial in the kernel to a line on a disk and at a collector.
//!
//! Three threads, so that nothing here holds up a verdict or the agent's loop: `denials` takes
//! reports out of the kernel's buffer as they come and says who was who while they are still there;
//! `audit` numbers and writes; `audit-hook` posts. Between them are bounded queues: what does not
//! fit is counted, and told in the next record. Reading order: [`throttle`], [`process`],
//! [`record`], [`mod@file`], [`spool`], [`hook`].

mod file;
mod hook;
mod process;
mod record;
mod spool;
mod throttle;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use cloudtaser_core::names::AGENT_AUDIT_STATE;
use libbpf_rs::{MapHandle, RingBufferBuilder};
use serde_json::json;

use self::file::{AuditFile, Number};
use self::hook::Hook;
use self::process::{Groups, Process, Processes};
use self::record::{Counted, Denial, Kind, Record};
use self::spool::{Reader, Spool};
use self::throttle::{Source, Throttle};
use crate::abi::{Event, EventKind};
use crate::bpf::Tier;
use crate::canary::Attackers;
use crate::events;
use crate::host;
use crate::net::Endpoint;

/// Records that wait for the disk: some seconds of the most that the throttle lets through.
const WAITING: usize = 1024;
/// What is kept for a collector that is away: a day of moderate noise.
const SPOOL_MIB: u64 = 64;
/// How long the pump sleeps when nothing is denied.
const TICK: Duration = Duration::from_secs(1);

/// What the command line asks for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AuditArgs {
    /// Append audit records to this file too; it may be moved away at any time.
    #[arg(long, value_name = "PATH")]
    audit_file: Option<PathBuf>,
    /// Post audit records to a collector on this node: http://127.0.0.1:PORT/PATH or unix:/SOCKET.
    #[arg(long, value_name = "URL")]
    audit_url: Option<Endpoint>,
    /// Where the number of the last record is kept, and what the collector has not taken.
    #[arg(long, value_name = "FOLDER", default_value = AGENT_AUDIT_STATE)]
    audit_state: PathBuf,
    /// Most that is kept for the collector.
    #[arg(long, value_name = "MIB", default_value_t = SPOOL_MIB, value_parser = clap::value_parser!(u64).range(1..1 << 20))]
    audit_spool: u64,
}

/// What happened to denials and records.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Children of guarded processes that did not fit into the table.
    pub(crate) unguarded: AtomicU64,
    /// Denials that the throttle left out.
    pub(crate) suppressed: AtomicU64,
    /// Records that were numbered.
    pub(crate) records: AtomicU64,
    /// Records that found no room before they had a number.
    pub(crate) unwritten: AtomicU64,
    /// Records that are not in the file.
    pub(crate) not_in_file: AtomicU64,
    /// Records that the spool did not take.
    pub(crate) not_in_spool: AtomicU64,
    /// Records that are not on standard error.
    pub(crate) not_on_stderr: AtomicU64,
    /// Requests that the collector answered well.
    pub(crate) posted: AtomicU64,
    /// Requests that failed.
    pub(crate) unposted: AtomicU64,
}

/// How much waits for a collector, if there is to be one.
#[derive(Debug)]
pub(crate) struct SpoolLength(Option<Arc<Spool>>);

impl SpoolLength {
    /// Space on the disk.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.0.as_ref().map(|spool| spool.len_bytes())
    }
}

/// Where records go, opened before anything is guarded so that a slip is told at once.
#[derive(Debug)]
pub(crate) struct Sinks {
    file: Option<AuditFile>,
    number: Option<Number>,
    last: u64,
    hook: Option<(Endpoint, Arc<Spool>, Reader)>,
}

impl Sinks {
    /// Opens what is asked for, and finds the number to go on from.
    pub(crate) fn open(args: &AuditArgs) -> anyhow::Result<Self> {
        let mut own = Self { file: None, number: None, last: 0, hook: None };
        if args.audit_file.is_none() && args.audit_url.is_none() {
            return Ok(own);
        }
        let state = &args.audit_state;
        let open = || {
            fs::create_dir_all(state)?;
            Number::open(&state.join("sequence"))
        };
        let (number, last) =
            open().with_context(|| format!("--audit-state {}", state.display()))?;
        (own.number, own.last) = (Some(number), last);
        if let Some(path) = &args.audit_file {
            let open = || {
                let mut file = AuditFile::open(path)?;
                file.last().map(|last| (file, last))
            };
            let (file, last) =
                open().with_context(|| format!("--audit-file {}", path.display()))?;
            own.file = Some(file);
            own.last = own.last.max(last);
        }
        if let Some(endpoint) = &args.audit_url {
            let folder = state.join("spool");
            let words = format!("the spool in {}", folder.display());
            let (spool, reader) = Spool::open(folder, args.audit_spool << 20).context(words)?;
            own.last = own.last.max(spool.last());
            own.hook = Some((endpoint.clone(), Arc::new(spool), reader));
        }
        Ok(own)
    }

    /// What waits for the collector, for metrics.
    pub(crate) fn spool(&self) -> SpoolLength {
        SpoolLength(self.hook.as_ref().map(|(_, spool, _)| Arc::clone(spool)))
    }

    /// Starts the threads, which live as long as the agent.
    pub(crate) fn start(
        self,
        reports: MapHandle,
        attackers: Arc<Attackers>,
        tier: Tier,
        counts: &Arc<Counts>,
    ) -> anyhow::Result<()> {
        let (tell, told) = sync_channel(WAITING);
        let pump = Pump {
            attackers,
            tier: tier.as_str(),
            boot: host::boot_id(),
            processes: Processes::of_this_machine(),
            groups: Groups::of_this_machine(),
            throttle: Throttle::default(),
            granted: Throttle::default(),
            counts: Arc::clone(counts),
            tell,
            unsent: 0,
        };
        let mut spool = None;
        if let Some((endpoint, kept, reader)) = self.hook {
            spool = Some(Arc::clone(&kept));
            Hook { endpoint, spool: kept, reader, counts: Arc::clone(counts) }.start()?;
        }
        let writer = Writer {
            file: self.file,
            number: self.number,
            spool,
            stderr: standard_error()?,
            last: self.last,
            counts: Arc::clone(counts),
            failing: false,
        };
        thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&told))?;
        let run = move || {
            if let Err(error) = pump.run(&reports) {
                events::write(&json!({"event": "no more records", "why": format!("{error:#}")}));
            }
        };
        thread::Builder::new().name("denials".to_owned()).spawn(run)?;
        Ok(())
    }
}

/// Whoever does not read the agent's standard error holds up this thread, and no other sink.
fn standard_error() -> std::io::Result<SyncSender<String>> {
    let (tell, told) = sync_channel::<String>(WAITING);
    let write = move || told.iter().for_each(|lines| events::write_text(&lines));
    thread::Builder::new().name("audit-stderr".to_owned()).spawn(write)?;
    Ok(tell)
}

/// Makes records of reports.
struct Pump {
    attackers: Arc<Attackers>,
    tier: &'static str,
    boot: String,
    processes: Processes,
    groups: Groups,
    throttle: Throttle,
    /// Of what orders let through: no flood of denials hides that.
    granted: Throttle,
    counts: Arc<Counts>,
    tell: SyncSender<Record>,
    /// Records since the last that found room which did not.
    unsent: u64,
}

impl Pump {
    fn run(self, reports: &MapHandle) -> anyhow::Result<()> {
        let own = std::cell::RefCell::new(self);
        let mut builder = RingBufferBuilder::new();
        builder.add(reports, |bytes| {
            own.borrow_mut().report(bytes);
            0
        })?;
        let ring = builder.build()?;
        loop {
            match ring.poll(TICK) {
                Ok(()) => {}
                Err(error) if error.kind() == libbpf_rs::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            own.borrow_mut().tell_of_the_silent(host::since_boot());
        }
    }

    /// One report from the kernel.
    fn report(&mut self, bytes: &[u8]) {
        let Some(event) = Event::parse(bytes) else { return };
        if event.kind == EventKind::TableFull {
            self.counts.unguarded.fetch_add(1, Ordering::Relaxed);
        }
        let at = Duration::from_nanos(event.at_ns);
        // A child of the attacker's is one of ours: nobody else can make it start one.
        if [event.actor, event.actor_parent].iter().any(|pid| self.attackers.has(*pid, at)) {
            return;
        }
        let source = Source::of(event.actor_cgroup, event.actor_uid);
        let throttle = match event.kind {
            EventKind::Granted => &mut self.granted,
            EventKind::Denied | EventKind::TableFull => &mut self.throttle,
        };
        let Some(suppressed) = throttle.admit(source, at) else {
            self.counts.suppressed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (kind, verdict) = match event.kind {
            EventKind::Denied if self.tier == Tier::Kprobe.as_str() => (Kind::Denied, "killed"),
            EventKind::Denied => (Kind::Denied, "denied"),
            EventKind::TableFull => (Kind::Unguarded, "allowed"),
            EventKind::Granted => (Kind::Granted, "allowed"),
        };
        // First: it is the one that may end at any moment.
        let actor = self.actor(&event, at);
        let mut record = self.begin(kind, at);
        record.suppressed = suppressed;
        record.denial = Some(Denial {
            hook: event.hook,
            road: record::road(event.hook),
            verdict,
            tier: self.tier,
            target: (event.target != 0).then(|| self.processes.describe(event.target, None, at)),
            setting: record::setting(event.hook, &actor).filter(|_| kind == Kind::Denied),
            actor,
        });
        self.send(record);
    }

    /// What the kernel said of the actor goes before what is there now.
    fn actor(&mut self, event: &Event, at: Duration) -> Process {
        let mut actor = self.processes.describe(event.actor, Some(event.actor_parent), at);
        actor.uid = Some(event.actor_uid);
        actor.comm = Some(event.actor_comm.clone());
        actor.place(self.groups.path(event.actor_cgroup, host::since_boot()));
        actor
    }

    fn tell_of_the_silent(&mut self, now: Duration) {
        let silent = [self.throttle.silent(now), self.granted.silent(now)].concat();
        for (source, suppressed) in silent {
            let mut record = self.begin(Kind::Suppressed, now);
            let cgroup = match source {
                Source::Cgroup(id) => self.groups.path(id, now),
                Source::Others | Source::User(_) => None,
            };
            record.source = Some(Counted::of(source, cgroup));
            record.suppressed = suppressed;
            self.send(record);
        }
    }

    fn begin(&self, kind: Kind, at: Duration) -> Record {
        let ago = host::since_boot().saturating_sub(at);
        let time = host::since_epoch().saturating_sub(ago);
        Record::new(kind, &self.boot, u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), time)
    }

    fn send(&mut self, mut record: Record) {
        record.dropped = self.unsent;
        match self.tell.try_send(record) {
            Ok(()) => self.unsent = 0,
            Err(TrySendError::Full(record) | TrySendError::Disconnected(record)) => {
                // What this one would have told is told by the next.
                self.unsent += 1 + record.suppressed;
                self.counts.unwritten.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Numbers records and writes them, durable sinks first.
struct Writer {
    file: Option<AuditFile>,
    number: Option<Number>,
    spool: Option<Arc<Spool>>,
    stderr: SyncSender<String>,
    last: u64,
    counts: Arc<Counts>,
    /// Whether the last batch met an error, so that an outage is told once.
    failing: bool,
}

impl Writer {
    fn run(mut self, records: &Receiver<Record>) {
        while let Ok(record) = records.recv() {
            // All that waits goes to the disk together.
            let batch = std::iter::once(record).chain(records.try_iter().take(WAITING)).collect();
            self.write(batch);
        }
    }

    fn write(&mut self, batch: Vec<Record>) {
        let (first, len) = (self.last + 1, u64::try_from(batch.len()).unwrap_or(0));
        let mut lines = String::new();
        for mut record in batch {
            self.last += 1;
            record.sequence = self.last;
            lines.push_str(&record.line());
        }
        self.counts.records.fetch_add(len, Ordering::Relaxed);
        let mut problem = None;
        if let Some(file) = &mut self.file
            && let Err(error) = file.append(lines.as_bytes())
        {
            self.counts.not_in_file.fetch_add(len, Ordering::Relaxed);
            problem = Some(format!("the audit file: {error}"));
        }
        if let Some(spool) = &self.spool {
            match spool.append(lines.as_bytes(), first, self.last) {
                Ok(true) => {}
                Ok(false) => problem = Some("the spool is full".to_owned()),
                Err(error) => problem = Some(format!("the spool: {error}")),
            }
            if spool.last() != self.last {
                self.counts.not_in_spool.fetch_add(len, Ordering::Relaxed);
            }
        }
        if let Some(Err(error)) = self.number.as_ref().map(|number| number.set(self.last)) {
            problem = Some(format!("the number of the last record: {error}"));
        }
        if self.stderr.try_send(lines).is_err() {
            self.counts.not_on_stderr.fetch_add(len, Ordering::Relaxed);
        }
        if let Some(why) = problem.as_ref().filter(|_| !self.failing) {
            let line = json!({"event": "records are lost", "from": first, "why": why});
            // Never waits: this thread is the one that must not.
            drop(self.stderr.try_send(format!("{line}\n")));
        }
        self.failing = problem.is_some();
    }
}

#[cfg(test)]
mod tests;
