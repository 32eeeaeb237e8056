//! A double of the Kubernetes API server, over real TLS, as far as our programs use one.
//!
//! It keeps objects by their path, gives them versions, refuses writes of an old version, and asks
//! admission webhooks as they are registered: by the authorities in `caBundle`, under the service's
//! name, by `objectSelector`, a second time after the ServiceAccount plugin, and closed when one
//! does not answer. It knows no schema: what is valid is for other tests to say.
//!
//! Invariant: nothing is allowed without the token; and where rules are given, nothing but what they
//! name.

mod admission;
pub(crate) mod http;
mod store;

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use cloudtaser_tls::issue::{Issued, Terms, server_config};
use rustls::{
    ServerConnection, StreamOwned,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use serde_json::{Value, json};

pub use admission::{Asker, Refused, ask};
pub use store::Rule;
use store::Store;

use crate::Scratch;

/// The double. It ends with the test program.
#[derive(Debug)]
pub struct Cluster {
    address: SocketAddr,
    folder: Scratch,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    token: String,
    store: Mutex<Store>,
    services: Mutex<BTreeMap<String, Vec<SocketAddr>>>,
}

/// One certificate for every name.
#[derive(Debug)]
pub(crate) struct Always(pub(crate) Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl Cluster {
    /// Starts it on a free port.
    #[must_use]
    pub fn start() -> Self {
        let issued = issued(&["127.0.0.1"]);
        let folder = Scratch::new();
        let token = crate::canary();
        folder.file("ca.pem", issued.authority_pem(), 0o644);
        folder.file("token", &token, 0o600);
        let config = server_config(Arc::new(Always(issued.certified_key()))).expect("TLS");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            token,
            store: Mutex::new(Store::default()),
            services: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, shared) = (Arc::clone(&config), Arc::clone(&serving));
                thread::spawn(move || {
                    let Ok(session) = ServerConnection::new(config) else { return };
                    let mut stream = StreamOwned::new(session, stream);
                    let _ended = serve(&mut stream, &shared);
                });
            }
        });
        Self { address, folder, shared }
    }

    /// What a program is told to find it.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        vec![
            format!("--kube=https://{}", self.address),
            format!("--kube-ca={}", self.folder.path().join("ca.pem").display()),
            format!("--kube-token={}", self.folder.path().join("token").display()),
        ]
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Reads an object by its path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Value> {
        self.store(|store| store.get(path))
    }

    /// Puts an object at a path, whatever was there, as another user of the cluster would.
    pub fn put(&self, path: &str, object: &Value) {
        self.store(|store| store.put(path, object.clone()));
    }

    /// Takes an object away.
    pub fn remove(&self, path: &str) {
        self.store(|store| store.remove(path));
    }

    /// The paths of all objects.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.store(|store| store.paths())
    }

    /// All objects as one text, to look for what must not be there.
    #[must_use]
    pub fn dump(&self) -> String {
        self.store(|store| store.dump())
    }

    /// From now on only this is allowed; everything else is answered with 403.
    pub fn allow_only(&self, rules: Vec<Rule>) {
        self.store(|store| store.rules = Some(rules));
    }

    /// From now on every request fails with 500, or no longer.
    pub fn fail(&self, fails: bool) {
        self.store(|store| store.fails = fails);
    }

    /// Requests so far: method and path.
    #[must_use]
    pub fn seen(&self) -> Vec<(String, String)> {
        self.store(|store| store.seen.clone())
    }

    /// Requests that no rule allowed.
    #[must_use]
    pub fn forbidden(&self) -> Vec<(String, String)> {
        self.store(|store| store.forbidden.clone())
    }

    /// Says where the endpoints of a service are: `NAME.NAMESPACE.svc`.
    pub fn endpoints(&self, service: &str, addresses: &[SocketAddr]) {
        let mut services = self.shared.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.insert(service.to_owned(), addresses.to_vec());
    }

    /// Registers both webhook configurations of the operator, without authorities.
    pub fn register_webhooks(&self) {
        for (kind, name, path) in [
            ("Mutating", "inject.cloudtaser.io", "/mutate"),
            ("Validating", "wrapped.cloudtaser.io", "/validate"),
        ] {
            let plural = format!("{}webhookconfigurations", kind.to_lowercase());
            let path_of_object =
                format!("/apis/admissionregistration.k8s.io/v1/{plural}/cloudtaser-operator");
            self.put(
                &path_of_object,
                &json!({
                    "apiVersion": "admissionregistration.k8s.io/v1",
                    "kind": format!("{kind}WebhookConfiguration"),
                    "metadata": {"name": "cloudtaser-operator"},
                    "webhooks": [{
                        "name": name, "sideEffects": "None", "failurePolicy": "Fail",
                        "admissionReviewVersions": ["v1"], "reinvocationPolicy": "IfNeeded",
                        "clientConfig": {"service": {
                            "name": "cloudtaser-operator", "namespace": "cloudtaser-system",
                            "path": path}},
                        "objectSelector": {"matchLabels": {"cloudtaser.io/inject": "true"}},
                        "rules": [{"apiGroups": [""], "apiVersions": ["v1"],
                            "operations": ["CREATE"], "resources": ["pods"]}],
                    }],
                }),
            );
        }
    }

    /// Creates a pod as a user does: asks the webhooks, and keeps what comes of it.
    ///
    /// # Errors
    /// What the user would read.
    pub fn create_pod(&self, pod: &Value) -> Result<Value, Refused> {
        let configurations: Vec<Value> = ["mutating", "validating"]
            .iter()
            .filter_map(|kind| {
                self.get(&format!(
                    "/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/\
                     cloudtaser-operator"
                ))
            })
            .collect();
        let services = self.shared.services.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pod = admission::admit(pod, &configurations, &services)?;
        let name = pod["metadata"]["name"].as_str().unwrap_or("generated").to_owned();
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        self.put(&format!("/api/v1/namespaces/{namespace}/pods/{name}"), &pod);
        Ok(pod)
    }

    /// The PEM text that the mutating configuration trusts.
    ///
    /// # Errors
    /// Where there is no configuration, or its text is none.
    pub fn bundle(&self) -> io::Result<Vec<u8>> {
        let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/\
                    cloudtaser-operator";
        let object = self.get(path).ok_or(io::ErrorKind::NotFound)?;
        let text = object.pointer("/webhooks/0/clientConfig/caBundle").and_then(Value::as_str);
        let text = text.unwrap_or_default();
        data_encoding::BASE64.decode(text.as_bytes()).map_err(io::Error::other)
    }

    fn store<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        act(&mut self.shared.store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A certificate for these names that is good for an hour.
pub(crate) fn issued(names: &[&str]) -> Issued {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let terms = Terms { issuer: "double", names: &names, now: unix_seconds(), lifetime: 3600 };
    Issued::make(&terms).expect("a certificate")
}

#[expect(clippy::disallowed_methods, reason = "certificates are checked by the real clock")]
fn unix_seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn serve(stream: &mut (impl io::Read + io::Write), shared: &Shared) -> io::Result<()> {
    let mut reader = http::Reader::default();
    while let Some(request) = reader.request(stream)? {
        let bearer = format!("Bearer {}", shared.token);
        let (status, body) = if request.header("authorization") == Some(bearer.as_str()) {
            let mut store = shared.store.lock().unwrap_or_else(PoisonError::into_inner);
            store.answer(&request)
        } else {
            store::status(401, "Unauthorized")
        };
        http::respond(stream, status, &body.to_string())?;
    }
    Ok(())
}
