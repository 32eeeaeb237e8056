//! K8, K9: which files may be opened; K12: which capabilities may be used.

use cloudtaser_core::needs::{NEEDS, Program, Step, Without};

use super::{
    Allowed, allow_from, allow_path, also_allow, not_for_ours,
    policy::{self, Action, Item},
    posture::{self, Postures},
};
use crate::{
    desk::{Desk, Draft},
    finding::{Exception, Finding, Severity},
    settings::{Required, aliases},
    tree::Node,
};

pub(super) fn check(
    desk: &Desk<'_>,
    spec: &Node,
    allowed: &Allowed<'_>,
    postures: &Postures,
) -> Vec<Finding> {
    let items = policy::path_items(spec, "file");
    // A list that allows already can allow one thing more.
    let lists = items.iter().any(|item| item.action == Action::Allow);
    let blocked = items.iter().filter_map(|item| blocked(desk, spec, item, allowed, lists));
    let mut found: Vec<Finding> = blocked.collect();
    found.extend(not_listed(desk, spec, &items, allowed, postures));
    found.extend(capabilities(desk, spec));
    found
}

/// K9.
fn blocked(
    desk: &Desk<'_>,
    spec: &Node,
    item: &Item<'_>,
    allowed: &Allowed<'_>,
    lists: bool,
) -> Option<Finding> {
    let wrapper = desk.settings.wrapper.as_str();
    // A read-only block refuses writes alone.
    if !item.refuses(wrapper) || item.read_only {
        return None;
    }
    let file = refused_file(desk, item)?;
    // What is allowed from a program goes before what is blocked for all.
    let excepted = allowed.file.iter().any(|own| {
        own.sources.contains(&wrapper)
            && aliases(&file.path).iter().any(|path| own.pattern.covers(path))
    });
    if excepted && item.sources.is_empty() {
        return None;
    }
    let not_owner = desk.selected.iter().any(|workload| workload.not_root);
    let severity = match file.without {
        // The owner of these files is root.
        _ if item.owner_only && !not_owner => Severity::Noisy,
        Without::Ends => Severity::Breaks,
        Without::Lowers(_) => Severity::Blinds,
        Without::Notes(_) => Severity::Noisy,
    };
    let owner = if item.owner_only { " to all but its owner" } else { "" };
    let exception = if lists && item.sources.is_empty() {
        let entry = allow_from(wrapper, "path", &file.path);
        let words = "allow it from the wrapper, which goes before the block; the section is an \
                     allow-list already";
        also_allow(desk, spec, "file", "matchPaths", vec![entry], words)
    } else {
        let way = "let the wrapper read a token of its own by another path, as injected pods do, or \
                   block for the programs that must not read it (fromSource), or keep the policy \
                   from pods of ours";
        not_for_ours(desk, way)
    };
    desk.finding(Draft {
        rule: "K9",
        severity,
        span: item.span.clone(),
        step: file.step,
        words: format!("{} ({}) is refused{owner}", file.path, file.reason),
        exception: Some(exception),
    })
}

/// The file of ours that an item refuses: the token, or the most important other one.
fn refused_file(desk: &Desk<'_>, item: &Item<'_>) -> Option<Required> {
    let tokens = desk.settings.tokens(&desk.selected);
    match tokens.iter().find(|token| item.pattern.covers(token)) {
        Some(token) => Some(Required {
            path: token.clone(),
            step: Step::Read,
            reason: "the token of the login",
            access: cloudtaser_core::needs::Access::Read,
            without: Without::Ends,
        }),
        None => worst(desk, item),
    }
}

/// The most important file of the wrapper that an item refuses.
fn worst(desk: &Desk<'_>, item: &Item<'_>) -> Option<Required> {
    let paths = desk.settings.pod_paths(&desk.selected).into_iter();
    let hit = paths.filter(|need| {
        let names = aliases(&need.path);
        names.iter().any(|name| item.pattern.covers(name))
            || (need.path.ends_with('/') && item.pattern.covers_all(&need.path))
    });
    hit.min_by_key(|need| rank(need.without))
}

fn rank(without: Without) -> u8 {
    match without {
        Without::Ends => 0,
        Without::Lowers(_) => 1,
        Without::Notes(_) => 2,
    }
}

/// K8.
fn not_listed(
    desk: &Desk<'_>,
    spec: &Node,
    items: &[Item<'_>],
    allowed: &Allowed<'_>,
    postures: &Postures,
) -> Option<Finding> {
    let first = items.iter().find(|item| item.action == Action::Allow)?;
    let wrapper = desk.settings.wrapper.as_str();
    let listed = |path: &str| {
        let own = allowed.file.iter().filter(|item| item.is_from(wrapper) && !item.at_terminals);
        own.clone().any(|item| aliases(path).iter().any(|path| item.pattern.covers(path)))
    };
    let mut missing: Vec<String> = desk
        .settings
        .pod_paths(&desk.selected)
        .into_iter()
        .map(|need| match need.path.strip_prefix("/proc/") {
            // One entry for all of it: process numbers are not known beforehand.
            Some(_) => "/proc/".to_owned(),
            None => need.path,
        })
        .filter(|path| !listed(path))
        .collect();
    missing.dedup();
    let mut seen = std::collections::BTreeSet::new();
    missing.retain(|path| seen.insert(path.clone()));
    let (severity, posture) = posture::severity(postures.file);
    let step =
        missing.first().map(|path| if path == wrapper { Step::Start } else { Step::Read })?;
    let (folders, files): (Vec<_>, Vec<_>) = missing.iter().partition(|path| path.ends_with('/'));
    let words = "list these files too; the section is an allow-list already";
    let files: Vec<_> = files.into_iter().map(|path| allow_path("path", path)).collect();
    let folders: Vec<_> = folders.into_iter().map(|path| allow_path("dir", path)).collect();
    let (list, first_entries, rest) = if files.is_empty() {
        ("matchDirectories", folders, Vec::new())
    } else {
        ("matchPaths", files, folders)
    };
    let mut exception = also_allow(desk, spec, "file", list, first_entries, words);
    if !rest.is_empty() {
        let more = also_allow(desk, spec, "file", "matchDirectories", rest, words);
        let inner = more.text.lines().skip(1);
        exception.text =
            std::iter::once(exception.text.as_str()).chain(inner).collect::<Vec<_>>().join("\n");
        exception.edits =
            crate::edit::merged(exception.edits.into_iter().chain(more.edits).collect());
    }
    desk.finding(Draft {
        rule: "K8",
        severity,
        span: first.span.clone(),
        step,
        words: format!("an allow-list of files without {}: {posture}", missing.join(", ")),
        exception: Some(exception),
    })
}

/// K12.
fn capabilities(desk: &Desk<'_>, spec: &Node) -> Vec<Finding> {
    let wrapper = desk.settings.wrapper.as_str();
    let items = policy::word_items(spec, "capabilities", "matchCapabilities", "capability");
    let refused = items.iter().filter(|item| item.refuses(wrapper));
    let found = refused.filter_map(|item| {
        let name = item.target.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        let need = NEEDS
            .capabilities
            .iter()
            .find(|capability| capability.program == Program::Wrapper && capability.name == name)?;
        let (Without::Lowers(without), severity) = (need.without, Severity::Blinds) else {
            return None;
        };
        desk.finding(Draft {
            rule: "K12",
            severity,
            span: item.span.clone(),
            step: Step::Launch,
            words: format!("CAP_{name} serves for {}; {without}", need.reason),
            exception: Some(Exception {
                words: "block it for the programs that must not use it (fromSource). A pod that \
                        drops all capabilities has none to lose: then nothing has to be done"
                    .to_owned(),
                ..not_for_ours(desk, "")
            }),
        })
    });
    found.collect()
}
