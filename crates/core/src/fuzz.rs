//! Entries for the fuzzers: what must hold for any text that people or the webhook may write.
//!
//! Each function panics where a promise is broken and says nothing otherwise. None is in a build
//! that is shipped.

use crate::{
    LaunchPlan,
    agent::{ANSWER_MAX, Answer, QUESTION_MAX, Question, order::Order},
    cgroup::{self, Workload},
    level::{Facets, ProtectionLevel, Release, Requirement, Transport},
    node::{NodeStatement, STATEMENT_MAX},
    plan::Period,
    reference::{
        MAX_LEN, Piece, Reference, ReferenceError, SecretPath, Select, Source, Value, suspicion,
    },
    release::{
        BridgeToWrapper, Message, WrapperToBridge, decode, encode,
        nodes::{Attested, Demand, Nodes},
        order::{KeptOrder, SignedOrder},
        policy::{self, Action, Asked, Decision, Identity, Policy, PolicyFile, terms::Standing},
    },
};

/// What stands before a reference inside a text.
const OPENERS: [&str; 4] = ["${vault:", "${bao:", "${>>vault:", "${>>bao:"];

/// Any text as the value of a variable, as a path, and as a line of a bulk import.
pub fn reference(text: &str) {
    match Value::parse(text) {
        Ok(value) => parsed(text, &value),
        Err(error) => refused(text, &error, hidden(text)),
    }
    match Source::parse(text) {
        Ok(source) => asked(&source),
        Err(error) => refused(text, &error, 0),
    }
    match SecretPath::parse(text) {
        Ok(path) => stays_in_mount(&path),
        Err(error) => refused(text, &error, 0),
    }
    assert!(suspicion(text).is_none_or(|words| !words.contains('\n')));
}

/// Any bytes as a launch plan: what is read can be written and read again.
pub fn plan(json: &[u8]) {
    let Ok(plan) = LaunchPlan::from_json(json) else { return };
    let written = serde_json::to_vec(&plan);
    let again = written.ok().and_then(|json| LaunchPlan::from_json(&json).ok());
    assert_eq!(again, Some(plan));
}

/// Any text as a requirement, as a list of them, and as a length of time.
pub fn words(text: &str) {
    if let Ok(requirement) = text.parse::<Requirement>() {
        assert_eq!(requirement.to_string().parse(), Ok(requirement));
        assert_eq!(Requirement::parse_list(text), Ok(vec![requirement]));
    }
    if let Ok(list) = Requirement::parse_list(text) {
        let written: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(Requirement::parse_list(&written.join(" ,,")), Ok(list));
    }
    if let Ok(period) = text.parse::<Period>() {
        assert_eq!(period.to_string().parse(), Ok(period));
    }
}

/// Any packet as a question to the agent and as its answer: what is read is written and read again,
/// within the limits and on one line.
pub fn agent(packet: &[u8]) {
    if let Ok(question) = Question::parse(packet) {
        let written = question.to_packet();
        // Written anew, a text may have more escapes than it was read with.
        if written.len() <= QUESTION_MAX {
            assert_eq!(Question::parse(&written), Ok(question));
        }
    }
    // A report is passed on as it is, and numbers in it may be rounded; what is signed has limits
    // of its own.
    let Ok(answer) = Answer::parse(packet) else { return };
    let answer = Answer { report: None, evidence: None, ..answer };
    let shown = [&answer.text].into_iter().chain(&answer.reasons).chain(&answer.tier);
    assert!(shown.into_iter().all(|text| !text.contains(char::is_control)));
    let written = answer.to_packet();
    assert!(written.len() <= ANSWER_MAX);
    assert_eq!(Answer::parse(&written), Ok(answer));
}

/// Any text as an operator's order: what is taken is written and read again, and is on one line.
pub fn order(text: &str) {
    let Ok(order) = Order::parse(text) else { return };
    assert!(!order.reason.trim().contains(char::is_control));
    // Blanks around a reason may be control characters, which are longer when they are written.
    if let Ok(written) = order.to_text() {
        assert_eq!(Order::parse(&written), Ok(order));
    }
}

/// Any text as what a node signs: what is read is written again, byte for byte.
pub fn statement(text: &str) {
    if let Ok(statement) = NodeStatement::parse(text) {
        assert_eq!(statement.to_text(), text);
        assert!(!text.contains(char::is_control) && text.len() <= STATEMENT_MAX);
        let words = {
            let attested = Attested { key: statement.agent, statement, tpm: None, hardware: None };
            Demand::default().unmet(&Nodes::default(), Some(&attested))
        };
        assert!(!words.is_empty(), "a stranger's word counts");
    }
}

/// Any text as the path of a cgroup, and as a file `/proc/PID/cgroup`.
pub fn cgroup(text: &str) {
    let found = Workload::parse(text);
    let is_digits = |name: &str| name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if let Some(id) = &found.container {
        assert!(text.contains(id.as_str()) && id.len() == 64 && is_digits(id));
    }
    assert!(found.pod.as_ref().is_none_or(|uid| matches!(uid.len(), 32 | 36) && is_digits(uid)));
    if !found.is_empty() && !text.ends_with(" (deleted)") {
        let below = format!("{text}/pod0123456789abcdef0123456789abcdef/{}", "f".repeat(64));
        let other = Workload::parse(&below);
        let kept = |mine: &Option<String>, theirs| mine.is_none() || mine == theirs;
        assert!(kept(&found.pod, &other.pod), "a pod was renamed from below");
        assert!(kept(&found.container, &other.container), "a container was renamed from below");
    }
    if let Some(path) = cgroup::path(text) {
        assert!(text.contains(path) && !path.contains('\n'));
    }
}

fn parsed(text: &str, value: &Value) {
    for reference in value.references() {
        asked(&reference.source);
        if let Select::Field(field) = &reference.select {
            assert!(is_bare(field), "a field is empty, spaced or has control characters");
        }
    }
    for ciphertext in value.ciphertexts() {
        assert!(ciphertext.starts_with("vault:v") && !ciphertext.contains(char::is_control));
    }
    if *value == Value::Literal {
        assert!(!OPENERS.iter().any(|opener| text.contains(opener)), "a reference was passed over");
        assert!(!text.starts_with("vault:") && !text.starts_with("bao:"));
    } else {
        // Writing makes a text longer by a prefix and a slash, so only short ones must come back.
        let written = written(value);
        assert!(text.len() <= MAX_LEN);
        assert!(written.len() > MAX_LEN || Value::parse(&written).as_ref() == Ok(value));
    }
}

fn asked(source: &Source) {
    stays_in_mount(&source.path);
    assert_ne!(source.version, Some(0));
    if let Some(json) = &source.write {
        let object = serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(json);
        assert!(object.is_ok(), "what is written is no JSON object");
    }
}

fn stays_in_mount(path: &SecretPath) {
    let path = path.as_str();
    assert!(is_bare(path), "a path is empty, spaced or has control characters");
    assert!(path.contains('/'), "a path has a mount only");
    assert!(!path.split('/').any(|segment| matches!(segment, "" | "." | "..")), "a path climbs");
}

fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.contains(char::is_control)
}

/// The error is about a part of the text, and shows one line with nothing of what is hidden.
fn refused(text: &str, error: &ReferenceError, hidden: usize) {
    assert!(error.span.start <= error.span.end, "a span is turned round");
    assert!(text.get(error.span.clone()).is_some(), "a span is outside, or cuts a character");
    let shown = error.pointed(text).to_string();
    let (line, carets) = shown.split_once('\n').unwrap_or_default();
    let line = line.strip_prefix("    ").unwrap_or("?");
    let visible: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let hidden = text.get(..hidden).map_or(0, |part| part.chars().count());
    let visible: String = visible.chars().skip(hidden).collect();
    assert!(visible.contains(line), "what is beside the reference is shown");
    assert!(!carets.trim().is_empty() && carets.trim().bytes().all(|byte| byte == b'^'));
    assert!(!error.to_string().contains('\n'));
}

/// How many bytes before the first reference belong to the app alone.
fn hidden(text: &str) -> usize {
    let is_whole = ["vault:", "bao:"]
        .iter()
        .any(|prefix| text.strip_prefix(">>").unwrap_or(text).starts_with(prefix));
    let first = OPENERS.iter().filter_map(|opener| text.find(opener)).min();
    if is_whole { 0 } else { first.unwrap_or(0) }
}

fn written(value: &Value) -> String {
    match value {
        Value::Composite(pieces) => pieces.iter().map(written_piece).collect(),
        Value::Literal => String::new(),
        Value::Login => "vault:login".to_owned(),
        Value::Transit(ciphertext) => ciphertext.clone(),
        Value::Whole(reference) => written_reference(reference),
    }
}

fn written_piece(piece: &Piece) -> String {
    match piece {
        Piece::Reference(reference) => format!("${{{}}}", written_reference(reference)),
        Piece::Text(text) => text.clone(),
        Piece::Transit(ciphertext) => format!("${{{ciphertext}}}"),
    }
}

/// The slash keeps a path that begins like a ciphertext a path.
fn written_reference(Reference { source, select }: &Reference) -> String {
    let (Select::Field(selected) | Select::Template(selected)) = select;
    let path = source.path.as_str();
    match (&source.write, source.version) {
        (Some(json), _) => format!(">>vault:/{path}#{selected}#{json}"),
        (None, Some(version)) => format!("vault:/{path}#{selected}#{version}"),
        (None, None) => format!("vault:/{path}#{selected}"),
    }
}

/// Any bytes as messages between wrapper and bridge, either way, and as a path of the policy.
pub fn release(bytes: &[u8]) {
    release_of::<WrapperToBridge>(bytes);
    release_of::<BridgeToWrapper>(bytes);
    let text = String::from_utf8_lossy(bytes);
    if let Some(path) = policy::canonical(&text) {
        // SECURITY: what the policy looks at cannot lead away once it is part of a URL.
        assert!(path.split('/').all(|segment| !matches!(segment, "" | "." | "..")));
    }
}

/// Any bytes as a policy (its JSON form): whatever it says, nothing is released of a path that none of
/// its rules names, to whom none names, or without what every rule of that path demands; and a rule
/// that is taken away opens nothing that no wider rule opens.
pub fn policy(bytes: &[u8]) {
    let Ok(file) = serde_json::from_slice::<PolicyFile>(bytes) else { return };
    let Ok(policy) = Policy::compile(file.clone()) else { return };
    let identity = Identity {
        issuer: "eu".to_owned(),
        namespace: "shop".to_owned(),
        service_account: "web".to_owned(),
    };
    let weakest =
        Facets { transport: Transport::Hybrid, release: Release::Bridge, ..Facets::WEAKEST };
    let level = ProtectionLevel::from_facets(weakest, Vec::new());
    let paths = file.rule.iter().flat_map(|rule| &rule.paths).map(String::as_str);
    for path in paths.chain(["secret/x", "", "..", "secret/data/x"]) {
        for action in [Action::Read, Action::Write, Action::Decrypt] {
            let standing = &Standing::default();
            let asked =
                Asked { identity: &identity, action, path, level: &level, standing, node: None };
            let Decision::Release { rule, grounds } = policy.decide(&asked) else { continue };
            let rule = file.rule.iter().find(|other| other.name == rule);
            let rule = rule.filter(|rule| rule.operations.contains(&action));
            assert!(rule.is_some(), "released by a rule that is not there");
            let Some(rule) = rule else { continue };
            assert!(rule.approvals.is_none(), "released without an approval");
            assert!(level.unmet(&rule.require).is_empty(), "released below the level");
            assert!(grounds.approved_by.is_empty() && grounds.relaxed.is_empty());
            assert_eq!(grounds.limited, rule.limit.is_some());
            let full = Standing { released: u64::MAX, last_hour: u64::MAX, ..Standing::default() };
            let later = policy.decide(&Asked { standing: &full, ..asked });
            let lets = |rule: &policy::RuleFile| rule.limit.is_none();
            assert!(file.rule.iter().any(lets) || !matches!(later, Decision::Release { .. }));
        }
    }
    let path = "\u{1}";
    let standing = &Standing::default();
    let asked = Asked {
        identity: &identity,
        action: Action::Read,
        path,
        level: &level,
        standing,
        node: None,
    };
    assert_eq!(policy.decide(&asked), Decision::Path);
}

/// Any text as an order to a bridge, alone, in its file, and as a log keeps it: what is taken is
/// written and read again, ends in time, and is on one line.
pub fn release_order(text: &str) {
    use crate::release::order::{APPROVAL_SECONDS_MAX, Order};
    let orders = [
        Order::parse(text).ok(),
        SignedOrder::parse(text).ok().map(|(_, order)| order),
        KeptOrder::parse(text.as_bytes()).ok().map(|(_, order)| order),
    ];
    for order in orders.into_iter().flatten() {
        assert!(!order.reason.contains(char::is_control));
        assert!(
            order.until - order.from <= APPROVAL_SECONDS_MAX && !order.is_in_force(order.until)
        );
        if let Ok(written) = order.to_text() {
            assert!(Order::parse(&written).is_ok_and(|again| again == order));
        }
    }
}

fn release_of<M: Message>(bytes: &[u8]) {
    if let Ok(Some((message, len))) = decode::<M>(bytes) {
        assert!(len <= bytes.len());
        // What was cut for people is shorter, never longer.
        let written = encode(&message).map(|bytes| bytes.to_vec()).unwrap_or_default();
        let again = decode::<M>(&written).ok().flatten();
        let again = again.and_then(|(message, _)| encode(&message).ok());
        assert_eq!(again.map(|bytes| bytes.to_vec()), Some(written));
    }
}

#[cfg(test)]
mod tests {
    include!("../../../fuzz/replay.rs");

    #[test]
    fn every_corpus_file_is_replayed() {
        replay("reference", |bytes| super::reference(&String::from_utf8_lossy(bytes)));
        replay("plan", super::plan);
        replay("agent", super::agent);
        replay("node_statement", |bytes| super::statement(&String::from_utf8_lossy(bytes)));
        replay("order", |bytes| super::order(&String::from_utf8_lossy(bytes)));
        replay("cgroup", |bytes| super::cgroup(&String::from_utf8_lossy(bytes)));
        replay("release", super::release);
        replay("release_policy", super::policy);
        replay("release_order", |bytes| super::release_order(&String::from_utf8_lossy(bytes)));
        replay("words", |bytes| super::words(&String::from_utf8_lossy(bytes)));
    }
}
