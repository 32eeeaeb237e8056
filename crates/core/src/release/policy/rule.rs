//! One rule: which paths it names, and whose.

use super::super::nodes::Demand;
use super::terms::{Limit, Quorum, Signer};
use super::{Action, Asked, Identity, PolicyError, RuleFile};
use crate::level::Requirement;

/// A rule that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) paths: Vec<Prefix>,
    identities: Vec<[Option<String>; 3]>,
    pub(super) operations: Vec<Action>,
    pub(super) require: Vec<Requirement>,
    pub(super) limit: Option<Limit>,
    pub(super) approvals: Option<Quorum>,
    pub(super) node: Option<Demand>,
}

/// A path and all below it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Prefix {
    segments: Vec<String>,
    /// The last segment is the beginning of one.
    open: bool,
}

impl Rule {
    pub(super) fn compile(file: RuleFile, signers: &[Signer]) -> Result<Self, PolicyError> {
        let error = |what: String| PolicyError { place: format!("rule {:?}", file.name), what };
        if let Some(limit) = &file.limit {
            limit.check().map_err(|what| error(what.to_owned()))?;
        }
        if let Some(quorum) = &file.approvals {
            quorum.check(signers).map_err(|what| error(format!("approvals: {what}")))?;
        }
        let paths = file.paths.iter().map(|path| {
            Prefix::parse(path).ok_or_else(|| {
                error(format!("{path:?} is no path: write mount/path, with * at its end at most"))
            })
        });
        let identities = file.identities.iter().map(|text| {
            identity(text).ok_or_else(|| {
                error(format!("{text:?} is no identity: write issuer:namespace/serviceaccount"))
            })
        });
        let rule = Self {
            paths: paths.collect::<Result<_, _>>()?,
            identities: identities.collect::<Result<_, _>>()?,
            operations: file.operations,
            require: file.require,
            limit: file.limit,
            approvals: file.approvals,
            node: file.node,
            name: file.name,
        };
        for (is_empty, what) in [
            (rule.name.trim().is_empty(), "it has no name"),
            (rule.paths.is_empty(), "it names no path"),
            (rule.identities.is_empty(), "it names no identity"),
            (rule.operations.is_empty(), "it names no operation"),
        ] {
            if is_empty {
                return Err(rule.error(what));
            }
        }
        Ok(rule)
    }

    pub(super) fn error(&self, what: &str) -> PolicyError {
        PolicyError { place: format!("rule {:?}", self.name), what: what.to_owned() }
    }

    pub(super) fn names(&self, asked: &Asked<'_>) -> bool {
        let Identity { issuer, namespace, service_account } = asked.identity;
        let parts = [issuer, namespace, service_account];
        let fits = |pattern: &[Option<String>; 3]| {
            pattern.iter().zip(parts).all(|(want, is)| want.as_ref().is_none_or(|want| want == is))
        };
        self.operations.contains(&asked.action) && self.identities.iter().any(fits)
    }
}

impl Prefix {
    fn parse(text: &str) -> Option<Self> {
        let (text, open) = match text.strip_suffix('*') {
            Some(rest) => (rest, !rest.ends_with('/') && !rest.is_empty()),
            None => (text, false),
        };
        let segments = segments(text)?;
        let clean = |segment: &String| !segment.contains('*');
        segments.iter().all(clean).then_some(Self { segments, open })
    }

    /// How specific it is about a path that it covers.
    pub(super) fn fits(&self, path: &[String]) -> Option<(usize, usize, bool)> {
        let (head, _) = path.split_at_checked(self.segments.len())?;
        let same = head.iter().zip(&self.segments).enumerate().all(|(at, (is, want))| {
            let last = at + 1 == self.segments.len();
            if last && self.open { is.starts_with(want.as_str()) } else { is == want }
        });
        let len = self.segments.iter().map(String::len).sum();
        same.then_some((self.segments.len(), len, !self.open))
    }
}

/// The segments of a path, without the `data` by which KV v2 spells the same secret twice; `None`
/// for what is no path.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.trim_matches('/');
    let mut segments = path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let strange = |segment: &String| {
        matches!(segment.as_str(), "" | "." | "..") || segment.contains(char::is_control)
    };
    if segments.iter().any(strange) {
        return None;
    }
    let data = segments.iter().skip(1).position(|segment| segment == "data");
    if let Some(at) = data {
        segments.remove(at + 1);
    }
    Some(segments)
}

/// One spelling for all that name the same secret, so that a hash of it can be looked for.
#[must_use]
pub fn canonical(path: &str) -> Option<String> {
    segments(path).map(|segments| segments.join("/"))
}

fn identity(text: &str) -> Option<[Option<String>; 3]> {
    let (issuer, rest) = text.split_once(':')?;
    let (namespace, account) = rest.split_once('/')?;
    let part = |part: &str| match part {
        "*" => Some(None),
        "" => None,
        part if part.contains(['*', '/', ':']) => None,
        part => Some(Some(part.to_owned())),
    };
    Some([part(issuer)?, part(namespace)?, part(account)?])
}
