//! What all steps share: the cluster, the programs, the values that no object may hold.

use std::{
    fs::{self, File},
    io::Read as _,
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    images::Images,
    kubectl::Kubectl,
    openbao::OpenBao,
    options::{self, Options},
    road::Road,
};

/// Where the suite's own workloads are.
pub(crate) const HOME: &str = "cloudtaser-e2e";
/// The same, where the restricted standard is enforced.
pub(crate) const STRICT: &str = "cloudtaser-e2e-strict";

/// The same, where every pod is admitted.
pub(crate) const OPEN: &str = "cloudtaser-e2e-open";
/// All of them.
pub(crate) const PLACES: [&str; 3] = [HOME, STRICT, OPEN];

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) images: Images,
    pub(crate) folder: PathBuf,
    pub(crate) home: Kubectl,
    pub(crate) openbao: Option<OpenBao>,
    /// The beacon and the bridge on this machine, where there are any.
    pub(crate) road: Option<Road>,
    /// What the values say of the bridge.
    pub(crate) bridged: Value,
    /// Whether there is something of ours to take away.
    pub(crate) is_installed: bool,
    /// Values that were given to pods: no object may hold one.
    pub(crate) values: Vec<String>,
    cli: PathBuf,
    scratch: TempDir,
}

/// What `cloudtaser` printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    /// Looks at what it was given.
    ///
    /// # Errors
    /// Where `cargo xtask e2e` did not start it.
    pub(crate) fn new(options: Options) -> anyhow::Result<Self> {
        let folder = options::given("CLOUDTASER_E2E_IMAGES")?;
        Ok(Self {
            images: Images::of(&folder, options.road.as_ref())?,
            folder,
            home: Kubectl::new(options.context.clone()).within(HOME),
            openbao: None,
            road: None,
            bridged: Value::Null,
            is_installed: false,
            values: Vec::new(),
            cli: options::given("CLOUDTASER_CLI")?,
            scratch: TempDir::new()?,
            options,
        })
    }

    /// Runs `cloudtaser`.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub(crate) fn cli(&self, words: &[&str]) -> anyhow::Result<Ran> {
        let mut command = Command::new(&self.cli);
        command.args(words).env("NO_COLOR", "1");
        if let Some(context) = &self.options.context {
            command.args(["--context", context]);
        }
        let output = command.output().context("cannot run cloudtaser")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Ok(Ran { code, out: text(&output.stdout), err: text(&output.stderr) })
    }

    /// Runs `cloudtaser … --json`; its answer.
    ///
    /// # Errors
    /// Where it ends with another code than 0 or `also`.
    pub(crate) fn answer(&self, words: &[&str], also: i32) -> anyhow::Result<Value> {
        let ran = self.cli(&[words, &["--json"]].concat())?;
        if ran.code != 0 && ran.code != also {
            bail!("cloudtaser {} ended with {}\n{}", words.join(" "), ran.code, ran.err.trim());
        }
        serde_json::from_str(&ran.out).context("cloudtaser printed no JSON")
    }

    /// A file of the suite's own.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(crate) fn file(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let path = self.scratch.path().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// A new value that is nowhere yet; remembered, so that it can be looked for.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub(crate) fn value(&mut self) -> anyhow::Result<String> {
        let value = random()?;
        self.values.push(value.clone());
        Ok(value)
    }

    /// The suite's OpenBao.
    ///
    /// # Errors
    /// Where it did not come up.
    pub(crate) fn openbao(&self) -> anyhow::Result<&OpenBao> {
        self.openbao.as_ref().context("there is no OpenBao")
    }

    /// The values of the installation, as a file.
    ///
    /// # Errors
    /// Where there is no OpenBao yet.
    pub(crate) fn installation(&self, more: &Value) -> anyhow::Result<String> {
        let openbao = self.openbao()?;
        let server = |name: &str| {
            json!({ "name": name, "address": openbao.address(), "ca": openbao.authority(),
                "serverName": "localhost" })
        };
        let mut values = json!({
            "images": {
                "operator": self.images.name("cloudtaser-operator"),
                "agent": self.images.name("cloudtaser-agent"),
                "wrapper": self.images.name("cloudtaser-wrapper"),
                "pullPolicy": self.images.policy,
            },
            "openbao": { "servers": [server("main")] },
            "agent": { "enabled": self.options.agent },
        });
        if let (Some(values), Some(more)) = (values.as_object_mut(), more.as_object()) {
            values.extend(more.clone());
            if !self.bridged.is_null() {
                values.insert("bridge".to_owned(), self.bridged.clone());
            }
        }
        self.file("values.yaml", &values.to_string())
    }
}

/// 128 random bits as text.
///
/// # Errors
/// Where the system gives none.
pub(crate) fn random() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
