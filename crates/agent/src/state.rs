//! What the agent may say of itself: only what its canary showed.
//!
//! A road counts as closed by the agent when the attacker walked it before the programs were
//! attached and was refused afterwards.

use std::fmt;

use cloudtaser_core::level;
use serde::Serialize;

use crate::bpf::Tier;
use crate::late::Late;
use crate::loaders::Looks;
use crate::neighbours::Neighbours;
use crate::peers::Refused;
use crate::road::{Attack, Outcome};
use crate::succession::Away;

/// Version of the JSON form; fields are added, never renamed.
const SCHEMA: u32 = 1;

/// What the agent is worth at this moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Every road that this kernel has is closed.
    Enforcing(Tier),
    /// Some are, or not for certain.
    Degraded(Tier, Vec<String>),
    /// None is.
    Off(Vec<String>),
}

impl State {
    /// The word in JSON, and the value of the level's facet `agent`.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Enforcing(_) => "enforcing",
            Self::Degraded(..) => "degraded",
            Self::Off(_) => "off",
        }
    }

    /// The same as the facet of a launch.
    pub(crate) const fn facet(&self) -> level::Agent {
        match self {
            Self::Enforcing(_) => level::Agent::Enforcing,
            Self::Degraded(..) => level::Agent::Degraded,
            Self::Off(_) => level::Agent::Off,
        }
    }

    /// How it judges, where it does.
    pub(crate) const fn tier(&self) -> Option<Tier> {
        match self {
            Self::Enforcing(tier) | Self::Degraded(tier, _) => Some(*tier),
            Self::Off(_) => None,
        }
    }

    /// Why it is not better. Peers are told these: no counts, and nothing of other processes.
    pub(crate) fn reasons(&self) -> &[String] {
        match self {
            Self::Enforcing(_) => &[],
            Self::Degraded(_, reasons) | Self::Off(reasons) => reasons,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforcing(tier) => write!(f, "ENFORCING({})", tier.as_str()),
            Self::Degraded(tier, reasons) => {
                write!(f, "DEGRADED({}: {})", tier.as_str(), reasons.join("; "))
            }
            Self::Off(reasons) => write!(f, "OFF({})", reasons.join("; ")),
        }
    }
}

/// One road, before and after.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct RoadState {
    road: String,
    before: Outcome,
    now: Outcome,
}

/// What is known besides the canary.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doubts(Vec<String>);

impl Doubts {
    /// Adds a reason when there is one.
    pub(crate) fn add(&mut self, reason: impl Into<String>) {
        self.0.push(reason.into());
    }
}

/// Judges an attack against the one before anything was attached.
pub(crate) fn judge(tier: Tier, before: &Attack, now: &Attack, doubts: Doubts) -> State {
    let Doubts(mut reasons) = doubts;
    let was_open = |road: &str| before.outcome(road) == Some(Outcome::Open);
    let tried = now.roads.iter();
    let is_closed = |outcome| matches!(outcome, Outcome::Denied | Outcome::Killed);
    let closed = tried.clone().filter(|t| was_open(&t.road) && is_closed(t.outcome)).count();
    let open: Vec<&str> =
        tried.filter(|t| t.outcome == Outcome::Open).map(|t| t.road.as_str()).collect();
    if closed == 0 {
        reasons.insert(0, format!("{} programs are attached and do not run", tier.as_str()));
        return State::Off(reasons);
    }
    if !open.is_empty() {
        reasons.push(format!("open: {}", open.join(", ")));
    }
    if now.roads.len() < before.roads.len() {
        reasons.push("the attacker did not try every road".to_owned());
    }
    if !now.broken_neighbours.is_empty() {
        reasons.push(format!("node software cannot read {}", now.broken_neighbours.join(", ")));
    }
    if reasons.is_empty() { State::Enforcing(tier) } else { State::Degraded(tier, reasons) }
}

/// What `status --json` prints.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    schema: u32,
    /// The line for people.
    text: String,
    state: &'static str,
    reasons: Vec<String>,
    kernel: String,
    roads: Vec<RoadState>,
    /// Attached programs.
    pub(crate) programs: usize,
    /// The set of programs that is pinned.
    pub(crate) pinned_set: Option<u32>,
    /// When no agent ran, before this one took over.
    pub(crate) away: Option<Away>,
    /// Guarded processes.
    pub(crate) guarded: usize,
    /// Wrappers that ran before the agent.
    pub(crate) late: Late,
    /// Processes, of no listed loader, that hold BPF programs or perf events from before the agent.
    pub(crate) earlier_holders: usize,
    /// How many there may be.
    pub(crate) most_guarded: u64,
    /// Who else is on the hooks.
    pub(crate) neighbours: Neighbours,
    /// Files of the node that may load BPF.
    pub(crate) loaders: usize,
    /// Loaders of the node that were replaced since the programs were loaded, and are refused.
    pub(crate) unlisted_loaders: Vec<&'static str>,
    /// Programs of images that may load BPF.
    pub(crate) contents: Looks,
    /// Block devices that nobody may open, or open for writing.
    pub(crate) kept_devices: usize,
    /// Whether guarded processes may connect to listed networks only.
    pub(crate) egress_is_limited: bool,
    /// Children of guarded processes that did not fit into the table.
    pub(crate) unguarded: u64,
    /// How often the kernel passed over a program because it was running already.
    pub(crate) skipped: u64,
    /// Questions that had no answer, or a no.
    pub(crate) refused: Refused,
    /// Digests of the wrappers that may have themselves guarded.
    pub(crate) wrappers: Vec<String>,
    /// Seconds since the canary was attacked.
    pub(crate) proved_seconds_ago: u64,
    /// Denials per hook, the canary's included.
    pub(crate) denials: Vec<(&'static str, u64)>,
    /// Denials that were not reported for lack of room.
    pub(crate) lost_reports: u64,
    /// Instructions that the verifier walked, per program.
    pub(crate) verified_instructions: Vec<(String, u32)>,
}

impl Report {
    /// Starts a report; the caller adds the counts.
    pub(crate) fn of(state: &State, before: &Attack, now: &Attack) -> Self {
        let roads = now.roads.iter().map(|tried| RoadState {
            road: tried.road.clone(),
            before: before.outcome(&tried.road).unwrap_or(Outcome::Absent),
            now: tried.outcome,
        });
        Self {
            schema: SCHEMA,
            text: state.to_string(),
            state: state.word(),
            reasons: state.reasons().to_vec(),
            kernel: crate::host::release(),
            roads: roads.collect(),
            programs: 0,
            pinned_set: None,
            away: None,
            guarded: 0,
            late: Late::default(),
            earlier_holders: 0,
            most_guarded: 0,
            neighbours: Neighbours::default(),
            loaders: 0,
            unlisted_loaders: Vec::new(),
            contents: Looks::default(),
            kept_devices: 0,
            egress_is_limited: false,
            unguarded: 0,
            skipped: 0,
            refused: Refused::default(),
            wrappers: Vec::new(),
            proved_seconds_ago: 0,
            denials: Vec::new(),
            lost_reports: 0,
            verified_instructions: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::road::Tried;

    fn attack(outcomes: &[Outcome]) -> Attack {
        let roads = outcomes.iter().zip(["environ", "kcore", "dev-mem"]);
        Attack {
            roads: roads
                .map(|(outcome, road)| Tried { road: road.to_owned(), outcome: *outcome })
                .collect(),
            broken_neighbours: Vec::new(),
        }
    }

    const BEFORE: [Outcome; 3] = [Outcome::Open, Outcome::Open, Outcome::Absent];

    fn judged(now: &[Outcome]) -> String {
        judge(Tier::Lsm, &attack(&BEFORE), &attack(now), Doubts::default()).to_string()
    }

    #[test]
    fn enforcing_needs_every_road_that_the_kernel_has() {
        let (open, denied, absent) = (Outcome::Open, Outcome::Denied, Outcome::Absent);
        assert_eq!(judged(&[denied, denied, absent]), "ENFORCING(lsm)");
        assert_eq!(judged(&[denied, open, absent]), "DEGRADED(lsm: open: kcore)");
        let short = "DEGRADED(lsm: the attacker did not try every road)";
        assert_eq!(judged(&[denied, denied]), short);
    }

    #[test]
    fn programs_that_never_run_are_off_though_attached() {
        let words = judged(&BEFORE);
        assert_eq!(words, "OFF(lsm programs are attached and do not run)");
    }

    #[test]
    fn what_was_closed_before_proves_nothing() {
        let closed = attack(&[Outcome::Denied; 3]);
        let state = judge(Tier::FmodRet, &closed, &closed, Doubts::default());
        assert_eq!(state.word(), "off");
    }

    #[test]
    fn a_doubt_or_a_broken_neighbour_degrades() {
        let now = attack(&[Outcome::Denied, Outcome::Denied, Outcome::Absent]);
        let mut doubts = Doubts::default();
        doubts.add("kernel preempts fully");
        let state = judge(Tier::FmodRet, &attack(&BEFORE), &now, doubts);
        assert_eq!(state.to_string(), "DEGRADED(fmod_ret: kernel preempts fully)");
        let deaf = Attack { broken_neighbours: vec!["stat".to_owned()], ..now };
        let state = judge(Tier::Lsm, &attack(&BEFORE), &deaf, Doubts::default());
        assert_eq!(state.to_string(), "DEGRADED(lsm: node software cannot read stat)");
    }
}
