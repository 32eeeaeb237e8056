//! Who is asked about, and what is refused.

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::{Said, done};
use crate::{
    kubectl::until,
    pods::{self, PATIENCE},
    world::{OPEN, World},
};

/// A pod without the label has what its author wrote, and what the API server adds.
pub(super) fn others(world: &mut World) -> anyhow::Result<Said> {
    let spec = pods::spec(&json!([pods::container(world, "app", &["serve", "PASSWORD"])]));
    let mut pod = pods::pod("plain", spec);
    if let Some(metadata) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("labels".to_owned(), json!({ "app": "plain" }));
    }
    world.home.create(&pod)?;
    let there = world.home.get(&["pod", "plain"])?;
    let command = there.pointer("/spec/containers/0/command/0").and_then(Value::as_str);
    ensure!(command == Some(pods::SUBJECT), "its command is {command:?}");
    ensure!(there.pointer("/spec/initContainers").is_none(), "it has init containers");
    world.home.delete("pod", "plain")?;
    done("")
}

/// The agent's socket is a folder of the node: one standard admits that, and the others say so.
pub(super) fn agent(world: &mut World) -> anyhow::Result<Said> {
    let mut pod = pods::pod(
        "asks",
        pods::spec(&json!([pods::container(world, "app", &["serve", "PASSWORD"])])),
    );
    if let Some(metadata) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".to_owned(), json!({ "cloudtaser.io/agent": "use" }));
    }
    match world.home.create(&pod) {
        Ok(_) => bail!("a namespace under the baseline standard took a hostPath"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(
                said.contains("violates PodSecurity") && said.contains("cloudtaser-agent"),
                "{said}"
            );
        }
    }
    let open = world.home.within(OPEN);
    open.create(&pod)?;
    let fields = world.openbao()?.fields("e2e/app")?;
    let value = fields.get("password").and_then(Value::as_str).unwrap_or_default();
    pods::has(&open, "asks", "app", "PASSWORD", value)?;
    let log = open.logs("asks", "app")?;
    let level = log.lines().find(|line| line.contains("protection-level")).unwrap_or_default();
    let level: Value = serde_json::from_str(level).context("no level in the log")?;
    let agent = level.pointer("/level/facets/agent").and_then(Value::as_str).unwrap_or_default();
    let said = agent.to_owned();
    open.delete("pod", "asks")?;
    done(format!("the level says agent={said}"))
}

/// Each pod that could not work as its author means it is refused in words that say what to do.
pub(super) fn refused(world: &mut World) -> anyhow::Result<Said> {
    let base = pods::container(world, "app", &["serve", "PASSWORD"]);
    let with = |member: &str, value: Value| {
        let mut container = base.clone();
        if let Some(container) = container.as_object_mut() {
            container.insert(member.to_owned(), value);
        }
        container
    };
    let annotated = |annotations: Value| {
        let mut pod = pods::pod("refused", pods::spec(&json!([base])));
        if let Some(metadata) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            metadata.insert("annotations".to_owned(), annotations);
        }
        pod
    };
    let of = |container: Value| pods::pod("refused", pods::spec(&json!([container])));
    let cases = [
        ("a slip in a reference", "PASSWORD", of(with("env", slip()))),
        (
            "a server of its own",
            "server",
            annotated(json!({ "cloudtaser.io/server": "https://elsewhere.example" })),
        ),
        (
            "a value where a reference belongs",
            "cloudtaser.io/env.X",
            annotated(json!({ "cloudtaser.io/env.X": "plain" })),
        ),
        (
            "a container that is not there",
            "nobody",
            annotated(json!({ "cloudtaser.io/containers": "nobody" })),
        ),
        (
            "no command, and no registry that may be asked",
            "cloudtaser.io/command",
            of(with("command", Value::Null)),
        ),
        (
            "a mount in the way",
            "/cloudtaser",
            of(with("volumeMounts", json!([{ "name": "x", "mountPath": "/cloudtaser" }]))),
        ),
    ];
    let count = cases.len();
    for (what, word, mut pod) in cases {
        if word == "/cloudtaser"
            && let Some(spec) = pod.pointer_mut("/spec").and_then(Value::as_object_mut)
        {
            spec.insert("volumes".to_owned(), json!([{ "name": "x", "emptyDir": {} }]));
        }
        match world.home.create(&pod) {
            Ok(_) => bail!("{what}: it was created"),
            Err(error) => {
                let said = format!("{error:#}");
                ensure!(said.contains("cloudtaser.io\" denied"), "{what}: {said}");
                ensure!(said.contains(word), "{what}: its reason has no `{word}`: {said}");
            }
        }
    }
    let warned = annotated(json!({ "cloudtaser.io/rotate-evry": "1m" }));
    let said = world.home.create(&warned).context("a pod with a misspelt annotation")?;
    ensure!(said.contains("Warning") && said.contains("rotate-evry"), "no warning: {said}");
    world.home.delete("pod", "refused")?;
    let told = in_an_event(world, with("env", slip()))?;
    done(format!(
        "{count} pods, each with its reason; a slip in an annotation is a warning; {told}"
    ))
}

fn slip() -> Value {
    json!([{ "name": "PASSWORD", "value": "vault:secret/data/x" }])
}

/// Where nobody is at a terminal, the reason is in an event of the ReplicaSet, whole in its first line.
fn in_an_event(world: &World, container: Value) -> anyhow::Result<String> {
    let workload = pods::workload("Deployment", "refused-web", 1, pods::spec(&json!([container])));
    world.home.apply(&workload)?;
    let told = until("an event with the reason", PATIENCE, || {
        let events = world.home.get(&["events", "--field-selector=reason=FailedCreate"])?;
        let items = events.get("items").and_then(Value::as_array).into_iter().flatten();
        let of_ours = |event: &&Value| {
            let object = event.pointer("/involvedObject/name").and_then(Value::as_str);
            object.is_some_and(|name| name.starts_with("refused-web"))
        };
        let text = |event: &Value| Some(event.get("message")?.as_str()?.to_owned());
        Ok(items.filter(of_ours).find_map(text))
    })?;
    world.home.delete("deployment", "refused-web")?;
    let first = told.lines().next().unwrap_or_default();
    ensure!(first.contains("cloudtaser: container app: variable PASSWORD: "), "{told}");
    Ok("and an event of the ReplicaSet has it".to_owned())
}
