//! The verbs of an operator: `grant`, `revoke`, `grants`, `admit`, `unload`, `sign`, `submit`.
//!
//! With `--key` an order is written, signed and handed in at once. Without, it is printed, to be
//! signed where the key is and handed in afterwards: root of the node, who may be the attacker, then
//! never sees the key.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use cloudtaser_core::agent::Question;
use cloudtaser_core::agent::order::{Act, Allow, ORDER_MAX, Order, Target};
use cloudtaser_core::exit::Code;
use cloudtaser_core::plan::Period;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::caller::started;
use crate::keys;
use crate::loaders::{Allowed, admitted};
use crate::orders::{Known, Shown};
use crate::socket::ask;

/// An order and its signature, between `sign` and `submit`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    order: String,
    signature: String,
}

/// Why, and with which key.
#[derive(Clone, Debug, clap::Args)]
struct Common {
    /// Why; it stands in the agent's log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The operator's secret key (a file, PEM); without one the order is printed, for `sign`.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// What to let through.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GrantArgs {
    /// What: debuggers and dumps of a process and its tree (memory), kernel modules and hardware
    /// (kernel), block devices, or BPF programs and profilers (tracing).
    #[arg(long, value_enum, default_value = "memory", value_name = "WHAT")]
    allow: AllowName,
    /// Whose memory.
    #[arg(long, required_if_eq("allow", "memory"), value_parser = clap::value_parser!(i32).range(2..))]
    pid: Option<i32>,
    /// How long, such as 10m; at most 12 hours.
    #[arg(long = "for", value_name = "TIME")]
    period: Period,
    #[command(flatten)]
    common: Common,
}

/// The same words as in orders.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum AllowName {
    Memory,
    Kernel,
    Devices,
    Tracing,
}

/// Which grant to end.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    /// The number of its order, as `grants` shows it.
    #[arg(value_name = "NUMBER")]
    order: u64,
    #[command(flatten)]
    common: Common,
}

/// How to print grants.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct GrantsArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Why to unload.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UnloadArgs {
    #[command(flatten)]
    common: Common,
}

/// Whom to admit.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AdmitArgs {
    /// A file of the node, such as the container runtime that an update replaced; or a program of an
    /// image, as `cloudtaser-agent loader FILE` prints it.
    #[arg(value_name = "PATH|sha256:HEX:SIZE")]
    loader: Allowed,
    #[command(flatten)]
    common: Common,
}

/// With which key to sign.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SignArgs {
    /// The operator's secret key (a file, PEM). The order is read from standard input.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub(crate) fn grant(args: &GrantArgs, socket: &Path) -> anyhow::Result<u8> {
    let allow = match args.allow {
        AllowName::Memory => Allow::Memory,
        AllowName::Kernel => Allow::Kernel,
        AllowName::Devices => Allow::Devices,
        AllowName::Tracing => Allow::Tracing,
    };
    let seconds = u32::try_from(args.period.0.as_secs()).context("--for is too long")?;
    let target = args.pid.map(target).transpose()?;
    order(Act::Grant { allow, target, seconds }, &args.common, socket)
}

pub(crate) fn revoke(args: &RevokeArgs, socket: &Path) -> anyhow::Result<u8> {
    order(Act::Revoke { order: args.order }, &args.common, socket)
}

pub(crate) fn admit(args: &AdmitArgs, socket: &Path) -> anyhow::Result<u8> {
    let act = match &args.loader {
        Allowed::Content(loader) => Act::Admit { loader: *loader },
        Allowed::File(path) => Act::AdmitFile { loader: admitted::content_of(path)? },
    };
    order(act, &args.common, socket)
}

pub(crate) fn unload(args: &UnloadArgs, socket: &Path) -> anyhow::Result<u8> {
    order(Act::Unload, &args.common, socket)
}

/// Prints what was granted.
pub(crate) fn grants(args: GrantsArgs, socket: &Path) -> anyhow::Result<u8> {
    let report = orders(socket)?;
    if args.json {
        print(&serde_json::to_string_pretty(&report)?)?;
        return Ok(Code::Ok.number());
    }
    let key = report.key.as_deref().unwrap_or("none: no orders are taken before the next reboot");
    print(&format!("key: {key}"))?;
    for Shown { order, allow, group, seconds_left, uses } in report.grants {
        let whose = group.map_or_else(String::new, |group| format!(" of group {group}"));
        let left = match seconds_left {
            0 => "over".to_owned(),
            seconds => format!("{seconds} s left"),
        };
        print(&format!("order {order}: {allow}{whose}, {left}, used {uses} times"))?;
    }
    Ok(Code::Ok.number())
}

/// Signs what comes from standard input.
pub(crate) fn sign(args: &SignArgs) -> anyhow::Result<u8> {
    let order = input(u64::try_from(ORDER_MAX)?)?;
    let order = order.trim_end_matches('\n');
    // Whoever has the key is to see what it is used for.
    let read = Order::parse(order)?;
    writeln!(io::stderr(), "signing: {}", describe(&read))?;
    let signature = keys::sign(order, &args.key)?;
    print(&serde_json::to_string(&Signed { order: order.to_owned(), signature })?)?;
    Ok(Code::Ok.number())
}

/// Hands in what comes from standard input.
pub(crate) fn submit(socket: &Path) -> anyhow::Result<u8> {
    let text = input(u64::try_from(4 * ORDER_MAX)?)?;
    let signed: Signed =
        serde_json::from_str(&text).context("standard input is not what `sign` prints")?;
    hand_in(signed, socket)
}

fn order(act: Act, common: &Common, socket: &Path) -> anyhow::Result<u8> {
    let known = orders(socket)?;
    ensure!(
        known.key.is_some(),
        "the agent was started without --operator-key: it takes no orders before the next reboot"
    );
    let (instance, serial) = (known.instance, known.next);
    let order = Order { instance, serial, act, reason: common.reason.clone() };
    let text = order.to_text()?;
    let Some(key) = &common.key else {
        print(&text)?;
        return Ok(Code::Ok.number());
    };
    let signature = keys::sign(&text, key)?;
    hand_in(Signed { order: text, signature }, socket)
}

fn hand_in(signed: Signed, socket: &Path) -> anyhow::Result<u8> {
    let Signed { order, signature } = signed;
    let answer = ask(socket, &Question::Order { text: order, signature })?;
    ensure!(answer.done, "{}", answer.text);
    print(&answer.text)?;
    Ok(Code::Ok.number())
}

fn orders(socket: &Path) -> anyhow::Result<Known> {
    let answer = ask(socket, &Question::Orders)?;
    let Some(report) = answer.report else { bail!("{}", answer.text) };
    serde_json::from_value(report).context("the agent's answer is of another version")
}

fn target(pid: i32) -> anyhow::Result<Target> {
    let started = started(Pid::from_raw(pid));
    Ok(Target { pid, started: started.with_context(|| format!("there is no process {pid}"))? })
}

fn describe(order: &Order) -> String {
    let act = match order.act {
        Act::Grant { allow, target, seconds } => {
            let whose =
                target.map_or_else(|| "the node".to_owned(), |t| format!("process {}", t.pid));
            format!("let {} of {whose} through for {seconds} s", allow.as_str())
        }
        Act::Revoke { order } => format!("end the grant of order {order}"),
        Act::Admit { loader } => format!("let {loader} load BPF until the node boots"),
        Act::AdmitFile { loader } => {
            format!("let the file of the node that holds {loader} load BPF until the node boots")
        }
        Act::Unload => "unload the agent's programs".to_owned(),
    };
    let Order { instance, serial, reason, .. } = order;
    format!("{act} (load {instance}, order {serial}; reason: {reason})")
}

fn input(most: u64) -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin().take(most + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_said_in_words() {
        let target = Some(Target { pid: 7, started: 1 });
        let act = Act::Grant { allow: Allow::Memory, target, seconds: 60 };
        let instance = "ab".repeat(16);
        let order =
            Order { instance: instance.clone(), serial: 3, act, reason: "it hangs".to_owned() };
        assert_eq!(
            describe(&order),
            format!(
                "let memory of process 7 through for 60 s (load {instance}, order 3; reason: it hangs)"
            )
        );
    }
}
