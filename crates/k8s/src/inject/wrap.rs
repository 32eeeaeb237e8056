//! One container: its command, its plan, its mounts.

use cloudtaser_core::{LaunchPlan, names::ENV_PLAN, plan::AuthMethod};
use serde_json::{Value, json};

use super::{
    Work, command,
    covers::covers,
    deliver, names,
    pod::{Container, Kind},
    references,
};
use crate::{annotations::Selection, image::ImageResolver, patch::Patch, refusal::Refusal};

/// Has one container start under the wrapper.
pub(super) fn container(
    container: &Container<'_>,
    work: &Work<'_>,
    images: &dyn ImageResolver,
    patch: &mut Patch,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let words = container.words("command")?;
    let wrapped = command::unwrapped(&words);
    references::checked(container, wrapped.unwrap_or(&words), warnings)?;
    plan(container, wrapped.is_some(), work, patch)?;
    mounts(container, work, patch)?;
    command::wrap(container, work, images, patch)?;
    if work.wishes.probes {
        command::wrap_probes(container, patch)?;
    } else if command::has_probes(container) && references::some_in(container) {
        warnings.push(format!(
            "container {}: its exec probes and hooks see references, not values; {}: \"true\" \
             gives them the secrets, with a login of their own each time",
            container.name,
            names::PROBES
        ));
    }
    Ok(())
}

/// The plan of one container, as a variable.
fn plan(
    container: &Container<'_>,
    is_wrapped: bool,
    work: &Work<'_>,
    patch: &mut Patch,
) -> Result<(), Refusal> {
    let plan = plan_of(container, work);
    let json = serde_json::to_string(&plan)
        .map_err(|_form| Refusal::Malformed("its plan cannot be written"))?;
    // The kubelet expands variables inside the value of a variable; `$$` stands for `$`.
    let wanted = json!({"name": ENV_PLAN, "value": json.replace('$', "$$")});
    let list = container.json.get("env").and_then(Value::as_array);
    let is_plan = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some(ENV_PLAN);
    let found: Vec<(usize, &Value)> =
        list.into_iter().flatten().enumerate().filter(|(_, entry)| is_plan(entry)).collect();
    match found.as_slice() {
        [] => patch.extend(container.json, &container.at, "env", vec![wanted]),
        [(_, entry)] if **entry == wanted => {}
        [(at, _)] if is_wrapped => patch.replace(format!("{}/env/{at}", container.at), wanted),
        _ => {
            return Err(container.refused(format!(
                "it sets {ENV_PLAN}, which the injector sets; use annotations instead"
            )));
        }
    }
    Ok(())
}

fn plan_of(container: &Container<'_>, work: &Work<'_>) -> LaunchPlan {
    let mut plan = work.wishes.plan.clone();
    if plan.auth.role.is_none() && plan.auth.method != Some(AuthMethod::Approle) {
        plan.auth.role = Some(work.pod.service_account().to_owned());
    }
    let is_asked = container.kind == Kind::App || work.wishes.containers != Selection::Apps;
    if !is_asked {
        // An init container gets what its own variables name, and no more.
        plan.env.clear();
        plan.from.clear();
        plan.files.clear();
    }
    plan
}

/// The mounts of the wrapper and of the token; whatever else is mounted there is in the way.
fn mounts(container: &Container<'_>, work: &Work<'_>, patch: &mut Patch) -> Result<(), Refusal> {
    let asks_agent = work.wishes.agent.is_some();
    let mut wanted = vec![deliver::bin_mount(true)];
    wanted.extend(deliver::wants_token(&work.wishes).then(deliver::token_mount));
    wanted.extend(asks_agent.then(deliver::agent_mount));
    let list = container.json.get("volumeMounts").and_then(Value::as_array);
    let mut missing = Vec::new();
    for mount in wanted {
        if !list.into_iter().flatten().any(|there| covers(there, &mount)) {
            missing.push(mount);
        }
    }
    for there in list.into_iter().flatten() {
        let path = there.get("mountPath").and_then(Value::as_str).unwrap_or_default();
        let ours = [names::BIN_VOLUME, names::TOKEN_VOLUME];
        let is_ours = there.get("name").and_then(Value::as_str).is_some_and(|n| ours.contains(&n));
        let bare = path.trim_end_matches('/');
        let in_the_way = bare == "/cloudtaser"
            || bare.starts_with("/cloudtaser/")
            || asks_agent && bare == names::AGENT_FOLDER;
        let as_we_mount =
            [deliver::bin_mount(true), deliver::token_mount(), deliver::agent_mount()];
        if (in_the_way || is_ours) && !as_we_mount.iter().any(|mount| covers(there, mount)) {
            return Err(container.refused(format!(
                "its mount at {path} is in the way: /cloudtaser, the volumes {} and {}, and with \
                 {} the path {}, are the injector's",
                names::BIN_VOLUME,
                names::TOKEN_VOLUME,
                names::AGENT,
                names::AGENT_FOLDER
            )));
        }
    }
    patch.extend(container.json, &container.at, "volumeMounts", missing);
    Ok(())
}
