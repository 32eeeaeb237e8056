//! Why a pod does not run, in words that say what to do: from what the API server shows of it.

use serde_json::Value;

use crate::{
    cluster::{ApiError, Cluster},
    ui::printable,
};

/// Something that is wrong.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Trouble {
    /// In words.
    pub(super) words: String,
    /// Whether it stays so until somebody does something.
    pub(super) hopeless: bool,
    /// The node, where an agent said that this one cannot be guarded.
    pub(super) off: Option<String>,
}

impl Trouble {
    fn of(words: String, hopeless: bool) -> Self {
        Self { words: printable(&words), hopeless, off: None }
    }
}

/// What is wrong with the pods of a program, and with making them.
pub(super) fn of_program(cluster: &Cluster, workload: &Value) -> Result<Vec<Trouble>, ApiError> {
    let text = |pointer| workload.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let selector = format!("&labelSelector=app.kubernetes.io%2Fcomponent%3D{name}");
    let pods = cluster.list(&format!("/api/v1/namespaces/{namespace}/pods"), &selector)?;
    let mut all: Vec<Trouble> = pods.iter().filter_map(of_pod).collect();
    all.extend(of_conditions(workload));
    if pods.is_empty() && all.is_empty() {
        let events = cluster.list(&format!("/api/v1/namespaces/{namespace}/events"), "")?;
        all.extend(events.iter().filter_map(|event| of_event(event, name)));
    }
    all.sort();
    all.dedup_by(|a, b| a.words == b.words);
    Ok(all)
}

/// Of a Deployment: why no pod could be made.
fn of_conditions(workload: &Value) -> Option<Trouble> {
    let conditions = workload.pointer("/status/conditions")?.as_array()?;
    let failed =
        conditions.iter().find(|c| c.get("type").is_some_and(|t| t == "ReplicaFailure"))?;
    Some(refused(failed.get("message")?.as_str()?))
}

fn of_event(event: &Value, name: &str) -> Option<Trouble> {
    let text = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let about = text("/reason") == "FailedCreate" && text("/involvedObject/name").starts_with(name);
    about.then(|| refused(text("/message")))
}

/// The API server took no pod.
fn refused(message: &str) -> Trouble {
    let advice = if message.contains("violates PodSecurity") {
        "\n    the namespace does not admit such pods: its labels pod-security.kubernetes.io/… were \
         changed, or its cluster's exemptions; install again with --take-over"
    } else if message.contains("exceeded quota") || message.contains("insufficient quota") {
        "\n    a ResourceQuota of the namespace is in the way"
    } else if message.contains("failed calling webhook") {
        "\n    another webhook of the cluster does not answer"
    } else {
        ""
    };
    Trouble::of(format!("no pod is admitted: {message}{advice}"), true)
}

fn of_pod(pod: &Value) -> Option<Trouble> {
    let text = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let name = text(pod, "/metadata/name");
    let node = text(pod, "/spec/nodeName");
    let list =
        |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    if node.is_empty() {
        let conditions = list("/status/conditions");
        let placed = conditions.iter().find(|c| text(c, "/type") == "PodScheduled")?;
        if text(placed, "/status") == "True" {
            return None;
        }
        let message = text(placed, "/message");
        let words = format!(
            "{name} has no node: {message}\n    free resources, or set nodeSelector, tolerations or \
             resources in the values"
        );
        return Some(Trouble::of(words, false));
    }
    for status in list("/status/containerStatuses") {
        if status.get("ready").and_then(Value::as_bool) == Some(true) {
            continue;
        }
        let image = text(&status, "/image");
        let waiting = text(&status, "/state/waiting/reason");
        let message = text(&status, "/state/waiting/message");
        match waiting.as_str() {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                let words = format!(
                    "{name} on {node} has no image {image}: {message}\n    is it in the registry, \
                     and does the node have its credentials (images.pullSecrets)?"
                );
                return Some(Trouble::of(words, true));
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                return Some(Trouble::of(format!("{name} on {node}: {waiting}: {message}"), true));
            }
            _ => {}
        }
        let ended = ["/state/terminated", "/lastState/terminated"].map(|at| status.pointer(at));
        if let Some(ended) = ended.into_iter().flatten().next() {
            return Some(ended_with(&name, &node, ended));
        }
        return Some(Trouble::of(format!("{name} on {node} is not ready yet"), false));
    }
    None
}

/// EX_OSERR: the kernel refuses what an agent stands on, and will tomorrow.
const UNSUPPORTED: i64 = 71;

fn ended_with(name: &str, node: &str, ended: &Value) -> Trouble {
    let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or_default();
    let message = ended.get("message").and_then(Value::as_str).unwrap_or_default();
    let last = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let said = of_agent(last);
    let last = said.as_deref().unwrap_or(last);
    let reason = ended.get("reason").and_then(Value::as_str).unwrap_or_default();
    let words = match (reason, last) {
        ("OOMKilled", _) => format!("{name} on {node} used more memory than its limit"),
        (_, "") => format!("{name} on {node} ended with {code} and said nothing"),
        (_, last) => format!("{name} on {node} ended with {code}: {last}"),
    };
    let off = (code == UNSUPPORTED).then(|| printable(&format!("{node}: {last}")));
    Trouble { off, ..Trouble::of(words, false) }
}

/// Of the state that an agent ends with, why it is off, without what its libraries said: the whole
/// is in the pod's log.
fn of_agent(line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).ok()?;
    let state = event.get("state")?.as_str()?;
    let reason = state.strip_prefix("OFF(").map_or(state, |rest| rest.trim_end_matches(')'));
    let first = reason.split(['\n', ';']).next().unwrap_or_default().trim();
    Some(first.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: Value) -> Value {
        json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "n" }, "status": status })
    }

    #[test]
    fn an_image_that_cannot_be_had_is_named_with_what_to_do() {
        let waiting = json!({ "containerStatuses": [{ "image": "r/x:1", "ready": false, "state": {
            "waiting": { "reason": "ImagePullBackOff", "message": "not found" } } }] });
        let trouble = of_pod(&pod(waiting)).unwrap();
        assert!(trouble.hopeless && trouble.words.contains("r/x:1: not found"), "{trouble:?}");
        assert!(trouble.words.contains("images.pullSecrets"));
    }

    #[test]
    fn a_node_that_cannot_be_guarded_is_told_apart() {
        let status = json!({ "containerStatuses": [{ "ready": false, "state": { "waiting": {
            "reason": "CrashLoopBackOff" } }, "lastState": { "terminated": { "exitCode": 71,
            "message": "a\n{\"state\":\"OFF(lsm: no BTF\\nlibbpf: long; fmod_ret: x)\"}\n" } } }] });
        let trouble = of_pod(&pod(status)).unwrap();
        assert_eq!(trouble.off.as_deref(), Some("n: lsm: no BTF"));
        assert_eq!(of_agent("{\"state\":\"OFF(no BTF)\"}").unwrap(), "no BTF");
        assert_eq!((of_agent("{\"a\":1}"), of_agent("killed")), (None, None));
    }

    #[test]
    fn the_last_words_of_a_container_move_no_cursor() {
        let ended = json!({ "exitCode": 1, "message": "bad \u{1b}[1;1Hready: 2 operators" });
        let words = ended_with("p", "n", &ended).words;
        assert!(!words.contains('\u{1b}'), "{words:?}");
    }

    #[test]
    fn a_pod_without_a_node_repeats_the_scheduler() {
        let pending = json!({ "metadata": { "name": "p" }, "spec": {}, "status": { "conditions": [{
            "type": "PodScheduled", "status": "False", "message": "0/3 nodes are available" }] } });
        assert!(of_pod(&pending).unwrap().words.contains("0/3 nodes"));
    }

    #[test]
    fn a_pod_that_is_ready_is_no_trouble() {
        assert_eq!(of_pod(&pod(json!({ "containerStatuses": [{ "ready": true }] }))), None);
    }

    #[test]
    fn a_refusal_by_pod_security_says_so() {
        let words = refused("pods \"x\" is forbidden: violates PodSecurity \"restricted\"").words;
        assert!(words.contains("--take-over"), "{words}");
    }
}
