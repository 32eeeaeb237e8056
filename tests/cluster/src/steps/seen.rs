//! What others see: by exec, in the API server's objects, in `status`.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Said, deploy, done};
use crate::{
    fingerprint,
    pods::{self, SUBJECT},
    world::World,
};

/// `kubectl exec` into a pod that has its secret: neither its own environment nor that of any
/// process that it can see has the value.
pub(super) fn by_exec(world: &mut World) -> anyhow::Result<Said> {
    let pods = pods::of_app(&world.home, "web")?;
    let pod = pods.first().context("no pod of web")?;
    let own = world.home.exec(pod, "app", &[SUBJECT, "once", "PASSWORD"])?;
    ensure!(own.trim() == "subject PASSWORD=reference", "exec saw: {own}");
    let seen = world.home.exec(pod, "app", &[SUBJECT, "environ", "PASSWORD"])?;
    for value in &world.values {
        let print = fingerprint::of(value.as_bytes());
        ensure!(!seen.contains(&print), "the kernel shows a value:\n{seen}");
    }
    done(format!("{} processes looked at", seen.lines().count()))
}

/// Every object of every kind, and every log of ours.
pub(super) fn in_objects(world: &mut World) -> anyhow::Result<Said> {
    let mut count = 0;
    for kind in deploy::kinds(&world.home)? {
        let text = world.home.run(&["get", &kind, "--all-namespaces", "--output=json"])?;
        for value in &world.values {
            ensure!(!text.contains(value.as_str()), "{kind} hold a value");
            // As a Secret would have it.
            let encoded = base64(value.as_bytes());
            ensure!(!text.contains(encoded.trim_end_matches('=')), "{kind} hold a value in base64");
        }
        count += serde_json::from_str(&text).map(|list| deploy::items(&list).len())?;
    }
    let place = world.home.within("cloudtaser-system");
    let operators =
        place.run(&["logs", "--selector=app.kubernetes.io/component=cloudtaser-operator"])?;
    for value in &world.values {
        ensure!(!operators.contains(value.as_str()), "an operator's log holds a value");
    }
    done(format!("{count} objects"))
}

pub(super) fn by_status(world: &mut World) -> anyhow::Result<Said> {
    let status = world.answer(&["status"], 1)?;
    ensure!(status.pointer("/operators/ready") == Some(&json!(2)), "{status}");
    ensure!(status.pointer("/webhooks") == Some(&json!(true)), "{status}");
    let all = status.pointer("/pods").and_then(Value::as_array).context("no pods")?;
    let web = all.iter().find(|pod| pod["name"].as_str().is_some_and(|n| n.starts_with("web-")));
    let web = web.context("a pod that is opted in is not listed")?;
    ensure!(web["wrapped"] == json!(["app"]), "{web}");
    let rows = web.pointer("/levels/app").and_then(Value::as_object).context("no level")?;
    ensure!(rows.len() == 6, "its level has {} rows: {web}", rows.len());
    let wrong = all.iter().filter(|pod| !pod["problem"].is_null()).count();
    ensure!(wrong == 0, "{status}");
    let level: Vec<_> =
        rows.iter().map(|(id, is)| format!("{id} {}", is.as_str().unwrap_or_default())).collect();
    done(level.join(", "))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            let digit = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap_or_default();
            out.push(DIGITS.get(digit).copied().map_or('=', char::from));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn values_are_found_as_secrets_have_them() {
        assert_eq!(base64(b"Man"), "TWFu");
        assert_eq!(base64(b"light w"), "bGlnaHQgdw");
        assert_eq!(base64(b""), "");
    }
}
