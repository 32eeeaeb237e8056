//! Documents in, findings out.

use crate::{
    cilium,
    cluster::{Cluster, Workload},
    desk::Desk,
    egress,
    finding::{Finding, Problem, Severity},
    kubearmor,
    object::{self, Found, Kind, Object},
    pods,
    read::{self, Document},
    seccomp,
    selector::Selects,
    settings::Settings,
    source::Source,
    tetragon,
    tree::Node,
};

/// What came of a check.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was found, in the order of files and places.
    pub findings: Vec<Finding>,
    /// What could not be checked, or not wholly.
    pub problems: Vec<Problem>,
    /// Policies, profiles and settings that were judged.
    pub judged: usize,
    /// Documents of kinds that nothing here is about, by kind.
    pub others: std::collections::BTreeMap<String, usize>,
    /// Workloads that were given.
    pub workloads: usize,
    /// How many of them are ours.
    pub ours: usize,
    /// Whether every pod was assumed to be one of ours, since no workload was given.
    pub assumed: bool,
}

impl Report {
    /// The worst that was found.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).min()
    }

    /// Whether a document was left out because it cannot be read.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.problems.iter().any(|problem| problem.skipped)
    }
}

/// Lists of lists end somewhere.
const DEEPEST_LIST: usize = 4;

/// Checks files together: policies against the workloads among them.
#[must_use]
pub fn check(sources: &[Source], settings: &Settings) -> Report {
    let mut report = Report::default();
    let mut objects = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        for document in read::documents(source.text()) {
            match document {
                Ok(document) => take(&mut report, &mut objects, index, document),
                Err(error) => report.problems.push(Problem {
                    source: index,
                    span: error.span.clone(),
                    words: error.to_string(),
                    skipped: true,
                }),
            }
        }
    }
    let cluster = Cluster::of(&objects);
    report.assumed = cluster.is_assumed();
    report.workloads = cluster.given();
    report.ours = if cluster.is_assumed() { 0 } else { cluster.ours().len() };
    for object in &objects {
        let Some(source) = sources.get(object.source) else { continue };
        judge(&mut report, object, source, &objects, &cluster, settings);
    }
    report.findings.sort_by_key(|finding| (finding.source, finding.span.start, finding.rule.id));
    report
}

fn take(report: &mut Report, objects: &mut Vec<Object>, source: usize, document: Document) {
    for key in document.twice {
        report.problems.push(Problem {
            source,
            span: key.span.clone(),
            words: format!(
                "the key {} stands twice: the last one is taken, and what stood before has no effect",
                key.text().unwrap_or_default()
            ),
            skipped: false,
        });
    }
    let mut open = vec![(document.root, 0)];
    while let Some((root, depth)) = open.pop() {
        match object::classify(&root) {
            Found::Known(kind) => {
                if let Some((known, span)) = object::newer_than(&root, kind) {
                    report.problems.push(Problem {
                        source,
                        span,
                        words: format!(
                            "this version is not the one that is known here ({known}): what both \
                             have in common is checked"
                        ),
                        skipped: false,
                    });
                }
                objects.push(Object { source, root, has_aliases: document.has_aliases, kind });
            }
            Found::List if depth < DEEPEST_LIST => {
                let items = root.list("items").iter().rev();
                open.extend(items.map(|item| (item.clone(), depth + 1)));
            }
            Found::List => {}
            Found::Other(kind) => *report.others.entry(kind).or_default() += 1,
            Found::Nothing => *report.others.entry("no kind".to_owned()).or_default() += 1,
        }
    }
}

fn judge(
    report: &mut Report,
    object: &Object,
    source: &Source,
    objects: &[Object],
    cluster: &Cluster,
    settings: &Settings,
) {
    let selected = cluster.selected(|workload| selects(object, source, workload));
    let selected: Vec<&Workload> = selected.into_iter().map(|(workload, _)| workload).collect();
    // Policies of nodes are about the agent, and about pods that use the node's network.
    let about_nodes =
        matches!(object.kind, Kind::KubeArmorHostPolicy | Kind::KubeArmorNetworkPolicy);
    let ours = !cluster.ours().is_empty();
    let selected = if about_nodes { cluster.ours().iter().collect() } else { selected };
    let desk = Desk { object, source, cluster, settings, selected };
    if object.kind != Kind::Workload {
        report.judged += 1;
    }
    if !ours && object.kind != Kind::Workload {
        return;
    }
    let is_selected = !desk.selected.is_empty();
    let found: Vec<Finding> = match object.kind {
        Kind::KubeArmorHostPolicy | Kind::KubeArmorNetworkPolicy => {
            kubearmor::check(&desk, objects)
        }
        Kind::KubeArmorClusterPolicy | Kind::KubeArmorPolicy if is_selected => {
            kubearmor::check(&desk, objects)
        }
        Kind::KubeArmorConfig => kubearmor::check_settings(&desk),
        Kind::TracingPolicy | Kind::TracingPolicyNamespaced if is_selected => {
            tetragon::check(&desk)
        }
        Kind::ConfigMap => {
            let tetragon = tetragon::check_settings(&desk);
            tetragon.into_iter().chain(kubearmor::check_settings(&desk)).collect()
        }
        Kind::Seccomp if is_selected => seccomp::check(&desk),
        Kind::NetworkPolicy if is_selected => egress::check(&desk, objects),
        Kind::CiliumNetworkPolicy if is_selected => cilium::check(&desk, objects),
        Kind::Namespace => {
            let posture = if is_selected { kubearmor::check_settings(&desk) } else { Vec::new() };
            posture.into_iter().chain(pods::namespace(&desk)).collect()
        }
        Kind::Workload if is_selected => pods::check(&desk),
        _ => Vec::new(),
    };
    report.findings.extend(found);
}

/// Whether an object is about a workload.
fn selects(object: &Object, source: &Source, workload: &Workload) -> Selects {
    match object.kind {
        Kind::KubeArmorClusterPolicy | Kind::KubeArmorPolicy => {
            kubearmor::selects(object, workload)
        }
        Kind::TracingPolicy | Kind::TracingPolicyNamespaced => tetragon::selects(object, workload),
        Kind::NetworkPolicy => egress::selects(object, workload),
        Kind::CiliumNetworkPolicy => cilium::selects(object, workload),
        Kind::Seccomp => seccomp::selects(source, workload),
        Kind::Namespace => {
            let name = object.root.at(&["metadata", "name"]).and_then(Node::text);
            workload.lives_in(name)
        }
        // Itself, by its title: objects of one name and kind are one.
        Kind::Workload if workload.title == object.title() => Selects::Yes,
        _ => Selects::No,
    }
}
