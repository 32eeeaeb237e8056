//! As much of Helm as the chart uses: anything else in a template is a failure.

use std::collections::BTreeMap;

use serde_json::Value;

/// Renders all templates, and reads what comes out.
pub(super) fn render(
    chart: &BTreeMap<String, String>,
    values: &Value,
    namespace: &str,
) -> Vec<Value> {
    let mut objects = Vec::new();
    for (name, text) in chart {
        if !name.starts_with("templates/") || !name.ends_with(".yaml") {
            continue;
        }
        let yaml = template(text, values, namespace);
        for document in yaml.split("---\n").filter(|document| !document.trim().is_empty()) {
            objects.push(serde_saphyr::from_str(document).unwrap());
        }
    }
    objects
}

fn template(text: &str, values: &Value, namespace: &str) -> String {
    let (mut out, mut shown) = (String::new(), true);
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("{{- if .Values.") {
            shown = at(values, path.strip_suffix(" }}").unwrap()) == Value::Bool(true);
        } else if line == "{{- end }}" {
            shown = true;
        } else if shown {
            out.push_str(&expressions(line, values, namespace));
            out.push('\n');
        }
    }
    out
}

fn expressions(line: &str, values: &Value, namespace: &str) -> String {
    let mut pieces = line.split("{{ ");
    let mut out = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (expression, rest) = piece.split_once(" }}").unwrap();
        let mut steps = expression.split(" | ");
        let mut value = match steps.next().unwrap() {
            ".Release.Namespace" => namespace.into(),
            // Helm says `Helm`; an installation says what it is.
            ".Release.Service" => "cloudtaser".into(),
            path => at(values, path.strip_prefix(".Values.").unwrap()),
        };
        for step in steps {
            value = match step {
                "toJson" => value.to_string().into(),
                "toString" => value.as_bool().unwrap().to_string().into(),
                "join \",\"" => {
                    let all = value.as_array().unwrap().iter().map(|each| each.as_str().unwrap());
                    all.collect::<Vec<_>>().join(",").into()
                }
                other => panic!("the chart uses {other}"),
            };
        }
        out.push_str(value.as_str().unwrap());
        out.push_str(rest);
    }
    out
}

fn at(values: &Value, path: &str) -> Value {
    let found = path.split('.').try_fold(values, |value, key| value.get(key));
    found.unwrap_or_else(|| panic!("no value {path}")).clone()
}
