//! One audit record: one line of JSON, with no value, no command line and no environment in it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process::Process;
use super::throttle::Source;
use crate::loaders;

/// Version of the form; fields are added, never renamed.
const SCHEMA: u32 = 1;

/// What a record is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A road was refused.
    Denied,
    /// Denials of one source that have no record of their own.
    Suppressed,
    /// A child of a guarded process is not guarded, for lack of room.
    Unguarded,
    /// A road was open by an operator's order.
    Granted,
}

/// The record. Its number is given when it is written.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    schema: u32,
    /// What it is about.
    pub(crate) event: Kind,
    /// One more than that of the record before, over restarts too.
    pub(crate) sequence: u64,
    /// Which boot of the machine `at_ns` counts from.
    pub(crate) boot: String,
    /// Time of day, by the node's clock.
    pub(crate) time: String,
    /// Nanoseconds since boot.
    pub(crate) at_ns: u64,
    /// What the record is about in detail; not there for counts.
    #[serde(flatten)]
    pub(crate) denial: Option<Denial>,
    /// Whose count this is; only there for counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Counted>,
    /// Denials of the same source before this one that have no record.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) suppressed: u64,
    /// Records of any source before this one that were lost because writing was too slow.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) dropped: u64,
}

/// A verdict on somebody.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Denial {
    /// Who judged.
    pub(crate) hook: &'static str,
    /// What the hook closes.
    pub(crate) road: &'static str,
    /// `denied`, or `allowed` where a guard failed.
    pub(crate) verdict: &'static str,
    /// How the kernel asks.
    pub(crate) tier: &'static str,
    /// Who asked.
    pub(crate) actor: Process,
    /// Whose memory it was; not there where a road leads to no one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Process>,
    /// What would let it in, where that is a setting of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) setting: Option<String>,
}

/// A source in a record.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Counted {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    /// The group, by the number of its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_id: Option<u64>,
    /// The group's path, where it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<String>,
}

impl Record {
    /// A record of something that happened at that time after boot, without a number yet.
    pub(crate) fn new(event: Kind, boot: &str, at_ns: u64, time: Duration) -> Self {
        Self {
            schema: SCHEMA,
            event,
            sequence: 0,
            boot: boot.to_owned(),
            time: rfc3339(time),
            at_ns,
            denial: None,
            source: None,
            suppressed: 0,
            dropped: 0,
        }
    }

    /// The line, with its end.
    pub(crate) fn line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

impl Counted {
    /// Names a source.
    pub(crate) fn of(source: Source, cgroup: Option<&str>) -> Self {
        let (uid, cgroup_id) = match source {
            Source::Cgroup(id) => (None, Some(id)),
            Source::Others => (None, None),
            Source::User(uid) => (Some(uid), None),
        };
        Self { uid, cgroup_id, cgroup: cgroup.map(str::to_owned) }
    }
}

/// The number of a line that was written earlier; `None` where it is none of ours, or was cut.
pub(crate) fn sequence(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        sequence: u64,
    }
    serde_json::from_slice::<Numbered>(line).ok().map(|record| record.sequence)
}

/// What a hook closes, in a word. It is no finer than the hook.
pub(crate) fn road(hook: &str) -> &'static str {
    match hook {
        "bpf" => "bpf-load",
        "bpf_map" => "agent-map",
        "bpf_prog" => "agent-program",
        "file_open" | "file_permission" => "file",
        "file_receive" => "sealed-file",
        "file_send_sigiotask" => "signal",
        "inode_rename" | "inode_rmdir" | "inode_unlink" | "sb_umount" => "agent-file",
        "kernel_load_data" => "kernel-image",
        "kernel_read_file" => "kernel-module",
        "locked_down" => "hardware",
        "mmap_file" => "mapping",
        "perf_event_open" => "perf",
        "ptrace_access_check" => "attach",
        "ptrace_traceme" => "traceme",
        "signal_deliver" => "core-dump",
        "socket_connect" | "socket_create" | "socket_sendmsg" => "egress",
        "task_alloc" => "fork",
        "task_kill" => "signal",
        "task_setrlimit" => "limits",
        _ => "other",
    }
}

/// What would let a refused loader in, as far as its program is known.
pub(crate) fn setting(hook: &str, actor: &Process) -> Option<String> {
    if !matches!(hook, "bpf" | "perf_event_open") {
        return None;
    }
    let exe = actor.exe.as_deref();
    Some(if actor.container.is_some() || actor.pod.is_some() {
        let exe = exe.unwrap_or("its program");
        format!(
            "--allow-loader sha256:HEX:SIZE, which `cloudtaser-agent loader FILE` prints for {exe} of its image"
        )
    } else if let Some(replaced) = exe.filter(|exe| loaders::is_of_a_node(exe)) {
        format!("`cloudtaser-agent admit {replaced}`, an operator's order")
    } else {
        format!("--allow-loader {}", exe.unwrap_or("PATH"))
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// `2026-01-31T09:30:00.000Z`, from the time since the epoch.
fn rfc3339(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at the end; an era has 400 of them.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let day = day - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let milli = time.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::HOOKS;

    fn process(pid: u32, comm: &str) -> Process {
        Process { pid, uid: Some(0), comm: Some(comm.to_owned()), ..Process::default() }
    }

    #[test]
    fn the_line_is_the_one_of_the_guide() {
        let mut actor = process(4711, "gdb");
        actor.exe = Some("/usr/bin/gdb".to_owned());
        actor.place(Some("/user.slice/user-0.slice/session-3.scope"));
        let mut target = process(4242, "server");
        let id = "00112233445566778899aabbccddeeff".repeat(2);
        let uid = "1b2c3d4e-0f1a-4b2c-8d3e-0123456789ab";
        target.place(Some(&format!("/kubepods/burstable/pod{uid}/{id}")));
        let mut record = Record::new(
            Kind::Denied,
            "7c4f",
            61_000_000_007,
            Duration::from_millis(1_790_000_000_123),
        );
        record.sequence = 42;
        record.suppressed = 3;
        record.denial = Some(Denial {
            hook: "ptrace_access_check",
            road: road("ptrace_access_check"),
            verdict: "denied",
            tier: "lsm",
            actor,
            target: Some(target),
            setting: None,
        });
        let golden = concat!(
            r#"{"schema":1,"event":"denied","sequence":42,"boot":"7c4f","#,
            r#""time":"2026-09-21T14:13:20.123Z","at_ns":61000000007,"#,
            r#""hook":"ptrace_access_check","road":"attach","verdict":"denied","tier":"lsm","#,
            r#""actor":{"pid":4711,"uid":0,"comm":"gdb","exe":"/usr/bin/gdb","#,
            r#""cgroup":"/user.slice/user-0.slice/session-3.scope"},"#,
            r#""target":{"pid":4242,"uid":0,"comm":"server","#,
            r#""cgroup":"/kubepods/burstable/pod1b2c3d4e-0f1a-4b2c-8d3e-0123456789ab/"#,
            "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\",",
            r#""pod":"1b2c3d4e-0f1a-4b2c-8d3e-0123456789ab","#,
            r#""container":"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"},"#,
            "\"suppressed\":3}\n",
        );
        assert_eq!(record.line(), golden);
        assert!(include_str!("../../../../docs/guide/agent-telemetry.md").contains(golden));
        assert_eq!(sequence(golden.as_bytes()), Some(42));
    }

    #[test]
    fn a_count_names_its_source() {
        let mut record = Record::new(Kind::Suppressed, "7c4f", 5, Duration::ZERO);
        record.source = Some(Counted::of(Source::Cgroup(77), Some("/a.slice")));
        (record.suppressed, record.dropped) = (9, 1);
        let golden = concat!(
            r#"{"schema":1,"event":"suppressed","sequence":0,"boot":"7c4f","#,
            r#""time":"1970-01-01T00:00:00.000Z","at_ns":5,"#,
            r#""source":{"cgroup_id":77,"cgroup":"/a.slice"},"suppressed":9,"dropped":1}"#,
            "\n"
        );
        assert_eq!(record.line(), golden);
    }

    #[test]
    fn names_that_a_process_chose_stay_inside_their_line() {
        let mut record = Record::new(Kind::Denied, "7c4f", 5, Duration::ZERO);
        record.denial = Some(Denial {
            hook: "bpf",
            road: "bpf-load",
            verdict: "denied",
            tier: "lsm",
            actor: process(1, "a\n{\"sequence\":9}\u{7f}"),
            target: None,
            setting: None,
        });
        let line = record.line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(sequence(line.as_bytes()), Some(0));
    }

    #[test]
    fn a_refused_loader_is_told_what_would_let_it_in() {
        let mut actor = process(7, "tetragon");
        let said = |actor: &Process| setting("bpf", actor).unwrap();
        assert_eq!(said(&actor), "--allow-loader PATH");
        actor.exe = Some("/usr/bin/tetragon".to_owned());
        assert_eq!(said(&actor), "--allow-loader /usr/bin/tetragon");
        actor.container = Some("00".repeat(32));
        assert_eq!(
            said(&actor),
            "--allow-loader sha256:HEX:SIZE, which `cloudtaser-agent loader FILE` prints for \
             /usr/bin/tetragon of its image"
        );
        assert_eq!(setting("file_open", &actor), None);
    }

    #[test]
    fn every_hook_closes_a_road_that_has_a_name() {
        assert!(HOOKS.iter().all(|hook| road(hook) != "other"));
    }

    #[test]
    fn days_are_counted_as_in_the_calendar() {
        let days = |days: u64| rfc3339(Duration::from_secs(days * 86_400));
        assert_eq!(days(11_016), "2000-02-29T00:00:00.000Z");
        assert_eq!(days(11_017), "2000-03-01T00:00:00.000Z");
        assert_eq!(days(20_453), "2025-12-31T00:00:00.000Z");
        assert_eq!(days(47_541), "2100-03-01T00:00:00.000Z");
    }
}
