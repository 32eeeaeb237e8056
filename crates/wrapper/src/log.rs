//! Lines on standard error, as text or JSON. Nothing goes to standard output: that is the app's.
//!
//! A line is one `write(2)`, so that lines of the app and ours do not mix. Values never get here:
//! callers pass names, paths and counts. The app's arguments are not logged either, since people
//! put secrets there.

use std::io::Write as _;

use cloudtaser_core::plan::{LogFormat, LogLevel};
use serde_json::{Map, Value};

/// Writes lines of one form, down to one level.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Log {
    format: LogFormat,
    least: LogLevel,
}

impl Log {
    /// A writer of lines.
    pub(crate) const fn new(format: LogFormat, least: LogLevel) -> Self {
        Self { format, least }
    }

    /// Steps of the work.
    pub(crate) fn debug(self, message: &str) {
        self.line(LogLevel::Debug, message, &[]);
    }

    /// What an operator wants to see once per launch.
    pub(crate) fn info(self, message: &str, fields: &[(&str, Value)]) {
        self.line(LogLevel::Info, message, fields);
    }

    /// Something is weaker or odder than expected.
    pub(crate) fn warn(self, message: &str, fields: &[(&str, Value)]) {
        self.line(LogLevel::Warn, message, fields);
    }

    /// The launch, or a part of it, failed.
    pub(crate) fn error(self, message: &str, fields: &[(&str, Value)]) {
        self.line(LogLevel::Error, message, fields);
    }

    /// One JSON object, whatever the form of the other lines.
    pub(crate) fn document(self, document: &Value) {
        write_line(document.to_string());
    }

    fn line(self, level: LogLevel, message: &str, fields: &[(&str, Value)]) {
        if level < self.least {
            return;
        }
        write_line(match self.format {
            LogFormat::Json => json(level, message, fields),
            LogFormat::Text => text(level, message, fields),
        });
    }
}

const fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

fn json(level: LogLevel, message: &str, fields: &[(&str, Value)]) -> String {
    let mut object = Map::new();
    object.insert("level".to_owned(), word(level).into());
    object.insert("program".to_owned(), "cloudtaser-wrapper".into());
    object.insert("message".to_owned(), message.into());
    for (name, value) in fields {
        object.insert((*name).to_owned(), value.clone());
    }
    Value::Object(object).to_string()
}

fn text(level: LogLevel, message: &str, fields: &[(&str, Value)]) -> String {
    let mut line = match level {
        LogLevel::Debug | LogLevel::Info => format!("cloudtaser: {message}"),
        LogLevel::Warn | LogLevel::Error => format!("cloudtaser: {}: {message}", word(level)),
    };
    for (name, value) in fields {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line.push_str(&format!("\n  {name}: {}", shown.replace('\n', "\n  ")));
    }
    line
}

fn write_line(mut line: String) {
    line.push('\n');
    // A closed standard error must not stop the app from starting.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_is_one_object_with_its_fields() {
        let line = json(LogLevel::Warn, "a \"b\"\nc", &[("n", 3.into())]);
        assert!(!line.contains('\n'));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value.pointer("/level"), Some(&"warn".into()));
        assert_eq!(value.pointer("/n"), Some(&3.into()));
    }

    #[test]
    fn text_lines_indent_what_belongs_to_them() {
        let line = text(LogLevel::Error, "no", &[("at", "x\n^".into())]);
        assert_eq!(line, "cloudtaser: error: no\n  at: x\n  ^");
    }
}
