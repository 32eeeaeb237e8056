//! A Kubernetes API server for tests: real TLS, HTTP/1.1, and the behaviours that an installer meets
//! on a real one, kept as strict as there.
//!
//! Known: server-side apply with owners and conflicts, strict fields of metadata, namespaces that
//! take their time to go and admit nothing meanwhile, finalizers, Pod Security, lists by label in
//! pages whose continuation may expire, access reviews, credentials by token and by certificate,
//! answers of a busy server. Not known: watches, admission, most kinds.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod fields;
pub(crate) mod store;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Output},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use data_encoding::BASE64;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use store::Store;

/// All that a run printed.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap()
}

/// The same of a run that must end with this code.
#[track_caller]
pub(crate) fn ends(output: &Output, code: i32) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

const CA: &str = include_str!("pki/ca.crt");
const SERVER: &str = include_str!("pki/server.crt");
const SERVER_KEY: &str = include_str!("pki/server.key");
const CLIENT: &str = include_str!("pki/client.crt");
const CLIENT_KEY: &str = include_str!("pki/client.key");
/// The one token that is known.
pub(crate) const TOKEN: &str = "a-token-of-the-double";

/// A running API server.
pub(crate) struct Double {
    store: Arc<Mutex<Store>>,
    pub(crate) port: u16,
    folder: TempDir,
}

impl Double {
    /// Starts one without anything in it.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let store = Arc::new(Mutex::new(Store::default()));
        for name in ["default", "kube-system"] {
            let namespace = json!({ "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": name } });
            let path = format!("/api/v1/namespaces/{name}");
            store.lock().unwrap().put(&path, &namespace, "kube");
        }
        let (config, shared) = (Arc::new(tls()), Arc::clone(&store));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, store) = (Arc::clone(&config), Arc::clone(&shared));
                thread::spawn(move || serve(stream, config, &store));
            }
        });
        let double = Self { store, port, folder: tempfile::tempdir().unwrap() };
        double.write_config(&format!("{{ token: {TOKEN} }}"));
        double
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object as the API shows it.
    pub(crate) fn read(&self, path: &str) -> Option<Value> {
        self.store().read(path)
    }

    /// Paths of everything but what a cluster always has.
    pub(crate) fn paths(&self) -> Vec<String> {
        let always = ["/api/v1/namespaces/default", "/api/v1/namespaces/kube-system"];
        self.store()
            .objects
            .keys()
            .filter(|path| !always.contains(&path.as_str()))
            .cloned()
            .collect()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    pub(crate) fn write_config(&self, user: &str) {
        let ca = BASE64.encode(CA.as_bytes());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: double\ncontexts:\n- name: double\n  \
             context: {{ cluster: c, user: u }}\nclusters:\n- name: c\n  cluster:\n    server: \
             https://127.0.0.1:{}\n    certificate-authority-data: {ca}\nusers:\n- name: u\n  \
             user: {user}\n",
            self.port
        );
        fs::write(self.kubeconfig(), text).unwrap();
    }

    /// The user entry of a client certificate.
    pub(crate) fn certificate() -> String {
        let (chain, key) = (BASE64.encode(CLIENT.as_bytes()), BASE64.encode(CLIENT_KEY.as_bytes()));
        format!("{{ client-certificate-data: {chain}, client-key-data: {key} }}")
    }

    /// Runs the real program against it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cloudtaser"))
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .output()
            .unwrap()
    }
}

/// What is said about an object, without what is in it.
fn bare(object: Value) -> Value {
    let metadata = |object: &Value| {
        json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": object["metadata"] })
    };
    match object.get("items").and_then(Value::as_array) {
        Some(items) => {
            let items: Vec<Value> = items.iter().map(metadata).collect();
            json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"], "items": items })
        }
        None if object["kind"] == "Status" => object,
        None => metadata(&object),
    }
}

fn tls() -> ServerConfig {
    let provider = cloudtaser_tls::provider().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CA.as_bytes()).unwrap()).unwrap();
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
    let key = PrivateKeyDer::from_pem_slice(SERVER_KEY.as_bytes()).unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![CertificateDer::from_pem_slice(SERVER.as_bytes()).unwrap()], key)
        .unwrap()
}

/// A request, read whole.
struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    target: String,
    headers: BTreeMap<String, String>,
    body: String,
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, store: &Mutex<Store>) {
    let session = ServerConnection::new(config).unwrap();
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    while let Some(request) = read_request(&mut stream) {
        let certified = stream.get_ref().conn.peer_certificates().is_some();
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        store.log.push((request.method.clone(), request.target.clone(), request.body.clone()));
        let Some((status, body)) = answer(&mut store, &request, certified) else { return };
        let wanted = request.headers.get("accept").cloned().unwrap_or_default();
        let body = if wanted.contains("as=PartialObjectMetadata") { bare(body) } else { body };
        let refuses = request.target == "/openid/v1/jwks" && wanted != "application/jwk-set+json";
        let (status, body) =
            if refuses { (406, "406: Not Acceptable".into()) } else { (status, body) };
        let date = store.date();
        drop(store);
        // Logs and what is proxied are no JSON.
        let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nDate: {}\r\nContent-Length: \
             {}\r\n\r\n",
            date,
            text.len()
        );
        let out = stream.get_mut();
        if out.write_all((head + &text).as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn read_request(stream: &mut impl std::io::BufRead) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|len| *len > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let len = headers.get("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    stream.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decoded(value)))
        .collect();
    Some(Request {
        path: path.to_owned(),
        query,
        method,
        headers,
        body: String::from_utf8(body).unwrap(),
        target: target.clone(),
    })
}

fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut out = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (hex, rest) = piece.split_at(2);
        out.push(char::from(u8::from_str_radix(hex, 16).unwrap()));
        out.push_str(rest);
    }
    out
}

fn refusal(status: u16, reason: &str, message: &str) -> Option<(u16, Value)> {
    Some((
        status,
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": message, "code": status }),
    ))
}

/// The answer; none ends the connection.
fn answer(store: &mut Store, request: &Request, certified: bool) -> Option<(u16, Value)> {
    let token = format!("Bearer {TOKEN}");
    if !certified && request.headers.get("authorization") != Some(&token) {
        return refusal(401, "Unauthorized", "Unauthorized");
    }
    if let Some((left @ 1.., status)) = store.faults.busy {
        store.faults.busy = Some((left - 1, status));
        return refusal(status, "TooManyRequests", "try again later");
    }
    store.step();
    if request.path == "/version" {
        return Some((200, store.version()));
    }
    if request.path.ends_with("/selfsubjectaccessreviews") {
        return Some((201, review(store, &request.body)));
    }
    if let Some(text) = store.texts.get(&request.path) {
        return Some((200, text.as_str().into()));
    }
    if let Some(found) = store.published(&request.path) {
        return found;
    }
    let (verb, resource) = verb_of(request);
    if store.faults.forbidden.contains(&format!("{verb} {resource}")) {
        let message = format!(
            "{resource} is forbidden: User \"jane\" cannot {verb} resource \"{resource}\" at the \
             cluster scope"
        );
        return refusal(403, "Forbidden", &message);
    }
    if store.faults.undefined.contains(&resource) {
        return Some((404, "404 page not found\n".into()));
    }
    match verb {
        "get" => store
            .read(&request.path)
            .map(|object| (200, object))
            .or_else(|| refusal(404, "NotFound", &format!("\"{}\" not found", request.path))),
        "list" => list(store, request),
        "patch" => patch(store, request),
        "delete" => {
            let there = store.read(&request.path);
            if store.delete(&request.path) {
                Some((200, there?))
            } else {
                refusal(404, "NotFound", "not found")
            }
        }
        _ => refusal(405, "MethodNotAllowed", "not known here"),
    }
}

/// The verb and the resource, as RBAC names them.
fn verb_of(request: &Request) -> (&'static str, String) {
    let parts: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
    let mut rest = parts[if parts[0] == "apis" { 3 } else { 2 }..].to_vec();
    if rest.len() > 2 && rest[0] == "namespaces" {
        rest.drain(..2);
    }
    let verb = match (request.method.as_str(), rest.len()) {
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        _ => "other",
    };
    (verb, rest[0].to_owned())
}

fn review(store: &Store, body: &str) -> Value {
    let mut review: Value = serde_json::from_str(body).unwrap();
    let asked = &review["spec"]["resourceAttributes"];
    let text = |field: &str| asked[field].as_str().unwrap_or_default();
    let key = format!("{} {}", text("verb"), text("resource"));
    let allowed = !store.faults.forbidden.contains(&key);
    review["status"] = json!({ "allowed": allowed });
    review
}

fn list(store: &mut Store, request: &Request) -> Option<(u16, Value)> {
    let resource = request.path.rsplit('/').next().unwrap();
    let root = request.path.strip_suffix(&format!("/{resource}")).unwrap();
    let matching = |path: &&String| {
        let Some((before, _name)) = path.rsplit_once('/') else { return false };
        // `/apis/apps/v1/daemonsets` lists those of all namespaces.
        let here = before == request.path;
        let anywhere = !root.contains("/namespaces/")
            && before.starts_with(root)
            && before.ends_with(&format!("/{resource}"));
        here || anywhere
    };
    let paths: Vec<String> = store.objects.keys().filter(matching).cloned().collect();
    let selector = request.query.get("labelSelector").cloned().unwrap_or_default();
    let mut items: Vec<Value> = paths.iter().filter_map(|path| store.read(path)).collect();
    items.retain(|item| selects(&selector, &item["metadata"]["labels"]));
    for item in &mut items {
        // As in a real list.
        let item = item.as_object_mut().unwrap();
        item.remove("kind");
        item.remove("apiVersion");
    }
    let from: usize = match request.query.get("continue") {
        Some(_) if store.faults.expire_once => {
            store.faults.expire_once = false;
            return refusal(410, "Expired", "The provided continue parameter is too old");
        }
        Some(token) => token.parse().unwrap(),
        None => 0,
    };
    // Pages are small here, so that there are some.
    let size = request.query.get("limit").map_or(usize::MAX, |_| 3);
    let more = if items.len() > from + size { (from + size).to_string() } else { String::new() };
    let page: Vec<Value> = items.into_iter().skip(from).take(size).collect();
    Some((
        200,
        json!({ "kind": "List", "apiVersion": "v1", "metadata": { "continue": more },
        "items": page }),
    ))
}

/// Selectors of the forms `a=b` and `a in (b,c)`.
fn selects(selector: &str, labels: &Value) -> bool {
    let mut rest = selector;
    while !rest.is_empty() {
        let (key, values);
        if let Some((name, list)) =
            rest.split_once(" in (").filter(|(name, _)| !name.contains([',', '=']))
        {
            let (list, after) = list.split_once(')').unwrap();
            (key, values) = (name, list.split(',').collect::<Vec<_>>());
            rest = after.trim_start_matches(',');
        } else {
            let (one, after) = rest.split_once(',').unwrap_or((rest, ""));
            let (name, value) = one.split_once('=').unwrap();
            (key, values) = (name, vec![value]);
            rest = after;
        }
        if !values.iter().any(|value| labels[key] == *value) {
            return false;
        }
    }
    true
}

fn patch(store: &mut Store, request: &Request) -> Option<(u16, Value)> {
    if request.headers.get("content-type").map(String::as_str)
        != Some("application/apply-patch+yaml")
    {
        return refusal(415, "UnsupportedMediaType", "only apply is known here");
    }
    let object: Value = serde_json::from_str(&request.body).unwrap();
    if object["metadata"].get("managedFields").is_some() {
        return refusal(400, "BadRequest", "metadata.managedFields must be nil");
    }
    if store.faults.refuse_at.as_deref() == object["kind"].as_str() {
        return refusal(403, "Forbidden", "admission webhook \"policy\" denied the request");
    }
    if store.faults.cut > 0 {
        store.faults.cut -= 1;
        return None;
    }
    let Some(manager) = request.query.get("fieldManager") else {
        return refusal(
            400,
            "BadRequest",
            "PatchOptions.meta.k8s.io is invalid: fieldManager: \
            Required value: is required for apply patch",
        );
    };
    let force = request.query.get("force").is_some_and(|force| force == "true");
    match store.apply(&request.path, &object, manager, force) {
        Ok(created) => Some((if created { 201 } else { 200 }, store.read(&request.path)?)),
        Err((status, reason, message)) => refusal(status, reason, &message),
    }
}
