//! Admission as the API server does it, for pods that are created.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use cloudtaser_tls::{Authorities, Trust, client_config};
use data_encoding::BASE64;
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};

use super::http;

/// What the one who creates a pod reads when he is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused(pub String);

/// Takes a pod through all webhooks.
pub(super) fn admit(
    pod: &Value,
    configurations: &[Value],
    services: &BTreeMap<String, Vec<SocketAddr>>,
) -> Result<Value, Refused> {
    let mut pod = pod.clone();
    for round in 0..2 {
        let before = pod.clone();
        for webhook in webhooks(configurations, "Mutating", &pod) {
            let response = call(&webhook, &pod, services)?;
            if let Some(patch) = response["patch"].as_str() {
                let patch = BASE64.decode(patch.as_bytes()).expect("base64");
                let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a patch");
                json_patch::patch(&mut pod, &patch).expect("a patch that applies");
            }
        }
        if round == 0 {
            mount_tokens(&mut pod);
        } else {
            assert_eq!(pod, before, "the second call must change nothing");
        }
        if pod == before {
            break;
        }
    }
    for webhook in webhooks(configurations, "Validating", &pod) {
        call(&webhook, &pod, services)?;
    }
    Ok(pod)
}

/// The webhooks of a kind that want to see this pod.
fn webhooks(configurations: &[Value], kind: &str, pod: &Value) -> Vec<Value> {
    let of_kind =
        |object: &&Value| object["kind"].as_str().is_some_and(|found| found.starts_with(kind));
    let all = configurations.iter().filter(of_kind);
    let all = all.flat_map(|object| object["webhooks"].as_array().into_iter().flatten());
    all.filter(|webhook| selects(&webhook["objectSelector"], &pod["metadata"]["labels"]))
        .cloned()
        .collect()
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object();
    wanted.is_none_or(|wanted| wanted.iter().all(|(name, value)| labels[name] == *value))
}

/// What the ServiceAccount plugin does to every container without a token.
fn mount_tokens(pod: &mut Value) {
    const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let Some(spec) = pod["spec"].as_object_mut() else { return };
    if spec.get("automountServiceAccountToken") == Some(&json!(false)) {
        return;
    }
    let volume = json!({"name": "kube-api-access-x", "projected": {"defaultMode": 420,
        "sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}});
    let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
    let volumes = volumes.as_array_mut().expect("volumes");
    if !volumes.iter().any(|volume| volume["name"] == "kube-api-access-x") {
        volumes.push(volume);
    }
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let container = container.as_object_mut().expect("a container");
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let mounts = mounts.as_array_mut().expect("mounts");
            if !mounts.iter().any(|mount| mount["mountPath"] == PATH) {
                mounts.push(
                    json!({"name": "kube-api-access-x", "readOnly": true, "mountPath": PATH}),
                );
            }
        }
    }
}

fn call(
    webhook: &Value,
    pod: &Value,
    services: &BTreeMap<String, Vec<SocketAddr>>,
) -> Result<Value, Refused> {
    let name = webhook["name"].as_str().unwrap_or_default();
    let failed = |problem: String| {
        Refused(format!("Internal error occurred: failed calling webhook \"{name}\": {problem}"))
    };
    let service = &webhook["clientConfig"]["service"];
    let text = |member: &str| service[member].as_str().unwrap_or_default().to_owned();
    let host = format!("{}.{}.svc", text("name"), text("namespace"));
    let bundle = webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default();
    let bundle = BASE64.decode(bundle.as_bytes()).map_err(|error| failed(error.to_string()))?;
    let review = review_of(pod);
    let mut last = failed(format!("no endpoints available for service {host:?}"));
    for address in services.get(&host).into_iter().flatten() {
        match ask(*address, &host, &bundle, &text("path"), &review) {
            Ok((200, answer)) => return verdict(name, &answer),
            Ok((status, _)) => last = failed(format!("status {status}")),
            Err(error) => last = failed(error.to_string()),
        }
    }
    Err(last)
}

fn verdict(name: &str, answer: &Value) -> Result<Value, Refused> {
    let response = answer["response"].clone();
    if response["allowed"] == true {
        return Ok(response);
    }
    let message = response["status"]["message"].as_str().unwrap_or("no reason");
    Err(Refused(format!("admission webhook \"{name}\" denied the request: {message}")))
}

fn review_of(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "00000000-0000-4000-8000-000000000000", "operation": "CREATE",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": pod["metadata"]["namespace"], "object": pod, "oldObject": null,
            "dryRun": false, "userInfo": {"username": "user"},
        },
    })
}

/// Puts one question to a webhook: status and answer.
///
/// # Errors
/// Where there is no connection, or the server is not to be trusted.
pub fn ask(
    address: SocketAddr,
    host: &str,
    bundle: &[u8],
    path: &str,
    review: &Value,
) -> io::Result<(u16, Value)> {
    Asker::connect(address, host, bundle)?.ask(path, &review.to_string())
}

/// A connection to a webhook that stays open.
#[derive(Debug)]
pub struct Asker {
    stream: StreamOwned<ClientConnection, TcpStream>,
    reader: http::Reader,
    host: String,
}

impl Asker {
    /// Connects; these authorities and this name are what is trusted.
    ///
    /// # Errors
    /// Where there is no connection.
    pub fn connect(address: SocketAddr, host: &str, bundle: &[u8]) -> io::Result<Self> {
        let sources = vec![Authorities::Pem(bundle.to_vec())];
        let trust = Trust::Authorities { sources, pins: Vec::new() };
        let config = client_config(&trust, None).map_err(io::Error::other)?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        let stream = StreamOwned::new(session, stream);
        Ok(Self { stream, reader: http::Reader::default(), host: host.to_owned() })
    }

    /// Puts one question: status and answer.
    ///
    /// # Errors
    /// Where the connection breaks, or the server is not to be trusted.
    pub fn ask(&mut self, path: &str, review: &str) -> io::Result<(u16, Value)> {
        let head = format!(
            "POST {path}?timeout=10s HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.host,
            review.len()
        );
        self.stream.write_all(&[head.as_bytes(), review.as_bytes()].concat())?;
        let answer = self.reader.request(&mut self.stream)?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = answer.second().parse().unwrap_or(0);
        Ok((status, serde_json::from_slice(&answer.body).unwrap_or_default()))
    }
}
