//! The ways in which a pod template brings a Secret to its containers.

use serde::Serialize;
use serde_json::Value;

/// One use.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Use {
    pub(super) secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    pub(super) container: String,
    pub(super) way: Way,
    /// What a person has to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) by_hand: Option<String>,
}

/// How it reaches the app.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Way {
    /// One variable.
    Variable(String),
    /// Every key as a variable, with this before its name.
    AllVariables(String),
    /// Files below this path.
    Files(String),
}

impl Use {
    /// `db#password`, `db`.
    pub(super) fn secret(&self) -> String {
        match &self.key {
            Some(key) => format!("{}#{key}", self.secret),
            None => self.secret.clone(),
        }
    }

    /// In a table.
    pub(super) fn shown(&self) -> String {
        match &self.way {
            Way::Variable(name) => format!("variable {name} of {}", self.container),
            Way::AllVariables(_) => format!("all variables of {}", self.container),
            Way::Files(path) => format!("files in {path} of {}", self.container),
        }
    }

    /// What it becomes, in a table.
    pub(super) fn becomes(&self) -> String {
        match self.way {
            Way::Variable(_) => "a reference",
            Way::AllVariables(_) => "cloudtaser.io/from",
            Way::Files(_) => "cloudtaser.io/file",
        }
        .to_owned()
    }
}

/// All uses of a template, in its order.
pub(super) fn of(template: &Value) -> Vec<Use> {
    let mut found = Vec::new();
    for field in ["initContainers", "containers"] {
        for container in list(template, &format!("/spec/{field}")) {
            variables(container, &mut found);
            files(template, container, &mut found);
        }
    }
    found
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn variables(container: &Value, found: &mut Vec<Use>) {
    let name = text(container, "/name");
    for variable in list(container, "/env") {
        let Some(from) = variable.pointer("/valueFrom/secretKeyRef") else { continue };
        found.push(Use {
            secret: text(from, "/name"),
            key: Some(text(from, "/key")),
            container: name.clone(),
            way: Way::Variable(text(variable, "/name")),
            by_hand: None,
        });
    }
    for source in list(container, "/envFrom") {
        let Some(from) = source.pointer("/secretRef") else { continue };
        let prefix = text(source, "/prefix");
        let by_hand = (!prefix.is_empty()).then(|| {
            format!("a prefix ({prefix}) before every name: write each variable with its reference")
        });
        found.push(Use {
            secret: text(from, "/name"),
            key: None,
            container: name.clone(),
            way: Way::AllVariables(prefix),
            by_hand,
        });
    }
}

fn files(template: &Value, container: &Value, found: &mut Vec<Use>) {
    for mount in list(container, "/volumeMounts") {
        let volume = text(mount, "/name");
        let volume = list(template, "/spec/volumes").find(|each| text(each, "/name") == volume);
        let Some(volume) = volume else { continue };
        let own = volume.pointer("/secret").map(|secret| (text(secret, "/secretName"), secret));
        let projected = list(volume, "/projected/sources")
            .filter_map(|source| source.pointer("/secret"))
            .map(|secret| (text(secret, "/name"), secret));
        for (secret, source) in own.into_iter().chain(projected) {
            let path = text(mount, "/mountPath");
            let items: Vec<_> = list(source, "/items").map(|item| text(item, "/key")).collect();
            let keys: Vec<Option<String>> =
                if items.is_empty() { vec![None] } else { items.into_iter().map(Some).collect() };
            for key in keys {
                let name = key.as_deref().unwrap_or("NAME");
                let by_hand = format!(
                    "the app reads {path}; then it is /run/cloudtaser/{name}: change its setting{}",
                    if key.is_none() { ", and name each key that it reads" } else { "" }
                );
                found.push(Use {
                    secret: secret.clone(),
                    key,
                    container: text(container, "/name"),
                    way: Way::Files(path.clone()),
                    by_hand: Some(by_hand),
                });
            }
        }
    }
}
