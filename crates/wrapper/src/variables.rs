//! What the app's environment will be made of, before anything is fetched.
//!
//! Every value is parsed before the first request, so that a slip costs no login, and all slips
//! are told at once.

use std::collections::BTreeSet;

use cloudtaser_core::{
    plan::LaunchPlan,
    reference::{ReferenceError, Source, Value, suspicion},
};

use crate::settings::Environment;

/// One variable of the app.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Its name, as the kernel will see it.
    pub(crate) name: Vec<u8>,
    /// Where its value comes from.
    pub(crate) wanted: Wanted,
}

/// Where a value comes from.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// It is passed on.
    Plain(Vec<u8>),
    /// It is fetched.
    Fetched(Value),
}

/// A secret of which every field becomes a variable.
#[derive(Debug)]
pub(crate) struct Import {
    /// What is read.
    pub(crate) source: Source,
    /// Put before each field's name.
    pub(crate) prefix: String,
}

/// Everything the app's environment is made of.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    /// One by one, in order.
    pub(crate) each: Vec<Variable>,
    /// In bulk.
    pub(crate) imports: Vec<Import>,
    /// Secret files, by name.
    pub(crate) files: Vec<(String, Value)>,
    /// What looks odd without being wrong.
    pub(crate) suspicions: Vec<String>,
}

/// One or more values that cannot be references and start like one.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub(crate) struct VariablesError {
    slips: Vec<String>,
}

impl VariablesError {
    fn text(&self) -> String {
        match self.slips.as_slice() {
            [one] => one.clone(),
            many => format!("{} references cannot be read:\n{}", many.len(), many.join("\n")),
        }
    }
}

impl Variables {
    /// Everything that will be read, each once.
    pub(crate) fn sources(&self) -> Vec<&Source> {
        let variables = self.each.iter().filter_map(|variable| match &variable.wanted {
            Wanted::Fetched(value) => Some(value),
            Wanted::Plain(_) => None,
        });
        let values = variables.chain(self.files.iter().map(|(_, value)| value));
        let named = values.flat_map(Value::references).map(|reference| &reference.source);
        let all = named.chain(self.imports.iter().map(|import| &import.source));
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Reads the inherited environment and the plan.
    ///
    /// # Errors
    /// [`VariablesError`] shows every slip with a caret, and nothing of other values.
    pub(crate) fn parse(inherited: Environment, plan: &LaunchPlan) -> Result<Self, VariablesError> {
        let mut all = Self::default();
        let mut slips = Vec::new();
        let planned = plan.env.keys().map(String::as_bytes).collect::<BTreeSet<_>>();
        let mut seen = BTreeSet::new();
        for (name, value) in inherited {
            if planned.contains(name.as_slice()) || !seen.insert(name.clone()) {
                continue;
            }
            all.push(name, value, &mut slips);
        }
        for (name, value) in &plan.env {
            all.push(name.clone().into_bytes(), value.clone().into_bytes(), &mut slips);
        }
        for bulk in &plan.from {
            match Source::parse(&bulk.path) {
                Ok(source) => all.imports.push(Import { source, prefix: bulk.prefix.clone() }),
                Err(error) => slips.push(slip("from", &bulk.path, &error)),
            }
        }
        for (name, text) in &plan.files {
            match Value::parse(text) {
                Ok(Value::Literal) => {
                    slips.push(format!(
                        "file {name}: a reference is needed, such as vault:PATH#FIELD"
                    ));
                }
                Ok(value) if is_file_name(name) => all.files.push((name.clone(), value)),
                Ok(_) => slips.push(format!("file {name}: a name without / is needed")),
                Err(error) => slips.push(slip(&format!("file {name}"), text, &error)),
            }
        }
        if slips.is_empty() { Ok(all) } else { Err(VariablesError { slips }) }
    }

    /// Whether anything has to be fetched.
    pub(crate) fn need_openbao(&self) -> bool {
        !self.imports.is_empty()
            || !self.files.is_empty()
            || self.each.iter().any(|variable| matches!(variable.wanted, Wanted::Fetched(_)))
    }

    fn push(&mut self, name: Vec<u8>, value: Vec<u8>, slips: &mut Vec<String>) {
        let shown = String::from_utf8_lossy(&name).into_owned();
        let wanted = match std::str::from_utf8(&value).map(Value::parse) {
            // Bytes that are not text hold no reference.
            Err(_) | Ok(Ok(Value::Literal)) => {
                if let Some(why) = std::str::from_utf8(&value).ok().and_then(suspicion) {
                    self.suspicions.push(format!("{shown}: {why}"));
                }
                Wanted::Plain(value)
            }
            Ok(Ok(parsed)) => Wanted::Fetched(parsed),
            Ok(Err(error)) => {
                slips.push(slip(&shown, &String::from_utf8_lossy(&value), &error));
                return;
            }
        };
        self.each.push(Variable { name, wanted });
    }
}

fn slip(name: &str, text: &str, error: &ReferenceError) -> String {
    format!("{name}: {error}\n{}", error.pointed(text))
}

/// One path segment under `/run/cloudtaser`.
fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)], plan: &str) -> Result<Variables, VariablesError> {
        let inherited = pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
        Variables::parse(inherited.collect(), &LaunchPlan::from_json(plan.as_bytes()).unwrap())
    }

    #[test]
    fn all_slips_are_told_at_once_and_only_the_references_are_shown() {
        let error = parse(
            &[("A", "vault:x"), ("OK", "hunter2"), ("B", "pw ${vault:a//b#c}")],
            r#"{"from":[{"path":"only"}],"files":{"k":"plain"}}"#,
        )
        .unwrap_err()
        .to_string();
        for part in ["4 references", "A: ", "B: ", "from: ", "file k: "] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(!error.contains("hunter2") && !error.contains("pw "), "{error}");
    }

    #[test]
    fn the_plan_wins_over_what_is_inherited_and_the_first_of_a_name_wins() {
        let all = parse(&[("A", "1"), ("B", "2"), ("B", "3")], r#"{"env":{"A":"4"}}"#).unwrap();
        let shown = all.each.iter().map(|v| (v.name.as_slice(), &v.wanted)).collect::<Vec<_>>();
        assert!(matches!(shown[0], (b"B", Wanted::Plain(value)) if value == b"2"));
        assert!(matches!(shown[1], (b"A", Wanted::Plain(value)) if value == b"4"));
        assert_eq!(shown.len(), 2);
    }

    #[test]
    fn nothing_is_fetched_where_nothing_refers() {
        assert!(!parse(&[("A", "1")], "{}").unwrap().need_openbao());
        assert!(parse(&[("A", "bao:login")], "{}").unwrap().need_openbao());
        assert!(parse(&[], r#"{"from":[{"path":"a/b"}]}"#).unwrap().need_openbao());
    }

    #[test]
    fn bytes_that_are_not_text_are_passed_on() {
        let inherited = vec![(b"A".to_vec(), b"\xffvault:a/b#c".to_vec())];
        let all = Variables::parse(inherited, &LaunchPlan::default()).unwrap();
        assert!(
            matches!(&all.each[0].wanted, Wanted::Plain(value) if value.ends_with(b"vault:a/b#c"))
        );
    }
}
