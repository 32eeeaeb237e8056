//! The API server's question and our answer: `AdmissionReview` of `admission.k8s.io/v1`.
//!
//! A question that cannot be read is an error of whoever asked, which the server answers with a
//! status of its own; everything that can be read gets a verdict. An answer is made from the
//! question alone, so that asking twice, or for a dry run, is the same.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    config::Config,
    image::{ImageRequest, ImageResolver},
    inject::{inject, unknown_images, verify, verify_ephemeral},
    patch::Patch,
    refusal::Refusal,
};

/// Clients show warnings in lines; the API server cuts what is longer.
const WARNING_LEN: usize = 256;
/// And drops what is more than 4096 bytes together.
const WARNINGS: usize = 16;

/// A question that can be answered.
#[derive(Clone, Debug)]
pub struct Review {
    uid: String,
    /// `CREATE`, `UPDATE`, …
    pub operation: String,
    /// Such as `ephemeralcontainers`.
    pub subresource: Option<String>,
    /// Where the object is to live.
    pub namespace: String,
    object: Value,
}

/// A question that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// It is no JSON, or not of the form.
    #[error("this is no AdmissionReview of admission.k8s.io/v1")]
    Form(#[source] serde_json::Error),
    /// It is about something else than pods.
    #[error("this webhook answers for pods only")]
    Kind,
    /// It is of a version that is not answered.
    #[error("apiVersion must be admission.k8s.io/v1, and kind AdmissionReview")]
    Version,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    uid: String,
    /// Changes, or why not.
    pub outcome: Result<Patch, Refusal>,
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    api_version: String,
    kind: String,
    request: Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    resource: Resource,
    #[serde(default)]
    sub_resource: Option<String>,
    operation: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    object: Value,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    group: String,
    resource: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Review {
    /// Reads a question.
    ///
    /// # Errors
    /// [`ReviewError`].
    pub fn parse(body: &[u8]) -> Result<Self, ReviewError> {
        let envelope: Envelope = serde_json::from_slice(body).map_err(ReviewError::Form)?;
        if envelope.api_version != "admission.k8s.io/v1" || envelope.kind != "AdmissionReview" {
            return Err(ReviewError::Version);
        }
        let request = envelope.request;
        if !request.resource.group.is_empty() || request.resource.resource != "pods" {
            return Err(ReviewError::Kind);
        }
        Ok(Self {
            uid: request.uid,
            operation: request.operation,
            subresource: request.sub_resource.filter(|sub| !sub.is_empty()),
            namespace: request.namespace.unwrap_or_default(),
            object: request.object,
        })
    }

    /// The images that must be looked up before [`Review::mutate`].
    ///
    /// # Errors
    /// [`Refusal`]; [`Review::mutate`] gives the same as a verdict.
    pub fn unknown_images(&self, config: &Config) -> Result<Vec<ImageRequest>, Refusal> {
        if self.is_creation() { unknown_images(&self.object, config) } else { Ok(Vec::new()) }
    }

    /// Takes the pod in hand.
    #[must_use]
    pub fn mutate(&self, config: &Config, images: &dyn ImageResolver) -> Verdict {
        if !self.is_creation() {
            return self.verdict(Ok(Patch::default()), Vec::new());
        }
        match inject(&self.object, config, images) {
            Ok(injection) => self.verdict(Ok(injection.patch), injection.warnings),
            Err(refusal) => self.verdict(Err(refusal), Vec::new()),
        }
    }

    /// Judges what became of it.
    #[must_use]
    pub fn validate(&self, config: &Config) -> Verdict {
        let judged = match (self.operation.as_str(), self.subresource.as_deref()) {
            ("CREATE", None) => verify(&self.object, config),
            ("CREATE" | "UPDATE", Some("ephemeralcontainers")) => verify_ephemeral(&self.object),
            _ => Ok(()),
        };
        self.verdict(judged.map(|()| Patch::default()), Vec::new())
    }

    /// A verdict for a question that cannot be gone into now.
    #[must_use]
    pub fn refuse(&self, why: &str) -> Verdict {
        self.verdict(Err(Refusal::Pod(why.to_owned())), Vec::new())
    }

    fn is_creation(&self) -> bool {
        self.operation == "CREATE" && self.subresource.is_none()
    }

    fn verdict(&self, outcome: Result<Patch, Refusal>, warnings: Vec<String>) -> Verdict {
        Verdict { uid: self.uid.clone(), outcome, warnings }
    }
}

impl Verdict {
    /// The answer as the API server reads it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut response = Response {
            uid: self.uid.clone(),
            allowed: self.outcome.is_ok(),
            status: None,
            patch_type: None,
            patch: None,
            warnings: self.warnings.iter().take(WARNINGS).map(|text| shown(text)).collect(),
        };
        match &self.outcome {
            Ok(patch) if patch.is_empty() => {}
            Ok(patch) => {
                let json = serde_json::to_vec(patch).unwrap_or_default();
                response.patch_type = Some("JSONPatch");
                response.patch = Some(BASE64.encode(&json));
            }
            Err(refusal) => {
                response.status = Some(json!({
                    "status": "Failure", "reason": "Forbidden", "code": 403,
                    "message": format!("cloudtaser: {refusal}"),
                }));
            }
        }
        let answer = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response,
        });
        answer.to_string().into_bytes()
    }

    /// What clients show beside the result.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

fn shown(warning: &str) -> String {
    let text = format!("cloudtaser: {warning}");
    if text.chars().count() <= WARNING_LEN {
        return text;
    }
    text.chars().take(WARNING_LEN - 1).chain(['…']).collect()
}
