//! From settings to a client and a login: where the plan's words become types of the OpenBao crate.

use std::path::{Path, PathBuf};

use cloudtaser_bao::{
    Address, BaoError, Client, Credential, Login, Method, Plaintext, SecretId,
    Settings as ClientSettings,
};
use cloudtaser_core::{
    ProtectionLevel, Secret,
    level::{self, Facets, Transport},
    plan::{AuthMethod, Mode, Server, Verify},
    release::Statement,
};
use cloudtaser_road::{Admission, Release, Route, admission::AdmissionError};
use cloudtaser_tls::{
    Authorities, Identity, SkipVerify, SpkiPin, TlsClient, TlsError, TlsOptions, Trust,
    raw::KeyPair,
};

use crate::{
    bridge::{Bridge, Names},
    guard::{Attesting, Guard},
    home::Home,
    settings::Settings,
};

/// Where kubelet projects the token of a pod.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Settings that do not make a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConnectError {
    /// No server.
    #[error("no OpenBao address: set VAULT_ADDR (or BAO_ADDR, or server.address in the plan)")]
    Address,
    /// The client file is not what a bridge writes.
    #[error("the client file of the bridge")]
    Admission(#[source] AdmissionError),
    /// The client file is no JSON, or something else.
    #[error("{path} is no client file: have the bridge write it by admit --json")]
    ClientFile {
        /// Which.
        path: String,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A login that a bridge cannot make.
    #[error("through a bridge the login is by the workload's own token: method kubernetes or jwt")]
    Method,
    /// The namespace is not ours to choose.
    #[error("through a bridge the namespace is the bridge's: leave VAULT_NAMESPACE out")]
    Namespace,
    /// The client refuses the settings.
    #[error("OpenBao connection")]
    Client(#[source] BaoError),
    /// The address cannot be used.
    #[error("OpenBao address")]
    Unusable(#[source] BaoError),
    /// A credential or its place is not given.
    #[error("login by {method} needs {what}")]
    Missing {
        /// The method.
        method: &'static str,
        /// What to set.
        what: &'static str,
    },
    /// The trust settings cannot be used.
    #[error("TLS settings")]
    Tls(#[source] TlsError),
}

/// Makes the home of secrets: OpenBao, or a bridge before it.
///
/// # Errors
/// [`ConnectError`] names the setting.
pub(crate) fn home(
    settings: &mut Settings,
    promised: &ProtectionLevel,
    guard: &Guard,
) -> Result<Home, ConnectError> {
    let server = &settings.plan.server;
    match server.way() {
        Mode::Direct => {
            let client = client(settings)?;
            Ok(Home::direct(client, login(settings)?))
        }
        Mode::Beacon | Mode::Reverse => bridge(settings, promised, guard),
    }
}

fn bridge(
    settings: &mut Settings,
    promised: &ProtectionLevel,
    guard: &Guard,
) -> Result<Home, ConnectError> {
    let server = settings.plan.server.clone();
    let missing = |what| ConnectError::Missing { method: "a bridge", what };
    if server.namespace.is_some() {
        return Err(ConnectError::Namespace);
    }
    if server.way() == Mode::Reverse && server.broker.is_none() {
        return Err(missing(
            "the cluster's broker, which the bridge dials in reverse mode: set \
             CLOUDTASER_BROKER_ADDR",
        ));
    }
    let route = match (server.via, server.bridge_key, server.broker) {
        (None, Some(bridge), Some(broker)) => {
            let bridge = bridge.parse().map_err(ConnectError::Tls)?;
            Route::brokered(bridge, broker, Box::<Names>::default())
        }
        (None, Some(_), None) => {
            return Err(missing("the cluster's broker: set CLOUDTASER_BROKER_ADDR"));
        }
        (None, None, _) => {
            return Err(missing(
                "its key and a broker, or a client file: set CLOUDTASER_BRIDGE_KEY and \
                 CLOUDTASER_BROKER_ADDR, or CLOUDTASER_VIA and CLOUDTASER_VIA_KEY",
            ));
        }
        (Some(via), _, broker) => {
            let key = server.via_key;
            let key = key.ok_or_else(|| missing("a client key: set CLOUDTASER_VIA_KEY"))?;
            admitted(&via, &key, broker)?
        }
    };
    let release = route.and_then(Release::new).map_err(ConnectError::Tls)?;
    let login = login(settings)?;
    let (role, jwt) = match login.method {
        Method::Jwt { role, jwt } => (role, jwt),
        Method::Kubernetes { role, jwt } => (Some(role), jwt),
        _ => return Err(ConnectError::Method),
    };
    let facets = Facets { transport: Transport::Hybrid, ..promised.facets };
    let statement = Statement { facets, wrapper: None, agent: guard.said.clone() };
    let node = Attesting::by(guard, &settings.plan);
    Ok(Home::Bridge(Box::new(Bridge::new(release, role, jwt, statement, node))))
}

/// The way of a client that is on the bridge's list.
fn admitted(
    via: &str,
    key: &str,
    broker: Option<String>,
) -> Result<Result<Route, TlsError>, ConnectError> {
    let read = |path: &str| {
        let failed = |source| ConnectError::File { path: path.to_owned(), source };
        std::fs::read(path).map(Secret::new).map_err(failed)
    };
    let file = serde_json::from_slice(read(via)?.expose())
        .map_err(|_quotes| ConnectError::ClientFile { path: via.to_owned() })?;
    let admission = Admission::new(file).map_err(ConnectError::Admission)?;
    let key = KeyPair::from_pem(&read(key)?).map_err(ConnectError::Tls)?;
    Ok(Route::new(admission, &key, broker, Box::<Names>::default()))
}

/// Makes the client.
///
/// # Errors
/// [`ConnectError`] names the setting.
fn client(settings: &Settings) -> Result<Client, ConnectError> {
    let server = &settings.plan.server;
    if server.address.is_empty() {
        return Err(ConnectError::Address);
    }
    let mut client =
        ClientSettings::new(Address::parse(&server.address).map_err(ConnectError::Unusable)?);
    client.namespace.clone_from(&server.namespace);
    client.plaintext = Plaintext::LoopbackOnly;
    if is_encrypted(server) {
        client.tls = Some(tls(server).map_err(ConnectError::Tls)?);
    }
    Client::new(client).map_err(ConnectError::Client)
}

/// What the connection is worth before it is made: the worst that these settings allow.
pub(crate) fn transport(server: &Server) -> Transport {
    match (server.way(), is_encrypted(server), server.verify) {
        // Pinned by key, and without another key exchange.
        (Mode::Beacon | Mode::Reverse, ..) => Transport::Hybrid,
        (Mode::Direct, false, _) => Transport::Plaintext,
        (Mode::Direct, true, Verify::Skip) => Transport::Unverified,
        (Mode::Direct, true, Verify::Full) => Transport::Tls,
    }
}

/// Who decides on each release.
pub(crate) fn release(server: &Server) -> level::Release {
    match server.way() {
        Mode::Beacon | Mode::Reverse => level::Release::Bridge,
        Mode::Direct => level::Release::Direct,
    }
}

/// Makes the login.
///
/// # Errors
/// [`ConnectError::Missing`] says what to set.
fn login(settings: &mut Settings) -> Result<Login, ConnectError> {
    let auth = &settings.plan.auth;
    let method = auth.method.unwrap_or(AuthMethod::Kubernetes);
    let credential = given(settings.credential.take(), auth.credential_file.as_deref());
    let text = |text: &Option<String>, method, what| {
        text.clone().ok_or(ConnectError::Missing { method, what })
    };
    let pod = |credential: Option<Credential>| {
        credential.unwrap_or_else(|| Credential::File(PathBuf::from(POD_TOKEN)))
    };
    let need = |credential: Option<Credential>, method, what| {
        credential.ok_or(ConnectError::Missing { method, what })
    };
    let method = match method {
        AuthMethod::Kubernetes => Method::Kubernetes {
            role: text(&auth.role, "kubernetes", "a role: set VAULT_ROLE")?,
            jwt: pod(credential),
        },
        AuthMethod::Jwt => Method::Jwt { role: auth.role.clone(), jwt: pod(credential) },
        AuthMethod::Approle => Method::AppRole {
            role_id: role_id(settings)?,
            secret_id: credential.map_or(SecretId::None, SecretId::Plain),
        },
        AuthMethod::ApproleWrapped => Method::AppRole {
            role_id: role_id(settings)?,
            secret_id: SecretId::Wrapped(need(
                credential,
                "approle-wrapped",
                "the wrapped secret id: set VAULT_WRAPPED_SECRET_ID_FILE",
            )?),
        },
        AuthMethod::Cert => {
            let server = &settings.plan.server;
            if server.client_cert.is_none() || server.client_key.is_none() {
                let what = "a certificate: set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY";
                return Err(ConnectError::Missing { method: "cert", what });
            }
            Method::Cert { role: auth.role.clone() }
        }
        AuthMethod::Userpass => Method::UserPass {
            user: text(&auth.user, "userpass", "a user: set VAULT_USERNAME")?,
            password: need(credential, "userpass", "a password: set VAULT_PASSWORD_FILE")?,
        },
        AuthMethod::WrappedToken => Method::WrappedToken(need(
            credential,
            "wrapped-token",
            "the wrapped token: set VAULT_WRAPPED_TOKEN_FILE",
        )?),
        _ => Method::Token(need(credential, "token", "a token: set VAULT_TOKEN_FILE")?),
    };
    let mount = settings.plan.auth.mount.clone();
    Ok(Login { method, mount, namespace: None })
}

fn role_id(settings: &Settings) -> Result<Credential, ConnectError> {
    let auth = &settings.plan.auth;
    if let Some(file) = &auth.role_id_file {
        return Ok(Credential::File(PathBuf::from(file)));
    }
    let id = settings.role_id.clone().or_else(|| auth.role.clone());
    id.map(|id| Credential::Value(Secret::from(id))).ok_or(ConnectError::Missing {
        method: "approle",
        what: "a role id: set VAULT_ROLE_ID or VAULT_ROLE_ID_FILE",
    })
}

fn given(value: Option<Secret>, file: Option<&str>) -> Option<Credential> {
    match (value, file) {
        (Some(value), _) => Some(Credential::Value(value)),
        (None, Some(file)) => Some(Credential::File(PathBuf::from(file))),
        (None, None) => None,
    }
}

fn is_encrypted(server: &Server) -> bool {
    server.address.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

fn tls(server: &Server) -> Result<TlsClient, TlsError> {
    let pins = server.spki_pin.as_deref().map(SpkiPin::parse).transpose()?;
    let pins = Vec::from_iter(pins);
    let mut sources = Vec::new();
    sources.extend(server.ca_file.as_ref().map(|file| Authorities::File(PathBuf::from(file))));
    sources.extend(server.ca_dir.as_ref().map(|dir| Authorities::Dir(PathBuf::from(dir))));
    let trust = match (server.verify, sources.is_empty(), pins.is_empty()) {
        (Verify::Skip, ..) => Trust::SkipVerify(SkipVerify::anyone_may_answer()),
        (Verify::Full, true, false) => Trust::PinOnly(pins),
        (Verify::Full, true, true) => {
            Trust::Authorities { sources: vec![Authorities::System], pins }
        }
        (Verify::Full, false, _) => Trust::Authorities { sources, pins },
    };
    let identity = match (&server.client_cert, &server.client_key) {
        (Some(cert), Some(key)) => Some(Identity::from_files(Path::new(cert), Path::new(key))?),
        _ => None,
    };
    TlsClient::new(&TlsOptions { trust, identity, server_name: server.server_name.clone() })
}
