//! Policies of other tools beside cloudtaser: what would break a step of ours, and what would leak.
//!
//! Pure: documents in, findings out. Nothing here opens a file or knows a cluster; whoever calls
//! brings the texts. A policy is judged for the pods of ours that it selects, and a finding says
//! which step it hits, why, and how to except us in the policy's own language.
//!
//! Reading order: [`read`] and [`tree`] (a document in which every value knows its place),
//! [`object`] and [`cluster`] (what it is, whom it is about), [`mod@rule`] (what is looked for),
//! [`mod@check`] and [`mod@fix`], [`report`] (how it is told),
//! [`mod@export`] (exceptions to begin with).

#![forbid(unsafe_code)]

mod cilium;
mod desk;
mod egress;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod kubearmor;
mod kubernetes_selector;
mod paths;
mod peers;
mod pods;
mod seccomp;
mod tetragon;

pub mod check;
pub mod cluster;
pub mod edit;
pub mod export;
pub mod finding;
pub mod fix;
pub mod object;
pub mod read;
pub mod report;
pub mod rule;
pub mod selector;
pub mod settings;
pub mod source;
pub mod tree;

pub use check::{Report, check};
pub use finding::{Finding, Severity};
pub use fix::fix;
pub use settings::Settings;
pub use source::Source;
