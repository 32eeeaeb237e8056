//! What a pod asks for, in our annotations or in those that its authors already have.
//!
//! Our own prefix wins over all; of two prefixes of one family the newer wins. What another
//! injector's annotation means here is in `foreign`: the same, nothing, a warning, or a refusal
//! that says what to write instead. A suffix that nobody knows is a warning, since a typing slip
//! must not pass in silence and another controller may own it.
//!
//! Invariant: nothing from a pod becomes an address, an authority or an image; a server is chosen
//! among those of the operator's configuration.

use std::collections::BTreeMap;

use cloudtaser_core::{
    level::{Agent, Requirement},
    names::{ANNOTATION_PREFIX, kubernetes as names},
    plan::{
        Auth, AuthMethod, Bulk, DeliveryMode, LaunchPlan, LogFormat, LogLevel, Missing, Mode,
        Period, RotationAction, Server as PlanServer, Transit, Verify,
    },
    reference::{Source, Value as Reference},
};
use serde_json::{Map, Value};

use crate::{
    config::{Config, Server},
    refusal::Refusal,
};

pub(crate) mod foreign;
mod read;
#[cfg(test)]
mod tests;

use foreign::Foreign;
use read::Given;

/// What a pod asks for.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// The plan of a container that gets everything that the annotations name.
    pub(crate) plan: LaunchPlan,
    /// Which containers are wrapped.
    pub(crate) containers: Selection,
    /// Which are left alone.
    pub(crate) skip: Vec<String>,
    /// What a container's image starts, by container.
    pub(crate) commands: BTreeMap<String, Vec<String>>,
    /// What the image starts, where no container is named.
    pub(crate) command: Option<Vec<String>>,
    /// Whether exec probes and hooks are wrapped.
    pub(crate) probes: bool,
    /// Whether the node agent's socket is mounted, and how its folder must be there.
    pub(crate) agent: Option<Folder>,
    /// Authorities of the server.
    pub(crate) ca: Option<String>,
    /// What the person who created the pod should know.
    pub(crate) warnings: Vec<String>,
}

/// What the kubelet does where the node has no folder of an agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Folder {
    /// It makes an empty one: the launch goes on, and its level says that nobody listens.
    Made,
    /// It waits: the pod starts when the agent has been there.
    Needed,
}

/// Which containers are wrapped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Selection {
    /// All, init containers included.
    All,
    /// The app's containers, and init containers that hold a reference.
    Apps,
    /// These alone.
    Named(Vec<String>),
}

impl Wishes {
    /// Reads the annotations of a pod.
    ///
    /// # Errors
    /// [`Refusal::Annotation`].
    pub fn read(annotations: &Map<String, Value>, config: &Config) -> Result<Self, Refusal> {
        let mut warnings = Vec::new();
        let given = Given::gather(annotations, &mut warnings)?;
        let server = chosen(&given, config)?;
        let plan = LaunchPlan {
            server: server_of(&given, server)?,
            auth: auth_of(&given, server)?,
            env: given.references(names::ENV, (env_name, "letters, digits and _"))?,
            from: bulk_of(&given)?,
            files: given.references(names::FILE, (file_name, "no / and no dot in front"))?,
            require: requirements_of(&given, config)?,
            transit: transit_of(&given)?,
            passthrough: given.list(names::PASSTHROUGH),
            ..LaunchPlan::default()
        };
        let mut wishes = Self {
            plan,
            containers: selection_of(&given),
            skip: given.list(names::SKIP_CONTAINERS),
            commands: BTreeMap::new(),
            command: given.words(names::COMMAND)?,
            probes: given.truth(names::PROBES)?.unwrap_or(false),
            agent: given.choice(names::AGENT, AGENTS)?,
            ca: server.ca.clone(),
            warnings,
        };
        wishes.behaviour(&given)?;
        for (container, name) in given.suffixed(&format!("{}.", names::COMMAND)) {
            let words = given.words(&name)?;
            wishes.commands.extend(words.map(|words| (container, words)));
        }
        Ok(wishes)
    }

    fn behaviour(&mut self, given: &Given<'_>) -> Result<(), Refusal> {
        let plan = &mut self.plan;
        if let Some(mode) = given.choice(names::DELIVERY, DELIVERIES)? {
            plan.delivery.mode = mode;
        }
        plan.rotation.poll = given.period(names::ROTATE_EVERY)?;
        if let Some(action) = given.choice(names::ROTATE_ACTION, ACTIONS)? {
            plan.rotation.action = action;
        }
        plan.rotation.signal = given.text(names::ROTATE_SIGNAL);
        plan.reads.deadline = given.period(names::DEADLINE)?;
        plan.reads.delay = given.period(names::DELAY)?;
        if given.truth(names::IGNORE_MISSING)? == Some(true) {
            plan.reads.missing = Missing::Skip;
        }
        if let Some(format) = given.choice(names::LOG_FORMAT, FORMATS)? {
            plan.log.format = format;
        }
        if let Some(level) = given.choice(names::LOG_LEVEL, LOG_LEVELS)? {
            plan.log.level = level;
        }
        Ok(())
    }
}

const AGENTS: &[(&str, Folder)] = &[("require", Folder::Needed), ("use", Folder::Made)];
const DELIVERIES: &[(&str, DeliveryMode)] = &[
    ("auto", DeliveryMode::Auto),
    ("follow", DeliveryMode::Follow),
    ("one-shot", DeliveryMode::OneShot),
    ("plain", DeliveryMode::Plain),
];
const ACTIONS: &[(&str, RotationAction)] = &[
    ("none", RotationAction::None),
    ("in-place", RotationAction::InPlace),
    ("signal", RotationAction::Signal),
    ("restart", RotationAction::Restart),
];
/// The words of bank-vaults' `enable-json-log` come here too.
const FORMATS: &[(&str, LogFormat)] = &[
    ("text", LogFormat::Text),
    ("json", LogFormat::Json),
    ("standard", LogFormat::Text),
    ("false", LogFormat::Text),
    ("true", LogFormat::Json),
];
const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warn", LogLevel::Warn),
    ("warning", LogLevel::Warn),
    ("error", LogLevel::Error),
];
const METHODS: &[(&str, AuthMethod)] = &[
    ("kubernetes", AuthMethod::Kubernetes),
    ("jwt", AuthMethod::Jwt),
    ("approle", AuthMethod::Approle),
    ("cert", AuthMethod::Cert),
];

fn chosen<'c>(given: &Given<'_>, config: &'c Config) -> Result<&'c Server, Refusal> {
    if config.servers.is_empty() {
        return Err(Refusal::Pod(
            "the operator's configuration has no [[server]] yet, so no pod can be opted in: whoever \
             installs names one, by `cloudtaser install --openbao ADDRESS` or `--invitation FILE`"
                .to_owned(),
        ));
    }
    let asked = given.text(names::SERVER);
    config.server(asked.as_deref()).ok_or_else(|| {
        let known: Vec<&str> = config.servers.iter().map(|server| server.name.as_str()).collect();
        Refusal::annotation(
            given.source(names::SERVER),
            format!(
                "this is no server that the operator allows; it allows {} ([[server]] in its \
                 configuration)",
                known.join(", ")
            ),
        )
    })
}

fn server_of(given: &Given<'_>, server: &Server) -> Result<PlanServer, Refusal> {
    let skip = given.truth(names::SKIP_VERIFY)?.unwrap_or(false);
    if skip && !server.allow_skip_verify {
        return Err(Refusal::annotation(
            given.source(names::SKIP_VERIFY),
            format!(
                "server {} is verified; `allow_skip_verify` of its entry in the operator's \
                 configuration would allow this",
                server.name
            ),
        ));
    }
    Ok(PlanServer {
        address: server.address.clone(),
        namespace: given.text(names::NAMESPACE).or_else(|| server.namespace.clone()),
        ca_file: server.ca.as_ref().map(|_pem| names::CA_PATH.to_owned()),
        spki_pin: server.spki_pin.clone(),
        server_name: server.server_name.clone(),
        verify: if skip { Verify::Skip } else { Verify::Full },
        mode: server.broker.as_ref().map(|_address| Mode::Beacon),
        broker: server.broker.clone(),
        bridge_key: server.bridge_key.clone(),
        fixed: true,
        ..PlanServer::default()
    })
}

fn auth_of(given: &Given<'_>, server: &Server) -> Result<Auth, Refusal> {
    let method = given.choice(names::AUTH_METHOD, METHODS)?.unwrap_or(AuthMethod::Kubernetes);
    let by_token = matches!(method, AuthMethod::Kubernetes | AuthMethod::Jwt);
    let mount = given.text(names::AUTH_MOUNT).or_else(|| server.auth_mount.clone());
    let mount = mount.map(|mount| {
        let bare = mount.trim_matches('/');
        bare.strip_prefix("auth/").unwrap_or(bare).to_owned()
    });
    Ok(Auth {
        method: Some(method),
        mount,
        role: given.text(names::ROLE),
        credential_file: by_token.then(|| names::TOKEN_PATH.to_owned()),
        ..Auth::default()
    })
}

fn bulk_of(given: &Given<'_>) -> Result<Vec<Bulk>, Refusal> {
    let mut all = Vec::new();
    for path in given.list(names::FROM) {
        Source::parse(&path).map_err(|error| {
            let shown = error.pointed(&path);
            Refusal::annotation(given.source(names::FROM), format!("{error}\n{shown}"))
        })?;
        all.push(Bulk { path, prefix: String::new() });
    }
    Ok(all)
}

fn requirements_of(given: &Given<'_>, config: &Config) -> Result<Vec<Requirement>, Refusal> {
    let mut all = config.pods.require.clone();
    if let Some(list) = given.text(names::REQUIRE) {
        let more = Requirement::parse_list(&list)
            .map_err(|error| Refusal::annotation(names::REQUIRE, error.to_string()))?;
        all.extend(more);
    }
    let is_agent = |each: &Requirement| matches!(each, Requirement::Agent(_));
    // Who says a weaker word of the agent in `require` means that.
    if given.choice(names::AGENT, AGENTS)? == Some(Folder::Needed) && !all.iter().any(is_agent) {
        all.push(Requirement::Agent(Agent::Enforcing));
    }
    Ok(all)
}

fn transit_of(given: &Given<'_>) -> Result<Option<Transit>, Refusal> {
    let Some(key) = given.text(names::TRANSIT_KEY) else { return Ok(None) };
    let mount = given.text(names::TRANSIT_MOUNT).unwrap_or_else(|| "transit".to_owned());
    let batch = match given.text(names::TRANSIT_BATCH) {
        None => 25,
        Some(text) => text.parse().ok().filter(|batch| *batch > 0).ok_or_else(|| {
            let name = given.source(names::TRANSIT_BATCH);
            Refusal::annotation(name, "this must be a number from 1 to 65535")
        })?,
    };
    Ok(Some(Transit { key, mount, batch }))
}

fn selection_of(given: &Given<'_>) -> Selection {
    let named = given.list(names::CONTAINERS);
    match named.as_slice() {
        [] => Selection::Apps,
        [all] if all == "*" => Selection::All,
        _ => Selection::Named(named),
    }
}

fn env_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}
