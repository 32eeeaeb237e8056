//! The pods that a check is about.
//!
//! A workload is one of ours when its pods carry the label `cloudtaser.io/inject: "true"`. Where no
//! workload was given at all, the check assumes that every pod may be one of ours, and its report
//! says so; where some were given and none is ours, no policy selects any of ours.

use std::collections::BTreeMap;

use cloudtaser_core::names;

use crate::{
    object::{Kind, Object},
    selector::{Labels, Selects},
    tree::Node,
};

/// What was given of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Pods of ours.
    ours: Vec<Workload>,
    namespaces: BTreeMap<String, Namespace>,
    /// Whether there was no workload, of ours or not.
    assumed: bool,
    /// How many workloads there were.
    given: usize,
}

/// Labels and annotations of a namespace.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Something that makes pods of ours.
#[derive(Clone, Debug)]
pub struct Workload {
    /// `Kind namespace/name`.
    pub title: String,
    /// The namespace, where it is written down.
    pub namespace: Option<String>,
    /// Labels of its pods.
    pub labels: Labels,
    /// Annotations of its pods.
    pub annotations: BTreeMap<String, String>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// Whether the pods use the node's network.
    pub host_network: bool,
    /// Whether this stands for pods that were not given.
    pub assumed: bool,
    /// Whether its pods say that they run as another user than root.
    pub not_root: bool,
    /// Names of localhost seccomp profiles.
    pub seccomp: Vec<String>,
}

/// A container of a pod of ours.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// `command` and `args`; the first word is the program where there is a command.
    pub words: Vec<String>,
    /// Whether `command` is there, so that the first word is the program.
    pub has_command: bool,
    /// Variables with values.
    pub env: BTreeMap<String, String>,
    /// Where volumes are mounted.
    pub mounts: Vec<String>,
}

impl Cluster {
    /// Takes the workloads and namespaces among the objects.
    #[must_use]
    pub fn of(objects: &[Object]) -> Self {
        let mut cluster = Self::default();
        for object in objects {
            match object.kind {
                Kind::Workload => {
                    cluster.given += 1;
                    cluster.ours.extend(Workload::of(object));
                }
                Kind::Namespace => cluster.take_namespace(object),
                _ => {}
            }
        }
        if cluster.given == 0 {
            cluster.assumed = true;
            cluster.ours.push(Workload::assumed());
        }
        cluster
    }

    fn take_namespace(&mut self, object: &Object) {
        let Some(name) = object.root.at(&["metadata", "name"]).and_then(Node::text) else { return };
        let mut labels = pairs(object.root.at(&["metadata", "labels"]));
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
        let annotations = pairs(object.root.at(&["metadata", "annotations"]));
        let labels = Labels::complete(labels);
        self.namespaces.insert(name.to_owned(), Namespace { labels, annotations });
    }

    /// Whether no workload was given, so that every pod is assumed to be one of ours.
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.assumed
    }

    /// How many workloads were given.
    #[must_use]
    pub fn given(&self) -> usize {
        self.given
    }

    /// The workloads of ours; one that stands for all where none was given.
    #[must_use]
    pub fn ours(&self) -> &[Workload] {
        &self.ours
    }

    /// A namespace that was given.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// The workloads of ours that a policy is about.
    pub fn selected(&self, selects: impl Fn(&Workload) -> Selects) -> Vec<(&Workload, Selects)> {
        let judged = self.ours.iter().map(|workload| (workload, selects(workload)));
        judged.filter(|(_, selects)| *selects > Selects::No).collect()
    }
}

impl Workload {
    fn of(object: &Object) -> Option<Self> {
        let (meta, spec) = pod_of(&object.root)?;
        let labels = pairs(meta.and_then(|meta| meta.get("labels")));
        if labels.get(names::LABEL_INJECT).map(String::as_str) != Some("true") {
            return None;
        }
        let containers = spec.list("containers").iter().map(Container::of).collect();
        let profiles = spec.list("containers").iter().chain([spec]).filter_map(|node| {
            node.at(&["securityContext", "seccompProfile", "localhostProfile"])?.text()
        });
        Some(Self {
            title: object.title(),
            namespace: object.namespace().map(str::to_owned),
            labels: Labels::complete(labels),
            annotations: pairs(meta.and_then(|meta| meta.get("annotations"))),
            containers,
            host_network: spec.says("hostNetwork"),
            not_root: spec.list("containers").iter().chain([spec]).any(is_not_root),
            assumed: false,
            seccomp: profiles.map(str::to_owned).collect(),
        })
    }

    fn assumed() -> Self {
        let label = (names::LABEL_INJECT.to_owned(), "true".to_owned());
        Self {
            title: "every pod with the label cloudtaser.io/inject".to_owned(),
            namespace: None,
            labels: Labels::partial([label].into()),
            annotations: BTreeMap::new(),
            containers: Vec::new(),
            host_network: true,
            not_root: false,
            assumed: true,
            seccomp: Vec::new(),
        }
    }

    /// Whether an object of a namespace can be about it. Who writes no namespace decides at apply.
    #[must_use]
    pub fn lives_in(&self, namespace: Option<&str>) -> Selects {
        match (&self.namespace, namespace) {
            (Some(own), Some(other)) if own == other => Selects::Yes,
            (Some(_), Some(_)) => Selects::No,
            _ => Selects::Perhaps,
        }
    }

    /// The programs that its containers start, where that is written down.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().filter_map(|container| {
            let mut words = container.words.iter().map(String::as_str);
            let first = words.next().filter(|_| container.has_command)?;
            // A wrapper that was written into the command starts what follows `--`.
            if first.ends_with(names::WRAPPER) {
                return words.skip_while(|word| *word != "--").nth(1);
            }
            Some(first)
        })
    }

    /// Whether it asks for secret files, or may.
    #[must_use]
    pub fn may_have_files(&self) -> bool {
        let words = self.containers.iter().flat_map(|container| &container.words);
        let asked = format!("{}file.", names::ANNOTATION_PREFIX);
        self.assumed
            || self.annotations.keys().any(|key| key.starts_with(&asked))
            || words.clone().any(|word| word == "--file")
    }

    /// Whether a container starts the wrapper by itself, with the login that it chose.
    #[must_use]
    pub fn wraps_itself(&self) -> bool {
        let words = self.containers.iter().flat_map(|container| &container.words);
        words.clone().any(|word| word.contains(names::WRAPPER))
    }
}

impl Container {
    fn of(node: &Node) -> Self {
        let text = |key: &str| node.word(key).unwrap_or_default().to_owned();
        let words = node.words("command").into_iter().chain(node.words("args"));
        let env = node.list("env").iter().filter_map(|variable| {
            Some((variable.word("name")?.to_owned(), variable.word("value")?.to_owned()))
        });
        let mounts = node.list("volumeMounts").iter().filter_map(|mount| mount.word("mountPath"));
        Self {
            name: text("name"),
            image: text("image"),
            words: words.map(str::to_owned).collect(),
            has_command: !node.words("command").is_empty(),
            env: env.collect(),
            mounts: mounts.map(str::to_owned).collect(),
        }
    }
}

/// Metadata and spec of the pods that an object makes.
#[must_use]
pub fn pod_of(root: &Node) -> Option<(Option<&Node>, &Node)> {
    let pod = match root.word("kind")? {
        "Pod" => root,
        "CronJob" => root.at(&["spec", "jobTemplate", "spec", "template"])?,
        _ => root.at(&["spec", "template"])?,
    };
    Some((pod.get("metadata"), pod.get("spec")?))
}

fn is_not_root(node: &Node) -> bool {
    let Some(context) = node.get("securityContext") else { return false };
    context.says("runAsNonRoot") || context.word("runAsUser").is_some_and(|user| user != "0")
}

fn pairs(node: Option<&Node>) -> BTreeMap<String, String> {
    let entries = node.map_or(&[][..], Node::entries);
    let texts = entries.iter().filter_map(|(key, value)| {
        Some((key.text()?.to_owned(), value.text().unwrap_or_default().to_owned()))
    });
    texts.collect()
}

impl Workload {
    /// A label selector that may also name the namespace, as Cilium and Tetragon write it.
    pub(crate) fn chosen_with_namespace(&self, selector: &Node) -> Selects {
        let mut labels = self.labels.clone();
        if let Some(namespace) = &self.namespace {
            labels.learn("io.kubernetes.pod.namespace", namespace);
        }
        labels.chosen_by(selector)
    }
}
