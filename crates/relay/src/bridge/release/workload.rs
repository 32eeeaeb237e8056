//! A workload that is logged in: its login at OpenBao and what was leased to it.

use std::{collections::BTreeMap, time::Duration};

use cloudtaser_bao::{
    self as bao, Address, BaoError, Client, Credential, Deadline, Lease, Method, Plaintext,
    Session, Settings, TransitKey,
};
use cloudtaser_core::{
    ProtectionLevel, Secret,
    reference::{SecretPath, Source},
    release::{
        self, Answer, Denial, Item, LoggedIn, Operation, Refused, Statement, Why,
        message::Claims,
        policy::{Action, Identity},
    },
};
use cloudtaser_tls::{Authorities, SpkiPin, TlsClient, TlsOptions, Trust};

use super::{
    ReleaseError,
    attest::Evidence,
    config::{AuthMethod, Issuer, ReleaseConfig},
    token::Bearer,
};

/// Time for giving a login back.
const REVOKE_WITHIN: Duration = Duration::from_secs(3);

/// A login at OpenBao, as the workload's own role.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) identity: Identity,
    pub(super) pod: String,
    pub(super) instance: [u8; 32],
    pub(super) role: Option<String>,
    pub(super) statement: Statement,
    pub(super) level: ProtectionLevel,
    /// What its node signed.
    pub(super) node: Option<Evidence>,
    /// Whether anything was released to it.
    pub(super) released: bool,
    client: Client,
    session: Session,
    /// What may be renewed, and what the policy is asked for it.
    leases: BTreeMap<String, (Lease, Action, String)>,
}

/// What a login is made from.
#[derive(Debug)]
pub(super) struct Login<'a> {
    pub(super) issuer: &'a Issuer,
    pub(super) bearer: Bearer,
    pub(super) instance: [u8; 32],
    pub(super) claims: Claims,
    pub(super) token: Secret,
    pub(super) signed: Option<Evidence>,
}

/// A connection to OpenBao that has asked nothing yet.
pub(super) fn client(config: &ReleaseConfig) -> Result<Client, ReleaseError> {
    let address = Address::parse(&config.openbao)?;
    let mut settings = Settings::new(address);
    settings.plaintext = Plaintext::LoopbackOnly;
    settings.namespace.clone_from(&config.namespace);
    if config.openbao.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
        let pins = config.trust.spki_pin.as_deref().map(SpkiPin::parse).transpose()?;
        let pins = Vec::from_iter(pins);
        let trust = match &config.trust.ca_file {
            Some(file) => {
                Trust::Authorities { sources: vec![Authorities::File(file.clone())], pins }
            }
            None if pins.is_empty() => {
                Trust::Authorities { sources: vec![Authorities::System], pins }
            }
            None => Trust::PinOnly(pins),
        };
        settings.tls = Some(TlsClient::new(&TlsOptions { trust, ..TlsOptions::default() })?);
    }
    Ok(Client::new(settings)?)
}

impl Workload {
    /// Logs in with the workload's own token, once it was verified.
    pub(super) fn login(client: Client, login: Login<'_>) -> Result<Self, BaoError> {
        let Login { issuer, bearer, instance, claims, token, signed } = login;
        let role = claims.role.clone();
        let jwt = Credential::Value(token);
        let method = match issuer.auth {
            AuthMethod::Jwt => Method::Jwt { role: claims.role, jwt },
            AuthMethod::Kubernetes => {
                Method::Kubernetes { role: claims.role.unwrap_or_default(), jwt }
            }
        };
        let login = bao::Login { method, mount: issuer.mount.clone(), namespace: None };
        let session = client.login(&login, &super::dialogue::deadline(claims.within_ms))?;
        let statement = claims.statement;
        let level = ProtectionLevel::from_facets(statement.facets, Vec::new());
        let Bearer { identity, pod } = bearer;
        let (leases, released) = (BTreeMap::new(), false);
        Ok(Self {
            identity,
            pod,
            instance,
            role,
            statement,
            level,
            node: signed,
            released,
            client,
            session,
            leases,
        })
    }

    /// Takes over what a wrapper that came back says of itself now.
    pub(super) fn resumed(&mut self, statement: Statement, signed: Option<Evidence>) {
        self.node = signed;
        self.level = ProtectionLevel::from_facets(statement.facets, Vec::new());
        self.statement = statement;
    }

    pub(super) fn logged_in(&self, resumed: bool) -> LoggedIn {
        LoggedIn {
            resumed,
            ttl_seconds: self.session.lease.as_secs(),
            renewable: self.session.renewable,
        }
    }

    /// Does what one item asks for, and says how OpenBao names the request. The policy was asked
    /// before.
    pub(super) fn fetch(&mut self, item: &Item, deadline: &Deadline) -> (Answer, Vec<String>) {
        let action = action_of(item);
        let fetched = match item {
            Item::Read { path, version } => self.read(path, *version, None, deadline),
            Item::Write { path, body } => self.read(path, None, Some(body), deadline),
            Item::Decrypt { mount, key, batch, texts } => {
                let key = TransitKey {
                    mount: mount.clone(),
                    key: key.clone(),
                    batch: usize::from(*batch),
                };
                let texts = texts.iter().map(String::as_str).collect::<Vec<_>>();
                let plain =
                    self.client.transit_decrypt_named(&self.session, &key, &texts, deadline);
                let plain = plain.map(|plain| (Answer::Plain(plain.texts), plain.requests));
                plain.map_err(|error| Box::new(error.carry()))
            }
        };
        self.released |= fetched.is_ok();
        if let Ok((Answer::Fields { lease: Some(lease), path, .. }, _)) = &fetched {
            let kept = Lease {
                id: lease.id.clone(),
                duration: Duration::from_secs(lease.ttl_seconds),
                renewable: lease.renewable,
            };
            self.leases.insert(lease.id.clone(), (kept, action, path.clone()));
        }
        fetched.unwrap_or_else(|refused| (Answer::Refused(refused), Vec::new()))
    }

    fn read(
        &self,
        path: &str,
        version: Option<u32>,
        write: Option<&String>,
        deadline: &Deadline,
    ) -> Result<(Answer, Vec<String>), Box<Refused>> {
        let operation = if write.is_some() { Operation::Write } else { Operation::Read };
        let path = SecretPath::parse(path).map_err(|error| {
            let why = Why::Unusable { meaning: format!("the path cannot be used: {error}") };
            Box::new(Refused { id: None, operation, place: None, tries: 0, elapsed_ms: 0, why })
        })?;
        let source = Source { path, version, write: write.cloned() };
        let answer = self
            .client
            .read(&self.session, &source, deadline)
            .map_err(|error| Box::new(error.carry()))?;
        let lease = answer.lease.map(|lease| release::Lease {
            id: lease.id,
            ttl_seconds: lease.duration.as_secs(),
            renewable: lease.renewable,
        });
        let request = Vec::from_iter(answer.request);
        let fields = Answer::Fields {
            path: answer.path,
            version: answer.version,
            lease,
            warnings: answer.warnings,
            json: answer.fields.into_json(),
        };
        Ok((fields, request))
    }

    /// Renews the login.
    pub(super) fn renew(&mut self, deadline: &Deadline) -> Result<release::Lease, Box<Refused>> {
        self.session = self
            .client
            .renew_self(&self.session, deadline)
            .map_err(|error| Box::new(error.carry()))?;
        Ok(release::Lease {
            id: String::new(),
            ttl_seconds: self.session.lease.as_secs(),
            renewable: self.session.renewable,
        })
    }

    /// What the policy is to be asked before a lease of this workload is renewed.
    pub(super) fn leased(&self, id: &str) -> Result<(Action, String), Box<Refused>> {
        self.leases.get(id).map(|(_, action, path)| (*action, path.clone())).ok_or_else(unknown)
    }

    /// Renews a lease.
    pub(super) fn renew_lease(
        &mut self,
        id: &str,
        deadline: &Deadline,
    ) -> Result<release::Lease, Box<Refused>> {
        let (lease, action, path) = self.leases.get(id).cloned().ok_or_else(unknown)?;
        let renewed = self
            .client
            .renew_lease(&self.session, &lease, deadline)
            .map_err(|error| Box::new(error.carry()))?;
        let told = release::Lease {
            id: renewed.id.clone(),
            ttl_seconds: renewed.duration.as_secs(),
            renewable: renewed.renewable,
        };
        self.leases.remove(id);
        self.leases.insert(renewed.id.clone(), (renewed, action, path));
        Ok(told)
    }

    /// Gives the login back to OpenBao, as far as it can be reached.
    pub(super) fn revoke(self) -> Result<(), BaoError> {
        self.client.revoke_self(&self.session, &Deadline::after(REVOKE_WITHIN))
    }
}

fn unknown() -> Box<Refused> {
    let meaning = "the lease was not given to this login".to_owned();
    Box::new(Refused::denied(Operation::RenewLease, Denial::Policy, meaning))
}

/// What the policy is asked for an item.
pub(super) const fn action_of(item: &Item) -> Action {
    match item {
        Item::Read { .. } => Action::Read,
        Item::Write { .. } => Action::Write,
        Item::Decrypt { .. } => Action::Decrypt,
    }
}

/// The path that the policy is asked about.
pub(super) fn path_of(item: &Item) -> String {
    match item {
        Item::Read { path, .. } | Item::Write { path, .. } => path.clone(),
        Item::Decrypt { mount, key, .. } => format!("{}/decrypt/{key}", mount.trim_matches('/')),
    }
}
