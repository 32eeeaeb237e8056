//! What a demo saw, and what it says about that.
//!
//! A judgement is made in one place: a passive road must give nothing with cloudtaser, except
//! copies that the app's own runtime made in ordinary memory, which are named and not counted as
//! a success of anybody.

use serde::Serialize;
use serde_json::Value;

use super::agent::AgentState;
use super::apps::{Copies, Mode, Skipped};
use crate::probe::{
    report::{Access, ProcessReport, Report, RoadResult},
    road::{Kind, Road},
};

/// Version of the JSON form.
pub(crate) const SCHEMA: u32 = 2;

/// Who attacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Attacker {
    /// Root of the machine.
    Root,
    /// Another process of the app's user, without capabilities.
    SameUser,
}

/// One attack on one app.
#[derive(Debug, Serialize)]
pub(crate) struct Attack {
    /// Who.
    pub(crate) attacker: Attacker,
    /// What came of it.
    pub(crate) report: Report,
}

/// One app started one way.
#[derive(Debug, Serialize)]
pub(crate) struct Trial {
    /// The app.
    pub(crate) app: &'static str,
    /// What it is.
    pub(crate) what: String,
    /// What its runtime does with its environment.
    pub(crate) copies: Copies,
    /// With or without cloudtaser.
    pub(crate) mode: Mode,
    /// Whether it printed the digest of the right value.
    pub(crate) right_value: bool,
    /// The attacks on it.
    pub(crate) attacks: Vec<Attack>,
    /// The attacks on the wrapper that stays beside it.
    pub(crate) supervisor: Vec<Attack>,
    /// What the wrapper said about its protection level.
    pub(crate) level: Option<Value>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// Version of this form.
    pub(crate) schema: u32,
    /// Whether the demo shows what it is meant to show.
    pub(crate) passed: bool,
    /// The server that it ran against.
    pub(crate) server: String,
    /// The apps' user.
    pub(crate) uid: u32,
    /// The node agent during the second half.
    pub(crate) agent: AgentState,
    /// Each app, without and with.
    pub(crate) trials: Vec<Trial>,
    /// Apps that were left out.
    pub(crate) skipped: Vec<Skipped>,
}

/// What one road gave, over all processes of an app.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The value was read.
    Got,
    /// Copies that the app's own runtime made were read.
    OwnCopies,
    /// The road was open, and the value was not there.
    Nothing,
    /// The road is open; what is at its end was not searched.
    Open,
    /// The kernel refused.
    Closed,
    /// Not tried, or not there.
    NotTried,
}

impl Verdict {
    /// The word for tables.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Got => "GOT IT",
            Self::OwnCopies => "its own",
            Self::Nothing => "nothing",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::NotTried => "-",
        }
    }
}

impl Trial {
    /// What this road gave this attacker.
    pub(crate) fn verdict(&self, attacker: Attacker, road: Road) -> Verdict {
        let attack = self.attacks.iter().find(|attack| attack.attacker == attacker);
        attack.map_or(Verdict::NotTried, |attack| {
            let verdict = worst(&attack.report, road);
            let may_copy = self.mode == Mode::With && self.copies == Copies::ByRuntime;
            let own = may_copy && attack.report.processes.iter().all(|p| own_copies(p, road));
            if verdict == Verdict::Got && own { Verdict::OwnCopies } else { verdict }
        })
    }

    /// Whether the wrapper says that an enforcing agent guards the app.
    pub(crate) fn is_guarded(&self) -> bool {
        let facet = self.level.as_ref().and_then(|level| level.pointer("/level/facets/agent"));
        facet == Some(&Value::from("enforcing"))
    }

    /// The passive roads that gave the value although cloudtaser put it there.
    fn leaks(&self) -> bool {
        let passive = || Road::ALL.iter().filter(|road| road.kind() == Kind::Passive);
        let of_app = self.attacks.iter().any(|attack| {
            passive().any(|&road| self.verdict(attack.attacker, road) == Verdict::Got)
        });
        let of_supervisor = self
            .supervisor
            .iter()
            .any(|attack| passive().any(|&road| worst(&attack.report, road) == Verdict::Got));
        of_app || of_supervisor
    }
}

impl Outcome {
    /// Judges the trials.
    pub(crate) fn new(
        server: String,
        uid: u32,
        trials: Vec<Trial>,
        skipped: Vec<Skipped>,
        agent: AgentState,
    ) -> Self {
        let with = || trials.iter().filter(|trial| trial.mode == Mode::With);
        let control = trials
            .iter()
            .filter(|trial| trial.mode == Mode::Without)
            .all(|trial| trial.attacks.iter().any(|attack| attack.report.found));
        let unguarded = agent.runs && with().any(|trial| !trial.is_guarded());
        let passed = with().count() > 0
            && !unguarded
            && trials.iter().all(|trial| trial.right_value)
            && control
            && !with().any(Trial::leaks);
        Self { schema: SCHEMA, passed, server, uid, agent, trials, skipped }
    }
}

/// Whether all that a road found are copies where a runtime keeps its own: on its heap. A copy on
/// the stack is where the kernel puts an environment, and is nobody's but ours.
fn own_copies(process: &ProcessReport, road: Road) -> bool {
    let result = |road| process.roads.iter().find(|result| result.road == road);
    let on_heap = |result: &RoadResult| {
        result.places.iter().all(|place| matches!(place.place.as_str(), "[anon]" | "[heap]"))
    };
    match road {
        Road::Mem | Road::PtracePeek | Road::VmReadv => result(road).is_some_and(on_heap),
        // A core file does not say where a copy was; it holds no more than the memory itself.
        Road::Gcore | Road::KernelCore => match (result(road), result(Road::Mem)) {
            (Some(core), Some(memory)) => on_heap(memory) && core.found <= memory.found,
            _ => false,
        },
        _ => false,
    }
}

/// The worst that a road gave over all processes of a report.
pub(crate) fn worst(report: &Report, road: Road) -> Verdict {
    let of_process = |process: &ProcessReport| {
        process.roads.iter().find(|result| result.road == road).map(verdict_of)
    };
    let verdicts = report.processes.iter().filter_map(of_process);
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Got => 5,
        Verdict::OwnCopies => 4,
        Verdict::Open => 3,
        Verdict::Nothing => 2,
        Verdict::Closed => 1,
        Verdict::NotTried => 0,
    };
    verdicts.max_by_key(rank).unwrap_or(Verdict::NotTried)
}

fn verdict_of(result: &RoadResult) -> Verdict {
    match (result.found, result.access) {
        (0, Access::Absent | Access::Skipped) => Verdict::NotTried,
        (0, Access::Closed) => Verdict::Closed,
        (0, Access::Open) if result.road.is_only_opened() => Verdict::Open,
        (0, Access::Open) => Verdict::Nothing,
        _ => Verdict::Got,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::report::{Caller, SCHEMA};

    fn trial(mode: Mode, copies: Copies, found: &[(Road, &str)]) -> Trial {
        let result = |&road: &Road| {
            let mut result = RoadResult::new(road, Access::Open, "");
            found.iter().filter(|(at, _)| *at == road).for_each(|(_, place)| result.add(place, 1));
            result
        };
        let roads: Vec<_> = Road::ALL.iter().map(result).collect();
        let process = ProcessReport { pid: 1, name: "app".to_owned(), roads };
        let caller = Caller { uid: 0, gid: 0, capabilities: String::new() };
        let found = !found.is_empty();
        let report = Report { schema: SCHEMA, caller, found, processes: vec![process] };
        Trial {
            app: "app",
            what: String::new(),
            copies,
            mode,
            right_value: true,
            attacks: vec![Attack { attacker: Attacker::Root, report }],
            supervisor: Vec::new(),
            level: None,
        }
    }

    fn judged(trials: Vec<Trial>) -> Outcome {
        let agent = AgentState { runs: false, state: String::new() };
        Outcome::new(String::new(), 1, trials, Vec::new(), agent)
    }

    fn passed(with: Trial) -> bool {
        let control = trial(Mode::Without, Copies::None, &[(Road::Environ, "environ")]);
        judged(vec![control, with]).passed
    }

    #[test]
    fn active_roads_alone_do_not_fail_a_demo() {
        let gained = [(Road::GdbGetenv, "answer of getenv"), (Road::PtraceInject, "secretmem")];
        assert!(passed(trial(Mode::With, Copies::None, &gained)));
    }

    #[test]
    fn one_passive_gain_fails_a_demo() {
        assert!(!passed(trial(Mode::With, Copies::None, &[(Road::Mem, "[heap]")])));
        assert!(!passed(trial(Mode::With, Copies::ByRuntime, &[(Road::Environ, "environ")])));
    }

    #[test]
    fn a_runtime_may_copy_to_its_heap_and_nowhere_else() {
        let copied = |place| trial(Mode::With, Copies::ByRuntime, &[(Road::Mem, place)]);
        assert_eq!(copied("[heap]").verdict(Attacker::Root, Road::Mem), Verdict::OwnCopies);
        assert!(passed(copied("[heap]")));
        assert_eq!(copied("[stack]").verdict(Attacker::Root, Road::Mem), Verdict::Got);
        assert!(!passed(copied("[stack]")));
    }

    #[test]
    fn a_core_with_more_copies_than_memory_has_is_a_gain() {
        let places = [(Road::Mem, "[heap]"), (Road::Gcore, "core"), (Road::Gcore, "core")];
        let verdict =
            trial(Mode::With, Copies::ByRuntime, &places).verdict(Attacker::Root, Road::Gcore);
        assert_eq!(verdict, Verdict::Got);
    }

    #[test]
    fn a_wrong_value_or_a_control_that_gives_nothing_fails_a_demo() {
        let mut wrong = trial(Mode::With, Copies::None, &[]);
        wrong.right_value = false;
        assert!(!passed(wrong));
        let control = trial(Mode::Without, Copies::None, &[]);
        let with = trial(Mode::With, Copies::None, &[]);
        assert!(!judged(vec![control, with]).passed);
    }
}
