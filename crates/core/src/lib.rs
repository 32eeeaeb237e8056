//! Contracts that the programs of cloudtaser agree on.
//!
//! Everything here is pure: no clock, no file, no socket, no randomness. What is parsed here can be
//! fuzzed here, and a program that holds one of these types holds something already checked.
//!
//! Reading order: [`mod@reference`] (what people write), [`plan`] (what a launch is made from),
//! [`level`] (what a launch may claim), [`agent`] (what guards it), [`node`] (what that signs),
//! [`release`] (what lets it have a secret), then [`secret`], [`exit`], [`blame`] and [`names`].

#![forbid(unsafe_code)]

pub mod agent;
pub mod blame;
pub mod cgroup;
pub mod exit;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod level;
pub mod names;
pub mod needs;
pub mod node;
pub mod plan;
pub mod reference;
pub mod release;
pub mod secret;
pub mod span;

pub use blame::Blame;
pub use level::ProtectionLevel;
pub use plan::LaunchPlan;
pub use secret::Secret;
