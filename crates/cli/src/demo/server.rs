//! A real OpenBao for the time of the demo: in memory, with TLS, on a free port of the loopback.
//!
//! It is set up with its own command line. The canary goes in by standard input, the tokens by a
//! file of their owner; neither is in any argv.

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use zeroize::Zeroizing;

use super::{
    interrupt::Interrupts,
    scratch::{Running, Scratch},
};

/// Usually one second; a cold start on a loaded or an emulated machine takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the wrapper's token may do: read one secret.
const POLICY: &str = r#"path "secret/data/demo" { capabilities = ["read"] }"#;

/// A running OpenBao.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    home: PathBuf,
    address: String,
    ca: PathBuf,
    _running: Running,
}

impl Server {
    /// Starts it and waits until it is unsealed.
    pub(crate) fn start(
        program: &Path,
        scratch: &Scratch,
        interrupts: &Interrupts,
    ) -> Result<Self> {
        let home = scratch.directory("openbao")?;
        let tls = scratch.directory("openbao/tls")?;
        let port = free_port().context("no free port on the loopback")?;
        let log = home.join("log");
        let output = fs::File::create(&log)?;
        let mut command = Command::new(program);
        command.args(["server", "-dev", "-dev-tls"]);
        command.arg(format!("-dev-tls-cert-dir={}", tls.display()));
        command.arg(format!("-dev-listen-address=127.0.0.1:{port}"));
        command
            .env_clear()
            .env("HOME", &home)
            .env("PATH", super::user::APP_PATH)
            .current_dir(&home);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut running = Running::start(&mut command)
            .with_context(|| format!("cannot start {}", program.display()))?;
        let token = home.join(".vault-token");
        let ready = interrupts.wait(PATIENCE, || {
            if let Some(status) = running.ended()? {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let last = said.lines().last().unwrap_or("nothing was said");
                bail!("OpenBao ended at once ({status}): {last}");
            }
            let said = fs::read_to_string(&log).unwrap_or_default();
            Ok((said.contains("Root Token:") && token.exists()).then_some(()))
        })?;
        if ready.is_none() {
            bail!("OpenBao was not ready after {} s", PATIENCE.as_secs());
        }
        let ca = scratch.file("ca.pem", &fs::read(tls.join("vault-ca.pem"))?, 0o444)?;
        let address = format!("https://127.0.0.1:{port}");
        Ok(Self { program: program.to_owned(), home, address, ca, _running: running })
    }

    /// Stores the canary and makes a token that may read it, which goes into a file.
    pub(crate) fn seed(&self, canary: &[u8], scratch: &Scratch) -> Result<PathBuf> {
        self.ask(&["kv", "put", "-mount=secret", "demo", "password=-"], canary)?;
        self.ask(&["policy", "write", "demo", "-"], POLICY.as_bytes())?;
        let token =
            self.ask(&["token", "create", "-policy=demo", "-ttl=10m", "-field=token"], b"")?;
        Ok(scratch.file("token", token.trim_ascii(), 0o400)?)
    }

    /// Its address.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The authority that signed its certificate.
    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    /// The version that it says it is.
    pub(crate) fn version(&self) -> String {
        let said = self.ask(&["version"], b"").unwrap_or_default();
        let text = String::from_utf8_lossy(&said);
        text.split(',').next().unwrap_or_default().trim().to_owned()
    }

    fn ask(&self, arguments: &[&str], input: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().env("HOME", &self.home).current_dir(&self.home);
        command.env("BAO_ADDR", &self.address).env("BAO_CACERT", &self.ca);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let what = || format!("bao {}", arguments.first().copied().unwrap_or_default());
        let mut child = command.spawn().with_context(what)?;
        if let Some(mut stdin) = child.stdin.take() {
            io::Write::write_all(&mut stdin, input).with_context(what)?;
        }
        let output = child.wait_with_output().with_context(what)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} failed: {}", what(), said.lines().last().unwrap_or_default());
        }
        Ok(Zeroizing::new(output.stdout))
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
