//! Out of a Kubernetes Secret: found, copied, used, and deleted.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Said, done};
use crate::{
    kubectl::until,
    pods::{self, PATIENCE},
    world::{HOME, World, random},
};

pub(super) fn all(world: &mut World) -> anyhow::Result<Said> {
    // Not among the values that no object may hold: this one is in a Secret, as its owner left it.
    let value = random()?;
    world
        .home
        .apply(&json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "legacy" },
        "stringData": { "password": value } }))?;
    let mut app = pods::container(world, "app", &["serve", "PASSWORD"]);
    let from = json!([{ "name": "PASSWORD",
        "valueFrom": { "secretKeyRef": { "name": "legacy", "key": "password" } } }]);
    set(&mut app, "env", from);
    let mut old = pods::workload("Deployment", "legacy", 1, pods::spec(&json!([app])));
    if let Some(metadata) = old.pointer_mut("/spec/template/metadata") {
        set(metadata, "labels", json!({ "app": "legacy" }));
    }
    world.home.apply(&old)?;
    let plan = world.file("plan.yaml", "")?;
    let found = world.answer(&["discover", "--namespace", HOME, "--plan", &plan], 0)?;
    let reference = found
        .pointer("/workloads/0/template/variables/app/PASSWORD")
        .and_then(Value::as_str)
        .with_context(|| format!("the plan has no reference: {found}"))?
        .to_owned();
    let token = world.file("token", world.openbao()?.root())?;
    let authority = world.file("ca.pem", world.openbao()?.authority())?;
    let here = world.openbao()?.here();
    let migrate = [
        "migrate",
        "--plan",
        &plan,
        "--openbao",
        &here,
        "--openbao-ca",
        &authority,
        "--token-file",
        &token,
    ];
    state(&world.answer(&migrate, 0)?, "copied")?;
    state(&world.answer(&migrate, 0)?, "there")?;
    let kept = [&migrate[..], &["--delete"]].concat();
    state(&world.answer(&kept, 0)?, "kept")?;
    set(&mut app, "env", json!([{ "name": "PASSWORD", "value": reference }]));
    let new = pods::workload("Deployment", "legacy", 1, pods::spec(&json!([app])));
    world.home.apply(&new)?;
    world.home.run(&["rollout", "status", "deployment/legacy", "--timeout=120s"])?;
    let pod = until("the new pod alone", PATIENCE, || {
        let names = pods::of_app(&world.home, "legacy")?;
        Ok(match names.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        })
    })?;
    pods::has(&world.home, &pod, "app", "PASSWORD", &value)?;
    // The old ReplicaSet is still there, with nobody in it; its template is not what runs.
    // The old pod, which is on its way out, may use it for a moment more.
    until("nobody to use the Secret", PATIENCE, || {
        Ok(state(&world.answer(&kept, 0)?, "deleted").ok())
    })?;
    ensure!(world.home.get(&["secret", "legacy"]).is_err(), "the Secret is still there");
    world.home.delete("deployment", "legacy")?;
    done(reference)
}

fn set(object: &mut Value, member: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(member.to_owned(), value);
    }
}

fn state(results: &Value, wanted: &str) -> anyhow::Result<()> {
    let is = results.pointer("/0/state").and_then(Value::as_str);
    ensure!(is == Some(wanted), "{wanted} was expected: {results}");
    Ok(())
}
