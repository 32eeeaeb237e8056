//! The other end of the sealed road, on this machine: a beacon that the cluster dials, and a bridge
//! that asks the suite's OpenBao.
//!
//! The bridge reaches OpenBao by the port that kubectl brings here, as it reaches one on its own host:
//! what the cluster gives to it is the beacon's address alone.

use std::{
    fs::{self, File},
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::{kubectl::until, options, world::World};

/// What the bridge calls the cluster.
pub(crate) const NAME: &str = "e2e";
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything of the suite, to whoever is in its namespaces.
const POLICY: &str = r#"
[[rule]]
name = "e2e"
paths = ["secret/e2e"]
identities = ["e2e:cloudtaser-e2e/*"]
"#;

/// A beacon and a bridge.
#[derive(Debug)]
pub(crate) struct Road {
    folder: TempDir,
    programs: Vec<Child>,
    bridge: PathBuf,
    /// The bridge's key.
    pub(crate) key: String,
}

impl Road {
    /// Starts both; pods dial `address`.
    ///
    /// # Errors
    /// Where a program was not given, or does not come up.
    pub(crate) fn start(world: &World, address: &str) -> anyhow::Result<Self> {
        let (beacon, bridge) =
            (options::given("CLOUDTASER_BEACON")?, options::given("CLOUDTASER_BRIDGE")?);
        let folder = TempDir::new()?;
        let at = folder.path();
        let beacon_key = said(at, &beacon, &["keygen", "beacon.pem"])?;
        let key = said(at, &bridge, &["init", "."])?;
        let port = address.rsplit(':').next().unwrap_or_default();
        let beacon_toml = format!(
            "listen = \"0.0.0.0:{port}\"\nkey_file = \"beacon.pem\"\nbridges = [\"{key}\"]\n"
        );
        fs::write(at.join("beacon.toml"), beacon_toml)?;
        let config: Value = serde_json::from_str(&world.home.run(&[
            "get",
            "--raw",
            "/.well-known/openid-configuration",
        ])?)?;
        let issuer = config.get("issuer").and_then(Value::as_str).context("no issuer")?;
        fs::write(at.join("policy.toml"), POLICY)?;
        fs::write(at.join("ca.pem"), world.openbao()?.authority())?;
        let here = world.openbao()?.here();
        let bridge_toml = format!(
            "key_file = \"bridge.pem\"\nticket_file = \"tickets.hex\"\nenrolment = \"enrolment\"\n\
             openbao = \"127.0.0.1:1\"\n[[beacon]]\naddress = \"{address}\"\n\
             domain = \"beacon.example\"\nkey = \"{beacon_key}\"\n[release]\nopenbao = \"{here}\"\n\
             ca_file = \"ca.pem\"\npolicy_file = \"policy.toml\"\nstate_dir = \"state\"\n\
             unsealed = \"allow\"\n[[release.issuer]]\nname = \"{NAME}\"\nclient = \"{NAME}\"\n\
             issuer = \"{issuer}\"\naudience = \"cloudtaser\"\n\
             auth = \"kubernetes\"\nmount = \"kubernetes\"\n"
        );
        fs::write(at.join("bridge.toml"), bridge_toml)?;
        let mut road = Self { folder, programs: Vec::new(), bridge, key };
        road.serve(&beacon, "beacon.toml", "beacon listens")?;
        let bridge = road.bridge.clone();
        road.serve(&bridge, "bridge.toml", "registered")?;
        Ok(road)
    }

    fn serve(&mut self, program: &Path, config: &str, line: &str) -> anyhow::Result<()> {
        let log = self.folder.path().join(format!("{config}.log"));
        let mut command = Command::new(program);
        command.args(["serve", "--config", config]).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        self.programs.push(command.spawn().context("cannot start a program of the road")?);
        let logged = || Ok(fs::read_to_string(&log)?.contains(line).then_some(()));
        until(line, PATIENCE, logged).with_context(|| fs::read_to_string(&log).unwrap_or_default())
    }

    /// What a verb of the bridge prints.
    ///
    /// # Errors
    /// What it said.
    pub(crate) fn bridge(&self, verb: &str, words: &[&str]) -> anyhow::Result<String> {
        let words = [&[verb, "--config", "bridge.toml"], words].concat();
        said(self.folder.path(), &self.bridge, &words)
    }

    /// Lines of the bridge's audit with these members.
    ///
    /// # Errors
    /// Where there is no audit.
    pub(crate) fn audited(&self, wanted: &[(&str, &str)]) -> anyhow::Result<usize> {
        let text = fs::read_to_string(self.folder.path().join("state/audit.jsonl"))?;
        let fits = |line: &Value| {
            wanted.iter().all(|(field, is)| line.get(*field).and_then(Value::as_str) == Some(*is))
        };
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.filter(fits).count())
    }

    /// Where receipts are kept.
    pub(crate) fn log(&self) -> String {
        self.folder.path().join("state/log").display().to_string()
    }

    /// Whose receipts to believe.
    pub(crate) fn log_policy(&self) -> String {
        self.folder.path().join("state/log.policy").display().to_string()
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        for program in &mut self.programs {
            drop(program.kill());
            drop(program.wait());
        }
    }
}

/// The address by which the cluster may find this machine: the one from which its API server is
/// reached, and a free port.
///
/// # Errors
/// Where there is no way to the API server.
pub(crate) fn own_address(world: &World) -> anyhow::Result<String> {
    if let Some(address) = &world.options.address {
        return Ok(address.clone());
    }
    let config = world.home.run(&["config", "view", "--minify", "--output=json"])?;
    let config: Value = serde_json::from_str(&config)?;
    let server = config.pointer("/clusters/0/cluster/server").and_then(Value::as_str);
    let server = server.context("the kubeconfig names no server")?;
    let rest = server.split("://").nth(1).unwrap_or(server).split('/').next().unwrap_or_default();
    let there = if rest.contains(':') { rest.to_owned() } else { format!("{rest}:443") };
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(&there).with_context(|| format!("no way to {there}"))?;
    let port = TcpListener::bind("0.0.0.0:0")?.local_addr()?.port();
    Ok(format!("{}:{port}", socket.local_addr()?.ip()))
}

fn said(folder: &Path, program: &Path, words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(words).current_dir(folder).output()?;
    if !output.status.success() {
        bail!("{words:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
