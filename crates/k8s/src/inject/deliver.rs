//! What all wrapped containers share: the wrapper in memory, and the token of the login.

use cloudtaser_core::plan::AuthMethod;
use serde_json::{Map, Value, json};

use super::{Work, covers::covers, names};
use crate::{
    annotations::{Folder, Wishes},
    config::Config,
    patch::Patch,
    refusal::Refusal,
};

/// The volume's limit: the wrapper is four megabytes, and the authorities a few kilobytes.
const BIN_LIMIT: &str = "16Mi";
/// Where it is copied to is the init container's only mount of ours, and writable there alone.
const COPY: [&str; 3] = [names::WRAPPER_IN_IMAGE, "deliver", names::BIN_MOUNT];
/// The user of the wrapper's image. Said only where the pod would have it be root.
const USER: u32 = 65_532;

pub(super) fn bin_mount(read_only: bool) -> Value {
    let mut mount = json!({"name": names::BIN_VOLUME, "mountPath": names::BIN_MOUNT});
    if let (true, Some(mount)) = (read_only, mount.as_object_mut()) {
        mount.insert("readOnly".to_owned(), Value::Bool(true));
    }
    mount
}

pub(super) fn token_mount() -> Value {
    json!({"name": names::TOKEN_VOLUME, "mountPath": names::TOKEN_MOUNT, "readOnly": true})
}

pub(super) fn agent_mount() -> Value {
    json!({"name": names::AGENT_VOLUME, "mountPath": names::AGENT_FOLDER, "readOnly": true})
}

/// Whether the login is by the pod's token.
pub(super) fn wants_token(wishes: &Wishes) -> bool {
    matches!(wishes.plan.auth.method, Some(AuthMethod::Kubernetes | AuthMethod::Jwt))
}

/// Adds the volumes.
pub(super) fn volumes(work: &Work<'_>, patch: &mut Patch) -> Result<(), Refusal> {
    let mut wanted = Vec::new();
    let bin = json!({
        "name": names::BIN_VOLUME,
        "emptyDir": {"medium": "Memory", "sizeLimit": BIN_LIMIT},
    });
    wanted.push(bin);
    if wants_token(&work.wishes) {
        let token = &work.token;
        wanted.push(json!({
            "name": names::TOKEN_VOLUME,
            "projected": {"sources": [{"serviceAccountToken": {
                "audience": token.audience,
                "expirationSeconds": token.lifetime_seconds,
                "path": "token",
            }}]},
        }));
    }
    if let Some(folder) = work.wishes.agent {
        let kind = match folder {
            Folder::Made => "DirectoryOrCreate",
            Folder::Needed => "Directory",
        };
        wanted.push(json!({
            "name": names::AGENT_VOLUME, "hostPath": {"path": names::AGENT_FOLDER, "type": kind},
        }));
    }
    let list = work.pod.spec.get("volumes").and_then(Value::as_array);
    let mut missing = Vec::new();
    for volume in wanted {
        let name = volume.get("name");
        match list.into_iter().flatten().find(|there| there.get("name") == name) {
            None => missing.push(volume),
            Some(there) if covers(there, &volume) => {}
            Some(_) => {
                return Err(Refusal::Pod(format!(
                    "the pod has a volume {} of its own: the name is the injector's",
                    name.and_then(Value::as_str).unwrap_or_default()
                )));
            }
        }
    }
    let spec = Value::Object(Map::from_iter(list.map(|_| ("volumes".to_owned(), json!([])))));
    patch.extend(&spec, "/spec", "volumes", missing);
    Ok(())
}

/// Puts the init container first, so that those behind it can be wrapped too.
pub(super) fn init_container(
    work: &Work<'_>,
    config: &Config,
    patch: &mut Patch,
) -> Result<(), Refusal> {
    let wanted = wanted(work, config);
    let list = work.pod.spec.get("initContainers").and_then(Value::as_array);
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        patch.add("/spec/initContainers", json!([wanted]));
        return Ok(());
    };
    let name =
        |container: &Value| container.get("name").and_then(Value::as_str) == Some(names::DELIVER);
    let Some(at) = list.iter().position(name) else {
        patch.add("/spec/initContainers/0", wanted);
        return Ok(());
    };
    let there = list.get(at).unwrap_or(&Value::Null);
    reconcile(there, &wanted, &format!("/spec/initContainers/{at}"), patch);
    // Others may put themselves first (a mesh's set-up), as long as none of them needs the wrapper.
    let needs_it = |before: &Value| {
        let name = before.get("name").and_then(Value::as_str);
        work.wrapped.iter().any(|c| c.kind == super::Kind::Init && Some(c.name) == name)
    };
    if list.iter().take(at).any(needs_it) {
        patch.relocate(format!("/spec/initContainers/{at}"), "/spec/initContainers/0");
    }
    Ok(())
}

/// Sets right what of ours was changed. Image, pull policy and resources are left to those whose
/// job it is to change them: mirrors, `AlwaysPullImages`, limits of a namespace.
fn reconcile(there: &Value, wanted: &Value, at: &str, patch: &mut Patch) {
    const OTHERS_MAY: [&str; 3] = ["image", "imagePullPolicy", "resources"];
    for (member, value) in wanted.as_object().into_iter().flatten() {
        let same = there.get(member).is_some_and(|found| covers(found, value));
        if !same && !OTHERS_MAY.contains(&member.as_str()) {
            patch.set(there, at, member, value.clone());
        }
    }
}

fn wanted(work: &Work<'_>, config: &Config) -> Value {
    let mut security = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let root = work.pod.json.pointer("/spec/securityContext/runAsUser") == Some(&json!(0));
    if let (true, Some(security)) = (root, security.as_object_mut()) {
        security.insert("runAsUser".to_owned(), json!(USER));
        security.insert("runAsGroup".to_owned(), json!(USER));
    }
    let mut container = json!({
        "name": names::DELIVER,
        "image": config.wrapper.image,
        "command": COPY,
        "securityContext": security,
        "volumeMounts": [bin_mount(false)],
    });
    let Some(members) = container.as_object_mut() else { return container };
    if let Some(policy) = &config.wrapper.pull_policy {
        members.insert("imagePullPolicy".to_owned(), json!(policy));
    }
    if let Some(ca) = &work.wishes.ca {
        let pem = ca.replace('$', "$$");
        members.insert("env".to_owned(), json!([{"name": names::ENV_DELIVER_CA, "value": pem}]));
    }
    if !is_best_effort(work) {
        // Request and limit are the same, so that a pod whose quality of service is Guaranteed
        // stays that; an init container's request counts only where it is the pod's largest.
        let amount = json!({"cpu": config.wrapper.cpu, "memory": config.wrapper.memory});
        members.insert("resources".to_owned(), json!({"limits": amount, "requests": amount}));
    }
    container
}

/// Whether nothing in the pod asks for resources: one request would change its quality of service.
fn is_best_effort(work: &Work<'_>) -> bool {
    let asks = |object: &Value| {
        ["limits", "requests"].iter().any(|kind| {
            let amounts = object.pointer(&format!("/resources/{kind}"));
            amounts.and_then(Value::as_object).is_some_and(|amounts| !amounts.is_empty())
        })
    };
    let others = work.pod.containers.iter().filter(|container| container.name != names::DELIVER);
    let pod = work.pod.json.get("spec").is_some_and(asks);
    !pod && !others.into_iter().any(|container| asks(container.json))
}
