//! Whom to believe (C2SP tlog-policy): logs, witnesses, and how many of them.
//!
//! The file is UTF-8 here, where the specification allows any octets; and a line `was KEY SIZE` is
//! ours: the key of a log that another one replaced when it had this size. What it signed is believed
//! up to there, and only where something else shows that it is the log's past: whoever stole the key
//! later can sign anything with it, but no past that others have seen.

use std::{collections::BTreeMap, str::FromStr};

use serde::Serialize;

use crate::{
    checkpoint::{SignedCheckpoint, parse_number},
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
    /// A key signed that had been replaced by then.
    #[error(
        "it is signed at size {size} by a key of the log that was replaced at size {until}: it is \
         false, and whoever made it has the old key"
    )]
    Replaced {
        /// What is signed.
        size: u64,
        /// Where the key ended.
        until: u64,
    },
    /// A key signed that was replaced since, and nothing shows that it is the log's past.
    #[error(
        "it is signed by a key of the log that was replaced since, and no witness whom the policy \
         counts signed it: what shows that it is the log's past is a later bundle that grew from it \
         (--later)"
    )]
    Former,
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

/// A key that another one replaced.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Former {
    /// The key.
    pub key: VerifierKey,
    /// The size of the log then.
    pub until: u64,
}

/// Logs, witnesses, and the quorum.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    former: Vec<Former>,
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

    /// Keys of logs that were replaced.
    #[must_use]
    pub fn former(&self) -> &[Former] {
        &self.former
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
        let former = self.signed_by(signed)?;
        let size = signed.checkpoint().size;
        if let Some(Former { until, .. }) = former.filter(|former| size > former.until) {
            return Err(Disbelief::Replaced { size, until: *until });
        }
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
        match &self.quorum {
            Some(quorum) if !self.is_met(quorum, &signers) => {
                Err(Disbelief::Quorum(seen.into_iter().map(|seen| seen.witness).collect()))
            }
            // SECURITY: the signature alone shows nothing once the key is out of use.
            None if former.is_some() => Err(Disbelief::Former),
            _ => Ok(seen),
        }
    }

    /// Whether a log of this name signed, and by which key where that was replaced since.
    fn signed_by(&self, signed: &SignedCheckpoint) -> Result<Option<&Former>, Disbelief> {
        let origin = &signed.checkpoint().origin;
        let own = |key: &VerifierKey| key.name() == origin;
        let current = self.logs.iter().filter(|key| own(key)).map(|key| (key, None));
        let former = self.former.iter().filter(|former| own(&former.key));
        let former = former.map(|former| (&former.key, Some(former)));
        let mut verdict = Err(Disbelief::UnknownLog(origin.clone()));
        for (key, former) in current.chain(former) {
            verdict = signed.verify(key).map(|()| former).map_err(Disbelief::from);
            if !matches!(verdict, Err(Disbelief::Signature(NoteError::Unsigned(_)))) {
                break;
            }
        }
        verdict
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
            ["was", key, size] => self.was(key, size),
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some((*url).to_owned())),
            ["group", name, least, members @ ..] if !members.is_empty() => {
                self.group(name, least, members)
            }
            ["quorum", name] => self.quorum(name),
            _ => Err("a line is: log KEY [URL], was KEY SIZE, witness NAME KEY [URL], \
                      group NAME all|any|NUMBER MEMBER..., or quorum NAME|none"),
        }
    }

    fn log(&mut self, key: &str) -> Result<(), &'static str> {
        let key = self.new_log(key)?;
        self.policy.logs.push(key);
        if self.policy.logs.len() > MANY { Err("too many logs") } else { Ok(()) }
    }

    fn was(&mut self, key: &str, size: &str) -> Result<(), &'static str> {
        let key = self.new_log(key)?;
        let until = parse_number(size).ok_or("the size is a number")?;
        self.policy.former.push(Former { key, until });
        if self.policy.former.len() > MANY { Err("too many logs") } else { Ok(()) }
    }

    fn new_log(&self, key: &str) -> Result<VerifierKey, &'static str> {
        let key = parse_key(key, KeyKind::Log)?;
        let former = self.policy.former.iter().map(|former| &former.key);
        let mut known = self.policy.logs.iter().chain(former);
        if known.any(|log| log.as_bytes() == key.as_bytes()) {
            return Err("this log is there already");
        }
        Ok(key)
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
