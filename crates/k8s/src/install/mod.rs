//! What an installation puts on a cluster: pure functions from [`Values`] to API objects.
//!
//! The same functions write the Helm chart: where an installation has a value, the chart has the
//! expression that gives it (`source`). So the two cannot drift, and there is no second description
//! of the cluster anywhere.
//!
//! Reading order: [`values`] (what may be chosen), [`objects`], then one module per subject.
//! Nothing secret is in any object, and no object asks for a Kubernetes Secret's value.

mod agent;
mod bridge;
mod configuration;
mod contract;
mod helm;
mod namespaces;
mod network;
mod operator;
mod rbac;
mod source;
pub mod values;
mod webhooks;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use bridge::invitation;
pub use contract::{
    AGENT, AGENT_NAMESPACE, CREATED, FIELD_MANAGER, MANAGED_BY, METRICS_PORT, NAME, NAMESPACE,
    OPERATOR, WEBHOOKS,
};
pub use helm::chart;
pub use rbac::{Grant, Scope, grants};
pub use source::to_yaml;
pub use values::{Values, ValuesError};

use source::Source;

/// One API object, and where it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// What is applied.
    pub json: Value,
    /// The chart's file that has it.
    pub(crate) file: &'static str,
    /// The value that turns it off, if there is one.
    pub(crate) when: Option<&'static str>,
}

impl Object {
    fn new(file: &'static str, json: Value) -> Self {
        Self { json: source::sorted(json), file, when: None }
    }

    const fn when(mut self, path: &'static str) -> Self {
        self.when = Some(path);
        self
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Its namespace; empty where the cluster is its place.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    /// Its group and version.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Everything that an installation consists of, in the order in which it is applied.
///
/// Webhooks come last: before that there is nobody who could answer them.
#[must_use]
pub fn objects(values: &Values, namespace: &str) -> Vec<Object> {
    let chosen = source::sorted(serde_json::to_value(values).unwrap_or_default());
    let source = Source::Chosen { values: &chosen, namespace };
    let mut objects = all(&source);
    objects.retain(|object| object.when.is_none_or(|path| source.is_on(path)));
    objects
}

fn all(source: &Source<'_>) -> Vec<Object> {
    let mut objects = namespaces::objects(source);
    objects.extend(rbac::objects(source));
    objects.extend(network::objects(source));
    objects.push(configuration::object(source));
    objects.extend(bridge::objects(source));
    objects.extend(operator::objects(source));
    objects.extend(agent::objects(source));
    objects.extend(webhooks::objects(source));
    objects
}
