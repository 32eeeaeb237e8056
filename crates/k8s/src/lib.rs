//! What cloudtaser does to pods, and what it puts on a cluster, as pure functions over API objects.
//!
//! Nothing here talks to a cluster, reads a clock or opens a file: documents in, documents out, so
//! that every case can be tested and fuzzed without one. Pods are read and changed as JSON, not as
//! types of one Kubernetes version: a field that this code does not know is a field that stays.
//!
//! Reading order: [`config`] (what the operator allows), [`annotations`] (what a pod asks for),
//! [`mod@inject`] (what is done to it), [`image`] (what an image starts), [`review`] (the API
//! server's question and our answer).

#![forbid(unsafe_code)]

pub mod annotations;
pub mod config;
pub mod enrolment;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod image;
pub mod inject;
pub mod install;
pub mod patch;
pub mod refusal;
pub mod review;

pub use annotations::Wishes;
pub use config::Config;
pub use image::{Entrypoint, ImageRequest, ImageResolver};
pub use inject::{Injection, inject};
pub use patch::{Operation, Patch};
pub use refusal::Refusal;
pub use review::{Review, Verdict};
