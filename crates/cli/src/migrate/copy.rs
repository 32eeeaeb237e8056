//! One Secret: read, written, read back, compared; and removed when that is safe.

use std::{collections::BTreeMap, time::Duration};

use cloudtaser_bao::{Address, Client, Credential, Deadline, Login, Method, Session, Settings};
use cloudtaser_core::{
    Secret,
    blame::chain,
    reference::{SecretPath, Source},
};
use cloudtaser_tls::{Authorities, TlsClient, TlsOptions, Trust};
use serde::Serialize;

use super::{MigrateArgs, Move};
use crate::{cluster::Cluster, deploy::DeployError, ui};

/// For one operation on OpenBao.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where values go.
pub(super) struct Target {
    client: Client,
    session: Session,
}

/// What became of one Secret.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    secret: String,
    path: String,
    state: State,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Copied,
    Deleted,
    Failed,
    Kept,
    There,
}

impl Outcome {
    fn new(each: &Move, state: State, why: impl Into<String>) -> Self {
        Self { secret: each.name(), path: each.path.clone(), state, why: why.into() }
    }

    pub(super) fn is_in_openbao(&self) -> bool {
        matches!(self.state, State::Copied | State::There)
    }

    pub(super) fn is_bad(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    pub(super) fn words(&self) -> String {
        let Self { secret, path, state, why } = self;
        let word = match state {
            State::Copied => "copied ",
            State::Deleted => "deleted",
            State::Failed => "FAILED ",
            State::Kept => "kept   ",
            State::There => "there  ",
        };
        let why = if why.is_empty() { String::new() } else { format!(": {}", ui::printable(why)) };
        let text = format!("{word}  {secret} -> {path}{why}");
        if self.is_bad() { ui::paint::bad(&text) } else { text }
    }
}

impl Target {
    /// Logs in.
    pub(super) fn open(args: &MigrateArgs) -> anyhow::Result<Self> {
        let source = args.openbao_ca.as_ref();
        let source = source.map_or(Authorities::System, |path| Authorities::File(path.clone()));
        let trust = Trust::Authorities { sources: vec![source], pins: Vec::new() };
        let tls = TlsClient::new(&TlsOptions { trust, ..TlsOptions::default() })?;
        let mut settings = Settings::new(Address::parse(&args.openbao)?);
        settings.tls = Some(tls);
        settings.namespace.clone_from(&args.openbao_namespace);
        let client = Client::new(settings)?;
        let token = Credential::File(args.token_file.clone());
        let login = Login { method: Method::Token(token), mount: None, namespace: None };
        let session = client.login(&login, &Deadline::after(PATIENCE))?;
        Ok(Self { client, session })
    }

    /// Copies; what is there already is compared and stays.
    pub(super) fn copy(&self, cluster: &Cluster, each: &Move) -> Result<Outcome, DeployError> {
        let failed = |why: String| Ok(Outcome::new(each, State::Failed, why));
        let path = match SecretPath::parse(&each.path) {
            Ok(path) if each.path.contains("/data/") => path,
            Ok(_) => {
                return failed("the path has no data/: MOUNT/data/NAME is expected".to_owned());
            }
            Err(error) => return failed(error.to_string()),
        };
        let Some(fields) = cluster.secret(&each.namespace, &each.secret)? else {
            return failed("there is no such Secret".to_owned());
        };
        if let Some(name) = fields.iter().find(|(_, v)| v.expose_str().is_none()).map(|(n, _)| n) {
            return failed(format!("field {name} is no text: store it as base64 yourself"));
        }
        let source = Source { path: path.clone(), version: None, write: None };
        let there = match self.compare(&source, &fields) {
            Ok(there) => there,
            Err(why) => return failed(why),
        };
        match there {
            Some(same) if same.is_empty() => return Ok(Outcome::new(each, State::There, "")),
            Some(differ) => {
                return failed(format!(
                    "OpenBao has other values there ({}); nothing was replaced",
                    differ.join(", ")
                ));
            }
            None => {}
        }
        let deadline = Deadline::after(PATIENCE);
        if let Err(error) = self.client.store_new(&self.session, &path, &fields, &deadline) {
            return failed(chain(&error));
        }
        match self.compare(&source, &fields) {
            Ok(Some(differ)) if differ.is_empty() => {
                let why = format!("{} fields, read back and compared", fields.len());
                Ok(Outcome::new(each, State::Copied, why))
            }
            Ok(_) => failed("what was read back is not what was written".to_owned()),
            Err(why) => failed(why),
        }
    }

    /// The names of fields that differ; nothing where there is no secret.
    fn compare(
        &self,
        source: &Source,
        fields: &BTreeMap<String, Secret>,
    ) -> Result<Option<Vec<String>>, String> {
        let answer = match self.client.read(&self.session, source, &Deadline::after(PATIENCE)) {
            Ok(answer) => answer,
            Err(error) if error.status() == Some(404) => return Ok(None),
            Err(error) => return Err(chain(&error)),
        };
        let theirs = &answer.fields;
        let differs = |(name, value): &(&String, &Secret)| {
            !theirs.get(name).is_some_and(|other| other.same_as(value))
        };
        let mut all: Vec<String> =
            fields.iter().filter(differs).map(|(name, _)| name.clone()).collect();
        all.extend(theirs.names().filter(|name| !fields.contains_key(*name)).map(str::to_owned));
        Ok(Some(all))
    }
}

/// Removes a Secret that OpenBao has, unless somebody uses it.
pub(super) fn delete(
    cluster: &Cluster,
    each: &Move,
    used: &[(String, String, String)],
) -> Result<Outcome, DeployError> {
    let user = used
        .iter()
        .find(|(namespace, secret, _)| *namespace == each.namespace && *secret == each.secret);
    if let Some((_, _, who)) = user {
        return Ok(Outcome::new(each, State::Kept, format!("{who} still uses it")));
    }
    let path = format!("/api/v1/namespaces/{}/secrets/{}", each.namespace, each.secret);
    cluster.delete(&path)?;
    Ok(Outcome::new(each, State::Deleted, ""))
}
