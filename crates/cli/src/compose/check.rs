//! `cloudtaser compose check`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use cloudtaser_compose::{
    Report, Settings, Severity, Source, check,
    finding::Problem,
    fix,
    fix::Fixed,
    report,
    settings::{Endpoint, Posture},
};
use cloudtaser_core::{exit::Code, names};

use super::{
    files::{Files, STDIN},
    live,
};
use crate::{
    cluster::{Cluster, ClusterArgs},
    deploy::DeployError,
    ui,
};

const AFTER: &str = "\
Examples:
  cloudtaser compose check policies/ manifests/
  cloudtaser compose check --fix --endpoint bao.example.eu:8200 policies/
  cloudtaser compose check --format sarif policies/ > compose.sarif
  cloudtaser compose check --cluster                   what runs there now
  cloudtaser compose check --cluster new-policy.yaml   before it is applied
  kubectl get ksp,csp,tracingpolicies,pods -A -o yaml | cloudtaser compose check -

A pod is one of ours when it has the label cloudtaser.io/inject: \"true\". Policies are judged for the
pods of ours among the files. Where the files hold no workload at all, every pod is assumed to be one
of ours; where they hold some and none is ours, nothing is found.

`breaks`: a step of ours fails. `leaks`: a value becomes readable. `blinds`: protection or sight is
lost, and the level says so. `noisy`: nothing stops; expect events.

--fix changes files in place, by insertions that leave comments and order alone; standard input is
written to standard output. It never adds an Allow to a section of KubeArmor that has none.

JSON: {form, checked, ours, assumed, findings: [{file, line, column, rule, severity, object, message,
step, workloads, exception}], problems}.

Exit: 0 nothing found at --fail-on or above, 1 something was, 64 wrong usage or a path that is not
there, 65 a document could not be read, or a kind of the cluster's not be asked for (findings go before
that), 69 the cluster cannot be reached.";

/// Says what in these files would break a step of ours, or leak a value.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct CheckArgs {
    /// Files, and folders with all .yaml, .yml and .json below them; `-` is standard input.
    #[arg(required_unless_present = "cluster", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Ask a running cluster for its policies and workloads, besides the files: those are judged as
    /// if they were applied to it.
    #[arg(long)]
    cluster: bool,
    #[command(flatten)]
    access: ClusterArgs,
    /// Write exceptions into the files; of a cluster's objects a patch is printed, and nothing is
    /// changed there.
    #[arg(long)]
    fix: bool,
    /// How to tell it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The least that makes the exit code 1.
    #[arg(long, value_enum, default_value_t = FailOn::Blinds, value_name = "SEVERITY")]
    fail_on: FailOn,
    /// Where OpenBao or a beacon is, HOST:PORT or :PORT; may be repeated. Without it VAULT_ADDR and
    /// BAO_ADDR of the pods say so, and then the ports 8200 and 443.
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Vec<String>,
    /// What KubeArmor's allow-lists do with the rest, where no file says so.
    #[arg(long, value_enum)]
    posture: Option<PostureArg>,
    /// The wrapper in a pod.
    #[arg(long, value_name = "PATH", default_value = names::POD_WRAPPER)]
    wrapper: String,
    /// The token that the wrapper logs in with.
    #[arg(long, value_name = "PATH")]
    token: Option<String>,
}

/// How a report is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    Json,
    Sarif,
    Text,
}

/// From where on a finding fails the check.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum FailOn {
    Breaks,
    Leaks,
    Blinds,
    Noisy,
    Never,
}

impl FailOn {
    fn fails(self, severity: Severity) -> bool {
        match self {
            Self::Breaks => severity <= Severity::Breaks,
            Self::Leaks => severity <= Severity::Leaks,
            Self::Blinds => severity <= Severity::Blinds,
            Self::Noisy => true,
            Self::Never => false,
        }
    }
}

/// What an allow-list does with the rest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum PostureArg {
    Audit,
    Block,
}

/// An endpoint that is none.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no HOST:PORT, such as bao.example.eu:8200")]
pub(crate) struct WrongEndpoint(String);

/// Runs `compose check`.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode> {
    let settings = settings(args)?;
    let files = Files::read(&args.paths)?;
    let mut sources = files.sources;
    let (of_files, mut problems) = (sources.len(), files.problems);
    if args.cluster {
        let cluster = Cluster::open(&args.access).map_err(DeployError::from)?;
        let live = live::read(&cluster).map_err(DeployError::from)?;
        problems.extend(
            live.problems
                .into_iter()
                .map(|problem| Problem { source: problem.source + of_files, ..problem }),
        );
        sources.extend(live.sources);
    }
    let mut report = if args.fix {
        let fixed = fix(&sources, &settings);
        write(&sources, &fixed, of_files)?;
        sources = fixed.sources;
        fixed.report
    } else {
        check(&sources, &settings)
    };
    report.problems.splice(0..0, problems);
    // What was fixed went to standard output, where nothing else belongs then.
    let stdin = args.paths.iter().any(|path| path.as_os_str() == STDIN);
    let piped = args.fix && (args.cluster || stdin);
    tell(args.format, &sources, &report, piped);
    let found = report.worst().is_some_and(|worst| args.fail_on.fails(worst));
    let code = match (found, report.has_unread()) {
        (true, _) => Code::Found,
        (false, true) => Code::Unread,
        (false, false) => Code::Ok,
    };
    Ok(ExitCode::from(code.number()))
}

fn settings(args: &CheckArgs) -> Result<Settings, WrongEndpoint> {
    let endpoints = args.endpoint.iter().map(|text| {
        let wrong = || WrongEndpoint(text.clone());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_error| wrong())?;
        Ok(Endpoint { host: (!host.is_empty()).then(|| host.to_owned()), port })
    });
    Ok(Settings {
        wrapper: args.wrapper.clone(),
        token: args.token.clone(),
        endpoints: endpoints.collect::<Result<_, WrongEndpoint>>()?,
        posture: args.posture.map(|posture| match posture {
            PostureArg::Audit => Posture::Audit,
            PostureArg::Block => Posture::Block,
        }),
        ..Settings::default()
    })
}

/// Writes what came from files, and prints what came from elsewhere.
fn write(before: &[Source], fixed: &Fixed, of_files: usize) -> Result<()> {
    let (live, live_fixed) = (before.get(of_files..), fixed.sources.get(of_files..));
    let patch = live::patch(live.unwrap_or_default(), live_fixed.unwrap_or_default());
    ui::raw(patch.as_bytes());
    for (old, new) in before.iter().zip(&fixed.sources).take(of_files) {
        if new.name() == STDIN {
            ui::raw(new.text().as_bytes());
        } else if old.text() != new.text() {
            fs::write(new.name(), new.text())
                .with_context(|| format!("cannot write {}", new.name()))?;
        }
    }
    for change in &fixed.changes {
        let name = fixed.sources.get(change.source).map_or("", Source::name);
        ui::note(&format!("fixed {} in {name}: {}: {}", change.rule, change.object, change.words));
        if let Some(costs) = change.costs {
            ui::note(&format!("      it costs: {costs}"));
        }
    }
    Ok(())
}

fn tell(format: Format, sources: &[Source], report: &Report, piped: bool) {
    let line = if piped { ui::note } else { ui::line };
    match format {
        Format::Json => line(&pretty(&report::json(sources, report))),
        Format::Sarif => line(&pretty(&report::sarif(sources, report, env!("CARGO_PKG_VERSION")))),
        Format::Text => {
            for finding in &report.findings {
                line(&report::finding(sources, finding, report::Colour::On));
            }
            for problem in &report.problems {
                ui::note(&report::problem(sources, problem));
            }
            if let Some(others) = report::others(report) {
                ui::note(&others);
            }
            line(&report::summary(report));
        }
    }
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
