//! Files as people write them: YAML, with errors that point at the line.

use std::{fs, io, ops::Range, path::Path};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::de::DeserializeOwned;
use serde_saphyr::{MessageFormatter, UserMessageFormatter};

/// A file of ordinary size has some kilobytes; more is a wrong file.
const LONGEST: usize = 1024 * 1024;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum YamlError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is too large to be what is wanted.
    #[error("{path} has {len} bytes; such a file has at most {LONGEST}")]
    TooLong {
        /// The file.
        path: String,
        /// Its length.
        len: usize,
    },
    /// The text is not what is wanted. The message is laid out already, with the place and a caret.
    #[error("{report}")]
    Wrong {
        /// The message.
        report: String,
    },
}

/// Reads a file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, YamlError> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|source| YamlError::Read { path: name.clone(), source })?;
    if text.len() > LONGEST {
        return Err(YamlError::TooLong { path: name, len: text.len() });
    }
    parse(&name, &text)
}

/// Reads text that came from a place of this name.
pub(crate) fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str(text)
        .map_err(|error| YamlError::Wrong { report: report(name, text, &error) })
}

fn report(name: &str, text: &str, error: &serde_saphyr::Error) -> String {
    let error = error.without_snippet();
    let message = UserMessageFormatter.format_message(error);
    let title = Level::ERROR.primary_title(message.as_ref());
    let Some(location) = error.location() else {
        return Renderer::plain().render(&[title.element(Level::HELP.message(name))]);
    };
    let range = range(text, location.line(), location.column(), location.span().len());
    let snippet = Snippet::source(text).path(name).annotation(AnnotationKind::Primary.span(range));
    Renderer::plain().render(&[title.element(snippet)])
}

/// The bytes of a place that is given by line and column in characters, both counted from one. It
/// does not go beyond its line.
fn range(text: &str, line: u64, column: u64, len: u64) -> Range<usize> {
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let above = index(line).saturating_sub(1);
    let mut lines = text.split_inclusive('\n');
    let start: usize = lines.clone().take(above).map(str::len).sum();
    let content = lines.nth(above).unwrap_or_default();
    let content = content.trim_end_matches('\n');
    let bytes = |characters: usize| {
        content.char_indices().nth(characters).map_or(content.len(), |(at, _)| at)
    };
    let from = index(column).saturating_sub(1);
    start + bytes(from)..start + bytes(from.saturating_add(index(len).max(1)))
}

#[cfg(test)]
mod tests {
    use cloudtaser_core::LaunchPlan;

    use super::*;

    fn wrong(text: &str) -> String {
        parse::<LaunchPlan>("cloudtaser.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_plan_is_read_from_yaml() {
        let text = "server: { address: https://bao:8200 }\nenv:\n  A: 'vault:kv/a#b'\n\
                    require: [memory=sealed]\nrotation: { poll: 30s }\n";
        let plan: LaunchPlan = parse("p", text).unwrap();
        assert_eq!(plan.server.address, "https://bao:8200");
        assert_eq!(plan.require.len(), 1);
    }

    #[test]
    fn a_misspelt_field_is_pointed_at() {
        let report = wrong("server:\n  adress: https://bao:8200\n");
        assert!(report.contains("cloudtaser.yaml:2:3"), "{report}");
        assert!(report.contains("adress"), "{report}");
        assert!(report.contains("^^^"), "{report}");
    }

    #[test]
    fn a_bad_requirement_is_pointed_at() {
        let report = wrong("require:\n  - memory=sealed\n  - memory=gold\n");
        assert!(report.contains("cloudtaser.yaml:3:5"), "{report}");
        assert!(report.contains("is no requirement"), "{report}");
    }

    #[test]
    fn broken_yaml_is_pointed_at() {
        let report = wrong("server: [\n");
        assert!(report.contains("cloudtaser.yaml:"), "{report}");
    }

    #[test]
    fn a_place_is_found_behind_wide_letters_and_never_beyond_its_line() {
        assert_eq!(range("a\nü: x\n", 2, 4, 9), 6..7);
        assert_eq!(range("a\n", 9, 9, 9), 2..2);
    }
}
