//! Beacon, bridge and the client's proxy as programs, each in its network.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use crate::{
    bao::Bao,
    netns::{Network, Networks, RELAY_ADDRESS},
    scratch::{Scratch, until},
};

/// Far more than anything takes, in an emulated machine too.
const PATIENCE: Duration = Duration::from_secs(300);

/// A program that ends with the test.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    pub(crate) fn start(network: &Network, mut command: Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).env_clear();
        let child = network.within(move || command.spawn().expect("a program"));
        Self { child, log }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// What it has written to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line that has this text.
    pub fn until_logged(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "no {text:?} within {PATIENCE:?} in: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(self.pid()), signal).expect("it runs");
    }

    /// Sends a signal and waits for the end; the exit code, `None` where a signal ended it.
    pub fn end(&mut self, signal: Signal) -> Option<i32> {
        signal::kill(Pid::from_raw(self.pid()), signal).expect("it runs");
        until("its end", PATIENCE, || self.child.try_wait().expect("a child")).code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The whole road.
#[derive(Debug)]
pub struct Road {
    /// Joins.
    pub beacon: Program,
    /// Beside OpenBao.
    pub bridge: Program,
    /// In the cluster, where it listens on the port that OpenBao has in the EU: a proxy that is on
    /// the bridge's list, or the broker of an enrolled cluster.
    pub proxy: Program,
    /// Where all this is.
    pub networks: Networks,
    /// OpenBao.
    pub bao: Bao,
    scratch: Scratch,
}

impl Road {
    /// Makes keys and files with the programs' own verbs, and starts everything.
    #[must_use]
    pub fn start(networks: Networks) -> Self {
        let scratch = Scratch::new();
        let bao = networks.eu.within(Bao::start);
        write_files(scratch.path(), bao.port(), Admitted::ByList);
        let beacon = start_beacon(&networks, &scratch, 0);
        let bridge = start_bridge(&networks, &scratch, 0);
        let door = format!("--listen=127.0.0.1:{}", bao.port());
        let words = ["proxy", "--via", "client.toml", "--key", "client.pem", &door];
        let proxy = verb("cloudtaser-bridge", &words, &scratch);
        let proxy = Program::start(&networks.cluster, proxy, scratch.path().join("proxy.log"));
        proxy.until_logged("proxy listens");
        Self { beacon, bridge, proxy, networks, bao, scratch }
    }

    /// The same with a cluster that is invited, joins through the beacon, is approved, and has a
    /// broker.
    #[must_use]
    pub fn start_enrolled(networks: Networks) -> Self {
        let scratch = Scratch::new();
        let bao = networks.eu.within(Bao::start);
        write_files(scratch.path(), bao.port(), Admitted::ByEnrolment);
        let beacon = start_beacon(&networks, &scratch, 0);
        let bridge = start_bridge(&networks, &scratch, 0);
        let folder = scratch.path();
        let invitation = said(
            folder,
            "cloudtaser-bridge",
            &["invite", "--config", "bridge.toml", "--name", "prod"],
        );
        fs::write(folder.join("invitation"), &invitation).expect("a file");
        let words = ["join", "--state", "cluster", "--invitation", "invitation"];
        let joined = networks.cluster.within(|| said(folder, "cloudtaser-broker", &words));
        let key = joined.split_whitespace().find(|word| word.starts_with("ed25519:"));
        let key = key.expect("the cluster's key");
        said(folder, "cloudtaser-bridge", &["approve", "--config", "bridge.toml", key]);
        let proxy = start_broker(&networks, &scratch, bao.port(), 0);
        // It has none before: nobody had approved the cluster when it joined.
        proxy.until_logged("the certificate was renewed");
        Self { beacon, bridge, proxy, networks, bao, scratch }
    }

    /// Another bridge in the place of the one that is there.
    pub fn restart_bridge(&mut self) {
        self.bridge = start_bridge(&self.networks, &self.scratch, 1);
    }

    /// Another broker in the place of the one that is there.
    pub fn restart_broker(&mut self) {
        self.proxy = start_broker(&self.networks, &self.scratch, self.bao.port(), 1);
    }

    /// What a verb of the bridge prints, in the road's folder.
    #[must_use]
    pub fn bridge_says(&self, words: &[&str]) -> String {
        said(self.scratch.path(), "cloudtaser-bridge", words)
    }

    /// Another beacon in the place of the one that is there.
    pub fn restart_beacon(&mut self) {
        self.beacon = start_beacon(&self.networks, &self.scratch, 1);
    }

    /// A file that was made for the road.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.scratch.path().join(name)).expect("a file of the road")
    }
}

pub(crate) fn start_beacon(networks: &Networks, scratch: &Scratch, number: u8) -> Program {
    start_beacon_of(networks, scratch, "beacon", number.into())
}

/// A beacon by the name of its configuration.
pub(crate) fn start_beacon_of(
    networks: &Networks,
    scratch: &Scratch,
    name: &str,
    number: u32,
) -> Program {
    let config = format!("{name}.toml");
    let command = verb("cloudtaser-beacon", &["serve", "--config", &config], scratch);
    let log = scratch.path().join(format!("{name}{number}.log"));
    let beacon = Program::start(&networks.relay, command, log);
    beacon.until_logged("beacon listens");
    beacon
}

fn start_bridge(networks: &Networks, scratch: &Scratch, number: u8) -> Program {
    let command = verb("cloudtaser-bridge", &["serve", "--config", "bridge.toml"], scratch);
    let log = scratch.path().join(format!("bridge{number}.log"));
    let bridge = Program::start(&networks.eu, command, log);
    bridge.until_logged("registered");
    bridge
}

fn start_broker(networks: &Networks, scratch: &Scratch, port: u16, number: u8) -> Program {
    let door = format!("--door=127.0.0.1:{port}");
    let words = ["serve", "--state", "cluster", "--listen", "127.0.0.1:7443", &door];
    let log = scratch.path().join(format!("broker{number}.log"));
    let command = verb("cloudtaser-broker", &words, scratch);
    let broker = Program::start(&networks.cluster, command, log);
    broker.until_logged("broker listens");
    broker
}

/// How the bridge knows its clients.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Admitted {
    ByEnrolment,
    ByList,
}

/// What a program of the road prints.
pub(crate) fn said(folder: &Path, program: &str, words: &[&str]) -> String {
    let output = Command::new(of_the_road(program)).args(words).current_dir(folder).output();
    let output = output.expect("a program of the road");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

fn write_files(folder: &Path, openbao_port: u16, admitted: Admitted) {
    let say = |program: &str, words: &[&str]| said(folder, program, words);
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
    let beacon_key = say("cloudtaser-beacon", &["keygen", "beacon.pem"]);
    let bridge_key = say("cloudtaser-bridge", &["init", "."]);
    let client_key = say("cloudtaser-bridge", &["keygen", "client.pem"]);
    let [beacon_key, bridge_key, client_key] =
        [&beacon_key, &bridge_key, &client_key].map(|key| key.trim());
    let beacon = format!(
        "listen = \"{RELAY_ADDRESS}:443\"\nadmin = \"127.0.0.1:9443\"\nkey_file = \"beacon.pem\"\n\
         bridges = [\"{bridge_key}\"]\n[limits]\ndrain_seconds = 5\n"
    );
    write("beacon.toml", &beacon);
    let (enrolment, client) = match admitted {
        Admitted::ByEnrolment => ("enrolment = \"enrolment\"\n", String::new()),
        Admitted::ByList => {
            ("", format!("[[client]]\nname = \"cluster\"\nkey = \"{client_key}\"\n"))
        }
    };
    let bridge = format!(
        "key_file = \"bridge.pem\"\nticket_file = \"tickets.hex\"\n\
         openbao = \"127.0.0.1:{openbao_port}\"\n{enrolment}\
         [[beacon]]\naddress = \"{RELAY_ADDRESS}:443\"\ndomain = \"beacon.example\"\n\
         key = \"{beacon_key}\"\n{client}"
    );
    write("bridge.toml", &bridge);
    for (program, config) in
        [("cloudtaser-beacon", "beacon.toml"), ("cloudtaser-bridge", "bridge.toml")]
    {
        say(program, &["check-config", config]);
    }
    if admitted == Admitted::ByList {
        let words = ["admit", "--config", "bridge.toml", "--client-key", client_key];
        write("client.toml", &say("cloudtaser-bridge", &words));
    }
}

pub(crate) fn verb(program: &str, words: &[&str], scratch: &Scratch) -> Command {
    let mut command = Command::new(of_the_road(program));
    command.args(words).current_dir(scratch.path());
    command
}

/// A built program of the road: named by a variable, or where `cargo xtask test` builds it.
#[must_use]
pub fn of_the_road(program: &str) -> PathBuf {
    use cloudtaser_core::names::{ENV_BEACON, ENV_BRIDGE, ENV_BROKER};
    let variable = match program {
        "cloudtaser-beacon" => ENV_BEACON,
        "cloudtaser-broker" => ENV_BROKER,
        _ => ENV_BRIDGE,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("target/x86_64-unknown-linux-musl/cluster").join(program);
    env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| path.is_file().then_some(path))
        .unwrap_or_else(|| panic!("no {program}: run by `cargo xtask test`, or set {variable}"))
}
