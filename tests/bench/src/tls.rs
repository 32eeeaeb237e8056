//! One HTTPS GET by each crypto provider, in turn, against the same OpenBao.
//!
//! `cargo xtask bench tls` builds the programs of `bench/tls-provider` and names their directory.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::report::{self, markdown, short};
use crate::server::Server;
use crate::stats::Samples;
use crate::{Effort, machine, ui};

/// Names the directory that holds one program per [`BUILDS`].
const PROGRAMS: &str = "CLOUDTASER_TLS_PROGRAMS";
/// Each program, and what it is.
const BUILDS: &[(&str, &str)] = &[
    ("graviola", "rustls-graviola 0.4"),
    ("aws-lc", "aws-lc-rs 1.19 as it builds by default"),
    ("aws-lc-no-jitter", "aws-lc-rs 1.19 built with AWS_LC_SYS_NO_JITTER_ENTROPY=1"),
];

/// One program, with what was seen.
#[derive(Debug)]
struct Build {
    name: &'static str,
    what: &'static str,
    program: PathBuf,
    bytes: u64,
    get: Samples,
    whole: Samples,
    peak: Samples,
    group: String,
}

/// Runs all and writes `tls.{json,md}`.
pub(crate) fn run(effort: Effort, out: &Path, scratch: &Path) -> anyhow::Result<()> {
    let machine = machine::describe();
    ui::say(&format!("load before: {}", machine::load()));
    let mut builds = builds()?;
    let bao = std::env::var_os("CLOUDTASER_BAO").context("CLOUDTASER_BAO is not set")?;
    let server = Server::start(Path::new(&bao), scratch)?;
    let rounds = match effort {
        Effort::Full => 60,
        Effort::Quick => 5,
    };
    for round in 0..rounds {
        for turn in 0..builds.len() {
            let at = (turn + round) % builds.len();
            if let Some(build) = builds.get_mut(at) {
                build.once(&server)?;
            }
        }
    }
    let record = json!({
        "what": "one HTTPS GET of sys/health by ureq and rustls, TLS 1.3, statically linked",
        "machine": machine,
        "bao_version": server.version,
        "load_after": machine::load(),
        "providers": builds.iter().map(Build::to_json).collect::<Vec<_>>(),
    });
    report::write(out, "tls.json", &format!("{record:#}\n"))?;
    let text = table(&record, &builds)?;
    report::write(out, "tls.md", &text)?;
    ui::say(&text);
    Ok(())
}

impl Build {
    fn once(&mut self, server: &Server) -> anyhow::Result<()> {
        let name = self.name;
        let mut command = Command::new(&self.program);
        command.arg(format!("{}/v1/sys/health", server.https)).arg(&server.ca_file);
        command.env_clear().stdin(Stdio::null());
        let started = Instant::now();
        let output = command.output().with_context(|| format!("cannot run {name}"))?;
        let took = started.elapsed();
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name} failed: {told}");
        let line: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{name} gave no JSON"))?;
        let number = |pointer| {
            let number = line.pointer(pointer).and_then(Value::as_f64);
            number.with_context(|| format!("{name} told no {pointer}"))
        };
        self.get.push(number("/get_us")? / 1000.0);
        self.peak.push(number("/peak_kib")? * 1024.0 / 1e6);
        self.whole.push(took.as_secs_f64() * 1000.0);
        let group = line.pointer("/group").and_then(Value::as_str).unwrap_or_default();
        ensure!(group == "X25519MLKEM768", "{name} negotiated {group}, not the hybrid group");
        group.clone_into(&mut self.group);
        Ok(())
    }

    fn to_json(&self) -> Value {
        json!({
            "provider": self.name,
            "what": self.what,
            "key_exchange": self.group,
            "binary_bytes": self.bytes,
            "get_ms": self.get.to_json(),
            "two_handshakes_whole_process_ms": self.whole.to_json(),
            "peak_mb": self.peak.to_json(),
        })
    }
}

fn builds() -> anyhow::Result<Vec<Build>> {
    let folder = std::env::var_os(PROGRAMS).map(PathBuf::from);
    let folder =
        folder.with_context(|| format!("{PROGRAMS} is not set: use `cargo xtask bench`"))?;
    let build = |(name, what): &(&'static str, &'static str)| {
        let program = folder.join(name);
        let bytes = fs::metadata(&program)
            .with_context(|| format!("there is no {}", program.display()))?
            .len();
        let (get, whole, peak) = Default::default();
        Ok(Build { name, what, program, bytes, get, whole, peak, group: String::new() })
    };
    BUILDS.iter().map(build).collect()
}

fn table(record: &Value, builds: &[Build]) -> anyhow::Result<String> {
    let mut text = String::from("# Crypto providers under the same client\n\n");
    text.push_str(
        "One HTTPS GET of `sys/health` by ureq 3.5 and rustls 0.23, TLS 1.3 alone, against a real \
         OpenBao on loopback, in turn; linked statically with glibc, release profile of the \
         product. The clock of the first GET runs inside the program, from reading the authority \
         to the end of the body. Made by `cargo xtask bench tls`; raw figures are in `tls.json`.\n\n",
    );
    writeln!(text, "{}\n", markdown::place(record))?;
    text.push_str(
        "| provider | key exchange | first GET, min | median | p95 | peak RSS | binary |\n",
    );
    text.push_str("|---|---|---:|---:|---:|---:|---:|\n");
    for build in builds {
        let ms = |percent| short(build.get.percentile(percent).unwrap_or(f64::NAN));
        writeln!(
            text,
            "| {} | {} | {} ms | {} ms | {} ms | {} MB | {} MB |",
            build.what,
            build.group,
            ms(0),
            ms(50),
            ms(95),
            short(build.peak.median().unwrap_or(f64::NAN)),
            short(f64::from(u32::try_from(build.bytes)?) / 1e6),
        )?;
    }
    Ok(text)
}
