//! Annotations by our names, and the ways to read them.

use cloudtaser_core::reference::one_slip_apart;

use super::{
    ANNOTATION_PREFIX, BTreeMap, Foreign, Map, Period, Reference, Refusal, Value, foreign, names,
};

/// What a pod says, by our name: the full name that it stands under, and its text.
pub(super) struct Given<'a>(BTreeMap<String, (&'a str, &'a str)>);

/// Those of ours that take no name behind them.
const OWN: &[&str] = &[
    names::AGENT,
    names::AUTH_METHOD,
    names::AUTH_MOUNT,
    names::COMMAND,
    names::CONTAINERS,
    names::DEADLINE,
    names::DELAY,
    names::DELIVERY,
    names::FROM,
    names::IGNORE_MISSING,
    names::INJECT,
    names::LOG_FORMAT,
    names::LOG_LEVEL,
    names::NAMESPACE,
    names::PASSTHROUGH,
    names::PROBES,
    names::REQUIRE,
    names::ROLE,
    names::ROTATE_ACTION,
    names::ROTATE_EVERY,
    names::ROTATE_SIGNAL,
    names::SERVER,
    names::SKIP_CONTAINERS,
    names::SKIP_VERIFY,
    names::TRANSIT_BATCH,
    names::TRANSIT_KEY,
    names::TRANSIT_MOUNT,
    names::WRAPPED,
];

impl<'a> Given<'a> {
    /// Sorts the annotations that concern us by our names.
    pub(super) fn gather(
        annotations: &'a Map<String, Value>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Refusal> {
        let mut all = BTreeMap::new();
        for (name, value) in annotations {
            if !name.starts_with(ANNOTATION_PREFIX) {
                continue;
            }
            let text = text_of(name, value)?;
            let named = [names::ENV, names::FILE].iter().any(|prefix| name.starts_with(prefix))
                || name.starts_with(names::COMMAND);
            if named || OWN.contains(&name.as_str()) {
                all.insert(name.clone(), (name.as_str(), text));
            } else {
                warnings.push(unknown(name));
            }
        }
        for family in foreign::FAMILIES {
            for prefix in family.prefixes {
                for (name, value) in annotations {
                    let Some(suffix) = name.strip_prefix(prefix) else { continue };
                    match (family.meaning)(suffix) {
                        Foreign::Same(own) => {
                            let text = text_of(name, value)?;
                            all.entry(own.to_owned()).or_insert((name, text));
                        }
                        Foreign::Nothing => {}
                        Foreign::Refused(instead) => {
                            return Err(Refusal::annotation(name, instead));
                        }
                        Foreign::Warned(why) => {
                            warnings.push(format!("annotation {name} does nothing here: {why}"));
                        }
                        Foreign::Unknown => {
                            warnings.push(unknown(name));
                        }
                    }
                }
            }
        }
        Ok(Self(all))
    }

    /// The name that the pod's author wrote.
    pub(super) fn source<'b>(&'b self, own: &'b str) -> &'b str {
        self.0.get(own).map_or(own, |(name, _)| name)
    }

    pub(super) fn text(&self, own: &str) -> Option<String> {
        let text = self.0.get(own).map(|(_, text)| text.trim())?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub(super) fn list(&self, own: &str) -> Vec<String> {
        let text = self.text(own).unwrap_or_default();
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    pub(super) fn truth(&self, own: &str) -> Result<Option<bool>, Refusal> {
        let Some(text) = self.text(own) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "yes" | "on" => Ok(Some(true)),
            "0" | "f" | "false" | "no" | "off" => Ok(Some(false)),
            _ => Err(self.refused(own, "this must be true or false")),
        }
    }

    pub(super) fn period(&self, own: &str) -> Result<Option<Period>, Refusal> {
        let Some(text) = self.text(own) else { return Ok(None) };
        text.parse().map(Some).map_err(|error: cloudtaser_core::plan::PeriodError| {
            self.refused(own, error.to_string())
        })
    }

    pub(super) fn choice<T: Copy>(
        &self,
        own: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(own) else { return Ok(None) };
        let word = text.to_ascii_lowercase();
        match words.iter().find(|(known, _)| *known == word) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(self.refused(own, format!("this must be one of {}", known.join(", "))))
            }
        }
    }

    /// A command: a JSON array, or words with spaces between them.
    pub(super) fn words(&self, own: &str) -> Result<Option<Vec<String>>, Refusal> {
        let Some(text) = self.text(own) else { return Ok(None) };
        let words: Vec<String> = if text.starts_with('[') {
            serde_json::from_str(&text).map_err(|_form| {
                self.refused(own, r#"this must be a JSON array of texts, as in ["/app", "-v"]"#)
            })?
        } else if text.contains(['"', '\'', '\\', '$']) {
            let problem = r#"words with quotes go into a JSON array, as in ["sh", "-c", "…"]"#;
            return Err(self.refused(own, problem));
        } else {
            text.split_whitespace().map(str::to_owned).collect()
        };
        match words.first() {
            Some(first) if !first.is_empty() => Ok(Some(words)),
            _ => Err(self.refused(own, "the command is empty")),
        }
    }

    /// What stands behind a prefix that ends in a name: the name, and the whole annotation.
    pub(super) fn suffixed(&self, prefix: &str) -> Vec<(String, String)> {
        let names = self
            .0
            .keys()
            .filter_map(|name| Some((name.strip_prefix(prefix)?.to_owned(), name.clone())));
        names.collect()
    }

    /// All annotations behind a prefix, each of which must be a reference: a value that is none is
    /// a secret in clear, or has its place in the container.
    pub(super) fn references(
        &self,
        prefix: &str,
        (allowed, rule): (fn(&str) -> bool, &str),
    ) -> Result<BTreeMap<String, String>, Refusal> {
        let mut all = BTreeMap::new();
        for (name, own) in self.suffixed(prefix) {
            if !allowed(&name) {
                let problem = format!("the name behind {prefix} has {rule}");
                return Err(self.refused(&own, problem));
            }
            let text = self.text(&own).unwrap_or_default();
            match Reference::parse(&text) {
                Ok(Reference::Literal) => {
                    let problem = "this must be a reference, as in vault:secret/data/db#password";
                    return Err(self.refused(&own, problem));
                }
                Ok(_) => drop(all.insert(name, text)),
                Err(error) => {
                    let shown = error.pointed(&text);
                    return Err(self.refused(&own, format!("{error}\n{shown}")));
                }
            }
        }
        Ok(all)
    }

    fn refused(&self, own: &str, problem: impl Into<String>) -> Refusal {
        Refusal::annotation(self.source(own), problem)
    }
}

/// What an author reads whose annotation nobody knows.
fn unknown(name: &str) -> String {
    let near = OWN.iter().find(|own| one_slip_apart(name, own));
    let meant = near.map(|own| format!(": {own} is meant?")).unwrap_or_default();
    format!("annotation {name} is not known, and does nothing{meant}")
}

fn text_of<'a>(name: &str, value: &'a Value) -> Result<&'a str, Refusal> {
    value.as_str().ok_or_else(|| Refusal::annotation(name, "this is no text"))
}
