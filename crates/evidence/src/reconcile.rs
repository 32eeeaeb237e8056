//! Comparing receipts with OpenBao's own audit log: what does either side lack?
//!
//! OpenBao writes a line before it answers, with the id of the request in clear (values and most
//! names are HMACs there). The bridge puts that id into the receipt. A read that OpenBao answered
//! and no receipt has is a release around the log; a receipt of a read that OpenBao does not know
//! is an audit log that lost lines, or a bridge that invents.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read as _},
};

use serde::{Deserialize, Serialize};

use crate::verify::tally::Tally;

/// Longer lines are not read.
const LINE_MAX: usize = 4 << 20;
/// More findings than this are only counted.
const LISTED: usize = 100;
/// Paths that are no secrets engine.
const NOT_SECRETS: [&str; 4] = ["auth/", "sys/", "identity/", "cubbyhole/"];

/// An audit log that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the audit log cannot be read")]
pub struct AuditError {
    line: u64,
    source: io::Error,
}

/// A read that OpenBao answered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Answered {
    /// Line of the audit log.
    pub line: u64,
    /// When, as OpenBao wrote it.
    pub time: String,
    /// OpenBao's id of the request.
    pub request: String,
    /// What was read.
    pub path: String,
    /// Who read, as OpenBao shows it.
    pub who: String,
}

/// What one line says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A secret was given out.
    Gave(Answered),
    /// Something else happened.
    Nothing,
    /// The line is no audit entry.
    Unreadable,
}

/// What came of the comparison.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reconciliation {
    /// Lines of the audit log.
    pub lines: u64,
    /// Reads of secrets that OpenBao answered.
    pub answered: u64,
    /// Those that have a receipt.
    pub matched: u64,
    /// Those that have none; the first ones.
    pub unreceipted: Vec<Answered>,
    /// How many those are.
    pub unreceipted_total: u64,
    /// Requests of receipts that the audit log does not have; the first ones.
    pub unaudited: Vec<String>,
    /// How many those are.
    pub unaudited_total: u64,
    /// Released secrets whose receipt names no request.
    pub without_request: u64,
    /// Lines that are no audit entries; the first ones.
    pub unreadable: Vec<u64>,
    /// How many those are.
    pub unreadable_total: u64,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    auth: Option<Auth>,
    #[serde(default)]
    request: Option<AuditRequest>,
    #[serde(default)]
    response: Option<AuditResponse>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    display_name: String,
}

#[derive(Deserialize)]
struct AuditRequest {
    #[serde(default)]
    id: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    mount_type: String,
}

#[derive(Deserialize)]
struct AuditResponse {
    #[serde(default)]
    data: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    secret: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    wrap_info: Option<serde::de::IgnoredAny>,
}

/// Compares what was verified with an audit log; `prefixes` are the paths that only the bridge may
/// read, and none means all of secrets engines.
///
/// # Errors
/// [`AuditError`] where a line cannot be read from its file; what is no audit entry is counted.
pub fn reconcile(
    tally: &Tally,
    audit: impl BufRead,
    prefixes: &[String],
) -> Result<Reconciliation, AuditError> {
    let mut found = Reconciliation { without_request: tally.without_request, ..Default::default() };
    let mut open: BTreeMap<&str, bool> = BTreeMap::new();
    open.extend(tally.requests.keys().map(|request| (request.as_str(), false)));
    let mut audit = audit;
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        if !read_line(&mut audit, &mut text).map_err(|source| AuditError { line, source })? {
            break;
        }
        found.lines += 1;
        let entry = if text.len() > LINE_MAX { None } else { serde_json::from_slice(&text).ok() };
        match entry {
            Some(entry) => found.take(line, entry, prefixes, &mut open),
            None => {
                found.unreadable_total += 1;
                push(&mut found.unreadable, line);
            }
        }
    }
    for (request, _) in open.into_iter().filter(|(_, audited)| !audited) {
        found.unaudited_total += 1;
        push(&mut found.unaudited, request.to_owned());
    }
    Ok(found)
}

/// Reads one line, as [`reconcile`] does; its number is 0.
#[must_use]
pub fn heard(text: &[u8], prefixes: &[String]) -> Heard {
    let Ok(entry) = serde_json::from_slice::<Entry>(text) else { return Heard::Unreadable };
    if !entry.gives(prefixes) {
        return Heard::Nothing;
    }
    entry.answered(0).map_or(Heard::Nothing, Heard::Gave)
}

/// Reads a line, of an overlong one only so much that it is seen to be one; false at the end.
fn read_line(audit: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<bool> {
    let limit = u64::try_from(LINE_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut rest = Vec::new();
    let first = audit.take(limit).read_until(b'\n', text)?;
    let mut whole = text.len() <= LINE_MAX || text.ends_with(b"\n");
    while !whole {
        rest.clear();
        whole = audit.take(limit).read_until(b'\n', &mut rest)? == 0 || rest.ends_with(b"\n");
    }
    Ok(first > 0)
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < LISTED {
        list.push(item);
    }
}

impl Entry {
    /// Whether it says that a secret was given out, of one of these paths.
    fn gives(&self, prefixes: &[String]) -> bool {
        let Some(request) = self.request.as_ref().filter(|_| self.kind == "response") else {
            return false;
        };
        let gave = self.response.as_ref().is_some_and(|gave| {
            gave.data.is_some() || gave.secret.is_some() || gave.wrap_info.is_some()
        });
        let reads = matches!(request.operation.as_str(), "read" | "update" | "create");
        let wanted = match prefixes {
            [] => !NOT_SECRETS.iter().any(|other| request.path.starts_with(other)),
            prefixes => prefixes.iter().any(|prefix| request.path.starts_with(prefix.as_str())),
        };
        gave && reads && wanted && self.error.is_empty() && !gives_no_secret(request)
    }

    fn answered(self, line: u64) -> Option<Answered> {
        let who = self.auth.map(|auth| auth.display_name).unwrap_or_default();
        let AuditRequest { id: request, path, .. } = self.request?;
        Some(Answered { line, time: self.time, request, path, who })
    }
}

impl Reconciliation {
    fn take(
        &mut self,
        line: u64,
        entry: Entry,
        prefixes: &[String],
        open: &mut BTreeMap<&str, bool>,
    ) {
        let Some(request) = &entry.request else { return };
        if entry.kind != "response" {
            return;
        }
        let known = open.get_mut(request.id.as_str()).map(|audited| *audited = true).is_some();
        if !entry.gives(prefixes) {
            return;
        }
        self.answered += 1;
        if known {
            self.matched += 1;
            return;
        }
        self.unreceipted_total += 1;
        if let Some(answered) = entry.answered(line) {
            push(&mut self.unreceipted, answered);
        }
    }

    /// Whether neither side lacks anything.
    #[must_use]
    pub const fn agrees(&self) -> bool {
        self.unreceipted_total == 0
            && self.unaudited_total == 0
            && self.without_request == 0
            && self.unreadable_total == 0
    }

    /// One sentence.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Self { answered, matched, unreceipted_total, unaudited_total, .. } = self;
        let mut words = format!(
            "OpenBao answered {answered} reads of secrets, {matched} have a receipt, \
             {unreceipted_total} have none; {unaudited_total} requests of receipts are not in its \
             audit log"
        );
        if self.without_request > 0 {
            words.push_str(&format!("; {} released secrets name no request", self.without_request));
        }
        if self.unreadable_total > 0 {
            words.push_str(&format!("; {} lines are no audit entries", self.unreadable_total));
        }
        words
    }
}

/// Answers that hold no secret, whatever else is in them. What is not known here counts as one.
fn gives_no_secret(request: &AuditRequest) -> bool {
    match request.mount_type.as_str() {
        // A write answers with a version.
        "kv" | "generic" => request.operation != "read",
        "transit" => {
            let gives = ["/decrypt/", "/export/", "/datakey/plaintext/", "/backup/"];
            !gives.iter().any(|part| request.path.contains(part))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hash::Digest,
        receipt::{
            Receipt,
            tests::{draft, name},
        },
        verify::tally::Collect,
    };

    fn tally(requests: &[Option<&str>]) -> Tally {
        let mut tally = Tally::new(Collect { requests: true, evidence: false });
        let mut previous = None;
        for (number, request) in (0..).zip(requests) {
            let mut draft = draft();
            draft.secrets[0].request = request.map(name);
            let receipt = Receipt::new(draft, number, 0, previous);
            let leaf = Digest::leaf(&receipt.to_bytes().unwrap());
            tally.add(number, &receipt.into(), leaf).unwrap();
            previous = Some(leaf);
        }
        tally
    }

    fn line(kind: &str, id: &str, path: &str, operation: &str) -> String {
        format!(
            "{{\"type\":\"{kind}\",\"time\":\"t\",\"auth\":{{\"display_name\":\"root\"}},\
             \"request\":{{\"id\":\"{id}\",\"operation\":\"{operation}\",\"path\":\"{path}\",\
             \"mount_type\":\"kv\"}},\"response\":{{\"data\":{{\"data\":{{}}}}}}}}\n"
        )
    }

    fn compared(tally: &Tally, audit: &str, prefixes: &[&str]) -> Reconciliation {
        let prefixes: Vec<_> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        reconcile(tally, audit.as_bytes(), &prefixes).unwrap()
    }

    #[test]
    fn both_sides_have_the_same() {
        let audit = line("request", "a", "secret/data/db", "read")
            + &line("response", "a", "secret/data/db", "read")
            + &line("response", "x", "auth/kubernetes/login", "update")
            + &line("response", "y", "secret/data/db", "update");
        let found = compared(&tally(&[Some("a")]), &audit, &[]);
        assert!(found.agrees(), "{found:?}");
        assert_eq!((found.lines, found.answered, found.matched), (4, 1, 1));
    }

    #[test]
    fn a_read_around_the_log_is_found_with_its_line() {
        let audit = line("response", "a", "secret/data/db", "read")
            + &line("response", "b", "secret/data/db", "read")
            + &line("response", "c", "other/data/x", "read");
        let found = compared(&tally(&[Some("a")]), &audit, &["secret/"]);
        assert_eq!(found.unreceipted_total, 1);
        let lacking = &found.unreceipted[0];
        assert_eq!((lacking.line, lacking.request.as_str()), (2, "b"));
        assert_eq!(lacking.who, "root");
        assert_eq!(compared(&tally(&[Some("a")]), &audit, &[]).unreceipted_total, 2);
    }

    #[test]
    fn a_receipt_that_openbao_does_not_know_is_found() {
        let audit = line("response", "a", "secret/data/db", "read");
        let found = compared(&tally(&[Some("a"), Some("z"), None]), &audit, &[]);
        assert_eq!((found.unaudited_total, found.without_request), (1, 1));
        assert_eq!(found.unaudited, ["z"]);
        assert!(!found.agrees());
    }

    #[test]
    fn the_audit_log_of_a_real_openbao_is_understood() {
        let audit = include_str!("../../../fuzz/corpus/evidence_audit/openbao-2.7.jsonl");
        let bridge = "f84b831c-b726-af43-1b72-d07ed3f18109";
        let found = compared(&tally(&[Some(bridge)]), audit, &[]);
        assert_eq!((found.lines, found.answered, found.matched), (35, 2, 1));
        let root = &found.unreceipted[0];
        assert_eq!((root.line, root.path.as_str()), (15, "secret/data/db"));
        assert_eq!((found.unaudited_total, found.unreadable_total), (0, 0));
    }

    #[test]
    fn what_is_no_audit_entry_is_no_agreement() {
        let found = compared(&tally(&[]), "not json\n{}\n", &[]);
        assert_eq!((found.unreadable_total, found.unreadable[0]), (2, 1));
        assert!(!found.agrees());
        let long =
            format!("{}\n{}", " ".repeat(2 * LINE_MAX + 3), line("response", "a", "s/x", "read"));
        let found = compared(&tally(&[Some("a")]), &long, &[]);
        assert_eq!((found.lines, found.matched, found.unreadable_total), (2, 1, 1));
    }
}
