//! Reviews at a webhook over TLS, as an API server asks them: connections that stay open, one
//! question after the other on each.
//!
//! `cargo xtask bench webhook` builds the operator and says where it is. The client runs on the same
//! machine and costs about as much as the server; both shares are told.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cloudtaser_e2e::cluster::{Asker, Cluster};
use serde_json::{Value, json};

use crate::report::{self, markdown, short};
use crate::stats::Samples;
use crate::{Effort, machine, ui};

const SERVICE: &str = "cloudtaser-operator.cloudtaser-system.svc";
/// What design calls for: 5 ms at this rate.
const TARGET_RATE: f64 = 500.0;

/// How one measurement asks.
#[derive(Clone, Copy, Debug)]
struct Load {
    connections: usize,
    /// Questions a second over all connections; as fast as possible when absent.
    rate: Option<f64>,
}

const LOADS: &[Load] = &[
    Load { connections: 1, rate: None },
    Load { connections: 8, rate: None },
    Load { connections: 64, rate: None },
    Load { connections: 8, rate: Some(TARGET_RATE) },
];

/// What came of one.
#[derive(Debug)]
struct Figures {
    load: Load,
    took: Samples,
    seconds: f64,
    server_cpu: f64,
}

/// Runs all and writes `webhook.{json,md}`.
pub(crate) fn run(effort: Effort, out: &Path, scratch: &Path) -> anyhow::Result<()> {
    let machine = machine::describe();
    ui::say(&format!("load before: {}", machine::load()));
    let program = std::env::var_os("CLOUDTASER_OPERATOR").map(PathBuf::from);
    let program = program.context("CLOUDTASER_OPERATOR is not set: use `cargo xtask bench`")?;
    let cluster = Cluster::start();
    cluster.register_webhooks();
    let operator = Operator::start(&program, &cluster, scratch)?;
    let time = match effort {
        Effort::Full => Duration::from_secs(15),
        Effort::Quick => Duration::from_secs(2),
    };
    let mut all = Vec::new();
    for load in LOADS {
        all.push(measure(*load, &operator, time)?);
    }
    let record = json!({
        "what": "AdmissionReviews of an opted-in pod, mutated, TLS 1.3, kept connections",
        "machine": machine,
        "load_after": machine::load(),
        "binary_bytes": std::fs::metadata(&program)?.len(),
        "peak_rss_mb": operator.peak()?,
        "loads": all.iter().map(Figures::to_json).collect::<Vec<_>>(),
    });
    report::write(out, "webhook.json", &format!("{record:#}\n"))?;
    let text = table(&record, &all)?;
    report::write(out, "webhook.md", &text)?;
    ui::say(&text);
    Ok(())
}

/// The program, which ends with this.
struct Operator {
    child: Child,
    address: SocketAddr,
    trusted: Vec<u8>,
}

impl Operator {
    fn start(program: &Path, cluster: &Cluster, scratch: &Path) -> anyhow::Result<Self> {
        let config = scratch.join("operator.toml");
        std::fs::write(
            &config,
            "[wrapper]\nimage = \"w\"\n[[server]]\nname = \"main\"\naddress = \"https://bao\"\n",
        )?;
        let mut command = Command::new(program);
        command.arg("--config").arg(&config);
        command.args(["--listen=127.0.0.1:0", "--metrics=127.0.0.1:0", "--drain=0s"]);
        command.args(cluster.arguments()).env_clear().stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start the operator")?;
        let log = child.stderr.take().context("no log")?;
        let mut lines = BufReader::new(log).lines();
        let mut address = None;
        for line in lines.by_ref().map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            let text = |name: &str| line.get(name).and_then(Value::as_str);
            if let Some(found) = text("reviews") {
                address = Some(found.parse()?);
            }
            if text("message").is_some_and(|message| message.starts_with("ready")) {
                break;
            }
        }
        thread::spawn(move || lines.map_while(Result::ok).count());
        let address = address.context("the operator does not listen")?;
        Ok(Self { child, address, trusted: cluster.bundle()? })
    }

    /// Seconds of processor time so far.
    fn cpu(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let rest = stat.rsplit_once(") ").context("no stat")?.1;
        let ticks: f64 =
            rest.split(' ').skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
        Ok(ticks / 100.0)
    }

    fn peak(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: f64 =
            line.and_then(|l| l.split_whitespace().next()?.parse().ok()).context("peak")?;
        Ok(kib * 1024.0 / 1e6)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn measure(load: Load, operator: &Operator, time: Duration) -> anyhow::Result<Figures> {
    let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let mut clients = Vec::new();
    for at in 0..load.connections {
        let mut asker = Asker::connect(operator.address, SERVICE, &operator.trusted)?;
        let (stop, failed) = (Arc::clone(&stop), Arc::clone(&failed));
        clients.push(thread::spawn(move || {
            let review = review().to_string();
            let pause = load.rate.map(|rate| Duration::from_secs_f64(connections(load) / rate));
            let mut samples = Vec::new();
            let mut next = Instant::now() + pause.unwrap_or_default().mul_f64(share(at, load));
            while !stop.load(Ordering::Relaxed) {
                if let Some(pause) = pause {
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    // From when it was due: a server that is late is not asked less.
                    let asked = next;
                    next += pause;
                    note(&failed, asker.ask("/mutate", &review));
                    samples.push(asked.elapsed());
                } else {
                    let asked = Instant::now();
                    note(&failed, asker.ask("/mutate", &review));
                    samples.push(asked.elapsed());
                }
            }
            samples
        }));
    }
    let (started, cpu) = (Instant::now(), operator.cpu()?);
    thread::sleep(time);
    let server_cpu = operator.cpu()? - cpu;
    stop.store(true, Ordering::Relaxed);
    let seconds = started.elapsed().as_secs_f64();
    let mut took = Samples::default();
    for client in clients {
        for sample in client.join().unwrap_or_default() {
            took.push(sample.as_secs_f64() * 1000.0);
        }
    }
    let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    ensure!(failed.is_none(), "a review failed: {failed:?}");
    Ok(Figures { load, took, seconds, server_cpu })
}

fn note(failed: &Mutex<Option<String>>, answer: std::io::Result<(u16, Value)>) {
    let problem = match answer {
        Ok((200, answer)) if answer.pointer("/response/patch").is_some() => return,
        other => format!("{other:?}"),
    };
    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
}

#[expect(clippy::cast_precision_loss, reason = "a number of connections is small")]
fn connections(load: Load) -> f64 {
    load.connections as f64
}

/// Where in the first pause a connection begins, so that they do not ask all at once.
#[expect(clippy::cast_precision_loss, reason = "a number of connections is small")]
fn share(at: usize, load: Load) -> f64 {
    at as f64 / connections(load)
}

fn review() -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "00000000-0000-4000-8000-000000000000", "operation": "CREATE",
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": "team",
            "object": {
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"generateName": "p-", "namespace": "team",
                    "labels": {"app": "p", "cloudtaser.io/inject": "true"},
                    "annotations": {"cloudtaser.io/role": "p",
                        "cloudtaser.io/from": "secret/data/app"}},
                "spec": {
                    "serviceAccountName": "p",
                    "volumes": [{"name": "data", "emptyDir": {}}],
                    "initContainers": [{"name": "init", "image": "registry.example/p:1",
                        "command": ["migrate"],
                        "env": [{"name": "PW", "value": "vault:secret/data/db#password"}]}],
                    "containers": [
                        {"name": "app", "image": "registry.example/p:1", "command": ["/app"],
                         "args": ["-v"], "env": [
                            {"name": "PW", "value": "vault:secret/data/db#password"},
                            {"name": "URL", "value": "db://${vault:secret/data/db#user}@h"},
                            {"name": "HOST", "value": "h"}],
                         "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                         "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}},
                        {"name": "side", "image": "registry.example/s:1", "command": ["/side"]}],
                },
            },
        },
    })
}

impl Figures {
    fn rate(&self) -> f64 {
        self.took.count() / self.seconds
    }

    fn to_json(&self) -> Value {
        json!({
            "connections": self.load.connections,
            "asked_per_second": self.load.rate,
            "answered_per_second": self.rate(),
            "ms": self.took.summary(),
            "server_cpu_ms_per_review": self.server_cpu * 1000.0 / self.took.count(),
        })
    }
}

fn table(record: &Value, all: &[Figures]) -> anyhow::Result<String> {
    let mut text = String::from("# Reviews at the webhook\n\n");
    text.push_str(
        "`AdmissionReview`s of an opted-in pod with three containers, each answered with a patch; TLS \
         1.3, connections kept, client and server on the same machine. At a given rate the clock \
         runs from when a question was due. No peer publishes such figures, and none could be built \
         here; the nearest that is published is a Go webhook's 0.43–1.0 ms for its logic alone, \
         without TLS (newrelic/k8s-metadata-injection, 2019). Made by `cargo xtask bench webhook`.\n\n",
    );
    writeln!(text, "{}\n", markdown::place(record))?;
    text.push_str(
        "| connections | asked | answered/s | p50 | p95 | p99 | max | server CPU each |\n",
    );
    text.push_str("|---:|---|---:|---:|---:|---:|---:|---:|\n");
    for figures in all {
        let ms = |percent| short(figures.took.percentile(percent).unwrap_or(f64::NAN));
        let asked =
            figures.load.rate.map_or_else(|| "all it takes".to_owned(), |rate| format!("{rate}/s"));
        writeln!(
            text,
            "| {} | {asked} | {} | {} ms | {} ms | {} ms | {} ms | {} ms |",
            figures.load.connections,
            short(figures.rate()),
            ms(50),
            ms(95),
            ms(99),
            ms(100),
            short(figures.server_cpu * 1000.0 / figures.took.count()),
        )?;
    }
    text.push_str("\nTo be reached: p99 of at most 5 ms at 500 reviews a second on two cores.\n");
    Ok(text)
}
