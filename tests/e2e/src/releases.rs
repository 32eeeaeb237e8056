//! Beacon and a bridge that releases, beside an OpenBao with a JWT method, each in its network.

mod beacons;
mod reverse;

use std::{fs, path::PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

pub use self::beacons::Beacons;
use crate::{
    bao::Bao,
    issuer::{self, Issuer, Pod},
    launch::{Launch, Output},
    netns::{Networks, RELAY_ADDRESS, SECOND_ADDRESS},
    programs::cli,
    road::{Program, said, start_beacon, start_beacon_of, verb},
    scratch::Scratch,
};

/// The role of every workload.
const ROLE: &str = "app";

/// A policy: everything below `shop` to its accounts.
pub const SHOP: &str = r#"
[[rule]]
name = "shop"
paths = ["secret/shop"]
identities = ["eu:shop/*"]
"#;

/// An app that tells that it runs, and ends with its standard input.
pub const WAITS: [&str; 3] = ["sh", "-c", "echo \"got $S\"; read -r _; :"];

/// The road of releases.
#[derive(Debug)]
pub struct Releases {
    /// Joins.
    pub beacon: Program,
    /// Joins as well, where there are two.
    pub second: Option<Program>,
    /// Releases.
    pub bridge: Program,
    /// Where all this is.
    pub networks: Networks,
    /// OpenBao.
    pub bao: Bao,
    /// Whose tokens are accepted.
    pub issuer: Issuer,
    scratch: Scratch,
    starts: u32,
    enrolled: Option<Enrolled>,
}

/// A cluster that has a broker.
#[derive(Debug)]
struct Enrolled {
    /// None where it is the beacon as well.
    broker: Option<Program>,
    address: String,
    bridge_key: String,
    cluster_key: String,
}

/// Where the broker listens.
const BROKER: &str = "127.0.0.1:7443";
/// The configurations of the beacons.
const FIRST: &str = "beacon";
const SECOND: &str = "second";
/// The name of the client, or of the cluster.
const CLIENT: &str = "prod";

/// How the bridge knows its clients.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Admitted {
    ByEnrolment,
    ByList,
    /// By enrolment, at a broker that the bridge dials.
    InReverse,
    /// By a list, and at two beacons.
    AtTwoBeacons,
}

impl Releases {
    /// That an app which says `got` and its secret was given this value.
    ///
    /// # Panics
    /// Where it was not, with what the bridge says of it.
    #[track_caller]
    pub fn gave(&self, output: &Output, value: &str) {
        let told = || format!("{}\nbridge: {}", output.stderr, self.bridge.log());
        assert_eq!(output.code(), 0, "{}", told());
        assert_eq!(output.text(), format!("got {value}\n"), "{}", told());
    }

    /// Starts one in networks of its own; where that cannot be, it says why, as a test that skips.
    #[expect(clippy::print_stdout, reason = "a skip is read from a test's output")]
    pub fn or_skip(start: impl FnOnce(Networks) -> Option<Self>) -> Option<Self> {
        let networks = Networks::make();
        let networks = networks.inspect_err(|why| println!("SKIP: no network namespaces: {why}"));
        let road = start(networks.ok()?);
        if road.is_none() {
            println!("SKIP: openssl, which makes keys, is not installed");
        }
        road
    }

    /// Starts everything with this policy; `None` where `openssl` is not installed.
    #[must_use]
    pub fn start(networks: Networks, policy: &str) -> Option<Self> {
        let bao = networks.eu.within(Bao::start);
        Self::start_with(networks, bao, policy, Admitted::ByList)
    }

    /// The same with two beacons, and an OpenBao that can be killed and comes back with what it had.
    #[must_use]
    pub fn start_lasting(networks: Networks, policy: &str) -> Option<Self> {
        let bao = networks.eu.within(Bao::start_durable)?;
        Self::start_with(networks, bao, policy, Admitted::AtTwoBeacons)
    }

    /// The same with a cluster that is invited, joins, is approved, and has a broker.
    #[must_use]
    pub fn start_enrolled(networks: Networks, policy: &str) -> Option<Self> {
        let bao = networks.eu.within(Bao::start);
        let mut road = Self::start_with(networks, bao, policy, Admitted::ByEnrolment)?;
        let folder = road.scratch.path();
        let words = ["invite", "--config", "bridge.toml", "--name", CLIENT];
        fs::write(folder.join("invitation"), said(folder, "cloudtaser-bridge", &words)).ok()?;
        let words = ["join", "--state", "cluster", "--invitation", "invitation"];
        let joined = road.networks.cluster.within(|| said(folder, "cloudtaser-broker", &words));
        let key = joined.split_whitespace().find(|word| word.starts_with("ed25519:"));
        let cluster_key = key.expect("the cluster's key").to_owned();
        let words = ["approve", "--config", "bridge.toml", &cluster_key];
        said(folder, "cloudtaser-bridge", &words);
        let words = ["serve", "--state", "cluster", "--listen", BROKER];
        let command = verb("cloudtaser-broker", &words, &road.scratch);
        let broker = Program::start(&road.networks.cluster, command, folder.join("broker.log"));
        broker.until_logged("broker listens");
        broker.until_logged("the certificate was renewed");
        let bridge_key = fs::read_to_string(folder.join("bridge.key")).expect("a key");
        let (broker, address) = (Some(broker), BROKER.to_owned());
        road.enrolled = Some(Enrolled { broker, address, bridge_key, cluster_key });
        Some(road)
    }

    /// The same with a cluster that is yet to come, for a broker of the test's own: an invitation that
    /// is approved beforehand, and the bridge's key.
    #[must_use]
    pub fn start_inviting(networks: Networks, policy: &str) -> Option<(Self, String, String)> {
        let bao = networks.eu.within(Bao::start);
        let road = Self::start_with(networks, bao, policy, Admitted::ByEnrolment)?;
        let folder = road.scratch.path();
        let words = ["invite", "--config", "bridge.toml", "--name", CLIENT, "--approved"];
        let invitation = said(folder, "cloudtaser-bridge", &words);
        let bridge_key = fs::read_to_string(folder.join("bridge.key")).expect("a key");
        Some((road, invitation.trim().to_owned(), bridge_key))
    }

    /// Has the bridge believe no token before keys were shown to it and approved, and starts it anew.
    pub fn forget_keys(&mut self) {
        let file = self.scratch.path().join("bridge.toml");
        let config = fs::read_to_string(&file).expect("the configuration");
        fs::write(&file, config.replace("jwks_file = \"jwks.json\"\n", "")).expect("a file");
        self.restart_bridge(Signal::SIGTERM);
    }

    /// From now on launches go by the broker at this address, of the cluster with this key.
    pub fn go_by(&mut self, address: String, cluster_key: String) {
        let bridge_key = fs::read_to_string(self.scratch.path().join("bridge.key"));
        let bridge_key = bridge_key.expect("a key");
        self.enrolled = Some(Enrolled { broker: None, address, bridge_key, cluster_key });
    }

    /// The broker of an enrolled cluster.
    #[must_use]
    pub fn broker(&self) -> &Program {
        let enrolled = self.enrolled.as_ref().expect("an enrolled cluster");
        enrolled.broker.as_ref().unwrap_or(&self.beacon)
    }

    /// Puts the cluster out.
    pub fn revoke(&self) {
        let key = &self.enrolled.as_ref().expect("an enrolled cluster").cluster_key;
        let words = ["revoke", "--config", "bridge.toml", key];
        said(self.scratch.path(), "cloudtaser-bridge", &words);
    }

    fn start_with(networks: Networks, bao: Bao, policy: &str, admitted: Admitted) -> Option<Self> {
        let scratch = Scratch::new();
        let issuer = Issuer::make(scratch.path())?;
        networks.eu.within(|| accept(&bao, &issuer));
        write_files(&scratch, &bao, admitted);
        fs::write(scratch.path().join("policy.toml"), policy).expect("a file");
        let beacon = start_beacon(&networks, &scratch, 0);
        let second = (admitted == Admitted::AtTwoBeacons)
            .then(|| start_beacon_of(&networks, &scratch, SECOND, 0));
        let bridge = start_bridge(&networks, &scratch, 0);
        if second.is_some() {
            crate::scratch::until("both beacons", std::time::Duration::from_secs(60), || {
                (bridge.log().matches("registered").count() == 2).then_some(())
            });
        }
        let (starts, enrolled) = (0, None);
        Some(Self { beacon, second, bridge, networks, bao, issuer, scratch, starts, enrolled })
    }

    /// Ends the bridge by this signal and starts it again.
    pub fn restart_bridge(&mut self, signal: Signal) {
        self.stop_bridge(signal);
        self.start_bridge_again();
    }

    /// Kills the first beacon, or the second.
    pub fn kill_beacon(&mut self, which: usize) {
        let beacon = if which == 0 { Some(&mut self.beacon) } else { self.second.as_mut() };
        beacon.expect("a beacon").end(Signal::SIGKILL);
    }

    /// Starts a beacon that was ended again.
    pub fn start_beacon_again(&mut self, which: usize) {
        self.starts += 1;
        let (networks, scratch, starts) = (&self.networks, &self.scratch, self.starts);
        match which {
            0 => self.beacon = start_beacon_of(networks, scratch, FIRST, starts),
            _ => self.second = Some(start_beacon_of(networks, scratch, SECOND, starts)),
        }
    }

    /// What `cloudtaser-bridge status` prints.
    #[must_use]
    pub fn status(&self) -> String {
        let words = ["status", "--config", "bridge.toml"];
        self.networks.eu.within(|| said(self.scratch.path(), "cloudtaser-bridge", &words))
    }

    /// Ends the bridge.
    pub fn stop_bridge(&mut self, signal: Signal) {
        self.bridge.end(signal);
    }

    /// Starts it again, whether a beacon is there or not.
    pub fn start_bridge_unregistered(&mut self) {
        self.starts += 1;
        self.bridge = begin_bridge(&self.networks, &self.scratch, self.starts);
    }

    /// Waits until the bridge is at every beacon that is there, as they say themselves.
    pub fn until_registered(&self) {
        for beacon in [Some(&self.beacon), self.second.as_ref()].into_iter().flatten() {
            beacon.until_logged("bridge registered");
        }
    }

    /// Starts it again.
    pub fn start_bridge_again(&mut self) {
        self.starts += 1;
        self.bridge = start_bridge(&self.networks, &self.scratch, self.starts);
    }

    /// Replaces the policy and has it read.
    pub fn policy(&self, text: &str) {
        let before = self.bridge.log().matches("policy").count();
        fs::write(self.scratch.path().join("policy.toml"), text).expect("a file");
        self.bridge.signal(Signal::SIGHUP);
        crate::scratch::until("the policy", std::time::Duration::from_secs(30), || {
            (self.bridge.log().matches("policy").count() > before).then_some(())
        });
    }

    /// A verb of the bridge, in its folder; gives its output, or its error's words.
    ///
    /// # Errors
    /// What it said.
    pub fn bridge_verb(&self, words: &[&str]) -> Result<String, String> {
        let output = verb("cloudtaser-bridge", words, &self.scratch).output().expect("the bridge");
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).expect("text"))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Writes a file into the bridge's folder.
    pub fn file(&self, name: &str, text: &str) {
        fs::write(self.scratch.path().join(name), text).expect("a file");
    }

    /// Has OpenBao believe tokens by these keys, in PEM, with commas between them.
    pub fn openbao_believes(&self, keys: &str) {
        let keys: Vec<&str> = keys.split(",\n").collect();
        let config = json!({ "jwt_validation_pubkeys": keys });
        self.networks.eu.within(|| self.bao.api("POST", "auth/jwt/config", &config));
    }

    /// Where its files are, the bridge's state among them.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// What a verb of the bridge prints there.
    #[must_use]
    pub fn bridge_says(&self, words: &[&str]) -> String {
        said(self.scratch.path(), "cloudtaser-bridge", words)
    }

    /// Adds to the bridge's configuration and starts it anew.
    pub fn configure(&mut self, more: &str) {
        let file = self.scratch.path().join("bridge.toml");
        let mut config = fs::read_to_string(&file).expect("the configuration");
        config.push_str(more);
        fs::write(&file, config).expect("a file");
        self.restart_bridge(Signal::SIGTERM);
    }

    /// Makes the bridge OpenBao's only audit device.
    pub fn hear_openbao(&mut self) {
        self.configure("[release.audit]\nsocket = \"audit.sock\"\npatience_seconds = 10\n");
        self.bridge.until_logged("audit device is heard");
        let address = self.scratch.path().join("audit.sock").display().to_string();
        let options = json!({ "socket_type": "unix", "address": address });
        let device = json!({ "type": "socket", "options": options });
        self.networks.eu.within(|| self.bao.api("PUT", "sys/audit/bridge", &device));
    }

    /// Lets the client have so many sessions at once, and starts the bridge anew.
    pub fn let_in(&mut self, sessions: u16) {
        let folder = self.scratch.path();
        let file = folder.join("bridge.toml");
        let config = fs::read_to_string(&file).expect("the configuration");
        let more = format!("drain_seconds = 2\nmax_sessions = {sessions}\n");
        fs::write(&file, config.replace("drain_seconds = 2\n", &more)).expect("a file");
        let key = fs::read_to_string(folder.join("client.key")).expect("a key");
        let most = format!("--max-tunnels={sessions}");
        let words =
            ["admit", "--json", "--config", "bridge.toml", "--client-key", key.trim(), &most];
        let admitted = said(folder, "cloudtaser-bridge", &words);
        fs::write(self.client_file(), admitted).expect("a file");
        self.restart_bridge(Signal::SIGTERM);
    }

    /// The file with which the client finds the bridge; its key lies beside it.
    #[must_use]
    pub fn client_file(&self) -> PathBuf {
        self.scratch.path().join("client.json")
    }

    /// Has the bridge read along in OpenBao's audit log, and starts it anew.
    pub fn tell_of_changes(&mut self) {
        let file = self.scratch.path().join("bridge.toml");
        let config = fs::read_to_string(&file).expect("the configuration");
        let audit = self.bao.audit_log();
        let more = format!("state_dir = \"state\"\nopenbao_audit = \"{}\"\n", audit.display());
        fs::write(&file, config.replace("state_dir = \"state\"\n", &more)).expect("a file");
        self.restart_bridge(Signal::SIGTERM);
        self.bridge.until_logged("new values are told of");
    }

    /// A file with a token of a pod.
    #[must_use]
    pub fn token_file(&self, name: &str, token: &str) -> PathBuf {
        self.scratch.credential(name, token)
    }

    /// A launch of a pod, with this token.
    #[must_use]
    pub fn launch(&self, token_file: &std::path::Path) -> Launch {
        let file = |name: &str| self.scratch.path().join(name);
        let launch = Launch::wrapped_bare()
            .flag("--quiet")
            .env("VAULT_ROLE", ROLE)
            .env("VAULT_JWT_FILE", token_file);
        match &self.enrolled {
            None => launch
                .env("CLOUDTASER_VIA", file("client.json"))
                .env("CLOUDTASER_VIA_KEY", file("client.pem")),
            Some(enrolled) => launch
                .env("CLOUDTASER_BRIDGE_KEY", &enrolled.bridge_key)
                .env("CLOUDTASER_BROKER_ADDR", &enrolled.address),
        }
    }

    /// A launch of this pod with a token of its own.
    #[must_use]
    pub fn launch_of(&self, pod: &Pod) -> Launch {
        let token = self.issuer.token(pod, 3600);
        self.launch(&self.token_file(pod.uid(), &token))
    }

    /// The text of the audit file, and its lines.
    #[must_use]
    pub fn audit(&self) -> (String, Vec<Value>) {
        let text = fs::read_to_string(self.scratch.path().join("state/audit.jsonl"));
        let text = text.expect("an audit file");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        (text, lines)
    }

    /// What `cloudtaser evidence` prints in the bridge's folder.
    ///
    /// # Errors
    /// What it says where it fails.
    pub fn evidence(&self, words: &[&str]) -> Result<String, String> {
        self.cli("evidence", words)
    }

    /// Runs a verb of the command line in the scratch folder; gives its output, or its error's words.
    ///
    /// # Errors
    /// What it said.
    pub fn cli(&self, verb: &str, words: &[&str]) -> Result<String, String> {
        let mut command = std::process::Command::new(cli());
        let output = command.arg(verb).args(words).current_dir(self.scratch.path()).output();
        let output = output.expect("the command line");
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).expect("text"))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The hash by which the audit file names a path.
    #[must_use]
    pub fn path_hash(&self, path: &str) -> String {
        let words = ["audit-hash", "--config", "bridge.toml", path];
        said(self.scratch.path(), "cloudtaser-bridge", &words).trim().to_owned()
    }

    /// Writes a secret.
    pub fn put(&self, path: &str, fields: &Value) {
        self.bao.put_within(&self.networks.eu, path, fields);
    }

    /// The address of the beacon.
    #[must_use]
    pub fn beacon_address(&self) -> String {
        format!("{RELAY_ADDRESS}:443")
    }
}

fn start_bridge(networks: &Networks, scratch: &Scratch, number: u32) -> Program {
    let bridge = begin_bridge(networks, scratch, number);
    bridge.until_logged("registered");
    bridge
}

fn begin_bridge(networks: &Networks, scratch: &Scratch, number: u32) -> Program {
    let command = verb("cloudtaser-bridge", &["serve", "--config", "bridge.toml"], scratch);
    let log = scratch.path().join(format!("bridge{number}.log"));
    Program::start(&networks.eu, command, log)
}

fn accept(bao: &Bao, issuer: &Issuer) {
    bao.api("POST", "sys/auth/jwt", &json!({ "type": "jwt" }));
    bao.api("POST", "auth/jwt/config", &json!({ "jwt_validation_pubkeys": [issuer.public()] }));
    let role = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": [issuer::AUDIENCE],
        "token_policies": [ROLE], "token_ttl": "1h",
    });
    bao.api("POST", &format!("auth/jwt/role/{ROLE}"), &role);
    let mut short = role;
    short["token_ttl"] = json!("3s");
    short["token_explicit_max_ttl"] = json!("5s");
    bao.api("POST", "auth/jwt/role/short", &short);
}

fn write_files(scratch: &Scratch, bao: &Bao, admitted: Admitted) {
    let folder = scratch.path();
    let say = |program: &str, words: &[&str]| said(folder, program, words).trim().to_owned();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
    let bridge_key = say("cloudtaser-bridge", &["init", "."]);
    let client_key = say("cloudtaser-bridge", &["keygen", "client.pem"]);
    let beacons = beacons(admitted, &bridge_key, &say, &write);
    let (enrolment, client) = match admitted {
        Admitted::ByEnrolment | Admitted::InReverse => {
            ("enrolment = \"enrolment\"\n", String::new())
        }
        Admitted::ByList | Admitted::AtTwoBeacons => {
            ("", format!("[[client]]\nname = \"{CLIENT}\"\nkey = \"{client_key}\"\n"))
        }
    };
    write("bridge.key", &bridge_key);
    write("client.key", &client_key);
    let bridge = format!(
        "key_file = \"bridge.pem\"\nticket_file = \"tickets.hex\"\n\
         openbao = \"127.0.0.1:{port}\"\ndrain_seconds = 2\n{enrolment}\
         {beacons}{client}\
         [release]\nopenbao = \"{url}\"\nca_file = \"{ca}\"\npolicy_file = \"policy.toml\"\n\
         state_dir = \"state\"\n[[release.issuer]]\nname = \"eu\"\nclient = \"{CLIENT}\"\n\
         issuer = \"{issuer}\"\naudience = \"{audience}\"\njwks_file = \"jwks.json\"\n",
        port = bao.port(),
        url = bao.url(),
        ca = bao.ca().display(),
        issuer = issuer::NAME,
        audience = issuer::AUDIENCE,
    );
    write("bridge.toml", &bridge);
    say("cloudtaser-bridge", &["check-config", "bridge.toml"]);
    if matches!(admitted, Admitted::ByList | Admitted::AtTwoBeacons) {
        let words = ["admit", "--json", "--config", "bridge.toml", "--client-key", &client_key];
        write("client.json", &say("cloudtaser-bridge", &words));
    }
}

/// The beacons' own files, and what of them is in the bridge's configuration.
fn beacons(
    admitted: Admitted,
    bridge_key: &str,
    say: &dyn Fn(&str, &[&str]) -> String,
    write: &dyn Fn(&str, &str),
) -> String {
    if admitted == Admitted::InReverse {
        let address = format!("{RELAY_ADDRESS}:443");
        let words = ["endpoint", "--state", "cluster", "--address", &address];
        return say("cloudtaser-broker", &words) + "\n";
    }
    let key = say("cloudtaser-beacon", &["keygen", "beacon.pem"]);
    let beacon = format!(
        "listen = \"{RELAY_ADDRESS}:443\"\nkey_file = \"beacon.pem\"\n\
         bridges = [\"{bridge_key}\"]\n[limits]\ndrain_seconds = 5\n"
    );
    write("beacon.toml", &beacon);
    let mut beacons = listed(RELAY_ADDRESS, &key);
    if admitted == Admitted::AtTwoBeacons {
        let key = say("cloudtaser-beacon", &["keygen", "second.pem"]);
        let second = beacon.replace(RELAY_ADDRESS, SECOND_ADDRESS);
        write("second.toml", &second.replace("beacon.pem", "second.pem"));
        beacons.push_str(&listed(SECOND_ADDRESS, &key));
    }
    beacons
}

/// A beacon in the bridge's configuration.
fn listed(address: &str, key: &str) -> String {
    format!(
        "[[beacon]]\naddress = \"{address}:443\"\ndomain = \"beacon.example\"\nkey = \"{key}\"\n"
    )
}
