//! Policies for the host: they hold for the node agent, whose container shares the host's processes.

use cloudtaser_core::needs::{NEEDS, Program, Step, Without};

use super::policy::{self, Action, Item};
use crate::{
    desk::{Desk, Draft},
    finding::{Exception, Finding, Severity},
    tree::Node,
};

pub(super) fn check(desk: &Desk<'_>, spec: &Node) -> Vec<Finding> {
    let agent = desk.settings.agent.as_str();
    let mut found = Vec::new();
    for item in policy::path_items(spec, "process") {
        if item.action == Action::Block && item.sources.is_empty() && item.pattern.covers(agent) {
            found.extend(refused(desk, &item, "K6", agent, "the agent itself", Without::Ends));
        }
    }
    for item in policy::path_items(spec, "file").iter().filter(|item| item.refuses(agent)) {
        let paths = desk.settings.host_paths();
        let own = paths.iter().filter(|need| {
            let write = need.access == cloudtaser_core::needs::Access::Write;
            let whole = need.path.ends_with('/') && item.pattern.covers_all(&need.path);
            (write || !item.read_only) && (item.pattern.covers(&need.path) || whole)
        });
        if let Some(need) = own.min_by_key(|need| need.without != Without::Ends) {
            found.extend(refused(desk, item, "K9", &need.path, need.reason, need.without));
        }
    }
    let names = policy::word_items(spec, "capabilities", "matchCapabilities", "capability");
    for item in names.iter().filter(|item| item.refuses(agent)) {
        let name = item.target.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name).to_owned();
        let mut own = NEEDS.capabilities.iter().filter(|need| need.program == Program::Agent);
        if let Some(need) = own.find(|need| need.name == name) {
            let shown = format!("CAP_{name}");
            found.extend(refused(desk, item, "K12", &shown, need.reason, need.without));
        }
    }
    found
}

fn refused(
    desk: &Desk<'_>,
    item: &Item<'_>,
    rule: &'static str,
    what: &str,
    reason: &str,
    without: Without,
) -> Option<Finding> {
    let (severity, then) = match without {
        Without::Ends => (Severity::Breaks, "the agent does not start"),
        Without::Lowers(then) => (Severity::Blinds, then),
        Without::Notes(then) => (Severity::Noisy, then),
    };
    desk.finding(Draft {
        rule,
        severity,
        span: item.span.clone(),
        step: Step::Guard,
        words: format!("on the node, {what} ({reason}) is refused to the agent: {then}"),
        exception: Some(Exception {
            words:
                "narrow the entry so that it leaves the agent out, or name the programs that it \
                    is meant for (fromSource); an Allow beside it would make an allow-list for the \
                    whole node"
                    .to_owned(),
            text: String::new(),
            edits: Vec::new(),
            costs: None,
        }),
    })
}
