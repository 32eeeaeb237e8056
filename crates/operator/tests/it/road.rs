//! A beacon and a bridge as programs, on the loopback: what an operator finds at the other end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use cloudtaser_e2e::{Scratch, until};
use serde_json::Value;

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(90);

/// A program of the road, and what it has logged.
struct Served {
    child: Child,
    log: PathBuf,
}

impl Served {
    /// Starts it, and waits for a line; that line.
    fn start(folder: &Path, program: &str, config: &str, line: &str) -> (Self, Value) {
        let log = folder.join(format!("{program}.log"));
        let child = Command::new(cloudtaser_e2e::of_the_road(program))
            .args(["serve", "--config", config])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let served = Self { child, log };
        let found = until(line, PATIENCE, || {
            let text = served.log();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.into_iter().find(|each| each["message"] == line)
        });
        (served, found)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The road.
pub(crate) struct Road {
    folder: Scratch,
    /// The bridge's key.
    pub(crate) key: String,
    beacon: Served,
    bridge: Option<Served>,
}

impl Road {
    pub(crate) fn start() -> Self {
        Self::with(&|_beacon| String::new(), "")
    }

    /// One whose beacon is in the cluster: bridges dial one address of it, and clients another, which
    /// they are told.
    pub(crate) fn start_reverse() -> Self {
        let clients = |listens: &Value| {
            let shown = listens["clients"].as_str().unwrap();
            let address = shown.trim_start_matches("Some(").trim_end_matches(')');
            format!("clients = \"{address}\"\n")
        };
        Self::with(&clients, "clients = \"127.0.0.1:0\"\n")
    }

    /// With this of the beacon's line in the bridge's file, and these words in the beacon's.
    fn with(told: &dyn Fn(&Value) -> String, words: &str) -> Self {
        let folder = Scratch::new();
        let path = folder.path();
        let beacon_key = said(path, "cloudtaser-beacon", &["keygen", "beacon.pem"]);
        let key = said(path, "cloudtaser-bridge", &["init", "."]);
        let beacon = format!(
            "listen = \"127.0.0.1:0\"\n{words}key_file = \"beacon.pem\"\nbridges = [\"{key}\"]\n"
        );
        fs::write(path.join("beacon.toml"), beacon).unwrap();
        let (beacon, listens) =
            Served::start(path, "cloudtaser-beacon", "beacon.toml", "beacon listens");
        let address = listens["address"].as_str().unwrap();
        let bridge = format!(
            "key_file = \"bridge.pem\"\nticket_file = \"tickets.hex\"\nopenbao = \"127.0.0.1:1\"\n\
             enrolment = \"enrolment\"\ndrain_seconds = 1\n[[beacon]]\naddress = \"{address}\"\n\
             domain = \"beacon.example\"\nkey = \"{beacon_key}\"\n{}",
            told(&listens)
        );
        fs::write(path.join("bridge.toml"), bridge).unwrap();
        let mut road = Self { key, beacon, bridge: None, folder };
        road.open();
        road
    }

    /// Whether the beacon has logged this.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        self.beacon.log().contains(text)
    }

    /// Starts the bridge.
    pub(crate) fn open(&mut self) {
        let path = self.folder.path();
        let bridge = Served::start(path, "cloudtaser-bridge", "bridge.toml", "registered");
        self.bridge = Some(bridge.0);
    }

    /// Takes the bridge away.
    pub(crate) fn close(&mut self) {
        self.bridge = None;
    }

    /// What a verb of the bridge prints.
    pub(crate) fn says(&self, verb: &str, words: &[&str]) -> String {
        let words = [&[verb, "--config", "bridge.toml"], words].concat();
        said(self.folder.path(), "cloudtaser-bridge", &words)
    }

    /// An invitation.
    pub(crate) fn invite(&self, name: &str, more: &[&str]) -> String {
        self.says("invite", &[&["--name", name], more].concat())
    }

    /// Clusters that the bridge knows, with their standing.
    pub(crate) fn clusters(&self) -> Vec<(String, String)> {
        let status: Value = serde_json::from_str(&self.says("status", &["--json"])).unwrap();
        let text = |cluster: &Value, field: &str| cluster[field].as_str().unwrap().to_owned();
        let clusters = status["clusters"].as_array().unwrap();
        clusters.iter().map(|one| (text(one, "key"), text(one, "standing"))).collect()
    }
}

fn said(folder: &Path, program: &str, words: &[&str]) -> String {
    let output =
        Command::new(cloudtaser_e2e::of_the_road(program)).args(words).current_dir(folder).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
