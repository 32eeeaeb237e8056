//! What a container starts, and the same with the wrapper before it.

use serde_json::{Value, json};

use super::{Work, names, pod::Container};
use crate::{annotations::Wishes, image::ImageResolver, patch::Patch, refusal::Refusal};

/// What stands before a command that is wrapped.
const PREFIX: [&str; 3] = [names::WRAPPER_PATH, "run", "--"];

/// The command without the wrapper, where it starts with it.
pub(super) fn unwrapped<'w, 'a>(command: &'w [&'a str]) -> Option<&'w [&'a str]> {
    command.strip_prefix(&PREFIX[..])
}

/// Whether only the image says what is started.
pub(super) fn needs_image(container: &Container<'_>, wishes: &Wishes) -> bool {
    container.words("command").is_ok_and(|command| command.is_empty())
        && annotated(container, wishes).is_none()
}

/// Puts the wrapper before the container's command.
pub(super) fn wrap(
    container: &Container<'_>,
    work: &Work<'_>,
    images: &dyn ImageResolver,
    patch: &mut Patch,
) -> Result<(), Refusal> {
    let command = container.words("command")?;
    if let Some(inner) = unwrapped(&command) {
        let arguments = container.words("args")?;
        return if inner.is_empty() && arguments.is_empty() {
            Err(container.refused(
                "its command is the wrapper with nothing behind it; write what the container starts, \
                 without the wrapper",
            ))
        } else {
            Ok(())
        };
    }
    if !command.is_empty() {
        let whole: Vec<&str> = PREFIX.iter().chain(&command).copied().collect();
        patch.set(container.json, &container.at, "command", json!(whole));
        return Ok(());
    }
    if let Some(words) = annotated(container, &work.wishes) {
        patch.set(container.json, &container.at, "command", prefixed(words));
        return Ok(());
    }
    of_image(container, work, images, patch)
}

/// What an image starts: its entrypoint, and its own arguments where the container gives none.
fn of_image(
    container: &Container<'_>,
    work: &Work<'_>,
    images: &dyn ImageResolver,
    patch: &mut Patch,
) -> Result<(), Refusal> {
    let request = work.pod.image_request(container)?;
    let found = images.entrypoint(&request).map_err(|problem| {
        container.refused(format!(
            "it has no command, and what its image starts could not be found out: {problem}. \
             Give the container a command, or the pod the annotation {}.{}",
            names::COMMAND,
            container.name
        ))
    })?;
    let arguments = container.words("args")?;
    let takes_cmd = arguments.is_empty();
    if found.entrypoint.is_empty() && takes_cmd && found.cmd.is_empty() {
        return Err(container.refused("its image starts nothing: it needs a command"));
    }
    patch.set(container.json, &container.at, "command", prefixed(&found.entrypoint));
    // A command that is given switches the image's arguments off, so they are written out.
    if takes_cmd && !found.cmd.is_empty() {
        patch.set(container.json, &container.at, "args", json!(escaped(&found.cmd)));
    }
    Ok(())
}

fn annotated<'w>(container: &Container<'_>, wishes: &'w Wishes) -> Option<&'w [String]> {
    let own = wishes.commands.get(container.name).or(wishes.command.as_ref());
    own.map(Vec::as_slice)
}

fn prefixed(words: &[String]) -> Value {
    let prefix = PREFIX.iter().map(|word| (*word).to_owned());
    json!(prefix.chain(escaped(words)).collect::<Vec<_>>())
}

/// The kubelet expands `$(NAME)` in what stands in a pod, but not in what stands in an image.
fn escaped(words: &[String]) -> Vec<String> {
    words.iter().map(|word| word.replace('$', "$$")).collect()
}

/// Wraps the commands that the kubelet runs inside the container: probes and hooks.
pub(super) fn wrap_probes(container: &Container<'_>, patch: &mut Patch) -> Result<(), Refusal> {
    for place in EXEC_PLACES {
        let Some(exec) = container.json.pointer(place) else { continue };
        let words = super::pod::words(exec, "command");
        let words = words.ok_or_else(|| container.refused(format!("{place} is no command")))?;
        if words.is_empty() || unwrapped(&words).is_some() {
            continue;
        }
        let whole: Vec<&str> = PREFIX.iter().chain(&words).copied().collect();
        patch.set(exec, &format!("{}{place}", container.at), "command", json!(whole));
    }
    Ok(())
}

/// Whether the kubelet runs commands inside the container.
pub(super) fn has_probes(container: &Container<'_>) -> bool {
    EXEC_PLACES.iter().any(|place| container.json.pointer(place).is_some_and(|e| !e.is_null()))
}

const EXEC_PLACES: [&str; 5] = [
    "/livenessProbe/exec",
    "/readinessProbe/exec",
    "/startupProbe/exec",
    "/lifecycle/postStart/exec",
    "/lifecycle/preStop/exec",
];
