//! `migrate`: copies the values of Kubernetes Secrets into OpenBao, as a plan of `discover` says.
//!
//! A value goes from one TLS connection into the other, by memory that is wiped. It is in no file,
//! no argument and no word of ours. What is in OpenBao already is compared and never replaced; a
//! Secret is removed only when OpenBao has the same, and no pod template uses it any more.

mod copy;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use cloudtaser_sys::harden;
use serde::Deserialize;

use crate::{
    cluster::{Cluster, ClusterArgs},
    deploy::DeployError,
    discover, ui, yaml,
};

const AFTER: &str = "\
Examples:
  cloudtaser discover --plan plan.yaml
  cloudtaser migrate --plan plan.yaml --openbao https://bao.example.eu:8200 --token-file token
  cloudtaser migrate --plan plan.yaml --openbao … --token-file token --delete

Each Secret of the plan is written to its path in a KV engine of version 2, read back and compared.
The token needs create and read there. Then write label, annotations and references into your
workloads, where they come from; nothing is changed on the cluster until --delete.

--delete removes each Secret that OpenBao has with the same values and that no workload, pod,
Ingress or ServiceAccount uses. What custom resources use it cannot know.

JSON: an array of {\"secret\", \"path\", \"state\": \"copied\"|\"there\"|\"deleted\"|\"kept\"|\"failed\", \"why\"}.

Exit: 0 all is in OpenBao, 1 something is not, 64 usage, 69 not reachable, 76 refused.";

/// Copies the values of Kubernetes Secrets into OpenBao.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The plan that `cloudtaser discover` wrote.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// The OpenBao: https://HOST:PORT.
    #[arg(long, value_name = "ADDRESS")]
    openbao: String,
    /// The authorities for its certificate, as PEM; else the system's.
    #[arg(long, value_name = "FILE")]
    openbao_ca: Option<PathBuf>,
    /// Its namespace.
    #[arg(long, value_name = "NAME")]
    openbao_namespace: Option<String>,
    /// A file with a token of OpenBao.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Remove each Secret that is in OpenBao and no longer used.
    #[arg(long)]
    delete: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What of a plan counts here. The rest is for people and for `kubectl`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    kind: Kind,
    secrets: Vec<Move>,
}

#[derive(Debug, Deserialize)]
enum Kind {
    MigrationPlan,
}

/// Which Secret's fields go where.
#[derive(Debug, Deserialize)]
struct Move {
    namespace: String,
    secret: String,
    path: String,
}

impl Move {
    fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.secret)
    }
}

/// The verb.
pub(crate) fn run(args: &MigrateArgs) -> Result<ExitCode> {
    // SECURITY: before a value is here, so that none of it is in a core file and nobody of this
    // user attaches.
    harden::forbid_dumps()?;
    let Written { kind: Kind::MigrationPlan, secrets } = yaml::read(&args.plan)?;
    let cluster = Cluster::open(&args.cluster).map_err(DeployError::from)?;
    let target = copy::Target::open(args)?;
    let progress = ui::Progress::start().lively();
    let used = if args.delete {
        progress.say("looking at who uses what");
        discover::used_secrets(&cluster).map_err(DeployError::from)?
    } else {
        Vec::new()
    };
    let mut results = Vec::new();
    for each in &secrets {
        progress.say(&each.name());
        let mut result = target.copy(&cluster, each)?;
        if args.delete && result.is_in_openbao() {
            result = copy::delete(&cluster, each, &used)?;
        }
        results.push(result);
    }
    drop(progress);
    let failed = results.iter().any(copy::Outcome::is_bad);
    if args.json {
        ui::line(&serde_json::to_string(&results)?);
    } else {
        results.iter().for_each(|result| ui::line(&result.words()));
        if !failed && !args.delete {
            ui::note(
                "next: label and references into your workloads, as the plan has them; when they \
                 run: --delete",
            );
        }
    }
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
