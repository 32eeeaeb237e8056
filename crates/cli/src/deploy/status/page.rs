//! What is protected, as one page for a browser, a printer and a screen reader.
//!
//! The template escapes every word; here words lose what would lead a reader astray without being
//! markup: control characters, and marks that turn the direction of writing.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use cloudtaser_core::level::{Facets, ProtectionLevel, Row};

use super::{Pod, Status, read::ADVERSARIES};

/// What a row shows of an adversary about whom nothing is known.
const UNKNOWN: &str = "not known";

/// Everything that is on the page.
#[derive(Debug, Template)]
#[template(path = "status.html")]
pub(super) struct Page<'a> {
    status: &'a Status,
    context: String,
    server: String,
    problems: Vec<String>,
    unprotected: usize,
    enforcing: usize,
    adversaries: Vec<Adversary>,
    rows: Vec<Container>,
    levels: Vec<Level>,
    nodes: Vec<Node<'a>>,
    versions: Vec<Version>,
    with_evidence: bool,
}

/// One adversary, and containers by what is closed to them.
#[derive(Debug)]
struct Adversary {
    id: &'static str,
    who: &'static str,
    closed: usize,
    partial: usize,
    open: usize,
    unknown: usize,
}

/// One container that gets secrets, or a pod that has none such.
#[derive(Debug)]
struct Container {
    pod: String,
    container: String,
    others: String,
    state: String,
    class: &'static str,
    verdicts: Vec<String>,
    level: Option<usize>,
    node: String,
    agent: String,
    last_release: String,
    is_live: bool,
}

/// Containers that measured the same.
#[derive(Debug)]
struct Level {
    number: usize,
    containers: usize,
    facets: [(&'static str, &'static str); 7],
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Node<'a> {
    name: String,
    agent: &'a str,
    tier: &'a str,
    roads: String,
    attacked: String,
    kernel: String,
    image: String,
}

#[derive(Debug)]
struct Version {
    what: &'static str,
    version: String,
    place: String,
}

impl<'a> Page<'a> {
    /// Lays out what was read.
    pub(super) fn new(status: &'a Status, with_evidence: bool) -> Self {
        let levels = levels(&status.pods);
        let mut rows: Vec<_> =
            status.pods.iter().flat_map(|pod| containers(pod, &levels)).collect();
        rows.sort_by_key(|row| (row.rank(), row.pod.clone(), row.container.clone()));
        Self {
            status,
            context: plain(&status.context),
            server: plain(&status.server),
            problems: status.problems.iter().map(|problem| plain(problem)).collect(),
            unprotected: status.pods.iter().filter(|pod| pod.problem.is_some()).count(),
            enforcing: status.nodes.iter().filter(|node| node.agent == "enforcing").count(),
            adversaries: adversaries(&rows),
            levels: levels.into_iter().map(|(facets, level)| level.with(facets)).collect(),
            rows,
            nodes: nodes(status),
            versions: versions(status),
            with_evidence,
        }
    }

    /// A verdict as the name of a style.
    fn class<'w>(&self, word: &'w str) -> &'w str {
        if word == UNKNOWN { "unknown" } else { word }
    }

    /// An agent's state as the name of a style.
    fn agent_class(&self, state: &str) -> &'static str {
        match state {
            "enforcing" => "good",
            "degraded" => "some",
            _ => "bad",
        }
    }

    fn or_dash<'w>(&self, text: &'w str) -> &'w str {
        if text.is_empty() { "–" } else { text }
    }
}

impl Container {
    /// The order of the page: what needs somebody comes first.
    fn rank(&self) -> (u8, usize) {
        let known = |wanted: &str| self.verdicts.iter().filter(|word| *word == wanted).count();
        let group = match (self.class, self.is_live) {
            ("bad", _) => 0,
            (_, false) => 3,
            _ if known(UNKNOWN) > 0 => 1,
            _ => 2,
        };
        (group, known("closed") * 7 + known("partial"))
    }
}

/// Levels by what was measured, numbered in the order of the page: the weakest first.
fn levels(pods: &[Pod]) -> Vec<(Facets, Counted)> {
    let mut levels: Vec<(Facets, Counted)> = Vec::new();
    for facets in pods.iter().flat_map(|pod| pod.facets.values()) {
        match levels.iter_mut().find(|(known, _)| known == facets) {
            Some((_, counted)) => counted.containers += 1,
            None => levels.push((*facets, Counted { number: 0, containers: 1 })),
        }
    }
    let strength = |facets: Facets| {
        let rows = ProtectionLevel::from_facets(facets, Vec::new()).rows;
        rows.iter().map(|row| row.verdict as usize).sum::<usize>()
    };
    levels.sort_by_key(|(facets, _)| strength(*facets));
    (1..).zip(&mut levels).for_each(|(number, (_, counted))| counted.number = number);
    levels
}

#[derive(Debug)]
struct Counted {
    number: usize,
    containers: usize,
}

impl Counted {
    fn with(self, facets: Facets) -> Level {
        Level {
            number: self.number,
            containers: self.containers,
            facets: [
                ("memory", facets.memory.as_str()),
                ("environ", facets.environ.as_str()),
                ("supervisor", facets.supervisor.as_str()),
                ("attach", facets.attach.as_str()),
                ("transport", facets.transport.as_str()),
                ("release", facets.release.as_str()),
                ("agent", facets.agent.as_str()),
            ],
            rows: ProtectionLevel::from_facets(facets, Vec::new()).rows,
        }
    }
}

/// The rows of a pod.
fn containers(pod: &Pod, levels: &[(Facets, Counted)]) -> Vec<Container> {
    let is_live = !matches!(pod.phase.as_str(), "Failed" | "Succeeded");
    let row = |container: Option<&String>| {
        let verdicts = container.and_then(|name| pod.levels.get(name));
        let word = |id: &&str| {
            let word = verdicts.and_then(|verdicts| verdicts.get(*id));
            word.map_or(UNKNOWN, String::as_str).to_owned()
        };
        let measured = container.and_then(|name| pod.facets.get(name));
        let level = levels.iter().find(|(facets, _)| Some(facets) == measured);
        let (state, class) = match (container, is_live) {
            (None, true) => ("NOT WRAPPED".to_owned(), "bad"),
            (None, false) => (format!("{}, was not wrapped", plain(&pod.phase)), "dim"),
            (Some(_), true) => (plain(&pod.phase), "good"),
            (Some(_), false) => (plain(&pod.phase), "dim"),
        };
        Container {
            pod: plain(&format!("{}/{}", pod.namespace, pod.name)),
            container: container.map_or_else(|| "–".to_owned(), |name| plain(name)),
            others: plain(&pod.others.join(", ")),
            state,
            class,
            verdicts: ADVERSARIES.iter().map(word).collect(),
            level: level.map(|(_, counted)| counted.number),
            node: plain(&pod.node),
            agent: pod.agent.clone(),
            last_release: pod.last_release.clone().unwrap_or_else(|| "not shown".to_owned()),
            is_live,
        }
    };
    if pod.wrapped.is_empty() {
        return vec![row(None)];
    }
    pod.wrapped.iter().map(|name| row(Some(name))).collect()
}

/// Counts of what lives.
fn adversaries(rows: &[Container]) -> Vec<Adversary> {
    let count = |at: usize, wanted: &str| {
        let of = |row: &&Container| row.verdicts.get(at).is_some_and(|word| word == wanted);
        rows.iter().filter(|row| row.is_live).filter(of).count()
    };
    // Who they are does not depend on what is measured.
    let rows_of_any = ProtectionLevel::from_facets(Facets::WEAKEST, Vec::new()).rows;
    rows_of_any
        .into_iter()
        .enumerate()
        .map(|(at, row)| Adversary {
            id: row.id,
            who: row.adversary,
            closed: count(at, "closed"),
            partial: count(at, "partial"),
            open: count(at, "open"),
            unknown: count(at, UNKNOWN),
        })
        .collect()
}

/// Nodes, those that need somebody first.
fn nodes(status: &Status) -> Vec<Node<'_>> {
    let mut nodes: Vec<_> = status.nodes.iter().collect();
    nodes.sort_by_key(|node| (node.agent == "enforcing", node.agent == "degraded", &node.name));
    let is_told = |node: &super::Node| !node.tier.is_empty();
    nodes
        .into_iter()
        .map(|node| Node {
            name: plain(&node.name),
            agent: &node.agent,
            tier: &node.tier,
            roads: match (node.open_roads.join(", "), is_told(node)) {
                (_, false) => UNKNOWN.to_owned(),
                (roads, true) if roads.is_empty() => "none".to_owned(),
                (roads, true) => roads,
            },
            attacked: node
                .canary_seconds
                .map_or_else(|| "–".to_owned(), |seconds| format!("{seconds} s before")),
            kernel: plain(&node.kernel),
            image: plain(&node.image),
        })
        .collect()
}

/// What runs, and where another version of it does.
fn versions(status: &Status) -> Vec<Version> {
    let count =
        |count: usize, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
    let version =
        |what, version: &str, place: String| Version { what, version: plain(version), place };
    let mut all = vec![
        version("Kubernetes", &status.kubernetes, "API server".to_owned()),
        version("cloudtaser", status.version, "this command".to_owned()),
        version(
            "operator",
            &status.operators.image,
            count(as_count(status.operators.wanted), "replica"),
        ),
    ];
    let wanted = status.agents.as_ref().map_or("", |agents| &agents.image);
    let mut agents: BTreeMap<&str, usize> = BTreeMap::new();
    for node in status.nodes.iter().filter(|node| !node.image.is_empty()) {
        *agents.entry(&node.image).or_default() += 1;
    }
    for (image, nodes) in agents {
        let behind = if image == wanted { "" } else { ", another one than is wanted" };
        all.push(version("agent", image, format!("{}{behind}", count(nodes, "node"))));
    }
    let mut wrappers: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for pod in status.pods.iter().filter(|pod| !pod.wrapper.is_empty()) {
        wrappers.entry(&pod.wrapper).or_default().insert((&pod.namespace, &pod.name));
    }
    for (image, pods) in wrappers {
        all.push(version("wrapper", image, count(pods.len(), "pod")));
    }
    all
}

fn as_count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Text that others wrote, without what a reader does not see and a page obeys.
fn plain(text: &str) -> String {
    let is_hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().map(|c| if c.is_control() || is_hidden(c) { '\u{fffd}' } else { c }).collect()
}
