//! A real OpenBao for one run: development mode, in memory, with TLS and beside it a plain listener
//! on loopback, so that both roads lead to the same server.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::http::Admin;
use crate::random;

/// Longest that the server may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that runs, with a login and secrets in it.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    /// What `bao version` says.
    pub(crate) version: String,
    /// Address of the listener with TLS.
    pub(crate) https: String,
    /// Address of the listener without.
    pub(crate) http: String,
    /// Certificate authority of the first.
    pub(crate) ca_file: PathBuf,
    /// Role id of the login.
    pub(crate) role_id_file: PathBuf,
    /// Secret id of the login; it may be used any number of times.
    pub(crate) secret_id_file: PathBuf,
    admin: Admin,
}

impl Server {
    /// Starts one, and waits until it answers.
    pub(crate) fn start(bao: &Path, scratch: &Path) -> anyhow::Result<Self> {
        // The server takes the port behind each listener for its cluster.
        let [tls, plain] = free_ports()?;
        let config = scratch.join("server.hcl");
        let listener = format!(
            "listener \"tcp\" {{\n  address = \"127.0.0.1:{plain}\"\n  tls_disable = true\n}}\n"
        );
        fs::write(&config, listener)?;
        let certificates = scratch.join("server-tls");
        fs::create_dir(&certificates)?;
        let token = random::hex(16)?;
        let log = File::create(scratch.join("server.log"))?;
        let process = Command::new(bao)
            .args(["server", "-dev", "-dev-tls", "-dev-no-store-token"])
            .arg(format!("-dev-tls-cert-dir={}", certificates.display()))
            .arg(format!("-dev-listen-address=127.0.0.1:{tls}"))
            .arg(format!("-config={}", config.display()))
            .env_clear()
            .env("BAO_DEV_ROOT_TOKEN_ID", &token)
            .env("HOME", scratch)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", bao.display()))?;
        let mut server = Self {
            process,
            version: String::new(),
            https: format!("https://127.0.0.1:{tls}"),
            http: format!("http://127.0.0.1:{plain}"),
            ca_file: certificates.join("vault-ca.pem"),
            role_id_file: scratch.join("role-id"),
            secret_id_file: scratch.join("secret-id"),
            admin: Admin::new(plain, token),
        };
        server.wait()?;
        server.enrol()?;
        Ok(server)
    }

    /// Writes a secret; when this returns, the server has it.
    pub(crate) fn write(&self, number: usize, value: &str) -> anyhow::Result<()> {
        let body = json!({ "data": { "value": value } });
        self.admin.post(&format!("secret/data/bench/{number}"), &body)?;
        Ok(())
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(health) = self.admin.get("sys/health") {
                self.version = text(&health, "/version")?;
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the OpenBao server ended: {status}");
            }
            if Instant::now() > end {
                bail!("the OpenBao server does not answer");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// One AppRole that may read the secrets: the same login for both sides.
    fn enrol(&self) -> anyhow::Result<()> {
        let policy = "path \"secret/data/bench/*\" { capabilities = [\"read\"] }";
        self.admin.post("sys/auth/approle", &json!({ "type": "approle" }))?;
        self.admin.post("sys/policies/acl/bench", &json!({ "policy": policy }))?;
        let role = json!({ "token_policies": "bench", "token_ttl": "1h" });
        self.admin.post("auth/approle/role/bench", &role)?;
        let id = self.admin.get("auth/approle/role/bench/role-id")?;
        fs::write(&self.role_id_file, text(&id, "/data/role_id")?)?;
        let id = self.admin.post("auth/approle/role/bench/secret-id", &json!({}))?;
        fs::write(&self.secret_id_file, text(&id, "/data/secret_id")?)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is to be saved; what still runs is ended by the guard.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn text(answer: &Value, pointer: &str) -> anyhow::Result<String> {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    Ok(text.with_context(|| format!("the server's answer has no {pointer}"))?.to_owned())
}

/// Two ports that were free a moment ago, neither of them next to the other.
fn free_ports() -> anyhow::Result<[u16; 2]> {
    let first = TcpListener::bind("127.0.0.1:0")?;
    let port = first.local_addr()?.port();
    loop {
        let other = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if other.abs_diff(port) > 4 {
            return Ok([port, other]);
        }
    }
}
