//! What is in a pod, as far as it concerns us.

use serde_json::{Map, Value};

use super::{names, references};
use crate::{
    annotations::{Selection, Wishes},
    image::ImageRequest,
    refusal::Refusal,
};

/// A pod that can be read.
pub(super) struct Pod<'a> {
    pub(super) json: &'a Value,
    pub(super) spec: &'a Map<String, Value>,
    pub(super) annotations: Option<&'a Map<String, Value>>,
    /// Init containers, then the app's; ours is among them where it is there.
    pub(super) containers: Vec<Container<'a>>,
}

/// One container, and where it stands.
#[derive(Clone)]
pub(super) struct Container<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// JSON Pointer.
    pub(super) at: String,
    pub(super) json: &'a Value,
}

/// Which list a container stands in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// `containers`.
    App,
    /// `ephemeralContainers`.
    Ephemeral,
    /// `initContainers`, native sidecars included.
    Init,
}

impl Kind {
    const fn list(self) -> &'static str {
        match self {
            Self::App => "containers",
            Self::Ephemeral => "ephemeralContainers",
            Self::Init => "initContainers",
        }
    }
}

impl<'a> Pod<'a> {
    pub(super) fn read(json: &'a Value) -> Result<Self, Refusal> {
        let spec = json.get("spec").and_then(Value::as_object);
        let spec = spec.ok_or(Refusal::Malformed("it has no spec"))?;
        let annotations = match json.get("metadata").and_then(|meta| meta.get("annotations")) {
            None | Some(Value::Null) => None,
            Some(Value::Object(annotations)) => Some(annotations),
            Some(_) => return Err(Refusal::Malformed("its annotations are no object")),
        };
        let mut containers = Vec::new();
        for kind in [Kind::Init, Kind::App] {
            match spec.get(kind.list()) {
                None | Some(Value::Null) => {}
                Some(Value::Array(list)) => {
                    for (at, container) in list.iter().enumerate() {
                        containers.push(Container::read(container, kind, at)?);
                    }
                }
                Some(_) => return Err(Refusal::Malformed("its containers are no list")),
            }
        }
        if !containers.iter().any(|container| container.kind == Kind::App) {
            return Err(Refusal::Malformed("it has no containers"));
        }
        let pod = Self { json, spec, annotations, containers };
        if pod.text("/spec/os/name") == Some("windows") {
            let why = "the wrapper runs on Linux; a Windows pod cannot be opted in";
            return Err(Refusal::Pod(why.to_owned()));
        }
        Ok(pod)
    }

    pub(super) fn text(&self, pointer: &str) -> Option<&'a str> {
        self.json.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
    }

    fn is_on(&self, pointer: &str) -> bool {
        self.json.pointer(pointer) == Some(&Value::Bool(true))
    }

    pub(super) fn service_account(&self) -> &'a str {
        self.text("/spec/serviceAccountName").unwrap_or("default")
    }

    /// Whether a container is started by the wrapper.
    pub(super) fn is_chosen(&self, container: &Container<'a>, wishes: &Wishes) -> bool {
        let is_in = |list: &[String]| list.iter().any(|name| name == container.name);
        if container.name == names::DELIVER && container.kind == Kind::Init {
            return false;
        }
        match &wishes.containers {
            Selection::All => !is_in(&wishes.skip),
            Selection::Apps => match container.kind {
                Kind::App => !is_in(&wishes.skip) || references::some_in(container),
                Kind::Ephemeral => false,
                Kind::Init => references::some_in(container),
            },
            Selection::Named(list) => is_in(list),
        }
    }

    /// A container that is named and does not exist is a slip that would leave one unwrapped.
    pub(super) fn all_named_exist(&self, wishes: &Wishes) -> Result<(), Refusal> {
        let exists = |name: &String| self.containers.iter().any(|c| c.name == name.as_str());
        let named = match &wishes.containers {
            Selection::Named(list) => list.as_slice(),
            Selection::All | Selection::Apps => &[],
        };
        if let Some(name) = named.iter().find(|name| !exists(name)) {
            let problem = format!("the pod has no container `{name}`");
            return Err(Refusal::annotation(names::CONTAINERS, problem));
        }
        if let Some(name) = wishes.commands.keys().find(|name| !exists(name)) {
            let own = format!("{}.{name}", names::COMMAND);
            let problem = format!("the pod has no container `{name}`");
            return Err(Refusal::annotation(&own, problem));
        }
        Ok(())
    }

    pub(super) fn image_request(&self, container: &Container<'a>) -> Result<ImageRequest, Refusal> {
        let image = container.json.get("image").and_then(Value::as_str).unwrap_or_default();
        if image.is_empty() {
            return Err(Refusal::container(container.name, "it has no image"));
        }
        let secrets = self.spec.get("imagePullSecrets").and_then(Value::as_array);
        let secrets = secrets.into_iter().flatten().filter_map(|s| s.get("name")?.as_str());
        let node = self.spec.get("nodeSelector");
        let architecture = node.and_then(|labels| labels.get("kubernetes.io/arch")?.as_str());
        Ok(ImageRequest {
            image: image.to_owned(),
            architecture: architecture.map(str::to_owned),
            pull_secrets: secrets.map(str::to_owned).collect(),
            service_account: self.service_account().to_owned(),
        })
    }

    /// What in the pod's own settings opens its memory to others.
    pub(super) fn weaknesses(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.is_on("/spec/shareProcessNamespace") {
            all.push(
                "shareProcessNamespace: every container of the pod sees the app's processes, and one \
                 of the same user reads them: run them as different users, or demand the node agent \
                 (cloudtaser.io/agent: require)"
                    .to_owned(),
            );
        }
        if self.is_on("/spec/hostPID") {
            all.push(
                "hostPID: the pod sees every process of the node; leave it out unless it needs that"
                    .to_owned(),
            );
        }
        all
    }
}

impl<'a> Container<'a> {
    pub(super) fn read(json: &'a Value, kind: Kind, at: usize) -> Result<Self, Refusal> {
        let name = json.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or(Refusal::Malformed("one of its containers has no name"))?;
        Ok(Self { name, kind, at: format!("/spec/{}/{at}", kind.list()), json })
    }

    /// A list of texts, such as `command`.
    pub(super) fn words(&self, member: &str) -> Result<Vec<&'a str>, Refusal> {
        words(self.json, member).ok_or_else(|| {
            Refusal::container(self.name, format!("its {member} is no list of texts"))
        })
    }

    /// Its variables with a value in the pod: name and value.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let list = self.json.get("env").and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|entry| Some((entry.get("name")?.as_str()?, entry.get("value")?.as_str()?)))
    }

    pub(super) fn refused(&self, problem: impl Into<String>) -> Refusal {
        Refusal::container(self.name, problem)
    }
}

/// A list of texts in an object; empty where it is absent, `None` where it is something else.
pub(super) fn words<'a>(object: &'a Value, member: &str) -> Option<Vec<&'a str>> {
    match object.get(member) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(list) => list.as_array()?.iter().map(Value::as_str).collect(),
    }
}
