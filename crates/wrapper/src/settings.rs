//! What a launch is made from: plan document, environment and flags brought together.
//!
//! Precedence, strongest first: flags, `CLOUDTASER_…`, the plan, `BAO_…`, `VAULT_…`. The names of
//! `VAULT_…` are those that users of vault-env, secret-init and the OpenBao CLI have; each has a
//! `BAO_` and a `CLOUDTASER_` twin. This module reads no file but the plan and talks to nobody.

use std::collections::BTreeMap;

use cloudtaser_core::{
    Secret,
    level::{Requirement, RequirementError},
    names,
    plan::{
        AuthMethod, Bulk, DeliveryMode, Dumpable, LaunchPlan, LogFormat, LogLevel, Missing, Mode,
        Revoke, RotationAction, Server, Transit, Untraceable, Verify,
    },
};
mod found;
mod keys;
#[cfg(test)]
mod tests;

use found::Found;
pub(crate) use keys::CREDENTIALS;

/// Variables as the kernel gave them: bytes, in order, the first of a name wins.
pub(crate) type Environment = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything that the launch needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The plan, completed from the environment.
    pub(crate) plan: LaunchPlan,
    /// A credential that was given by value.
    pub(crate) credential: Option<Secret>,
    /// AppRole: the role id, given by value.
    pub(crate) role_id: Option<String>,
    /// The variables that remain for the app, references unresolved.
    pub(crate) app: Environment,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SettingsError {
    /// A switch that is neither true nor false.
    #[error("{name} must be true or false")]
    Bool {
        /// The variable.
        name: String,
    },
    /// A word that is none of the possible ones.
    #[error("{name} must be one of {words}")]
    Choice {
        /// The variable.
        name: String,
        /// What would be accepted.
        words: &'static str,
    },
    /// A number out of range.
    #[error("{name} must be a number from 1 to 65535")]
    Number {
        /// The variable.
        name: String,
    },
    /// A length of time that cannot be read.
    #[error("{name} must be a time such as 30s or 5m")]
    Period {
        /// The variable.
        name: String,
    },
    /// The plan is not a plan.
    #[error("the launch plan in {origin} cannot be read")]
    Plan {
        /// Where it came from.
        origin: String,
        /// What and where.
        source: serde_json::Error,
    },
    /// A requirement that cannot be read.
    #[error("{name}")]
    Require {
        /// The variable.
        name: &'static str,
        /// What is wrong.
        source: RequirementError,
    },
    /// A value that is not text.
    #[error("{name} is not UTF-8")]
    Text {
        /// The variable.
        name: String,
    },
}

/// A plan document and where it came from, for messages.
#[derive(Debug)]
pub(crate) struct PlanDocument {
    pub(crate) origin: String,
    pub(crate) json: Vec<u8>,
}

/// Brings plan and environment together. Flags are laid over the result by the caller.
///
/// # Errors
/// [`SettingsError`] names the variable or the place in the plan.
pub(crate) fn gather(
    environment: Environment,
    document: Option<PlanDocument>,
) -> Result<Settings, SettingsError> {
    let lookup = Lookup::new(&environment);
    let document = match document {
        Some(document) => Some(document),
        None => lookup.own(names::ENV_PLAN)?.map(|json| PlanDocument {
            origin: names::ENV_PLAN.to_owned(),
            json: json.into_bytes(),
        }),
    };
    let plan = match document {
        Some(PlanDocument { origin, json }) => {
            LaunchPlan::from_json(&json).map_err(|source| SettingsError::Plan { origin, source })?
        }
        None => LaunchPlan::default(),
    };
    let mut settings = Settings { plan, credential: None, role_id: None, app: Vec::new() };
    lookup.fill(&mut settings)?;
    let passthrough = std::mem::take(&mut settings.plan.passthrough);
    drop(lookup);
    settings.app = keys::for_app(environment, &passthrough);
    settings.plan.passthrough = passthrough;
    Ok(settings)
}

/// Reads settings by name, own names before the twins.
struct Lookup<'a> {
    by_name: BTreeMap<&'a [u8], &'a [u8]>,
}

impl<'a> Lookup<'a> {
    fn new(environment: &'a Environment) -> Self {
        let mut by_name = BTreeMap::new();
        for (name, value) in environment {
            by_name.entry(name.as_slice()).or_insert(value.as_slice());
        }
        Self { by_name }
    }

    /// One variable as text; empty counts as absent, as everywhere in this family of tools.
    fn own(&self, name: &str) -> Result<Option<String>, SettingsError> {
        match self.by_name.get(name.as_bytes()) {
            None | Some([]) => Ok(None),
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Some(text.to_owned())),
                Err(_not_text) => Err(SettingsError::Text { name: name.to_owned() }),
            },
        }
    }

    /// `CLOUDTASER_X`, which beats the plan.
    fn strong(&self, key: &str) -> Result<Option<Found>, SettingsError> {
        let name = format!("{}{key}", names::ENV_PREFIX);
        Ok(self.own(&name)?.map(|text| Found { name, text }))
    }

    /// `BAO_X`, then `VAULT_X`, which the plan beats.
    fn weak(&self, key: &str) -> Result<Option<Found>, SettingsError> {
        for prefix in ["BAO_", "VAULT_"] {
            let name = format!("{prefix}{key}");
            if let Some(text) = self.own(&name)? {
                return Ok(Some(Found { name, text }));
            }
        }
        Ok(None)
    }

    fn any(&self, keys: &[&str]) -> Result<Option<Found>, SettingsError> {
        for key in keys {
            if let Some(found) = self.strong(key)? {
                return Ok(Some(found));
            }
        }
        for key in keys {
            if let Some(found) = self.weak(key)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Sets a field from the environment where that beats what is there.
    fn over(&self, field: &mut Option<String>, keys: &[&str]) -> Result<(), SettingsError> {
        for key in keys {
            if let Some(found) = self.strong(key)? {
                *field = Some(found.text);
                return Ok(());
            }
        }
        if field.is_none() {
            *field = self.any(keys)?.map(|found| found.text);
        }
        Ok(())
    }

    fn fill(&self, settings: &mut Settings) -> Result<(), SettingsError> {
        self.server(settings)?;
        self.auth(settings)?;
        self.reads(settings)?;
        self.delivery(settings)?;
        self.logging(settings)
    }

    fn server(&self, settings: &mut Settings) -> Result<(), SettingsError> {
        let server = &mut settings.plan.server;
        self.over(&mut server.client_cert, &["CLIENT_CERT"])?;
        self.over(&mut server.client_key, &["CLIENT_KEY"])?;
        // SECURITY: a ConfigMap of the namespace can add variables to a container; it must not be
        // able to send the pod's token somewhere else.
        if server.fixed {
            return Ok(());
        }
        let mut address = Some(std::mem::take(&mut server.address)).filter(|a| !a.is_empty());
        self.over(&mut address, &["ADDR", "ADDRESS"])?;
        server.address = address.unwrap_or_default();
        self.road(server)?;
        self.over(&mut server.namespace, &["NAMESPACE"])?;
        self.over(&mut server.ca_file, &["CACERT"])?;
        self.over(&mut server.ca_dir, &["CAPATH"])?;
        self.over(&mut server.spki_pin, &["SPKI_PIN"])?;
        self.over(&mut server.server_name, &["TLS_SERVER_NAME"])?;
        if let Some(found) = self.any(&["SKIP_VERIFY"])?
            && found.truth()?
        {
            server.verify = Verify::Skip;
        }
        Ok(())
    }

    /// The way by a bridge, of which other clients of OpenBao know nothing.
    fn road(&self, server: &mut Server) -> Result<(), SettingsError> {
        if let Some(found) = self.strong("MODE")? {
            server.mode = Some(found.choice("beacon, direct, reverse", |word| {
                Some(match word {
                    "beacon" => Mode::Beacon,
                    "direct" => Mode::Direct,
                    "reverse" => Mode::Reverse,
                    _ => return None,
                })
            })?);
        }
        for (field, key) in [
            (&mut server.via, "VIA"),
            (&mut server.via_key, "VIA_KEY"),
            (&mut server.broker, "BROKER_ADDR"),
            (&mut server.bridge_key, "BRIDGE_KEY"),
        ] {
            if let Some(found) = self.strong(key)? {
                *field = Some(found.text);
            }
        }
        Ok(())
    }

    fn auth(&self, settings: &mut Settings) -> Result<(), SettingsError> {
        let auth = &mut settings.plan.auth;
        let mut from_vault_env = false;
        match (self.strong("AUTH_METHOD")?, self.weak("AUTH_METHOD")?) {
            (Some(found), _) => auth.method = Some(found.auth_method()?),
            (None, Some(found)) if auth.method.is_none() => {
                auth.method = Some(found.auth_method()?);
                from_vault_env = true;
            }
            _ => {}
        }
        self.over(&mut auth.mount, &["AUTH_MOUNT", "PATH"])?;
        if from_vault_env && auth.method == Some(AuthMethod::Jwt) && auth.mount.is_none() {
            // vault-env calls the login of a pod "jwt" and expects it at this mount.
            auth.mount = Some("kubernetes".to_owned());
        }
        self.over(&mut auth.role, &["ROLE"])?;
        self.over(&mut auth.user, &["USERNAME"])?;
        self.over(&mut auth.role_id_file, &["ROLE_ID_FILE"])?;
        settings.role_id = self.any(&["ROLE_ID"])?.map(|found| found.text);
        self.credential(settings)?;
        if let Some(found) = self.any(&["REVOKE_TOKEN"])? {
            let own = found.truth()?;
            settings.plan.auth.revoke = if own { Revoke::Own } else { Revoke::Never };
        }
        Ok(())
    }

    /// Finds the credential and, where no method was named, the method that it implies.
    fn credential(&self, settings: &mut Settings) -> Result<(), SettingsError> {
        const FILES: &[(&str, AuthMethod)] = &[
            ("TOKEN_FILE", AuthMethod::Token),
            ("WRAPPED_TOKEN_FILE", AuthMethod::WrappedToken),
            ("SECRET_ID_FILE", AuthMethod::Approle),
            ("WRAPPED_SECRET_ID_FILE", AuthMethod::ApproleWrapped),
            ("PASSWORD_FILE", AuthMethod::Userpass),
            ("JWT_FILE", AuthMethod::Jwt),
        ];
        const VALUES: &[(&str, AuthMethod)] = &[
            ("TOKEN", AuthMethod::Token),
            ("WRAPPED_TOKEN", AuthMethod::WrappedToken),
            ("SECRET_ID", AuthMethod::Approle),
            ("WRAPPED_SECRET_ID", AuthMethod::ApproleWrapped),
            ("PASSWORD", AuthMethod::Userpass),
        ];
        let auth = &mut settings.plan.auth;
        if auth.credential_file.is_some() {
            return Ok(());
        }
        let fits = |implied: AuthMethod, method: Option<AuthMethod>| match method {
            None => true,
            Some(AuthMethod::Kubernetes) => implied == AuthMethod::Jwt,
            Some(method) => implied == method,
        };
        for (key, implied) in VALUES {
            if let Some(found) = self.any(&[key])?.filter(|found| !found.is_login())
                && fits(*implied, auth.method)
            {
                auth.method.get_or_insert(*implied);
                settings.credential = Some(Secret::from(found.text));
                return Ok(());
            }
        }
        for (key, implied) in FILES {
            if let Some(found) = self.any(&[key])?
                && fits(*implied, auth.method)
            {
                auth.method.get_or_insert(*implied);
                auth.credential_file = Some(found.text);
                return Ok(());
            }
        }
        if matches!(auth.method, None | Some(AuthMethod::Kubernetes | AuthMethod::Jwt)) {
            auth.credential_file = self.own("KUBERNETES_SERVICE_ACCOUNT_TOKEN")?;
        }
        Ok(())
    }

    fn reads(&self, settings: &mut Settings) -> Result<(), SettingsError> {
        let plan = &mut settings.plan;
        if let Some(found) = self.any(&["CLIENT_TIMEOUT", "DEADLINE"])?
            && (plan.reads.deadline.is_none() || found.is_strong())
        {
            plan.reads.deadline = Some(found.period()?);
        }
        let delay = match self.any(&["ENV_DELAY", "DELAY"])? {
            Some(found) => Some(found),
            None => self.plain("SECRET_INIT_DELAY")?,
        };
        if let Some(found) = delay {
            plan.reads.delay = Some(found.period()?);
        }
        if let Some(found) = self.any(&["IGNORE_MISSING_SECRETS"])?
            && found.truth()?
        {
            plan.reads.missing = Missing::Skip;
        }
        if let Some(found) = self.any(&["ENV_FROM_PATH", "FROM_PATH", "FROM"])? {
            plan.from.extend(found.list().map(|path| Bulk { path, prefix: String::new() }));
        }
        if let Some(found) = self.any(&["ENV_PASSTHROUGH", "PASSTHROUGH"])? {
            plan.passthrough.extend(found.list());
        }
        if let Some(key) = self.any(&["TRANSIT_KEY_ID"])? {
            let mount = self.any(&["TRANSIT_PATH"])?.map(|found| found.text);
            let batch =
                self.any(&["TRANSIT_BATCH_SIZE"])?.map(|found| found.number()).transpose()?;
            plan.transit = Some(Transit {
                key: key.text,
                mount: mount.unwrap_or_else(|| "transit".to_owned()),
                batch: batch.unwrap_or(25),
            });
        }
        Ok(())
    }

    fn delivery(&self, settings: &mut Settings) -> Result<(), SettingsError> {
        let plan = &mut settings.plan;
        if let Some(found) = self.strong("DELIVERY")? {
            plan.delivery.mode = found.choice("auto, follow, one-shot, plain", |word| {
                Some(match word {
                    "auto" => DeliveryMode::Auto,
                    "follow" => DeliveryMode::Follow,
                    "one-shot" => DeliveryMode::OneShot,
                    "plain" => DeliveryMode::Plain,
                    _ => return None,
                })
            })?;
        }
        if let Some(found) = self.strong("DUMPABLE")? {
            plan.delivery.dumpable = found.choice("auto, keep, off", |word| {
                Some(match word {
                    "auto" => Dumpable::Auto,
                    "keep" => Dumpable::Keep,
                    "off" => Dumpable::Off,
                    _ => return None,
                })
            })?;
        }
        if let Some(found) = self.strong("UNTRACEABLE")? {
            plan.delivery.untraceable = found.choice("allow, refuse", |word| {
                Some(match word {
                    "allow" => Untraceable::Allow,
                    "refuse" => Untraceable::Refuse,
                    _ => return None,
                })
            })?;
        }
        if let Some(found) = self.strong("ROTATE_EVERY")? {
            plan.rotation.poll = Some(found.period()?);
        }
        if let Some(found) = self.strong("ROTATE_ACTION")? {
            plan.rotation.action = found.choice("none, in-place, restart, signal", |word| {
                Some(match word {
                    "none" => RotationAction::None,
                    "in-place" => RotationAction::InPlace,
                    "restart" => RotationAction::Restart,
                    "signal" => RotationAction::Signal,
                    _ => return None,
                })
            })?;
        }
        self.over(&mut plan.rotation.signal, &["ROTATE_SIGNAL"])?;
        if let Some(path) = self.own(names::ENV_AGENT)? {
            plan.agent = Some(path);
        }
        if let Some(list) = self.own(names::ENV_REQUIRE)? {
            plan.require.extend(
                Requirement::parse_list(&list).map_err(|source| SettingsError::Require {
                    name: names::ENV_REQUIRE,
                    source,
                })?,
            );
        }
        Ok(())
    }

    fn logging(&self, settings: &mut Settings) -> Result<(), SettingsError> {
        let log = &mut settings.plan.log;
        let json = match self.any(&["JSON_LOG"])? {
            Some(found) => Some(found),
            None => self.plain("SECRET_INIT_JSON_LOG")?,
        };
        if let Some(found) = json
            && found.truth()?
        {
            log.format = LogFormat::Json;
        }
        let level = match self.any(&["LOG_LEVEL"])? {
            Some(found) => Some(found),
            None => self.plain("SECRET_INIT_LOG_LEVEL")?,
        };
        if let Some(found) = level {
            log.level = found.choice("debug, info, warn, error", |word| {
                Some(match word {
                    "debug" | "trace" => LogLevel::Debug,
                    "info" => LogLevel::Info,
                    "warn" | "warning" => LogLevel::Warn,
                    "error" => LogLevel::Error,
                    _ => return None,
                })
            })?;
        }
        Ok(())
    }

    fn plain(&self, name: &str) -> Result<Option<Found>, SettingsError> {
        Ok(self.own(name)?.map(|text| Found { name: name.to_owned(), text }))
    }
}
