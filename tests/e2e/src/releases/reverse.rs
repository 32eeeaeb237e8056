//! The road in reverse: the bridge dials the broker, which stands where both can reach it.

use std::fs;

use nix::sys::signal::Signal;

use super::{Admitted, CLIENT, Enrolled, Releases, accept, begin_bridge, write_files};
use crate::{
    bao::Bao,
    issuer::Issuer,
    netns::{Networks, RELAY_ADDRESS},
    road::{Program, said, verb},
    scratch::Scratch,
};

impl Releases {
    /// Starts everything; the broker is where a beacon would be, and `None` where `openssl` is not
    /// installed.
    #[must_use]
    pub fn start_reverse(networks: Networks, policy: &str) -> Option<Self> {
        let bao = networks.eu.within(Bao::start);
        let scratch = Scratch::new();
        let issuer = Issuer::make(scratch.path())?;
        networks.eu.within(|| accept(&bao, &issuer));
        write_files(&scratch, &bao, Admitted::InReverse);
        let folder = scratch.path();
        fs::write(folder.join("policy.toml"), policy).ok()?;
        // It dials an address at which nobody is yet.
        let bridge = begin_bridge(&networks, &scratch, 0);
        let words = ["invite", "--config", "bridge.toml", "--name", CLIENT];
        fs::write(folder.join("invitation"), said(folder, "cloudtaser-bridge", &words)).ok()?;
        let listen = format!("{RELAY_ADDRESS}:443");
        let mut words = vec!["join", "--state", "cluster", "--invitation", "invitation"];
        words.extend(["--bridge-listen", &listen]);
        let joined = networks.relay.within(|| said(folder, "cloudtaser-broker", &words));
        let key = joined.split_whitespace().find(|word| word.starts_with("ed25519:"));
        let cluster_key = key.expect("the cluster's key").to_owned();
        said(folder, "cloudtaser-bridge", &["approve", "--config", "bridge.toml", &cluster_key]);
        let bridge_key = fs::read_to_string(folder.join("bridge.key")).expect("a key");
        let broker = start_broker(&networks, &scratch, 0);
        broker.until_logged("the certificate was renewed");
        let address = format!("{RELAY_ADDRESS}:7443");
        let enrolled = Some(Enrolled { broker: None, address, bridge_key, cluster_key });
        let (second, starts) = (None, 0);
        let beacon = broker;
        Some(Self { beacon, second, bridge, networks, bao, issuer, scratch, starts, enrolled })
    }

    /// Kills the broker that the bridge has dialled, and starts it again.
    pub fn restart_reverse_broker(&mut self) {
        self.starts += 1;
        self.beacon.end(Signal::SIGKILL);
        self.beacon = start_broker(&self.networks, &self.scratch, self.starts);
    }
}

fn start_broker(networks: &Networks, scratch: &Scratch, number: u32) -> Program {
    let [listen, bridges] = [7443, 443].map(|port| format!("{RELAY_ADDRESS}:{port}"));
    let words = ["serve", "--state", "cluster", "--listen", &listen, "--bridge-listen", &bridges];
    let log = scratch.path().join(format!("broker{number}.log"));
    let broker = Program::start(&networks.relay, verb("cloudtaser-broker", &words, scratch), log);
    broker.until_logged("broker listens");
    broker
}
