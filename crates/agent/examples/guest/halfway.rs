//! An unload that is cut off: the agent is ended between two of its steps, and the next one finds a
//! node on which some programs are pinned and some are not.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{ChildStdout, Command, Stdio};

use cloudtaser_sys::roads;

use crate::orders;
use crate::outlive::{PINS, end_by_cgroup, wait_for_end};
use crate::processes::{AGENT, GUEST, Running, denied, denied_by, plain, start_target, status};
use crate::scale::yes;
use crate::scenario::Scenario;

/// Ends an agent at one of its removals of files. It was there before the agent.
pub(crate) struct Cutter {
    process: Running,
    said: Lines<BufReader<ChildStdout>>,
}

impl Cutter {
    pub(crate) fn start() -> Self {
        let mut start = plain(&[GUEST, "cut"]);
        let start = start.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Running(start.spawn().unwrap());
        let said = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let mut own = Self { process, said };
        assert_eq!(own.next(), "attached 1");
        own
    }

    fn cut(&mut self, agent: &Running, removals: usize) {
        let input = self.process.0.stdin.as_mut().unwrap();
        writeln!(input, "{} {removals}", agent.pid()).unwrap();
        assert_eq!(self.next(), "set");
    }

    fn next(&mut self) -> String {
        self.said.next().unwrap().unwrap()
    }
}

impl Scenario {
    /// After each of these moments the next agent comes to its state, as on a node that it finds empty.
    pub(crate) fn halfway(&mut self, agent: Running, cutter: &mut Cutter, expected: &str) {
        let (mut agent, all) = (agent, links());
        // Last but one: all but the program that makes heirs. Behind the last: among the maps.
        for (cut, removals) in [("first", 1), ("last-but-one", all - 1), ("map", all + 4)] {
            let name = |what: &str| format!("unload-cut-at-the-{cut}-{what}");
            let target = start_target(true);
            let before = instance();
            // The decoy's pin goes before all.
            cutter.cut(&agent, removals + 1);
            let order = ["unload", "--reason", "x", "--key", orders::SECRET];
            let told = Command::new(AGENT).args(order).output().unwrap();
            self.check(&name("is-cut"), yes(!told.status.success(), || format!("{told:?}")));
            assert!(wait_for_end(&mut agent.0), "it was not ended");
            // KERNEL: a real-time one sends the signal by a thread, which may come a step later.
            let (left, most) = (links(), all.saturating_sub(removals));
            self.check(&name("leaves-the-rest"), yes(left <= most, || left.to_string()));
            let said = status();
            let words = format!("{left} programs of an earlier agent are still pinned");
            let right = said.starts_with("OFF(") && said.contains(&words) == (left > 0);
            self.check(&name("is-said"), yes(right, || said.clone()));
            agent = self.agent(&name("next-agent"), expected, &[]);
            let log = fs::read_to_string("/tmp/agent.log").unwrap();
            let told = log.contains("an unload that was cut off is brought to its end");
            self.check(&name("is-told"), yes(told == (left > 0), || log.clone()));
            // What was guarded is not any more; what is started now is, by a whole set.
            let earlier = File::open(format!("/proc/{}/environ", target.pid()));
            self.check(&name("was-meant"), earlier.map(drop).map_err(|error| error.to_string()));
            let target = start_target(true);
            let environ = File::open(format!("/proc/{}/environ", target.pid()));
            self.check(&name("guards-again"), denied(environ));
            self.check(&name("no-program"), denied_by(roads::load_program()));
            self.check(&name("whole-set"), yes(links() == all, || links().to_string()));
            let other = instance() != before;
            self.check(&name("another-load"), yes(other, || "the same".to_owned()));
        }
        // What was left of the last one holds as well.
        end_by_cgroup(&mut agent.0);
        self.check("after-cut-unloads-no-program", denied_by(roads::load_program()));
    }
}

/// How many programs are pinned.
fn links() -> usize {
    let sets = fs::read_dir(PINS).into_iter().flatten().flatten();
    let sets = sets.filter(|entry| entry.file_name().to_string_lossy().starts_with("set-"));
    sets.flat_map(|set| fs::read_dir(set.path()).unwrap()).count()
}

/// Which load of the programs this is.
fn instance() -> String {
    let output = Command::new(AGENT).args(["grants", "--json"]).output().unwrap();
    let known: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    known["instance"].as_str().unwrap().to_owned()
}
