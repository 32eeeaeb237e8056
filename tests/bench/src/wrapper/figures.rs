//! The few figures that a reader wants, each of ours beside the peer's and beside its target.

use serde_json::{Value, json};

use crate::stats::Samples;
use crate::subject::{Subject, Transport};

use super::resident::Resident;
use super::rotation::Seen;
use super::start::Case;

/// What a figure counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// A number of things.
    Count,
    /// 10^6 bytes.
    Megabytes,
    /// Milliseconds.
    Milliseconds,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) ours: f64,
    pub(crate) peer: f64,
    /// What ours should not exceed; absent where none was set.
    pub(crate) target: Option<f64>,
}

impl Figure {
    /// How many times ours fits into the peer's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        (self.ours > 0.0).then(|| self.peer / self.ours)
    }

    /// Whether the target is met, where there is one.
    pub(crate) fn is_met(&self) -> Option<bool> {
        self.target.map(|target| self.ours <= target)
    }
}

/// All lines of the table.
#[derive(Debug)]
pub(crate) struct Figures {
    /// In the order in which they are shown.
    pub(crate) all: Vec<Figure>,
    /// Milliseconds of the app alone, at the least.
    pub(crate) floor: f64,
    /// Copies that the scan found where a secret is in plain sight: must not be 0.
    pub(crate) control: usize,
    /// Whether the environment of the app shows the secret: ours, the peer's.
    pub(crate) environment: [bool; 2],
}

/// Milliseconds to the first line at the least; the goal for the wrapper.
const START_MS: f64 = 8.0;
/// Megabytes resident, and of the program; the goal for the wrapper.
const SIZE_MB: f64 = 4.0;
/// The wrapper's poll of 500 ms and 5 ms more.
const ROTATION_MS: f64 = 505.0;

impl Figures {
    /// Brings the measurements together.
    pub(crate) fn gather(
        start: &[Case],
        resident: &[Resident],
        rotation: &[Seen],
        sizes: [(Subject, u64); 2],
    ) -> Self {
        let mut all = Vec::new();
        let mut add = |name, unit, target, of: &dyn Fn(Subject) -> f64| {
            let (ours, peer) = (of(Subject::Wrapper), of(Subject::Agent));
            all.push(Figure { name, unit, ours, peer, target });
        };
        let ms = Unit::Milliseconds;
        let time = |transport, pick: fn(&Samples) -> Option<f64>| {
            move |who| case(start, who, transport).and_then(|case| pick(&case.times)).or_nan()
        };
        let cpu = |who| case(start, who, Transport::Tls).and_then(|case| case.cpu.median());
        add(
            "start to first line, HTTP, min",
            ms,
            Some(START_MS),
            &time(Transport::Http, Samples::min),
        );
        add("start to first line, HTTP, median", ms, None, &time(Transport::Http, Samples::median));
        add(
            "start to first line, TLS, min",
            ms,
            Some(START_MS),
            &time(Transport::Tls, Samples::min),
        );
        add("start to first line, TLS, median", ms, None, &time(Transport::Tls, Samples::median));
        add(
            "start to first line, TLS, p95",
            ms,
            None,
            &time(Transport::Tls, |all| all.percentile(95)),
        );
        add("CPU of a start, user and system, TLS, median", ms, None, &|who| {
            // The app's own share is the floor's.
            (cpu(who).or_nan() - cpu(Subject::Bare).or_nan()).max(0.0)
        });
        let kib = |pick: fn(&Resident) -> u64| {
            move |who| {
                let of_side = resident.iter().filter(move |seen| seen.subject == who);
                let most = of_side.map(pick).max().unwrap_or_default();
                f64::from(u32::try_from(most).unwrap_or(u32::MAX)) * 1024.0 / 1e6
            }
        };
        let megabytes = Unit::Megabytes;
        add("supervisor, peak RSS", megabytes, Some(SIZE_MB), &kib(|seen| seen.steady.peak_kib));
        add(
            "supervisor, steady RSS",
            megabytes,
            Some(SIZE_MB),
            &kib(|seen| seen.steady.resident_kib),
        );
        add(
            "of that anonymous, not sealed",
            megabytes,
            None,
            &kib(|seen| seen.steady.anonymous_kib),
        );
        add("binary", megabytes, Some(SIZE_MB), &|who| {
            let size = sizes.iter().find(|(subject, _)| *subject == who).map_or(0, |(_, len)| *len);
            f64::from(u32::try_from(size).unwrap_or(u32::MAX)) / 1e6
        });
        add("readable copies of the secret in the supervisor", Unit::Count, Some(0.0), &|who| {
            count(resident, who, Resident::copies)
        });
        let seen = |pick: fn(&Samples) -> Option<f64>| {
            move |who| {
                let side = rotation.iter().find(|seen| seen.subject == who);
                side.and_then(|side| pick(&side.times)).or_nan()
            }
        };
        add("rotation, write to app, median", ms, None, &seen(Samples::median));
        add("rotation, write to app, max", ms, Some(ROTATION_MS), &seen(Samples::max));
        let shows = |who| resident.iter().any(|seen| seen.subject == who && seen.environment_shows);
        let bare = case(start, Subject::Bare, Transport::Tls);
        Self {
            floor: bare.and_then(|case| case.times.min()).or_nan(),
            control: resident
                .iter()
                .filter(|seen| seen.subject == Subject::Bare)
                .map(|seen| seen.app_scan.copies)
                .min()
                .unwrap_or_default(),
            environment: [shows(Subject::Wrapper), shows(Subject::Agent)],
            all,
        }
    }

    /// One by its name.
    pub(crate) fn named(&self, name: &str) -> Option<&Figure> {
        self.all.iter().find(|figure| figure.name == name)
    }

    /// For the results file.
    pub(crate) fn to_json(&self) -> Value {
        let lines = self.all.iter().map(|figure| {
            json!({
                "name": figure.name,
                "unit": format!("{:?}", figure.unit).to_lowercase(),
                "cloudtaser-wrapper": figure.ours,
                "bao-agent": figure.peer,
                "ratio": figure.ratio(),
                "target": figure.target,
                "met": figure.is_met(),
            })
        });
        json!({
            "figures": lines.collect::<Vec<_>>(),
            "app_alone_min_ms": self.floor,
            "copies_found_in_control": self.control,
            "environ_shows_secret": {
                "cloudtaser-wrapper": self.environment[0], "bao-agent": self.environment[1],
            },
        })
    }
}

fn case(cases: &[Case], subject: Subject, transport: Transport) -> Option<&Case> {
    cases.iter().find(|case| case.subject == subject && case.transport == transport)
}

fn count(resident: &[Resident], subject: Subject, of: fn(&Resident) -> usize) -> f64 {
    let most = resident.iter().filter(|seen| seen.subject == subject).map(of).max();
    f64::from(u32::try_from(most.unwrap_or_default()).unwrap_or(u32::MAX))
}

/// What was not measured is no number, and shows as such.
trait OrNan {
    fn or_nan(self) -> f64;
}

impl OrNan for Option<f64> {
    fn or_nan(self) -> f64 {
        self.unwrap_or(f64::NAN)
    }
}
