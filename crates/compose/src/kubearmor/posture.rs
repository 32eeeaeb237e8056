//! What an allow-list does with the rest: annotations of namespaces, settings of the agent (K16).

use cloudtaser_core::needs::Step;

use crate::{
    desk::{Desk, Draft},
    finding::{Exception, Finding, Severity},
    object::{Kind, Object},
    settings::Posture,
    tree::Node,
};

/// The posture of each kind of section, and whether anything says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Postures {
    pub(super) file: Option<Posture>,
    pub(super) network: Option<Posture>,
}

const SECTIONS: [(&str, &str); 3] = [
    ("kubearmor-file-posture", "defaultFilePosture"),
    ("kubearmor-network-posture", "defaultNetworkPosture"),
    ("kubearmor-capabilities-posture", "defaultCapabilitiesPosture"),
];

fn parse(text: &str) -> Option<Posture> {
    match text {
        "block" => Some(Posture::Block),
        "audit" => Some(Posture::Audit),
        _ => None,
    }
}

impl Postures {
    /// Namespace before the agent's settings before what the caller says.
    pub(super) fn of(desk: &Desk<'_>, objects: &[Object]) -> Self {
        let [file, network, _] = SECTIONS.map(|(annotation, setting)| {
            let namespaces = desk.selected.iter().filter_map(|workload| {
                let name = workload.namespace.as_deref().or_else(|| desk.object.namespace())?;
                let text = desk.cluster.namespace(name)?.annotations.get(annotation)?;
                parse(text)
            });
            let mut configured = objects.iter().filter_map(|object| match object.kind {
                Kind::KubeArmorConfig => parse(object.root.at(&["spec", setting])?.text()?),
                // Where the agent was installed without its operator.
                Kind::ConfigMap => parse(object.root.at(&["data", setting])?.text()?),
                _ => None,
            });
            // One pod that is refused is enough.
            let worst = namespaces.min_by_key(|posture| *posture == Posture::Audit);
            worst.or_else(|| configured.next_back()).or(desk.settings.posture)
        });
        Self { file, network }
    }
}

/// How bad an allow-list without an entry of ours is, and a sentence about it.
pub(super) fn severity(posture: Option<Posture>) -> (Severity, &'static str) {
    match posture {
        Some(Posture::Block) => (Severity::Breaks, "the posture here is block, so it is refused"),
        Some(Posture::Audit) => (Severity::Noisy, "the posture here is audit, so it is reported"),
        None => (
            Severity::Noisy,
            "under the default posture (audit) it is reported; under posture block it is refused \
             (give the Namespace or the KubeArmorConfig along, or --posture block)",
        ),
    }
}

/// K16: an annotation or a setting that turns allow-lists into refusals.
pub(crate) fn settings(desk: &Desk<'_>) -> Vec<Finding> {
    let root = &desk.object.root;
    let places: Vec<&Node> = match desk.object.kind {
        Kind::Namespace => {
            let annotations = root.at(&["metadata", "annotations"]);
            let found = SECTIONS.iter().filter_map(|(name, _)| annotations?.get(name));
            found.collect()
        }
        Kind::KubeArmorConfig => {
            SECTIONS.iter().filter_map(|(_, name)| root.at(&["spec", name])).collect()
        }
        Kind::ConfigMap => {
            SECTIONS.iter().filter_map(|(_, name)| root.at(&["data", name])).collect()
        }
        _ => Vec::new(),
    };
    let blocking = places.into_iter().filter(|node| node.text() == Some("block"));
    let found = blocking.filter_map(|node| {
        desk.finding(Draft {
            rule: "K16",
            severity: Severity::Noisy,
            span: node.span.clone(),
            step: Step::Launch,
            words: "allow-lists refuse what they do not list: each that selects pods of ours must \
                    list the wrapper and its files"
                .to_owned(),
            exception: Some(Exception {
                words: "list them (`cloudtaser compose export kubearmor`); where no allow-list \
                        selects pods of ours, nothing has to be done"
                    .to_owned(),
                text: String::new(),
                edits: Vec::new(),
                costs: None,
            }),
        })
    });
    found.collect()
}
