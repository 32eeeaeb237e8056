//! Where nobody may load programs: by capabilities, by a filter on system calls, in a namespace.
//! The agent says what it lacks, ends at once with a code of its own, and leaves nothing behind.

use std::time::{Duration, Instant};

use crate::processes::{AGENT, SMALL, guard, plain, status};
use crate::scale::yes;
use crate::scenario::Scenario;

/// A supervisor that starts it again must not find a node that is worse than before.
const TURNS: u32 = 3;
/// It does not sit and wait for better times.
const SOON: Duration = Duration::from_secs(30);

/// Before an agent runs.
pub(crate) fn run(own: &mut Scenario) {
    let ways: [(&str, &[&str], &str); 3] = [
        ("by-capabilities", &[SMALL, "without-capabilities", AGENT, "run"], "CAP_BPF"),
        ("by-a-filter", &[SMALL, "without-bpf", AGENT, "run"], "seccomp"),
        (
            "in-a-namespace",
            &["/bin/busybox", "unshare", "-p", "-f", "--mount-proc", AGENT, "run"],
            "not in the host's PID namespace",
        ),
    ];
    for (name, command, why) in ways {
        for turn in 0..TURNS {
            let begin = Instant::now();
            let output = plain(command).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let right = output.status.code() == Some(71)
                && said.contains("OFF(")
                && said.contains(why)
                && begin.elapsed() < SOON;
            if !right || turn + 1 == TURNS {
                let words = || format!("turn {turn}: {} {said}", output.status);
                own.check(&format!("refused-{name}"), yes(right, words));
                break;
            }
        }
    }
    let said = status();
    own.check("refused-is-off", yes(said.is_empty() || said.starts_with("OFF"), || said.clone()));
    let left = std::fs::exists("/sys/fs/bpf/cloudtaser").unwrap();
    own.check("refused-leaves-no-pin", yes(!left, || "a pin is left".to_owned()));
    // `guard` runs nothing without a guard, and says so.
    let output = guard(&["/bin/sleep", "0"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    own.check("refused-starts-nothing", yes(output.status.code() == Some(77), || said.clone()));
}
