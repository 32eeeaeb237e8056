//! `install` and `upgrade`: what is asked for, and the whole of it in order.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use clap::{Args, ValueEnum};
use cloudtaser_k8s::install::{
    NAMESPACE, Object, Values, chart, objects, to_yaml,
    values::{Address, Label, Server},
};
use serde_json::{Value, json};

use super::{
    DeployError,
    apply::{self, Changes},
    bridge::{self, Wish},
    inventory, wait,
};
use crate::{
    cluster::{Cluster, ClusterArgs, Force},
    ui, yaml,
};

const AFTER: &str = "\
Examples:
  cloudtaser install --registry HOST/PATH --openbao https://bao.example.eu:8200 --openbao-ca ca.pem
  cloudtaser install --registry HOST/PATH --invitation FILE  by a bridge, where OpenBao opens no port
  cloudtaser install --values values.yaml --dry-run         what would be applied, as YAML
  cloudtaser install --values values.yaml --context prod
  cloudtaser install --chart deploy/helm/cloudtaser         the same as a Helm chart

A values file:
  images:  { operator: 'HOST/PATH/cloudtaser-operator@sha256:…' }
  openbao: { servers: [{ name: eu, address: 'https://bao.example.eu:8200', ca: '…PEM…' }] }
  agent:   { enabled: true }

With an invitation (of `cloudtaser bridge invite`, beside OpenBao) the operator makes the cluster's key,
joins the bridge and carries what pods say to it. It is told what people there have to do, and waited
for until they did. Later runs name the bridge by --bridge; an invitation is good for one use.

Nothing is done to pods without the label cloudtaser.io/inject: \"true\". Running it again changes
what differs and removes what is no longer asked for.

JSON: {\"context\", \"namespace\", \"created\", \"changed\", \"unchanged\", \"removed\", \"ready\",
\"bridge\"}.

Exit: 0 installed and ready, 64 usage, 69 cluster not reachable or not ready in time, 76 refused by
the API server or the bridge.";

/// What is to be on the cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct WantedArgs {
    /// What differs from the defaults; also the values of the Helm chart.
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// Where the images are that the values do not name: HOST/PATH.
    #[arg(long, value_name = "HOST/PATH")]
    registry: Option<String>,
    /// Their tag.
    #[arg(long, value_name = "TAG", default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// The OpenBao of pods, where the values name none: https://HOST:PORT.
    #[arg(long, value_name = "ADDRESS")]
    openbao: Option<String>,
    /// The authorities for its certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "openbao")]
    openbao_ca: Option<PathBuf>,
    /// An invitation of the bridge beside OpenBao, in a file, or - for standard input. It is a secret:
    /// not on a command line.
    #[arg(long, value_name = "FILE")]
    invitation: Option<PathBuf>,
    /// The key of the bridge that this cluster is enrolled at: ed25519:…; none to give it up.
    #[arg(long, value_name = "KEY", conflicts_with = "invitation")]
    bridge: Option<String>,
    /// Where the operator runs.
    #[arg(long, short, value_name = "NAME", default_value = NAMESPACE)]
    namespace: String,
}

/// How it gets there.
#[derive(Args, Clone, Debug)]
pub(crate) struct HowArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Take fields over that somebody else has set.
    #[arg(long)]
    take_over: bool,
    /// How long to wait until it is ready; 0 not to.
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    wait: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Puts cloudtaser on a cluster.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    wanted: WantedArgs,
    #[command(flatten)]
    how: HowArgs,
    /// Print what would be applied; ask no cluster.
    #[arg(long)]
    dry_run: bool,
    /// Form of what is printed.
    #[arg(long, short, value_enum, requires = "dry_run", default_value_t = Form::Yaml)]
    output: Form,
    /// Write a Helm chart to this folder instead.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dry_run", "values", "registry"])]
    chart: Option<PathBuf>,
}

const UPGRADE_AFTER: &str = "\
Give the same --values and --registry as for install: what they do not name is as by default.

Operators are replaced one by one, and reviews are answered all the while. A node takes the new
agent at its next boot: until then it runs the version that its kernel holds.

Exit: as install; 69 also where there is no cloudtaser.";

/// Renews the cloudtaser of a cluster.
#[derive(Args, Debug)]
#[command(after_help = UPGRADE_AFTER)]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    wanted: WantedArgs,
    #[command(flatten)]
    how: HowArgs,
}

/// Form of printed objects.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// A list object.
    Json,
    /// One document per object.
    Yaml,
}

impl WantedArgs {
    fn values(&self) -> Result<(Values, Wish)> {
        let mut values = match &self.values {
            Some(path) => {
                // First by form, so that a slip is pointed at; then over the defaults.
                let _fits: Values = yaml::read(path)?;
                let given: Option<Value> = yaml::read(path)?;
                Values::over_defaults(&given.unwrap_or_else(|| json!({})))?
            }
            None => Values::default(),
        };
        if let Some(registry) = &self.registry {
            let filled = values.images.fill(registry, &self.tag);
            filled.map_err(|source| DeployError::Value { flag: "--registry", source })?;
        }
        if let Some(address) = &self.openbao {
            values.openbao.servers.insert(0, self.server(address)?);
        }
        let wish =
            bridge::wish(self.invitation.as_deref(), self.bridge.as_deref(), &mut values.bridge)?;
        if values.openbao.servers.is_empty() && !values.bridge.enabled {
            return Err(DeployError::NoServer.into());
        }
        if let Some(missing) = values.images.missing(values.agent.enabled) {
            return Err(DeployError::NoImage(missing).into());
        }
        if values.registry.lacks_authorities() {
            return Err(DeployError::NoAuthorities.into());
        }
        let namespace = values_label(&self.namespace);
        namespace.map_err(|source| DeployError::Value { flag: "--namespace", source })?;
        Ok((values, wish))
    }
}

impl WantedArgs {
    fn server(&self, address: &str) -> Result<Server, DeployError> {
        let wrong = |source| DeployError::Value { flag: "--openbao", source };
        let ca = self.openbao_ca.as_ref().map(|path| {
            fs::read_to_string(path)
                .map_err(|source| DeployError::Read { path: path.display().to_string(), source })
        });
        Ok(Server {
            name: Label::try_from("default".to_owned()).map_err(wrong)?,
            address: Address::try_from(address.to_owned()).map_err(wrong)?,
            ca: ca.transpose()?,
            namespace: None,
            spki_pin: None,
            server_name: None,
            auth_mount: None,
        })
    }
}

fn values_label(text: &str) -> Result<(), cloudtaser_k8s::install::ValuesError> {
    Label::try_from(text.to_owned()).map(drop)
}

/// The verb `install`.
pub(crate) fn install(args: &InstallArgs) -> Result<ExitCode> {
    if let Some(folder) = &args.chart {
        return write_chart(folder);
    }
    let (values, wish) = args.wanted.values()?;
    if args.dry_run {
        if wish.invitation.is_some() {
            ui::note("the invitation is not printed: it is brought in as a Secret of its own");
        }
        return print(&objects(&values, &args.wanted.namespace), args.output);
    }
    let cluster = Cluster::open(&args.how.cluster).map_err(DeployError::from)?;
    put(&cluster, (&values, &wish), &args.wanted.namespace, &args.how)
}

/// The verb `upgrade`.
pub(crate) fn upgrade(args: &UpgradeArgs) -> Result<ExitCode> {
    let (values, wish) = args.wanted.values()?;
    let cluster = Cluster::open(&args.how.cluster).map_err(DeployError::from)?;
    if inventory::find(&cluster)?.is_empty() {
        return Err(DeployError::NotInstalled.into());
    }
    put(&cluster, (&values, &wish), &args.wanted.namespace, &args.how)
}

/// Applies, removes what is left over, and waits.
fn put(
    cluster: &Cluster,
    (values, wish): (&Values, &Wish),
    place: &str,
    how: &HowArgs,
) -> Result<ExitCode> {
    let wanted = objects(values, place);
    let patience = Duration::from_secs(how.wait);
    if !values.bridge.enabled && !wish.leave {
        bridge::refuse_to_forget(cluster, place)?;
    }
    if !how.json {
        ui::note(&format!("cluster {} ({})", cluster.context, cluster.server));
    }
    let force = if how.take_over { Force::TakeOver } else { Force::Ask };
    let changes = apply::all(cluster, &wanted, force, patience)?;
    if let Some(invitation) = &wish.invitation {
        invitation.bring(cluster, place).map_err(DeployError::from)?;
    }
    if !how.json {
        say(&changes);
    }
    let ready = if how.wait == 0 { None } else { Some(wait::ready(cluster, &wanted, patience)?) };
    let joined = match how.wait > 0 && values.bridge.enabled {
        true => {
            let which = (values.bridge.key(), wish.invitation.as_ref());
            bridge::wait(cluster, place, which, (patience, !how.json))?
        }
        false => None,
    };
    if how.json {
        ui::line(&json!({
            "context": cluster.context,
            "namespace": place,
            "created": changes.created,
            "changed": changes.changed,
            "unchanged": changes.unchanged,
            "removed": changes.removed,
            "ready": ready.as_ref().map(|ready| json!({
                "operators": ready.operators, "agents": ready.agents, "without_agent": ready.off,
            })),
            "bridge": joined,
        }).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(ready) = ready {
        ui::line(&format!("ready: {} operators, {} node agents", ready.operators, ready.agents));
        for node in &ready.off {
            ui::line(&ui::paint::bad(&format!("  no guard on {node}")));
        }
    }
    if let Some(joined) = &joined {
        ui::line(&format!("bridge: {}", bridge::shown(joined)));
        bridge::words(joined, cluster).iter().for_each(|words| ui::note(words));
    }
    ui::note("opt a pod in with the label cloudtaser.io/inject: \"true\"; then: cloudtaser status");
    Ok(ExitCode::SUCCESS)
}

fn say(changes: &Changes) {
    for (word, names) in [
        ("created", &changes.created),
        ("changed", &changes.changed),
        ("removed", &changes.removed),
    ] {
        for name in names {
            ui::line(&format!("{word:<9} {name}"));
        }
    }
    if !changes.unchanged.is_empty() {
        ui::line(&format!("unchanged {} objects", changes.unchanged.len()));
    }
}

fn print(wanted: &[Object], form: Form) -> Result<ExitCode> {
    match form {
        Form::Json => {
            let items: Vec<&Value> = wanted.iter().map(|object| &object.json).collect();
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
            ui::line(&serde_json::to_string_pretty(&list)?);
        }
        Form::Yaml => {
            for object in wanted {
                let text = to_yaml(&object.json);
                let text = text.map_err(|error| DeployError::Yaml(error.to_string()))?;
                ui::raw(format!("---\n{text}").as_bytes());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write_chart(folder: &Path) -> Result<ExitCode> {
    let files = chart(env!("CARGO_PKG_VERSION"));
    let files = files.map_err(|error| DeployError::Yaml(error.to_string()))?;
    for (name, text) in files {
        let path = folder.join(name);
        let failed = |source| DeployError::Write { path: path.display().to_string(), source };
        fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(failed)?;
        fs::write(&path, text).map_err(failed)?;
    }
    ui::note(&format!("written to {}", folder.display()));
    Ok(ExitCode::SUCCESS)
}
