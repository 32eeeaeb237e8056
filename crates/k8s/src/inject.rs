//! What is done to a pod: the wrapper is brought in, and the chosen containers start under it.
//!
//! The patch is the difference between the pod and the pod as it should be, so it is empty on its
//! own output, and the same function judges what other admission webhooks left of it. It adds,
//! replaces what is ours, and puts the wrapper before commands; it takes nothing away.
//!
//! Reading order: `pod` (what is there), `references` (what may stand there), `command` (what is
//! started), `wrap` (one container), `deliver` (what all of them share).

use cloudtaser_core::names::kubernetes as names;
use serde_json::{Map, Value, json};

use crate::{
    annotations::Wishes,
    config::{Config, Token},
    image::{ImageRequest, ImageResolver, NoRegistry},
    patch::Patch,
    refusal::Refusal,
};

mod command;
mod covers;
mod deliver;
mod logins;
mod pod;
mod references;
mod wrap;

#[cfg(test)]
mod tests;

use pod::{Container, Kind, Pod};

/// What is to be done to a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injection {
    /// The changes; empty where there is nothing to do.
    pub patch: Patch,
    /// What the person who created the pod should know.
    pub warnings: Vec<String>,
}

/// What the kubelet writes on the picture of a pod that it started from a file of its own.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Whether a pod asked to be taken in hand, and can be.
#[must_use]
pub fn is_opted_in(pod: &Value) -> bool {
    label(pod) == Some("true") && !is_mirror(pod)
}

/// Such a pod runs already, as its file says; to change or to refuse its picture changes nothing.
fn is_mirror(pod: &Value) -> bool {
    let annotations = pod.get("metadata").and_then(|meta| meta.get("annotations"));
    annotations.is_some_and(|annotations| annotations.get(MIRROR).is_some())
}

/// The changes that take a pod in hand; none for a pod that did not ask.
///
/// # Errors
/// [`Refusal`] where the pod could not run as its author means it.
pub fn inject(
    pod: &Value,
    config: &Config,
    images: &dyn ImageResolver,
) -> Result<Injection, Refusal> {
    if !is_opted_in(pod) {
        return Ok(not_opted_in(pod));
    }
    let work = Work::of(pod, config)?;
    let mut patch = Patch::default();
    let mut warnings = work.wishes.warnings.clone();
    warnings.extend(work.pod.weaknesses());
    if work.wrapped.is_empty() {
        warnings.push(
            "the pod is opted in, and none of its containers is wrapped: cloudtaser.io/skip-containers \
             or the operator's list has them all; cloudtaser.io/containers names those to wrap"
                .to_owned(),
        );
    }
    if work.wishes.plan.server.broker.is_some() {
        warnings.extend(logins::by_bridge(&work));
    }
    // Lists before ours: positions of init containers change when ours is put first.
    for container in &work.wrapped {
        wrap::container(container, &work, images, &mut patch, &mut warnings)?;
    }
    deliver::volumes(&work, &mut patch)?;
    deliver::init_container(&work, config, &mut patch)?;
    mark(&work, &mut patch);
    Ok(Injection { patch, warnings })
}

/// The images of which somebody must say what they start before [`inject`] can go on.
///
/// # Errors
/// As [`inject`].
pub fn unknown_images(pod: &Value, config: &Config) -> Result<Vec<ImageRequest>, Refusal> {
    if !is_opted_in(pod) {
        return Ok(Vec::new());
    }
    let work = Work::of(pod, config)?;
    let mut wanted = Vec::new();
    for container in &work.wrapped {
        if command::needs_image(container, &work.wishes) {
            wanted.push(work.pod.image_request(container)?);
        }
    }
    wanted.sort();
    wanted.dedup();
    Ok(wanted)
}

/// Judges a pod after all admission webhooks: it must be as [`inject`] leaves it.
///
/// # Errors
/// [`Refusal`] with the first difference.
pub fn verify(pod: &Value, config: &Config) -> Result<(), Refusal> {
    // Who was never wrapped is told so, and not what stands in the way of wrapping it now.
    if !is_marked(pod) && unknown_images(pod, config).is_ok_and(|images| !images.is_empty()) {
        return Err(Refusal::NotWrapped("/metadata/annotations".to_owned()));
    }
    let injection = inject(pod, config, &NoRegistry)?;
    match injection.patch.first_place() {
        None => Ok(()),
        Some(place) => Err(Refusal::NotWrapped(place.to_owned())),
    }
}

/// How a pod that runs already stands to what it asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It did not ask.
    NotOptedIn,
    /// It is wrapped, by another configuration or another version than this.
    Outdated,
    /// One of its containers runs without the wrapper.
    Unwrapped,
    /// It is as it should be.
    Wrapped,
}

/// Looks at a pod that was created before, or while nobody was asked.
#[must_use]
pub fn standing(pod: &Value, config: &Config) -> Standing {
    if label(pod) != Some("true") {
        return Standing::NotOptedIn;
    }
    if !is_mirror(pod) && verify(pod, config).is_ok() {
        return Standing::Wrapped;
    }
    let Ok(work) = Work::of(pod, config) else { return Standing::Unwrapped };
    let wrapped = work.wrapped.iter().all(|container| {
        container.words("command").is_ok_and(|words| command::unwrapped(&words).is_some())
    });
    if wrapped { Standing::Outdated } else { Standing::Unwrapped }
}

/// Judges containers that are put into a pod that runs (`kubectl debug`): they get no secrets, so
/// they may hold no reference.
///
/// # Errors
/// [`Refusal::Container`].
pub fn verify_ephemeral(pod: &Value) -> Result<(), Refusal> {
    if !is_opted_in(pod) {
        return Ok(());
    }
    let list = pod.pointer("/spec/ephemeralContainers").and_then(Value::as_array);
    for (at, container) in list.into_iter().flatten().enumerate() {
        let container = Container::read(container, Kind::Ephemeral, at)?;
        references::none_in(&container, "a debug container gets no secrets; leave it out")?;
    }
    Ok(())
}

/// A pod, what it asks for, and which of its containers are wrapped.
struct Work<'a> {
    pod: Pod<'a>,
    wishes: Wishes,
    wrapped: Vec<Container<'a>>,
    token: Token,
}

impl<'a> Work<'a> {
    fn of(json: &'a Value, config: &Config) -> Result<Self, Refusal> {
        let pod = Pod::read(json)?;
        let none = Map::new();
        let mut wishes = Wishes::read(pod.annotations.unwrap_or(&none), config)?;
        wishes.skip.extend(config.pods.skip_containers.iter().cloned());
        pod.all_named_exist(&wishes)?;
        let mut wrapped = Vec::new();
        for container in &pod.containers {
            if pod.is_chosen(container, &wishes) {
                wrapped.push(container.clone());
            } else if container.name != names::DELIVER {
                let why = "it is not among the containers that are wrapped; name it in \
                           cloudtaser.io/containers, or leave the reference out";
                references::none_in(container, why)?;
            }
        }
        Ok(Self { pod, wishes, wrapped, token: config.token.clone() })
    }
}

fn is_marked(pod: &Value) -> bool {
    let annotations = pod.get("metadata").and_then(|meta| meta.get("annotations"));
    annotations.is_some_and(|annotations| annotations.get(names::WRAPPED).is_some())
}

fn label(pod: &Value) -> Option<&str> {
    pod.get("metadata")?.get("labels")?.get(names::INJECT)?.as_str()
}

fn not_opted_in(pod: &Value) -> Injection {
    let warning = match label(pod) {
        Some("true") => Some(
            "a static pod never comes past admission: it runs as its file says, unwrapped"
                .to_owned(),
        ),
        Some(other) if !matches!(other, "false" | "") => Some(format!(
            "label {}: `{other}` does nothing; \"true\" opts the pod in",
            names::INJECT
        )),
        _ => None,
    };
    Injection { patch: Patch::default(), warnings: warning.into_iter().collect() }
}

/// Writes down which containers start under the wrapper.
fn mark(work: &Work<'_>, patch: &mut Patch) {
    let list: Vec<&str> = work.wrapped.iter().map(|container| container.name).collect();
    let value = Value::String(list.join(","));
    match work.pod.json.pointer("/metadata/annotations") {
        Some(there) if there.is_object() => {
            patch.set(there, "/metadata/annotations", names::WRAPPED, value);
        }
        _ => patch.add("/metadata/annotations", json!({names::WRAPPED: value})),
    }
}
