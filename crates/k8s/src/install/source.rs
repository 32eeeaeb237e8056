//! Where the leaves of an object come from: from values that somebody chose, or, in a chart, from
//! expressions that Helm evaluates later.

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Around an expression in text that is YAML already; plain letters, so that no emitter quotes it.
const OPEN: &str = "HELM_OPEN_";
const CLOSE: &str = "_HELM_CLOSE";

/// Where the leaves come from.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// A chart is written: leaves are expressions.
    Chart,
    /// Somebody chose.
    Chosen {
        /// [`super::Values`] as JSON.
        values: &'a Value,
        /// Where the operator goes.
        namespace: &'a str,
    },
}

/// Expressions of a chart; `chart` replaces these names when the text is made.
#[derive(Clone, Copy, Debug)]
enum Expression<'a> {
    /// A value as JSON, which is YAML.
    Json(&'a str),
    /// The same in a string.
    Quoted(&'a str),
    /// A digest of all values.
    Digest,
    /// The namespace of the release.
    Namespace,
    /// The program that manages the release.
    Service,
}

impl Source<'_> {
    /// The value at a dotted path.
    pub(super) fn leaf(&self, path: &str) -> Value {
        match self {
            Self::Chart => Expression::Json(path).marked(),
            Self::Chosen { values, .. } => at(values, path).cloned().unwrap_or_default(),
        }
    }

    /// The value at a dotted path as JSON in a string, as variables need it.
    pub(super) fn quoted(&self, path: &str) -> Value {
        match self {
            Self::Chart => Expression::Quoted(path).marked(),
            Self::Chosen { .. } => self.leaf(path).to_string().into(),
        }
    }

    /// A text that is made of values, or the template that makes it.
    pub(super) fn text(&self, make: fn(&Value) -> String, template: &str) -> Value {
        match self {
            Self::Chart => template.into(),
            Self::Chosen { values, .. } => make(values).into(),
        }
    }

    /// Changes when a value does.
    pub(super) fn digest(&self) -> Value {
        match self {
            Self::Chart => Expression::Digest.marked(),
            Self::Chosen { values, .. } => {
                HEXLOWER.encode(&Sha256::digest(values.to_string().as_bytes())).into()
            }
        }
    }

    /// Where the operator goes.
    pub(super) fn namespace(&self) -> Value {
        match self {
            Self::Chart => Expression::Namespace.marked(),
            Self::Chosen { namespace, .. } => (*namespace).into(),
        }
    }

    /// Who is said to manage the objects.
    pub(super) fn managed_by(&self) -> Value {
        match self {
            Self::Chart => Expression::Service.marked(),
            Self::Chosen { .. } => super::NAME.into(),
        }
    }

    /// Whether a truth holds; in a chart every object is there, with its condition around it.
    pub(super) fn is_on(&self, path: &str) -> bool {
        match self {
            Self::Chart => true,
            Self::Chosen { values, .. } => at(values, path).and_then(Value::as_bool) == Some(true),
        }
    }
}

impl Expression<'_> {
    fn marked(self) -> Value {
        let text = match self {
            Self::Json(path) => format!("json_{path}"),
            Self::Quoted(path) => format!("quoted_{path}"),
            Self::Digest => "digest".to_owned(),
            Self::Namespace => "namespace".to_owned(),
            Self::Service => "service".to_owned(),
        };
        format!("{OPEN}{text}{CLOSE}").into()
    }

    fn parse(text: &str) -> Option<Expression<'_>> {
        match text.split_once('_') {
            None if text == "digest" => Some(Expression::Digest),
            None if text == "namespace" => Some(Expression::Namespace),
            None if text == "service" => Some(Expression::Service),
            Some(("json", path)) => Some(Expression::Json(path)),
            Some(("quoted", path)) => Some(Expression::Quoted(path)),
            _ => None,
        }
    }

    fn in_helm(self) -> String {
        match self {
            Self::Json(path) => format!("{{{{ .Values.{path} | toJson }}}}"),
            Self::Quoted(path) => format!("{{{{ .Values.{path} | toJson | toJson }}}}"),
            Self::Digest => "{{ .Values | toJson | sha256sum | toJson }}".to_owned(),
            Self::Namespace => "{{ .Release.Namespace | toJson }}".to_owned(),
            Self::Service => "{{ .Release.Service | toJson }}".to_owned(),
        }
    }
}

/// Replaces each mark by what Helm reads.
pub(super) fn unmark(yaml: &str) -> String {
    let mut pieces = yaml.split(OPEN);
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (mark, rest) = piece.split_once(CLOSE).unwrap_or((piece, ""));
        text.push_str(&Expression::parse(mark).map(Expression::in_helm).unwrap_or_default());
        text.push_str(rest);
    }
    text
}

fn at<'a>(values: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(values, |value, key| value.get(key))
}

/// One document of YAML, the same for the same value.
///
/// # Errors
/// What the emitter cannot write; it can write all that is JSON.
pub fn to_yaml(value: &Value) -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string(value)
}
