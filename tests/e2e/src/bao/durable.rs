//! An OpenBao that keeps what it has on the disk, so that it can be killed, started again and
//! unsealed, and that writes an audit log.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Bao, PATIENCE, agent, free_port, openssl, read_pid, text};
use crate::{
    programs,
    scratch::{Scratch, until},
};

/// As for a server in development mode; what is on the disk outlives it.
const KEEPER: &str = r#""$0" "$@" </dev/null >>log 2>&1 & server=$!
echo "$server"; read -r _; kill "$server"; wait "$server""#;

/// What a killed server needs to come back.
#[derive(Debug)]
pub(super) struct Durable {
    unseal_key: String,
}

impl Bao {
    /// A server that outlives being killed; `None` where `openssl`, which makes its certificate, is
    /// not installed.
    #[must_use]
    pub fn start_durable() -> Option<Self> {
        let scratch = Scratch::new();
        let port = free_port();
        write_files(&scratch, port)?;
        let (shell, stdin, pid) = launch(&scratch);
        let root = String::new();
        let mut bao =
            Self { shell, stdin, pid, port, root, admin: agent(), scratch, durable: None };
        // 501: it waits to be initialised.
        until("OpenBao", PATIENCE, || (bao.health() == Some(501)).then_some(()));
        let made =
            bao.api("PUT", "sys/init", &json!({ "secret_shares": 1, "secret_threshold": 1 }));
        bao.root = text(&made, "/root_token");
        bao.durable = Some(Durable { unseal_key: text(&made, "/keys/0") });
        bao.unseal();
        let options = json!({ "type": "kv", "options": { "version": "2" } });
        bao.api("POST", "sys/mounts/secret", &options);
        // A mount of KV v2 is made ready after it was made.
        until("the mount", PATIENCE, || {
            bao.try_api("POST", "secret/data/ready", &json!({ "data": {} })).ok()
        });
        bao.prepare();
        Some(bao)
    }

    /// Its own words of how it is: 200, 503 sealed, 501 not initialised.
    #[must_use]
    pub fn health(&self) -> Option<u16> {
        let health = self.admin.get(format!("{}/v1/sys/health", self.url())).call();
        health.ok().map(|answer| answer.status().as_u16())
    }

    /// Kills it, as a machine that fails does.
    pub fn crash(&mut self) {
        self.signal(Signal::SIGKILL);
        drop(self.stdin.take());
        self.shell.wait().expect("its shell");
    }

    /// Starts it again after it was killed; it is sealed then.
    pub fn start_again(&mut self) {
        (self.shell, self.stdin, self.pid) = launch(&self.scratch);
        until("OpenBao", PATIENCE, || (self.health() == Some(503)).then_some(()));
    }

    /// Unseals it, and waits until it serves.
    pub fn unseal(&self) {
        let key = &self.durable.as_ref().expect("a server that was made to be unsealed").unseal_key;
        self.api("PUT", "sys/unseal", &json!({ "key": key }));
        until("OpenBao", PATIENCE, || self.is_ready().then_some(()));
    }

    /// Its audit log.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.scratch.path().join("audit.jsonl")
    }
}

fn launch(scratch: &Scratch) -> (std::process::Child, Option<std::process::ChildStdin>, i32) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", KEEPER]).arg(programs::bao()).args(["server", "-config=bao.hcl"]);
    command.env_clear().env("PATH", crate::launch::PATH).env("HOME", scratch.path());
    command.current_dir(scratch.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut shell = command.spawn().expect("a shell");
    let pid = read_pid(shell.stdout.take().expect("a pipe"));
    let stdin = shell.stdin.take();
    (shell, stdin, pid)
}

fn write_files(scratch: &Scratch, port: u16) -> Option<()> {
    let folder = scratch.path();
    // One that is its own authority, and signs nothing else.
    openssl(
        folder,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=openbao \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
         -keyout key.pem -out vault-ca.pem",
    )?;
    fs::create_dir(folder.join("data")).ok()?;
    let (shown, cluster) = (folder.display(), free_port());
    let config = format!(
        "storage \"raft\" {{\n  path = \"{shown}/data\"\n  node_id = \"one\"\n}}\n\
         listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  \
         cluster_address = \"127.0.0.1:{cluster}\"\n  \
         tls_cert_file = \"{shown}/vault-ca.pem\"\n  tls_key_file = \"{shown}/key.pem\"\n}}\n\
         audit \"file\" \"file\" {{\n  options {{\n    file_path = \"{shown}/audit.jsonl\"\n  }}\n}}\n\
         api_addr = \"https://127.0.0.1:{port}\"\n\
         cluster_addr = \"https://127.0.0.1:{cluster}\"\n"
    );
    fs::write(folder.join("bao.hcl"), config).ok()
}
