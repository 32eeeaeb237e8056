//! As much of Helm's templates as the chart uses: `if`, `range`, `with`, pipelines, and the trimming
//! of white space. Anything else in a template is a failure.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

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
        let root = serde_json::json!({
            "Values": values,
            // Helm says `Helm`; an installation says what it is.
            "Release": { "Namespace": namespace, "Service": "cloudtaser" },
        });
        let yaml = template(text, &root);
        for document in yaml.split("---\n").filter(|document| !document.trim().is_empty()) {
            objects.push(serde_saphyr::from_str(document).unwrap());
        }
    }
    objects
}

/// A piece of a template.
enum Piece<'a> {
    Text(String),
    Action(&'a str),
}

/// Cuts a template up, and trims where an action begins with `{{-`.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, after) = after.split_once("}}").unwrap();
        assert!(!action.ends_with('-'), "trimming to the right is not used");
        let (action, trims) =
            action.strip_prefix("- ").map_or((action, false), |action| (action, true));
        let before = if trims { before.trim_end() } else { before };
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Action(action.trim()));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces
}

fn template(text: &str, root: &Value) -> String {
    let pieces = pieces(text);
    let (mut out, mut at) = (String::new(), 0);
    block(&pieces, &mut at, root, root, true, &mut out);
    assert_eq!(at, pieces.len(), "an end without a beginning");
    out
}

/// Evaluates until the end of this block.
fn block(
    pieces: &[Piece<'_>],
    at: &mut usize,
    root: &Value,
    dot: &Value,
    shown: bool,
    out: &mut String,
) {
    while let Some(piece) = pieces.get(*at) {
        *at += 1;
        let action = match piece {
            Piece::Text(text) => {
                out.push_str(if shown { text } else { "" });
                continue;
            }
            Piece::Action(action) => *action,
        };
        let (word, rest) = action.split_once(' ').unwrap_or((action, ""));
        match word {
            "end" => return,
            "if" | "with" | "range" if !shown => {
                block(pieces, at, root, dot, false, out);
            }
            "if" => {
                let holds = value(rest, root, dot) == Value::Bool(true);
                block(pieces, at, root, dot, holds, out);
            }
            "with" => {
                let found = value(rest, root, dot);
                let empty = found.is_null() || found == "";
                block(pieces, at, root, &found, !empty, out);
            }
            "range" => {
                let items = value(rest, root, dot).as_array().unwrap().clone();
                let from = *at;
                for item in &items {
                    *at = from;
                    block(pieces, at, root, item, true, out);
                }
                if items.is_empty() {
                    block(pieces, at, root, dot, false, out);
                }
            }
            _ if shown => out.push_str(value(action, root, dot).as_str().unwrap()),
            _ => {}
        }
    }
}

fn value(pipeline: &str, root: &Value, dot: &Value) -> Value {
    let mut steps = pipeline.split(" | ");
    let path = steps.next().unwrap();
    let mut value = if path == "." {
        dot.clone()
    } else {
        let path = path.strip_prefix('.').unwrap_or_else(|| panic!("the chart uses {path}"));
        let from =
            if path.starts_with("Values") || path.starts_with("Release") { root } else { dot };
        let found = path.split('.').try_fold(from, |value, key| value.get(key));
        found.cloned().unwrap_or_default()
    };
    for step in steps {
        value = match step {
            "toJson" => value.to_string().into(),
            "sha256sum" => {
                let digest = Sha256::digest(value.as_str().unwrap().as_bytes());
                data_encoding::HEXLOWER.encode(&digest).into()
            }
            other => panic!("the chart uses {other}"),
        };
    }
    value
}
