//! Kernel modules that the agent asks the node for before its programs judge. The machine has none: what
//! stands in for modprobe writes down what it was asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::scale::yes;
use crate::scenario::Scenario;

const MODPROBE: &str = "/bin/modprobe-of-the-node";
const ASKED: &str = "/tmp/modules";

/// What the agent is started with.
pub(crate) const WANTED: [&str; 4] = ["--preload", "kubernetes", "--preload", "of_a_test"];

/// Before the agent.
pub(crate) fn stand_in() {
    fs::write(MODPROBE, format!("#!/bin/sh\necho \"$@\" >>{ASKED}\n")).unwrap();
    fs::set_permissions(MODPROBE, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write("/proc/sys/kernel/modprobe", MODPROBE).unwrap();
}

impl Scenario {
    /// Those of a node of Kubernetes and the one more, by the modprobe that the kernel is told of.
    pub(crate) fn modules_were_asked_for(&mut self) {
        let asked = fs::read_to_string(ASKED).unwrap_or_default();
        let line = asked.lines().find(|line| line.starts_with("-a -q -b -- "));
        let words: Vec<&str> = line.unwrap_or_default().split(' ').collect();
        let right = ["iptable_nat", "nft_chain_nat", "of_a_test", "xt_statistic"];
        let all = right.iter().all(|name| words.contains(name));
        self.check("modules-are-asked-for", yes(all, || asked.clone()));
        let log = fs::read_to_string("/tmp/agent.log").unwrap();
        let told = log.lines().any(|line| line.contains(r#""event":"modules""#));
        self.check("modules-are-told", yes(told, || log.clone()));
    }
}
