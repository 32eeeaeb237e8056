//! The section `[release]` of the bridge's file.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use cloudtaser_evidence::note::is_key_name;
use serde::Deserialize;

use super::{around::AuditConfig, issuer_keys::IssuerKeys};
use crate::file::{ConfigError, beside};

/// How the bridge releases.
#[derive(Debug)]
pub struct ReleaseConfig {
    /// OpenBao's address, `https://host:port`.
    pub openbao: String,
    /// Who may answer there.
    pub trust: Trust,
    /// The namespace of all paths.
    pub namespace: Option<String>,
    /// The release policy.
    pub policy_file: PathBuf,
    /// Where logins and receipts are kept.
    pub state_dir: PathBuf,
    /// Whether a heap that is not sealed will do.
    pub unsealed: Unsealed,
    /// Who may talk to OpenBao itself (`ct-proxy/1`), past policy and receipts.
    pub doors: Vec<String>,
    /// How often a pod may log in.
    pub limits: LoginLimits,
    /// How long a login waits for a wrapper that lost its connection.
    pub linger_seconds: u32,
    /// For how long what a node signed counts; a session that lasts longer is asked for another.
    pub statement_seconds: u32,
    /// Whose tokens are accepted.
    pub issuers: Vec<Issuer>,
    /// Where receipts are kept for an auditor.
    pub log: LogConfig,
    /// OpenBao's audit device, where the bridge is to hear it.
    pub audit: Option<AuditConfig>,
    /// Where counts are written for Prometheus' node exporter; the bridge listens on nothing.
    pub metrics_file: Option<PathBuf>,
    /// OpenBao's audit log, where workloads are told of new values.
    pub openbao_audit: Option<PathBuf>,
    /// What reports of confidential machines are verified with: AMD's certificates where they do not
    /// come along, Intel's collateral.
    pub hardware_dir: Option<PathBuf>,
}

/// The Merkle log of receipts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogConfig {
    /// The log's name, in its key and on each checkpoint.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Its private key; made where there is none.
    pub key_file: PathBuf,
    /// A policy (C2SP tlog-policy) whose witnesses must have signed before anything is released.
    pub witnesses: Option<PathBuf>,
}

/// Who may answer as OpenBao.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Trust {
    /// Authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// Pin of its key, `sha256//BASE64`.
    pub spki_pin: Option<String>,
}

/// What a heap that is not sealed means.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Unsealed {
    /// Values are released all the same; each receipt says so.
    Allow,
    /// Nothing is released.
    #[default]
    Refuse,
}

/// How often a pod may log in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoginLimits {
    /// Instances at once: the containers of a pod that have a wrapper.
    pub at_once: u32,
    /// How often another instance may take the place of one that has left.
    pub restarts: u32,
    /// What becomes of the place of one that has not.
    pub unclean: Unclean,
}

/// What a login means whose pod has one that has not left: its wrapper was killed, or lives.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Unclean {
    /// It is refused.
    #[default]
    Refuse,
    /// It takes the place of one that has no session at this moment, as a restart.
    Replace,
}

/// An issuer of workload tokens.
#[derive(Debug)]
pub struct Issuer {
    /// In the policy, in receipts, in logs.
    pub name: String,
    /// The client with whose key its tokens come.
    pub client: String,
    /// `iss`.
    pub issuer: String,
    /// What must be among `aud`.
    pub audience: String,
    /// Its keys.
    pub keys: IssuerKeys,
    /// OpenBao's method for its tokens.
    pub auth: AuthMethod,
    /// Where that is mounted.
    pub mount: Option<String>,
}

/// OpenBao's method for a workload's token.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum AuthMethod {
    /// OpenBao verifies the token itself.
    #[default]
    Jwt,
    /// OpenBao asks the cluster.
    Kubernetes,
}

/// The section as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    openbao: String,
    ca_file: Option<PathBuf>,
    spki_pin: Option<String>,
    namespace: Option<String>,
    policy_file: PathBuf,
    state_dir: PathBuf,
    #[serde(default)]
    unsealed: Unsealed,
    #[serde(default)]
    doors: Vec<String>,
    #[serde(default = "one")]
    logins_per_pod: u32,
    #[serde(default = "three")]
    restarts_per_pod: u32,
    #[serde(default)]
    unclean: Unclean,
    #[serde(default = "quarter")]
    linger_seconds: u32,
    #[serde(default = "hour")]
    statement_seconds: u32,
    #[serde(default)]
    issuer: Vec<IssuerSection>,
    #[serde(default)]
    log: LogSection,
    openbao_audit: Option<PathBuf>,
    audit: Option<AuditSection>,
    metrics_file: Option<PathBuf>,
    hardware_dir: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditSection {
    socket: PathBuf,
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(default = "ninety")]
    patience_seconds: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogSection {
    name: Option<String>,
    dir: Option<PathBuf>,
    key_file: Option<PathBuf>,
    witness_policy: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerSection {
    name: String,
    client: String,
    issuer: String,
    audience: String,
    jwks_file: Option<PathBuf>,
    #[serde(default)]
    auth: AuthMethod,
    mount: Option<String>,
}

/// Keys tell logs of one name apart.
const LOG_NAME: &str = "cloudtaser-bridge";

const fn one() -> u32 {
    1
}

/// A container that crashes now and then is started again; one that does so all day is looked at.
const fn three() -> u32 {
    3
}

/// Longer than a session may have OpenBao asked.
const fn ninety() -> u16 {
    90
}

const fn quarter() -> u32 {
    900
}

/// Longer than most launches read anything, and not much longer than an agent may be degraded unseen.
const fn hour() -> u32 {
    3600
}

impl Section {
    /// Reads the files that it names, and checks that it fits the clients of the bridge.
    pub(crate) fn read(
        self,
        file: &Path,
        clients: Option<&[String]>,
    ) -> Result<ReleaseConfig, ConfigError> {
        if self.issuer.is_empty() {
            return Err(ConfigError::Missing(
                "[release] accepts no tokens: add a [[release.issuer]]",
            ));
        }
        if self.logins_per_pod == 0 {
            return Err(ConfigError::Missing("logins_per_pod = 0 lets no pod in"));
        }
        let state_dir = beside(file, &self.state_dir);
        let issuer = |issuer: IssuerSection| {
            if clients.is_some_and(|clients| !clients.contains(&issuer.client)) {
                return Err(ConfigError::Missing(
                    "the client of a [[release.issuer]] is the name of no [[client]]",
                ));
            }
            if issuer.name.is_empty() || issuer.name.contains([':', '/', '*']) {
                return Err(ConfigError::Missing(
                    "the name of a [[release.issuer]] has no :, / or *, so that policies can name it",
                ));
            }
            let keys = match &issuer.jwks_file {
                Some(path) => IssuerKeys::read(&beside(file, path)),
                // What a person approves of is put here.
                None => {
                    let name = format!("{}.jwks.json", issuer.name);
                    IssuerKeys::read_or_await(&state_dir.join(name))
                }
            }?;
            let IssuerSection { name, client, issuer, audience, auth, mount, .. } = issuer;
            Ok(Issuer { name, client, issuer, audience, keys, auth, mount })
        };
        let issuers = self.issuer.into_iter().map(issuer).collect::<Result<Vec<_>, _>>()?;
        let twice = |(at, issuer): (usize, &Issuer)| {
            issuers.iter().take(at).any(|other| other.name == issuer.name)
        };
        if issuers.iter().enumerate().any(twice) {
            return Err(ConfigError::Missing("two [[release.issuer]] have one name"));
        }
        let log = self.log.read(file, &state_dir)?;
        Ok(ReleaseConfig {
            openbao: self.openbao,
            trust: Trust {
                ca_file: self.ca_file.map(|path| beside(file, &path)),
                spki_pin: self.spki_pin,
            },
            namespace: self.namespace,
            policy_file: beside(file, &self.policy_file),
            state_dir,
            unsealed: self.unsealed,
            doors: self.doors,
            limits: LoginLimits {
                at_once: self.logins_per_pod,
                restarts: self.restarts_per_pod,
                unclean: self.unclean,
            },
            linger_seconds: self.linger_seconds,
            statement_seconds: self.statement_seconds,
            issuers,
            log,
            audit: self.audit.map(|audit| AuditConfig {
                socket: beside(file, &audit.socket),
                prefixes: audit.prefixes,
                patience: Duration::from_secs(audit.patience_seconds.into()),
            }),
            metrics_file: self.metrics_file.map(|path| beside(file, &path)),
            openbao_audit: self.openbao_audit.map(|path| beside(file, &path)),
            hardware_dir: self.hardware_dir.map(|path| beside(file, &path)),
        })
    }
}

impl LogSection {
    fn read(self, file: &Path, state_dir: &Path) -> Result<LogConfig, ConfigError> {
        let name = self.name.unwrap_or_else(|| LOG_NAME.to_owned());
        if !is_key_name(&name) {
            return Err(ConfigError::Missing(
                "the name of [release.log] has no space and no +, such as log.example.eu/bridge",
            ));
        }
        let named = |path: Option<PathBuf>, default| {
            path.map_or_else(|| state_dir.join(default), |path| beside(file, &path))
        };
        Ok(LogConfig {
            name,
            dir: named(self.dir, "log"),
            key_file: named(self.key_file, "log.key"),
            witnesses: self.witness_policy.map(|path| beside(file, &path)),
        })
    }
}
