//! What receipts cost: keeping one, verifying one, verifying a million, and how big they are.
//!
//! There is no peer to measure beside. The floor is the disk: one `fdatasync` of as many bytes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cloudtaser_core::level::Verdict;
use cloudtaser_evidence::checkpoint::SignedCheckpoint;
use cloudtaser_evidence::export::{Selection, export};
use cloudtaser_evidence::log::Options;
use cloudtaser_evidence::names::NameKey;
use cloudtaser_evidence::note::{KeyKind, Signer};
use cloudtaser_evidence::policy::Policy;
use cloudtaser_evidence::receipt::{
    Assurance, Decision, Name, Rows, Sealing, SecretEntry, Workload,
};
use cloudtaser_evidence::verify::{self, Given};
use cloudtaser_evidence::{Digest, Draft, Log};
use serde_json::{Value, json};

use crate::report::{self, short};
use crate::stats::Samples;
use crate::{Effort, machine, ui};

/// How many bytes the disk's floor is measured with: a receipt in the journal, with its checkpoint.
const FLOOR_BYTES: usize = 700;

/// How much is done.
struct Amount {
    alone: u32,
    together: Duration,
    large: u64,
    verified: u32,
}

impl Amount {
    const fn of(effort: Effort) -> Self {
        match effort {
            Effort::Full => {
                let together = Duration::from_secs(10);
                Self { alone: 500, together, large: 1_000_000, verified: 500 }
            }
            Effort::Quick => {
                let together = Duration::from_secs(1);
                Self { alone: 50, together, large: 20_000, verified: 20 }
            }
        }
    }
}

/// Receipts a second, from so many threads.
struct Rate {
    threads: usize,
    per_second: f64,
    latency: Samples,
}

/// Runs all and writes `evidence.{json,md}`.
pub(crate) fn run(effort: Effort, out: &Path, scratch: &Path) -> anyhow::Result<()> {
    let machine = machine::describe();
    ui::say(&format!("load before: {}", machine::load()));
    let amount = Amount::of(effort);
    ui::say("the disk alone");
    let floor = floor(scratch, amount.alone)?;
    let mut rates = Vec::new();
    for threads in [1, 8, 64, 256] {
        ui::say(&format!("receipts from {threads} threads"));
        rates.push(rate(&scratch.join(format!("log-{threads}")), threads, amount.together)?);
    }
    ui::say(&format!("a log of {} receipts", amount.large));
    let folder = scratch.join("large");
    let filled = fill(&folder, amount.large)?;
    let bytes = size_of(&folder)?;
    ui::say("verification");
    let one = verify_one(&folder, amount.verified)?;
    let policy = policy()?;
    let started = Instant::now();
    let report = verify::folder(&folder, &policy, &Given::default())?;
    let whole = started.elapsed();
    ensure!(report.tally.receipts == amount.large, "the log has another size than was written");
    let started = Instant::now();
    drop(Log::open(&folder, signer()?, Options::default())?);
    let opened = started.elapsed();
    let large = Large {
        receipts: amount.large,
        filled,
        bytes,
        verify: whole,
        open: opened,
        leaf_bytes: draft(0)?.1,
        one,
    };
    write(out, &machine, &floor, &rates, &large)
}

/// The large log.
struct Large {
    receipts: u64,
    filled: Duration,
    bytes: u64,
    verify: Duration,
    open: Duration,
    leaf_bytes: usize,
    one: One,
}

/// Verification of a bundle with one receipt of the large log and two witnesses.
struct One {
    bytes: usize,
    verify: Samples,
}

fn name(text: &str) -> anyhow::Result<Name> {
    Name::try_from(text).with_context(|| format!("{text} is no name"))
}

fn signer() -> anyhow::Result<Signer> {
    Ok(Signer::from_seed("bench.example/log", KeyKind::Log, &[1; 32])?)
}

fn witness(number: u8) -> anyhow::Result<Signer> {
    let name = format!("witness{number}.example");
    Ok(Signer::from_seed(&name, KeyKind::Witness, &[40 + number; 32])?)
}

fn policy() -> anyhow::Result<Policy> {
    let log = signer()?.verifier();
    Ok(format!("log {log}\nquorum none\n").parse()?)
}

/// A draft as the bridge would write one, and how long its receipt is.
fn draft(number: u64) -> anyhow::Result<(Draft, usize)> {
    let key = NameKey::new([7; 32].into());
    let draft = Draft {
        cluster: name("prod-fra-1")?,
        workload: Workload {
            namespace: name("payments")?,
            service_account: name("payments-api")?,
            pod: name("0a1b2c3d-0000-4000-8000-000000000001")?,
        },
        role: name("payments-api")?,
        secrets: vec![SecretEntry {
            name: key.hash("secret/data/payments/db", &["user", "password"])?,
            version: Some(7),
            request: Some(name("f84b831c-b726-af43-1b72-d07ed3f18109")?),
        }],
        policy: Digest::of(b"policy"),
        protection: Rows::new([Verdict::Partial; 6]),
        assurance: Assurance::L0,
        wrapper: Some(Digest::of(b"wrapper")),
        session: Digest::of(&number.to_be_bytes()),
        evidence: Some(Digest::of(b"evidence")),
        decision: Decision::Released,
        bridge: Some(Digest::of(b"bridge")),
        key_exchange: Some(name("X25519MLKEM768")?),
        sealing: Some(Sealing { suite: name("X-Wing")?, recipient: Digest::of(b"key") }),
        orders: None,
    };
    let previous = Some(Digest::of(b"previous"));
    let receipt = cloudtaser_evidence::Receipt::new(draft, 1 << 20, 1 << 41, previous);
    let length = receipt.to_bytes()?.len();
    Ok((receipt.draft, length))
}

fn floor(scratch: &Path, rounds: u32) -> anyhow::Result<Samples> {
    let mut file = File::create(scratch.join("floor"))?;
    let mut samples = Samples::default();
    for _ in 0..rounds {
        let started = Instant::now();
        file.write_all(&[0; FLOOR_BYTES])?;
        file.sync_data()?;
        samples.push(milliseconds(started.elapsed()));
    }
    Ok(samples)
}

fn rate(folder: &Path, threads: usize, time: Duration) -> anyhow::Result<Rate> {
    let log = Log::open(folder, signer()?, Options::default())?;
    let (draft, _) = draft(0)?;
    let latency = Mutex::new(Samples::default());
    let count = AtomicU64::new(0);
    let started = Instant::now();
    let mut failed = false;
    std::thread::scope(|scope| {
        let one = || {
            let mut own = Vec::new();
            while started.elapsed() < time {
                let asked = Instant::now();
                if log.append(draft.clone()).is_err() {
                    return false;
                }
                own.push(milliseconds(asked.elapsed()));
            }
            count.fetch_add(u64::try_from(own.len()).unwrap_or(0), Ordering::Relaxed);
            if let Ok(mut latency) = latency.lock() {
                own.into_iter().for_each(|sample| latency.push(sample));
            }
            true
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        failed = !running.into_iter().all(|thread| thread.join().unwrap_or(false));
    });
    ensure!(!failed, "a receipt was not kept");
    let per_second = as_float(count.into_inner()) / started.elapsed().as_secs_f64();
    let latency = latency.into_inner().unwrap_or_default();
    Ok(Rate { threads, per_second, latency })
}

fn fill(folder: &Path, receipts: u64) -> anyhow::Result<Duration> {
    let log = Log::open(folder, signer()?, Options::default())?;
    let (draft, _) = draft(0)?;
    let left = AtomicU64::new(receipts);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..256 {
            scope.spawn(|| {
                let less = |left: u64| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
                    if log.append(draft.clone()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    drop(log);
    Ok(started.elapsed())
}

fn verify_one(folder: &Path, rounds: u32) -> anyhow::Result<One> {
    let selection = Selection { from: Some(4711), to: Some(4711), ..Selection::default() };
    let mut bundle = export(folder, &selection, Vec::new(), &[])?;
    let mut signed = SignedCheckpoint::parse(&bundle.checkpoint)?;
    let text = signed.note().text().to_owned();
    let mut policy = format!("log {}\n", signer()?.verifier());
    for number in 1..=2 {
        let witness = witness(number)?;
        signed.note_mut().add(witness.sign(&text, 1_800_000_000));
        policy.push_str(&format!("witness w{number} {}\n", witness.verifier()));
    }
    let policy: Policy = (policy + "group both all w1 w2\nquorum both\n").parse()?;
    bundle.checkpoint = signed.to_string();
    let bytes = bundle.to_bytes()?;
    let mut verified = Samples::default();
    for _ in 0..rounds {
        let started = Instant::now();
        let report = verify::bundle(&bytes, &policy, &Given::default())?;
        verified.push(milliseconds(started.elapsed()));
        ensure!(report.witnesses.len() == 2, "two witnesses signed");
    }
    Ok(One { bytes: bytes.len(), verify: verified })
}

fn size_of(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "counts of receipts are far below 2^52")]
const fn as_float(count: u64) -> f64 {
    count as f64
}

fn write(
    out: &Path,
    machine: &Value,
    floor: &Samples,
    rates: &[Rate],
    large: &Large,
) -> anyhow::Result<()> {
    let bytes_each = as_float(large.bytes) / as_float(large.receipts);
    let summary = |samples: &Samples| json!({"min": samples.min(), "p50": samples.median(), "p99": samples.percentile(99), "max": samples.max()});
    let rate = |rate: &Rate| json!({"threads": rate.threads, "per_second": rate.per_second, "latency_ms": summary(&rate.latency)});
    let record = json!({
        "what": "receipts: kept with a sync each or together, and verified without a network",
        "machine": machine,
        "load_after": machine::load(),
        "fdatasync_ms": summary(floor),
        "append": rates.iter().map(rate).collect::<Vec<_>>(),
        "bundle_of_one": {"bytes": large.one.bytes, "verify_ms": summary(&large.one.verify)},
        "log": {
            "receipts": large.receipts,
            "filled_s": large.filled.as_secs_f64(),
            "bytes": large.bytes,
            "bytes_each": bytes_each,
            "leaf_bytes": large.leaf_bytes,
            "verify_s": large.verify.as_secs_f64(),
            "open_ms": milliseconds(large.open),
        },
    });
    report::write(out, "evidence.json", &format!("{record:#}\n"))?;
    let text = table(&record, floor, rates, large, bytes_each);
    report::write(out, "evidence.md", &text)?;
    ui::say(&text);
    Ok(())
}

fn table(record: &Value, floor: &Samples, rates: &[Rate], large: &Large, each: f64) -> String {
    let told =
        |pointer: &str| record.pointer(pointer).map_or_else(String::new, ToString::to_string);
    let ms = |sample: Option<f64>| sample.map_or_else(|| "–".to_owned(), short);
    let mut text = format!(
        "# What receipts cost\n\nMade by `cargo xtask bench evidence` on {} with {} cores, kernel {}, load before \
         {}, after {}. Everything is in `evidence.json`.\n\nThe floor is the disk: `fdatasync` after {FLOOR_BYTES} \
         bytes, median {} ms, 99th percentile {} ms. A receipt is acknowledged after one; those that wait share it.\n\n\
         | threads | receipts a second | target | p50 ms | p99 ms |\n|---:|---:|---:|---:|---:|\n",
        told("/machine/cpu").trim_matches('"'),
        told("/machine/cores"),
        told("/machine/kernel").trim_matches('"'),
        told("/machine/load_before").trim_matches('"'),
        told("/load_after").trim_matches('"'),
        ms(floor.median()),
        ms(floor.percentile(99)),
    );
    for rate in rates {
        let target = if rate.threads >= 64 { "≥ 2000" } else { "" };
        text.push_str(&format!(
            "| {} | {} | {target} | {} | {} |\n",
            rate.threads,
            short(rate.per_second),
            ms(rate.latency.median()),
            ms(rate.latency.percentile(99)),
        ));
    }
    let one = &large.one;
    text.push_str(&format!(
        "\n| what | figure | target |\n|---|---:|---:|\n\
         | verifying a bundle of one receipt out of {}, two witnesses: p50, p99 | {} ms, {} ms | ≤ 5 ms |\n\
         | its size | {} bytes | |\n\
         | verifying all {} receipts of a log | {} s | |\n\
         | opening that log | {} ms | |\n\
         | a receipt, as it is hashed | {} bytes | |\n\
         | a receipt, on the disk with everything | {} bytes | |\n",
        large.receipts,
        ms(one.verify.median()),
        ms(one.verify.percentile(99)),
        one.bytes,
        large.receipts,
        short(large.verify.as_secs_f64()),
        short(milliseconds(large.open)),
        large.leaf_bytes,
        short(each),
    ));
    text
}
