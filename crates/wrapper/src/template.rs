//! Templates over the fields of one secret.
//!
//! Two spellings: minijinja (`{{ user }}`), and the one that bank-vaults users have
//! (`${ .user | b64enc }`), which is rewritten to the first. A field that is not there is an error,
//! never an empty text. Output goes to the sealed heap as everything else does.

use std::fmt::Write as _;

use data_encoding::BASE64;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, value::Serde};

/// A template that cannot be rendered.
#[derive(Debug, thiserror::Error)]
#[error("the template cannot be rendered: {what}")]
pub(crate) struct TemplateError {
    /// Kind of failure and line; minijinja's detail is left out where it could show a value.
    what: String,
}

/// Renders a template over the fields of a secret.
///
/// # Errors
/// [`TemplateError`] for syntax, an unknown filter, or a field that is not there.
pub(crate) fn render(template: &str, fields: &serde_json::Value) -> Result<String, TemplateError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_name| AutoEscape::None);
    environment.add_filter("b64enc", |text: &str| BASE64.encode(text.as_bytes()));
    environment.add_filter("quote", |text: &str| format!("{text:?}"));
    environment.add_filter("squote", |text: &str| format!("'{text}'"));
    environment
        .add_filter("toJson", |value: Value| serde_json::to_string(&value).unwrap_or_default());
    let template = from_go_form(template);
    environment.render_str(&template, Value::from(Serde(fields))).map_err(|error| {
        let mut what = error.kind().to_string();
        if let Some(line) = error.line() {
            // Writing to a String cannot fail.
            let _written = write!(what, " (line {line})");
        }
        TemplateError { what }
    })
}

/// Rewrites `${ .field | filter }` to `{{ field | filter }}`.
fn from_go_form(template: &str) -> String {
    let mut out = String::with_capacity(template.len() + 8);
    let mut rest = template;
    while let Some((before, inside)) = rest.split_once("${") {
        out.push_str(before);
        let Some((expression, after)) = inside.split_once('}') else {
            out.push_str("${");
            rest = inside;
            continue;
        };
        out.push_str("{{ ");
        let expression = expression.trim();
        out.push_str(expression.strip_prefix('.').unwrap_or(expression));
        out.push_str(" }}");
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_spellings_give_the_same() {
        let fields = json!({"user": "u", "password": "p\"<&"});
        assert_eq!(render("{{ user }}:{{ password }}@db", &fields).unwrap(), "u:p\"<&@db");
        assert_eq!(render("${.user}:${ .password }@db", &fields).unwrap(), "u:p\"<&@db");
        assert_eq!(render("${.user | b64enc}", &fields).unwrap(), "dQ==");
    }

    #[test]
    fn a_missing_field_is_an_error_without_the_fields_in_it() {
        let error = render("{{ nope }}", &json!({"password": "hunter2"})).unwrap_err();
        assert!(error.to_string().contains("undefined"), "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn conditions_and_loops_work() {
        let fields = json!({"hosts": ["a", "b"], "tls": true});
        let template = "{% if tls %}s{% endif %}{% for h in hosts %}[{{ h }}]{% endfor %}";
        assert_eq!(render(template, &fields).unwrap(), "s[a][b]");
    }
}
