//! What is taken from what others wrote: a pod, the metrics of an agent, the log of a wrapper.
//!
//! SECURITY: a node or an app may say anything. Words that are not known are not repeated, and why
//! a level is what it is is said in our words, from what the wrapper measured.

use std::collections::BTreeMap;

use cloudtaser_core::{
    exit::Code,
    level::{Facets, ProtectionLevel},
    names::{agent_metrics, kubernetes as names},
};
use serde_json::Value;

const STATES: [&str; 3] = ["degraded", "enforcing", "off"];
const TIERS: [&str; 3] = ["fmod_ret", "kprobe", "lsm"];
pub(super) const ADVERSARIES: [&str; 6] = ["T1", "T2", "T3", "T4", "T5", "T6"];
const VERDICTS: [&str; 3] = ["closed", "open", "partial"];
/// More roads than any agent has.
const MOST_ROADS: usize = 64;

/// What an agent's metrics say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Said {
    /// `enforcing`, `degraded` or `off`.
    pub(super) state: String,
    pub(super) tier: String,
    /// Roads that its last attack on its own canary found open.
    pub(super) open_roads: Vec<String>,
    /// How long ago that attack was.
    pub(super) canary_seconds: Option<u64>,
    /// Loaders of the node that an update replaced, and that the agent refuses.
    pub(super) unlisted_loaders: u64,
}

/// Reads an agent's metrics: its state is the one that stands at 1.
pub(super) fn said_in(metrics: &str) -> Option<Said> {
    let of = |name: &'static str| {
        metrics.lines().filter(move |line| line.strip_prefix(name).is_some_and(ends_a_name))
    };
    let at_one = |line: &&str| line.ends_with(" 1");
    let line = of(agent_metrics::STATE).find(at_one)?;
    let state = label(line, "state").filter(|state| STATES.contains(state))?;
    let tier = label(line, "tier").filter(|tier| TIERS.contains(tier));
    let is_open = |line: &&str| at_one(line) && label(line, "outcome") == Some("open");
    let roads = of(agent_metrics::ROAD).filter(is_open).filter_map(|line| label(line, "road"));
    let number = |name| of(name).find_map(|line| line.rsplit(' ').next()?.parse().ok());
    Some(Said {
        state: state.to_owned(),
        tier: tier.unwrap_or_default().to_owned(),
        open_roads: roads.filter(is_word).take(MOST_ROADS).map(str::to_owned).collect(),
        canary_seconds: number(agent_metrics::CANARY_AGE),
        unlisted_loaders: number(agent_metrics::UNLISTED).unwrap_or_default(),
    })
}

/// Whether a metric's name ends before this.
fn ends_a_name(rest: &str) -> bool {
    rest.starts_with(['{', ' '])
}

fn label<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{key}=\""))?;
    Some(rest.split_once('"')?.0)
}

/// Whether it has the form of a road's name.
fn is_word(word: &&str) -> bool {
    (1..=40).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// What a wrapper said before it started its app.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Level {
    /// A verdict for each of T1 to T6.
    pub(super) verdicts: BTreeMap<String, String>,
    /// What was measured; none where this program would judge it otherwise than the wrapper did,
    /// which is then of another version.
    pub(super) facets: Option<Facets>,
}

/// Reads the line that a wrapper writes before it starts its app.
///
/// SECURITY: what an app printed may look the same; the first line of the form counts, and the
/// wrapper wrote before the app was there.
pub(super) fn level_in(log: &str) -> Option<Level> {
    let line = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line.get("cloudtaser").is_some_and(|kind| kind == "protection-level"))?;
    let rows = line.pointer("/level/rows")?.as_array()?;
    let known = |row: &Value| {
        let (id, verdict) = (text(row, "/id"), text(row, "/verdict"));
        let fits = ADVERSARIES.contains(&id.as_str()) && VERDICTS.contains(&verdict.as_str());
        fits.then_some((id, verdict))
    };
    let verdicts: BTreeMap<_, _> = rows.iter().filter_map(known).collect();
    let facets = line.pointer("/level/facets").cloned();
    let facets = facets.and_then(|facets| serde_json::from_value::<Facets>(facets).ok());
    let facets = facets.filter(|facets| {
        let ours = ProtectionLevel::from_facets(*facets, Vec::new()).rows;
        ours.iter().all(|row| verdicts.get(row.id).is_some_and(|is| is == row.verdict.as_str()))
    });
    Some(Level { verdicts, facets })
}

/// Containers of a pod: those whose command is the wrapper, and the others.
pub(super) fn containers(pod: &Value) -> (Vec<String>, Vec<String>) {
    let all = ["/spec/initContainers", "/spec/containers"].map(|at| pod.pointer(at));
    let all = all.into_iter().flatten().filter_map(Value::as_array).flatten();
    let all = all.filter(|container| text(container, "/name") != names::DELIVER);
    let (wrapped, others): (Vec<_>, Vec<_>) =
        all.partition(|container| text(container, "/command/0") == names::WRAPPER_PATH);
    let named = |all: Vec<&Value>| all.into_iter().map(|one| text(one, "/name")).collect();
    (named(wrapped), named(others))
}

/// What a pod's wrapped containers keep ending with before their app is there, as the wrapper's codes
/// say; an app may end with the same ones.
pub(super) fn keeps_ending(pod: &Value, wrapped: &[String]) -> Option<String> {
    let all = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let all = all.into_iter().filter_map(|at| pod.pointer(at)?.as_array()).flatten();
    let mut ending =
        all.filter(|status| wrapped.contains(&text(status, "/name"))).filter(|status| {
            // Between two starts, or in one that will end as the last did.
            text(status, "/state/waiting/reason") == "CrashLoopBackOff"
        });
    ending.find_map(|status| {
        let code = status.pointer("/lastState/terminated/exitCode")?.as_u64()?;
        let why = WHYS.iter().find(|(each, _)| u64::from(each.number()) == code)?.1;
        let (name, of) = (text(status, "/name"), text(pod, "/metadata/name"));
        Some(format!("{name} does not start ({why}): `kubectl logs {of} -c {name}` has the reason"))
    })
}

/// How a launch ends that comes to no app.
const WHYS: [(Code, &str); 4] = [
    (Code::Usage, "its annotations or variables cannot be used"),
    (Code::Unavailable, "OpenBao, or the way to it, is not there"),
    (Code::Refused, "OpenBao or the bridge refuses it"),
    (Code::Denied, "a level that is required is not reached"),
];

/// The image that brought the wrapper into a pod.
pub(super) fn wrapper_image(pod: &Value) -> String {
    let all = pod.pointer("/spec/initContainers").and_then(Value::as_array);
    let mut delivering =
        all.into_iter().flatten().filter(|container| text(container, "/name") == names::DELIVER);
    delivering.next().map(|container| text(container, "/image")).unwrap_or_default()
}

pub(super) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_state_is_the_one_that_stands_at_one() {
        let metrics = "# TYPE\ncloudtaser_agent_state{state=\"off\",tier=\"lsm\"} 0\n\
                       cloudtaser_agent_state{state=\"enforcing\",tier=\"lsm\"} 1\n";
        let said = said_in(metrics).unwrap();
        assert_eq!((said.state.as_str(), said.tier.as_str()), ("enforcing", "lsm"));
        assert_eq!(said_in("x 1\n"), None);
        assert_eq!(said_in("cloudtaser_agent_state{state=\"\u{1b}[2J\",tier=\"x\"} 1\n"), None);
    }

    #[test]
    fn roads_that_are_open_are_told_by_names_that_can_be_ones() {
        let metrics = "cloudtaser_agent_state{state=\"degraded\",tier=\"kprobe\"} 1\n\
                       cloudtaser_agent_state_reasons 2\n\
                       cloudtaser_agent_road{road=\"kcore\",outcome=\"open\"} 1\n\
                       cloudtaser_agent_road{road=\"kexec\",outcome=\"open\"} 0\n\
                       cloudtaser_agent_road{road=\"mem\",outcome=\"denied\"} 1\n\
                       cloudtaser_agent_road{road=\"<b>\",outcome=\"open\"} 1\n\
                       cloudtaser_agent_unlisted_loaders 2\n\
                       cloudtaser_agent_canary_age_seconds 3\n";
        let said = said_in(metrics).unwrap();
        assert_eq!(said.unlisted_loaders, 2);
        assert_eq!((said.tier.as_str(), said.canary_seconds), ("kprobe", Some(3)));
        assert_eq!(said.open_roads, ["kcore"]);
    }

    #[test]
    fn the_level_is_the_first_line_of_that_form() {
        let log = "{\"level\":\"info\"}\nplain\n{\"cloudtaser\":\"protection-level\",\"level\":{\"rows\":\
                   [{\"id\":\"T1\",\"verdict\":\"closed\"}]}}\n{\"cloudtaser\":\"protection-level\",\
                   \"level\":{\"rows\":[]}}\n";
        let level = level_in(log).unwrap();
        assert_eq!(level.verdicts, BTreeMap::from([("T1".to_owned(), "closed".to_owned())]));
        assert_eq!(level.facets, None);
    }

    #[test]
    fn what_was_measured_is_believed_where_the_verdicts_follow_from_it() {
        let facets = json!({ "memory": "sealed", "environ": "hidden", "supervisor": "sealed",
            "attach": "refused", "transport": "hybrid", "release": "bridge", "agent": "enforcing" });
        let measured: Facets = serde_json::from_value(facets.clone()).unwrap();
        let rows = ProtectionLevel::from_facets(measured, Vec::new()).rows;
        let line = |rows: Value| {
            json!({ "cloudtaser": "protection-level", "level": { "facets": facets, "rows": rows } })
                .to_string()
        };
        let honest = level_in(&line(json!(rows))).unwrap();
        assert_eq!(honest.facets, Some(measured));
        let rows: Vec<_> = (1..=6)
            .map(|number| json!({ "id": format!("T{number}"), "verdict": "closed" }))
            .collect();
        let boasting = level_in(&line(json!(rows))).unwrap();
        assert_eq!((boasting.facets, boasting.verdicts.len()), (None, 6));
    }

    #[test]
    fn a_launch_that_comes_to_no_app_is_told_with_what_its_code_means() {
        let pod = |code: u8, reason: &str| {
            json!({ "metadata": { "name": "web" }, "status": { "containerStatuses": [{
                "name": "app", "state": { "waiting": { "reason": reason } },
                "lastState": { "terminated": { "exitCode": code } } }] } })
        };
        let said = |pod: &Value, name: &str| keeps_ending(pod, &[name.to_owned()]);
        let denied = said(&pod(77, "CrashLoopBackOff"), "app").unwrap();
        assert!(denied.contains("a level that is required is not reached"), "{denied}");
        assert!(denied.contains("kubectl logs web -c app"), "{denied}");
        assert_eq!(said(&pod(77, "CrashLoopBackOff"), "proxy"), None, "it is not wrapped");
        assert_eq!(said(&pod(1, "CrashLoopBackOff"), "app"), None, "that is the app's own");
        assert_eq!(said(&pod(77, "PodInitializing"), "app"), None);
    }

    #[test]
    fn only_a_command_that_is_the_wrapper_counts_as_wrapped() {
        let pod = json!({ "spec": {
            "initContainers": [{ "name": names::DELIVER, "command": [names::WRAPPER_PATH],
                "image": "r.example/w:1" }],
            "containers": [
                { "name": "a", "command": [names::WRAPPER_PATH, "run"] },
                { "name": "b", "command": ["/app"] },
            ],
        } });
        assert_eq!(containers(&pod), (vec!["a".to_owned()], vec!["b".to_owned()]));
        assert_eq!(wrapper_image(&pod), "r.example/w:1");
    }
}
