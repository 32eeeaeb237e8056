//! The API of a Kubernetes cluster, as far as deploying needs it: a blocking client of few verbs.
//!
//! Objects are JSON values. There is no watch: what is waited for is asked for again, which cannot
//! miss an event and has no connection to keep. Why this is not a library is in
//! `docs/adr/0021-a-thin-client-of-the-api.md`.
//!
//! Reading order: [`kubeconfig`] (where, and as whom), [`client`], [`path`] (which address an
//! object has), [`error`]. [`dial`] is glue, [`plugin`] runs what a kubeconfig names.

mod client;
mod dial;
mod error;
mod kubeconfig;
mod path;
mod plugin;

use std::path::PathBuf;

pub(crate) use client::{Cluster, Force};
pub(crate) use error::{ApiError, ClusterError};
pub(crate) use path::{collection, of_object};

/// Which cluster, and as whom.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ClusterArgs {
    /// The file that says where the cluster is; else KUBECONFIG, else ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context in it; else its current one.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}
