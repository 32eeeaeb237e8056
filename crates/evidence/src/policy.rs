//! Whom to believe (C2SP tlog-policy): logs, witnesses, and how many of them.
//!
//! The file is UTF-8 here, where the specification allows any octets.

use std::{collections::BTreeMap, str::FromStr};

use serde::Serialize;

use crate::{
    checkpoint::SignedCheckpoint,
    note::{KeyKind, NoteError, VerifierKey},
};

/// Most logs, witnesses or groups of one policy.
const MANY: usize = 64;

/// A policy that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct PolicyError {
    line: usize,
    why: &'static str,
}

/// Why a checkpoint is not believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Disbelief {
    /// No log of the policy has this name.
    #[error("the policy names no log {0}")]
    UnknownLog(String),
    /// A signature is missing or false.
    #[error("the checkpoint is not to be believed")]
    Signature(#[from] NoteError),
    /// Too few witnesses signed.
    #[error("the policy's quorum is not met: of its witnesses {} signed", list(.0))]
    Quorum(Vec<String>),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A witness that signed, and when.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Seen {
    /// Its name in the policy.
    pub witness: String,
    /// Seconds since 1970, by the witness's clock.
    pub unix_seconds: u64,
}

/// A witness, as the policy has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Witness {
    /// Its name in the policy.
    pub name: String,
    /// Its key.
    pub key: VerifierKey,
    /// Where it takes checkpoints.
    pub url: Option<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Group {
    least: usize,
    members: Vec<Member>,
}

/// Logs, witnesses, and the quorum.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Option<Member>,
}

impl Policy {
    /// The logs.
    #[must_use]
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// The witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Whether any witness has to sign.
    #[must_use]
    pub const fn needs_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Believes a checkpoint, or says why not; tells who saw it.
    ///
    /// # Errors
    /// [`Disbelief`].
    pub fn judge(&self, signed: &SignedCheckpoint) -> Result<Vec<Seen>, Disbelief> {
        let origin = &signed.checkpoint().origin;
        let mut logs = self.logs.iter().filter(|log| log.name() == origin).peekable();
        if logs.peek().is_none() {
            return Err(Disbelief::UnknownLog(origin.clone()));
        }
        let mut verdict = Ok(());
        for log in logs {
            verdict = signed.verify(log);
            if !matches!(verdict, Err(NoteError::Unsigned(_))) {
                break;
            }
        }
        verdict?;
        let mut seen = Vec::new();
        let mut signers = vec![false; self.witnesses.len()];
        for (witness, signer) in self.witnesses.iter().zip(&mut signers) {
            match signed.note().verify_cosigned(&witness.key) {
                Ok(unix_seconds) => {
                    *signer = true;
                    seen.push(Seen { witness: witness.name.clone(), unix_seconds });
                }
                Err(NoteError::Unsigned(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.quorum.as_ref().is_none_or(|quorum| self.is_met(quorum, &signers)) {
            Ok(seen)
        } else {
            Err(Disbelief::Quorum(seen.into_iter().map(|seen| seen.witness).collect()))
        }
    }

    /// Groups name earlier ones only, so this ends.
    fn is_met(&self, member: &Member, signers: &[bool]) -> bool {
        match member {
            Member::Witness(at) => signers.get(*at).copied().unwrap_or(false),
            Member::Group(at) => self.groups.get(*at).is_some_and(|group| {
                let met = group.members.iter().filter(|member| self.is_met(member, signers));
                met.count() >= group.least
            }),
        }
    }
}

/// What a policy is read into.
#[derive(Default)]
struct Reader {
    policy: Policy,
    names: BTreeMap<String, (Member, bool)>,
    quorum: bool,
}

impl Reader {
    fn line(&mut self, words: &[&str]) -> Result<(), &'static str> {
        match words {
            ["log", key] | ["log", key, _] => self.log(key),
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some((*url).to_owned())),
            ["group", name, least, members @ ..] if !members.is_empty() => {
                self.group(name, least, members)
            }
            ["quorum", name] => self.quorum(name),
            _ => Err("a line is: log KEY [URL], witness NAME KEY [URL], \
                      group NAME all|any|NUMBER MEMBER..., or quorum NAME|none"),
        }
    }

    fn log(&mut self, key: &str) -> Result<(), &'static str> {
        let key = parse_key(key, KeyKind::Log)?;
        if self.policy.logs.iter().any(|log| log.as_bytes() == key.as_bytes()) {
            return Err("this log is there already");
        }
        self.policy.logs.push(key);
        if self.policy.logs.len() > MANY { Err("too many logs") } else { Ok(()) }
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<String>) -> Result<(), &'static str> {
        let key = parse_key(key, KeyKind::Witness)?;
        if self.policy.witnesses.iter().any(|known| known.key.as_bytes() == key.as_bytes()) {
            return Err("this witness is there already");
        }
        self.define(name, Member::Witness(self.policy.witnesses.len()))?;
        self.policy.witnesses.push(Witness { name: name.to_owned(), key, url });
        if self.policy.witnesses.len() > MANY { Err("too many witnesses") } else { Ok(()) }
    }

    fn group(&mut self, name: &str, least: &str, words: &[&str]) -> Result<(), &'static str> {
        let mut members = Vec::new();
        for word in words {
            let known = self.names.get_mut(*word).ok_or("a member is not defined above")?;
            if std::mem::replace(&mut known.1, true) {
                return Err("a name can be a member once");
            }
            members.push(known.0.clone());
        }
        let least = match least {
            "all" => members.len(),
            "any" => 1,
            number => number.parse().map_err(|_bad| "say all, any or a number")?,
        };
        if least == 0 || least > members.len() {
            return Err("the number is between 1 and that of the members");
        }
        self.define(name, Member::Group(self.policy.groups.len()))?;
        self.policy.groups.push(Group { least, members });
        if self.policy.groups.len() > MANY { Err("too many groups") } else { Ok(()) }
    }

    fn quorum(&mut self, name: &str) -> Result<(), &'static str> {
        if std::mem::replace(&mut self.quorum, true) {
            return Err("there is one quorum line");
        }
        if name != "none" {
            let known = self.names.get(name).ok_or("the quorum is not defined above")?;
            self.policy.quorum = Some(known.0.clone());
        }
        Ok(())
    }

    fn define(&mut self, name: &str, member: Member) -> Result<(), &'static str> {
        if name == "none" || self.names.contains_key(name) {
            return Err("this name is taken");
        }
        self.names.insert(name.to_owned(), (member, false));
        Ok(())
    }
}

fn parse_key(text: &str, kind: KeyKind) -> Result<VerifierKey, &'static str> {
    let key: VerifierKey = text.parse().map_err(|_bad| "the key cannot be read")?;
    if key.kind() == kind { Ok(key) } else { Err("the key is of another kind") }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let mut reader = Reader::default();
        let mut last = 0;
        for (at, line) in (1..).zip(text.split('\n')) {
            last = at;
            if line.contains(|c: char| c.is_control() && c != '\t') {
                return Err(PolicyError { line: at, why: "control characters" });
            }
            let words: Vec<&str> =
                line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            if words.first().is_none_or(|word| word.starts_with('#')) {
                continue;
            }
            reader.line(&words).map_err(|why| PolicyError { line: at, why })?;
        }
        if !reader.quorum {
            return Err(PolicyError { line: last, why: "there is no quorum line" });
        }
        Ok(reader.policy)
    }
}

#[cfg(test)]
mod tests;
