//! The launch plan: one document that says everything about one launch, and holds no value.
//!
//! The webhook writes it as JSON into one variable, a developer writes it as YAML for
//! `cloudtaser run`; the wrapper reads JSON only. Unknown fields are errors: a misspelt
//! requirement must not be a requirement that nobody checks.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::level::Requirement;

#[cfg(test)]
mod tests;

/// Everything about one launch.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaunchPlan {
    /// Where OpenBao is and how it is trusted.
    pub server: Server,
    /// How to log in.
    pub auth: Auth,
    /// Variables that are set beside the inherited ones; values may be references.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Secrets of which every field becomes a variable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Bulk>,
    /// Secrets that the app opens as `/run/cloudtaser/NAME`; values are references. No file system
    /// holds them; with any of them, opening any file takes about ten microseconds more.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// How values reach the app.
    pub delivery: Delivery,
    /// What happens when a value changes in OpenBao.
    pub rotation: Rotation,
    /// Where the node agent listens: a path, [`crate::names::AGENT_SOCKET`] when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Levels without which the app is not started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<Requirement>,
    /// Rules for reads that fail.
    pub reads: Reads,
    /// Transit key for `vault:v1:` values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transit: Option<Transit>,
    /// Variables of OpenBao clients (`VAULT_…`, `BAO_…`) that the app is to see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passthrough: Vec<String>,
    /// How the wrapper logs.
    pub log: Log,
}

/// Where OpenBao is and how it is trusted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// `https://host:port`.
    pub address: String,
    /// Namespace sent with each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// PEM file with the trusted authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Directory of such files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_dir: Option<String>,
    /// SHA-256 of the server key, as `sha256//BASE64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spki_pin: Option<String>,
    /// PEM certificate for mTLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<String>,
    /// PEM key of that certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// Name that the server's certificate must carry, where it differs from the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Whether the server's certificate is checked.
    pub verify: Verify,
    /// Whether all this holds as it stands here: no variable changes who the server is or how it is
    /// trusted. Set where whoever writes a container's variables has not chosen the server.
    #[serde(skip_serializing_if = "is_false")]
    pub fixed: bool,
    /// By which way; by a bridge where `via` or `bridge_key` is there, else directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// File by which a bridge lets this client in (`cloudtaser-bridge admit --json`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// PEM file with this client's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via_key: Option<String>,
    /// `host:port` of the cluster's broker; with `via`, of whoever passes bytes on to a beacon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    /// The bridge's key, `ed25519:…`, where a broker lets this client in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge_key: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The way to secrets.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Through a beacon to a bridge, which decides what is released.
    Beacon,
    /// To OpenBao itself.
    Direct,
    /// To a bridge, which has dialled the cluster's broker: no beacon is between them.
    Reverse,
}

impl Server {
    /// The way that the settings mean.
    #[must_use]
    pub const fn way(&self) -> Mode {
        match (self.mode, &self.via, &self.bridge_key) {
            (Some(mode), ..) => mode,
            (None, None, None) => Mode::Direct,
            (None, ..) => Mode::Beacon,
        }
    }
}

/// Whether a server's certificate is checked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// It is.
    #[default]
    Full,
    /// It is not: anyone on the way can read and change everything. The level says so.
    Skip,
}

/// How to log in. Every credential is named by file; none is in the plan.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// The method; `token` when a token is at hand, else `kubernetes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<AuthMethod>,
    /// Mount of the method; its own name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// Role asked for. AppRole takes its role id from here too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Userpass: the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// File with the credential: the JWT, the token, the wrapped token, the secret id or the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_file: Option<String>,
    /// AppRole: file with the role id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_id_file: Option<String>,
    /// What happens to the token at the end.
    pub revoke: Revoke,
}

/// The ways to log in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AuthMethod {
    /// Role id and secret id.
    Approle,
    /// AppRole whose secret id comes response-wrapped.
    ApproleWrapped,
    /// Client certificate.
    Cert,
    /// A JWT of any issuer that the mount trusts.
    #[serde(alias = "oidc")]
    Jwt,
    /// The pod's projected token.
    Kubernetes,
    /// A ready token.
    Token,
    /// User and password.
    Userpass,
    /// A token that comes response-wrapped.
    WrappedToken,
}

/// What happens to the wrapper's token when the app has ended.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Revoke {
    /// A token from our own login is revoked, one that was handed to us is left alone.
    #[default]
    Own,
    /// It is left alone.
    Never,
}

/// One secret of which every field becomes a variable.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    /// `PATH` or `PATH#VERSION`.
    pub path: String,
    /// Put before each field's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// How values reach the app.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// Which mechanism.
    pub mode: DeliveryMode,
    /// What becomes of an exec that cannot be followed, as when a debugger holds the process.
    pub untraceable: Untraceable,
    /// Whether the app is made non-dumpable.
    pub dumpable: Dumpable,
}

/// The mechanism that puts values into the app.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryMode {
    /// The best that the platform allows.
    #[default]
    Auto,
    /// Sealed pages in every image of the process tree.
    Follow,
    /// Sealed pages in the first image only.
    OneShot,
    /// An ordinary environment.
    Plain,
}

/// What becomes of an exec that cannot be followed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Untraceable {
    /// It runs, and its environment shows the values.
    Allow,
    /// It fails with `EPERM`.
    #[default]
    Refuse,
}

/// Whether the app is made non-dumpable, which closes it to its own uid.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dumpable {
    /// Non-dumpable wherever that does not break exec-follow.
    #[default]
    Auto,
    /// As the app sets it.
    Keep,
    /// Non-dumpable in any case.
    Off,
}

/// What happens when a value changes in OpenBao.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// How often is looked; never when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<Period>,
    /// What is done when something changed.
    pub action: RotationAction,
    /// The signal of [`RotationAction::Signal`], such as `HUP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// How long a restarted app has between `TERM` and `KILL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<Period>,
}

/// What is done when a value changed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotationAction {
    /// The new value is written where the app reads it; restart where it does not fit.
    InPlace,
    /// The app keeps the old value.
    #[default]
    None,
    /// The app is ended and started again.
    Restart,
    /// The new value is written in place and the app gets a signal.
    Signal,
}

/// Rules for reads that fail.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reads {
    /// Time for login and all reads together; 30 s when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Period>,
    /// What a path or field that is not there means.
    pub missing: Missing,
    /// Wait before the login, for sidecars that need a moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Period>,
}

/// What a path or field that is not there means.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// The app is not started.
    #[default]
    Fail,
    /// The variable is left out, with a warning.
    Skip,
}

/// Transit key for `vault:v1:` values.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Transit {
    /// Name of the key.
    pub key: String,
    /// Mount of the engine.
    #[serde(default = "transit_mount")]
    pub mount: String,
    /// Ciphertexts per request.
    #[serde(default = "transit_batch")]
    pub batch: u16,
}

fn transit_mount() -> String {
    "transit".to_owned()
}

/// What bank-vaults sends at once; enough to make round trips rare, small enough for any proxy.
const fn transit_batch() -> u16 {
    25
}

/// How the wrapper logs.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// The least important lines that are written.
    pub level: LogLevel,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// For people.
    #[default]
    Text,
}

/// Importance of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Steps of the work.
    Debug,
    /// What an operator wants to see once per launch.
    #[default]
    Info,
    /// Something is weaker or odder than expected.
    Warn,
    /// The launch, or a part of it, failed.
    Error,
}

/// A length of time, written `250ms`, `30s`, `1m30s`, `2h`, or as a number of seconds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "PeriodText", into = "String")]
pub struct Period(pub Duration);

/// The two ways a period stands in a document.
#[derive(Deserialize)]
#[serde(untagged)]
enum PeriodText {
    Seconds(u64),
    Text(String),
}

/// A text that is no length of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a time is written like 250ms, 30s, 5m or 2h")]
pub struct PeriodError;

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let (mut rest, mut total) = (text, 0_u64);
        loop {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at_checked(digits).ok_or(PeriodError)?;
            let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, tail) = tail.split_at_checked(letters).ok_or(PeriodError)?;
            let number = number.parse::<u64>().map_err(|_not_a_number| PeriodError)?;
            let millis = number.checked_mul(millis_per(unit)?).ok_or(PeriodError)?;
            total = total.checked_add(millis).ok_or(PeriodError)?;
            if tail.is_empty() {
                return Ok(Self(Duration::from_millis(total)));
            }
            rest = tail;
        }
    }
}

const fn millis_per(unit: &str) -> Result<u64, PeriodError> {
    Ok(match unit.as_bytes() {
        b"ms" => 1,
        b"" | b"s" => 1_000,
        b"m" => 60_000,
        b"h" => 3_600_000,
        _ => return Err(PeriodError),
    })
}

impl TryFrom<PeriodText> for Period {
    type Error = PeriodError;

    fn try_from(text: PeriodText) -> Result<Self, PeriodError> {
        match text {
            PeriodText::Seconds(seconds) => seconds.to_string().parse(),
            PeriodText::Text(text) => text.parse(),
        }
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}s", self.0.as_secs()),
            _ => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}

impl LaunchPlan {
    /// Reads a plan from JSON.
    ///
    /// # Errors
    /// `serde_json`'s, which names line and column and the unknown field, never a value.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}
