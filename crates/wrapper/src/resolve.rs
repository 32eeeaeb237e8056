//! From what is wanted to values: each source is read once, then every variable is made.
//!
//! Reading once is a promise, not a saving: user name and password of a dynamic secret must come
//! from one answer. What was read for one pass is kept only as long as that pass ([`Answers`]).

use std::{collections::BTreeMap, fmt};

use cloudtaser_core::{
    Secret,
    plan::{Missing, Transit},
    reference::{Piece, Reference, Select, Source, Value},
};
use serde_json::{Map, Value as Json};

use crate::{
    template::{self, TemplateError},
    variables::{Variables, Wanted},
};

#[cfg(test)]
mod tests;

/// What the resolver needs of OpenBao.
pub(crate) trait Vault {
    /// Why a request failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Hears what will be read, so that it may be asked for together. Nothing has to come of it.
    fn prepare(&mut self, _sources: &[&Source]) {}

    /// Reads (or writes, then reads) one source.
    fn read(&mut self, source: &Source) -> Result<Map<String, Json>, Self::Error>;

    /// Decrypts Transit ciphertexts, in order.
    fn decrypt(&mut self, transit: &Transit, texts: &[&str]) -> Result<Vec<Secret>, Self::Error>;

    /// The token of the login.
    fn token(&mut self) -> Option<Secret>;

    /// Whether an error says that there is nothing at the path.
    fn is_missing(error: &Self::Error) -> bool;
}

/// A variable with its value.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Name.
    pub(crate) name: Vec<u8>,
    /// Value.
    pub(crate) value: Delivered,
}

/// A value on its way to the app.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// As it was inherited.
    Plain(Vec<u8>),
    /// From OpenBao.
    Sealed(Secret),
}

/// Where a value goes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Place {
    /// A file in `/run/cloudtaser`.
    File(String),
    /// A variable.
    Variable(Vec<u8>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "file {name}"),
            Self::Variable(name) => f.write_str(&String::from_utf8_lossy(name)),
        }
    }
}

/// All values of one pass.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Variables in order; bulk imports last.
    pub(crate) variables: Vec<Resolved>,
    /// Files by name.
    pub(crate) files: Vec<(String, Secret)>,
    /// What was left out, and why.
    pub(crate) warnings: Vec<String>,
}

impl Outcome {
    /// The values that came from OpenBao.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (Place, &Secret)> {
        let variables = self.variables.iter().filter_map(|variable| match &variable.value {
            Delivered::Sealed(secret) => Some((Place::Variable(variable.name.clone()), secret)),
            Delivered::Plain(_) => None,
        });
        let files = self.files.iter().map(|(name, secret)| (Place::File(name.clone()), secret));
        variables.chain(files)
    }
}

/// Why a value could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ResolveError<E: std::error::Error + 'static> {
    /// A name that no environment can hold.
    #[error("{name}: {source_path} has a field that cannot name a variable")]
    BadName {
        /// Field with prefix, made printable.
        name: String,
        /// Where it was read.
        source_path: String,
    },
    /// The answer lacks the field.
    #[error("{name}: {source_path} has no field {field:?}; there is: {there}")]
    Field {
        /// The variable.
        name: String,
        /// Where was read.
        source_path: String,
        /// What was looked for.
        field: String,
        /// Names of the fields that are there.
        there: String,
    },
    /// The login gave no token that could be passed on.
    #[error("{name}: there is no token to pass on")]
    NoToken {
        /// The variable.
        name: String,
    },
    /// A value with a zero byte, which no environment can hold.
    #[error("{name}: the value holds a zero byte, which a variable cannot; deliver it as a file")]
    Nul {
        /// The variable.
        name: String,
    },
    /// The request failed.
    #[error("{name}")]
    Read {
        /// The variable.
        name: String,
        /// Why.
        source: E,
    },
    /// The template failed.
    #[error("{name}: {source_path}")]
    Template {
        /// The variable.
        name: String,
        /// Where was read.
        source_path: String,
        /// Why.
        source: TemplateError,
    },
    /// Ciphertexts without a key.
    #[error("{name}: a vault:v1: value needs the Transit key: set VAULT_TRANSIT_KEY_ID")]
    TransitKey {
        /// The variable.
        name: String,
    },
}

/// Makes every value.
///
/// # Errors
/// The first [`ResolveError`] that the missing-rule does not turn into a warning.
pub(crate) fn resolve<V: Vault>(
    variables: &Variables,
    rules: Rules<'_>,
    vault: &mut V,
) -> Result<Outcome, ResolveError<V::Error>> {
    vault.prepare(&variables.sources());
    let mut answers = Answers { rules, vault, read: BTreeMap::new(), plain: BTreeMap::new() };
    let mut outcome = Outcome::default();
    for variable in &variables.each {
        let name = String::from_utf8_lossy(&variable.name).into_owned();
        let value = match &variable.wanted {
            Wanted::Plain(value) => Delivered::Plain(value.clone()),
            Wanted::Fetched(wanted) => {
                let made = answers.value(&name, wanted).and_then(|value| without_nul(&name, value));
                match answers.allowed(made, &mut outcome.warnings)? {
                    Some(secret) => Delivered::Sealed(secret),
                    None => continue,
                }
            }
        };
        outcome.variables.push(Resolved { name: variable.name.clone(), value });
    }
    for import in &variables.imports {
        let made = answers.import(&import.source, &import.prefix);
        for (name, secret) in answers.allowed(made, &mut outcome.warnings)?.unwrap_or_default() {
            if outcome.variables.iter().all(|known| known.name != name) {
                outcome.variables.push(Resolved { name, value: Delivered::Sealed(secret) });
            }
        }
    }
    for (name, wanted) in &variables.files {
        let made = answers.value(&format!("file {name}"), wanted);
        if let Some(secret) = answers.allowed(made, &mut outcome.warnings)? {
            outcome.files.push((name.clone(), secret));
        }
    }
    Ok(outcome)
}

/// The rules of one pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    /// What a missing path or field means.
    pub(crate) missing: Missing,
    /// The Transit key.
    pub(crate) transit: Option<&'a Transit>,
}

struct Answers<'a, V: Vault> {
    rules: Rules<'a>,
    vault: &'a mut V,
    read: BTreeMap<Source, Json>,
    plain: BTreeMap<String, Secret>,
}

type Made<T, V> = Result<T, ResolveError<<V as Vault>::Error>>;

impl<V: Vault> Answers<'_, V> {
    fn value(&mut self, name: &str, wanted: &Value) -> Made<Secret, V> {
        self.decrypt_all(name, wanted)?;
        match wanted {
            Value::Literal => Ok(Secret::new(Vec::new())),
            Value::Login => {
                self.vault.token().ok_or_else(|| ResolveError::NoToken { name: name.to_owned() })
            }
            Value::Transit(text) => Ok(self.decrypted(text)),
            Value::Whole(reference) => self.reference(name, reference),
            Value::Composite(pieces) => {
                let mut out = Vec::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                        Piece::Transit(text) => {
                            out.extend_from_slice(self.decrypted(text).expose());
                        }
                        Piece::Reference(reference) => {
                            out.extend_from_slice(self.reference(name, reference)?.expose());
                        }
                    }
                }
                Ok(Secret::new(out))
            }
        }
    }

    fn reference(&mut self, name: &str, reference: &Reference) -> Made<Secret, V> {
        let fields = self.fields(name, &reference.source)?;
        let source_path = reference.source.to_string();
        match &reference.select {
            Select::Field(field) => match fields.get(field) {
                Some(value) => Ok(text_of(value)),
                None => Err(ResolveError::Field {
                    name: name.to_owned(),
                    source_path,
                    field: field.clone(),
                    there: names_of(fields),
                }),
            },
            Select::Template(text) => {
                template::render(text, fields).map(Secret::from).map_err(|source| {
                    ResolveError::Template { name: name.to_owned(), source_path, source }
                })
            }
        }
    }

    fn import(&mut self, source: &Source, prefix: &str) -> Made<Vec<(Vec<u8>, Secret)>, V> {
        let fields = self.fields("from", source)?;
        let Some(object) = fields.as_object() else { return Ok(Vec::new()) };
        object
            .iter()
            .map(|(field, value)| {
                let name = format!("{prefix}{field}");
                if name.is_empty() || name.contains(['=', '\0']) {
                    let name = name.escape_default().to_string();
                    return Err(ResolveError::BadName { name, source_path: source.to_string() });
                }
                let secret = without_nul(&name, text_of(value))?;
                Ok((name.into_bytes(), secret))
            })
            .collect()
    }

    fn fields(&mut self, name: &str, source: &Source) -> Made<&Json, V> {
        if !self.read.contains_key(source) {
            let answer = self
                .vault
                .read(source)
                .map_err(|source| ResolveError::Read { name: name.to_owned(), source })?;
            self.read.insert(source.clone(), Json::Object(answer));
        }
        Ok(self.read.get(source).unwrap_or(&Json::Null))
    }

    /// Decrypts what this value needs in one request, unless it is known.
    fn decrypt_all(&mut self, name: &str, wanted: &Value) -> Made<(), V> {
        let unknown =
            wanted.ciphertexts().filter(|text| !self.plain.contains_key(*text)).collect::<Vec<_>>();
        if unknown.is_empty() {
            return Ok(());
        }
        let Some(transit) = self.rules.transit else {
            return Err(ResolveError::TransitKey { name: name.to_owned() });
        };
        let plain = self
            .vault
            .decrypt(transit, &unknown)
            .map_err(|source| ResolveError::Read { name: name.to_owned(), source })?;
        self.plain.extend(unknown.into_iter().map(str::to_owned).zip(plain));
        Ok(())
    }

    fn decrypted(&self, text: &str) -> Secret {
        let bytes = self.plain.get(text).map(|secret| secret.expose().to_vec());
        Secret::new(bytes.unwrap_or_default())
    }

    /// Applies the missing-rule.
    fn allowed<T>(&self, made: Made<T, V>, warnings: &mut Vec<String>) -> Made<Option<T>, V> {
        match made {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.rules.missing == Missing::Skip && is_missing::<V>(&error) => {
                warnings.push(format!("left out: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_missing<V: Vault>(error: &ResolveError<V::Error>) -> bool {
    match error {
        ResolveError::Field { .. } => true,
        ResolveError::Read { source, .. } => V::is_missing(source),
        _ => false,
    }
}

fn without_nul<E: std::error::Error + 'static>(
    name: &str,
    secret: Secret,
) -> Result<Secret, ResolveError<E>> {
    if secret.expose().contains(&0) {
        return Err(ResolveError::Nul { name: name.to_owned() });
    }
    Ok(secret)
}

/// Text as it is, everything else as JSON.
fn text_of(value: &Json) -> Secret {
    match value {
        Json::String(text) => Secret::from(text.clone()),
        Json::Null => Secret::new(Vec::new()),
        other => Secret::from(other.to_string()),
    }
}

/// Field names, which are no secrets, so that a slip can be mended.
fn names_of(fields: &Json) -> String {
    let names = fields.as_object().into_iter().flat_map(Map::keys);
    let names = names.take(20).map(|name| name.escape_default().to_string()).collect::<Vec<_>>();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
