//! Putting cloudtaser on a cluster, renewing it, looking at it, taking it off.
//!
//! What is put there is in `cloudtaser_k8s::install`, and nothing here knows the content of an
//! object. Reading order: [`mod@install`], [`apply`] (in which order, and what is in the way),
//! [`bridge`] (how a cluster comes to its own), [`issuer`] (the keys of its tokens), [`wait`] and [`trouble`] (what is wrong, in words), [`mod@uninstall`].

mod apply;
mod bridge;
mod error;
mod install;
mod inventory;
mod issuer;
mod status;
mod trouble;
mod uninstall;
mod wait;

pub(crate) use bridge::seen as seen_bridge;
pub(crate) use error::DeployError;
pub(crate) use install::{InstallArgs, UpgradeArgs, install, upgrade};
pub(crate) use status::{StatusArgs, status};
pub(crate) use uninstall::{UninstallArgs, uninstall};
