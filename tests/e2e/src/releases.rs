//! Beacon and a bridge that releases, beside an OpenBao with a JWT method, each in its network.

use std::{fs, path::PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    bao::Bao,
    issuer::{self, Issuer, Pod},
    launch::Launch,
    netns::{Networks, RELAY_ADDRESS},
    road::{Program, said, start_beacon, verb},
    scratch::Scratch,
};

/// The role of every workload.
const ROLE: &str = "app";

/// The road of releases.
#[derive(Debug)]
pub struct Releases {
    /// Joins.
    pub beacon: Program,
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
}

impl Releases {
    /// Starts everything with this policy; `None` where `openssl` is not installed.
    #[must_use]
    pub fn start(networks: Networks, policy: &str) -> Option<Self> {
        let scratch = Scratch::new();
        let bao = networks.eu.within(Bao::start);
        let issuer = Issuer::make(scratch.path())?;
        networks.eu.within(|| accept(&bao, &issuer));
        write_files(&scratch, &bao);
        fs::write(scratch.path().join("policy.toml"), policy).expect("a file");
        let beacon = start_beacon(&networks, &scratch, 0);
        beacon.until_logged("beacon listens");
        let bridge = start_bridge(&networks, &scratch, 0);
        Some(Self { beacon, bridge, networks, bao, issuer, scratch, starts: 0 })
    }

    /// Ends the bridge by this signal and starts it again.
    pub fn restart_bridge(&mut self, signal: Signal) {
        self.stop_bridge(signal);
        self.start_bridge_again();
    }

    /// Ends the bridge.
    pub fn stop_bridge(&mut self, signal: Signal) {
        self.bridge.end(signal);
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

    /// A file with a token of a pod.
    #[must_use]
    pub fn token_file(&self, name: &str, token: &str) -> PathBuf {
        self.scratch.credential(name, token)
    }

    /// A launch of a pod, with this token.
    #[must_use]
    pub fn launch(&self, token_file: &std::path::Path) -> Launch {
        let file = |name: &str| self.scratch.path().join(name);
        Launch::wrapped_bare()
            .flag("--quiet")
            .env("CLOUDTASER_VIA", file("client.json"))
            .env("CLOUDTASER_VIA_KEY", file("client.pem"))
            .env("VAULT_ROLE", ROLE)
            .env("VAULT_JWT_FILE", token_file)
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
    let command = verb("cloudtaser-bridge", &["serve", "--config", "bridge.toml"], scratch);
    let log = scratch.path().join(format!("bridge{number}.log"));
    let bridge = Program::start(&networks.eu, command, log);
    bridge.until_logged("registered");
    bridge
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

fn write_files(scratch: &Scratch, bao: &Bao) {
    let folder = scratch.path();
    let say = |program: &str, words: &[&str]| said(folder, program, words).trim().to_owned();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
    let beacon_key = say("cloudtaser-beacon", &["keygen", "beacon.pem"]);
    let bridge_key = say("cloudtaser-bridge", &["init", "."]);
    let client_key = say("cloudtaser-bridge", &["keygen", "client.pem"]);
    let beacon = format!(
        "listen = \"{RELAY_ADDRESS}:443\"\nkey_file = \"beacon.pem\"\n\
         bridges = [\"{bridge_key}\"]\n[limits]\ndrain_seconds = 5\n"
    );
    write("beacon.toml", &beacon);
    let bridge = format!(
        "key_file = \"bridge.pem\"\nticket_file = \"tickets.hex\"\n\
         openbao = \"127.0.0.1:{port}\"\ndrain_seconds = 2\n\
         [[beacon]]\naddress = \"{RELAY_ADDRESS}:443\"\ndomain = \"beacon.example\"\n\
         key = \"{beacon_key}\"\n[[client]]\nname = \"cluster\"\nkey = \"{client_key}\"\n\
         [release]\nopenbao = \"{url}\"\nca_file = \"{ca}\"\npolicy_file = \"policy.toml\"\n\
         state_dir = \"state\"\n[[release.issuer]]\nname = \"eu\"\nclient = \"cluster\"\n\
         issuer = \"{issuer}\"\naudience = \"{audience}\"\njwks_file = \"jwks.json\"\n",
        port = bao.port(),
        url = bao.url(),
        ca = bao.ca().display(),
        issuer = issuer::NAME,
        audience = issuer::AUDIENCE,
    );
    write("bridge.toml", &bridge);
    say("cloudtaser-bridge", &["check-config", "bridge.toml"]);
    let words = ["admit", "--json", "--config", "bridge.toml", "--client-key", &client_key];
    write("client.json", &say("cloudtaser-bridge", &words));
}
