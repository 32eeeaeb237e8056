//! A double of an image registry, over real TLS: token service, several credentials, indexes, blobs
//! that are elsewhere.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use cloudtaser_tls::{Digest, issue::server_config};
use data_encoding::{BASE64, HEXLOWER};
use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::cluster::{Always, http, issued};

/// The double. It ends with the test program.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    authority: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    content: BTreeMap<String, Vec<u8>>,
    /// `USER:PASSWORD` and the repository that it opens.
    users: Vec<(String, String)>,
    seen: Vec<String>,
    broken: bool,
    slow: Option<Duration>,
}

impl Registry {
    /// Starts it on a free port; everybody may pull until there is a user.
    #[must_use]
    pub fn start() -> Self {
        let issued = issued(&["127.0.0.1"]);
        let config = server_config(Arc::new(Always(issued.certified_key()))).expect("TLS");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, shared) = (Arc::clone(&config), Arc::clone(&serving));
                thread::spawn(move || {
                    let Ok(session) = ServerConnection::new(config) else { return };
                    let _ended = serve(&mut StreamOwned::new(session, stream), &shared, address);
                });
            }
        });
        Self { address, authority: issued.authority_pem().to_owned(), shared }
    }

    /// Host and port, as in names of images.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The authority of its certificate, PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// From now on a credential is needed; this one opens this repository.
    pub fn user(&self, user_and_password: &str, repository: &str) {
        self.with(|s| s.users.push((user_and_password.to_owned(), repository.to_owned())));
    }

    /// Content from now on is not what its digest says.
    pub fn break_content(&self) {
        self.with(|shared| shared.broken = true);
    }

    /// Every answer comes so late.
    pub fn delay(&self, time: Duration) {
        self.with(|shared| shared.slow = Some(time));
    }

    /// Puts an image there: for each architecture its entrypoint and arguments. Gives the digest of
    /// what the tag names.
    pub fn push(&self, repository: &str, tag: &str, images: &[(&str, &[&str], &[&str])]) -> String {
        let manifests: Vec<Value> = images
            .iter()
            .map(|(architecture, entrypoint, cmd)| {
                let config = json!({"architecture": architecture, "os": "linux",
                    "config": {"Entrypoint": entrypoint, "Cmd": cmd}});
                let config = self.keep(&format!("/v2/{repository}/blobs"), &config);
                let manifest = json!({"schemaVersion": 2, "config": {"digest": config},
                    "layers": []});
                let digest = self.keep(&format!("/v2/{repository}/manifests"), &manifest);
                json!({"digest": digest, "platform": {"os": "linux", "architecture": architecture}})
            })
            .collect();
        let base = format!("/v2/{repository}/manifests");
        let digest = match manifests.as_slice() {
            [only] => only["digest"].as_str().expect("a digest").to_owned(),
            _ => self.keep(&base, &json!({"schemaVersion": 2, "manifests": manifests})),
        };
        self.with(|shared| {
            let content = shared.content.get(&format!("{base}/{digest}")).cloned();
            shared.content.insert(format!("{base}/{tag}"), content.unwrap_or_default());
        });
        digest
    }

    /// Paths that were asked for.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.with(|shared| shared.seen.clone())
    }

    fn keep(&self, base: &str, document: &Value) -> String {
        let bytes = document.to_string().into_bytes();
        let digest = Digest::new().expect("a digest").sha256(&[&bytes]);
        let digest = format!("sha256:{}", HEXLOWER.encode(&digest));
        self.with(|shared| shared.content.insert(format!("{base}/{digest}"), bytes));
        digest
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(
    stream: &mut (impl io::Read + io::Write),
    shared: &Mutex<Shared>,
    address: SocketAddr,
) -> io::Result<()> {
    let mut reader = http::Reader::default();
    while let Some(request) = reader.request(stream)? {
        let (answer, slow) = {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.seen.push(request.second().to_owned());
            (shared.answer(&request, address), shared.slow)
        };
        if let Some(time) = slow {
            thread::sleep(time);
        }
        let (status, header, body) = answer;
        let head =
            format!("HTTP/1.1 {status} Status\r\n{header}content-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)?;
        stream.flush()?;
    }
    Ok(())
}

impl Shared {
    fn answer(&self, request: &http::Message, address: SocketAddr) -> (u16, String, Vec<u8>) {
        let (path, query) =
            request.second().split_once('?').unwrap_or_else(|| (request.second(), ""));
        let authorization = request.header("authorization").unwrap_or_default();
        let nothing = |status| (status, String::new(), Vec::new());
        if path == "/token" {
            return match self.token(authorization, query) {
                Some(token) => {
                    (200, String::new(), json!({"token": token}).to_string().into_bytes())
                }
                None => nothing(401),
            };
        }
        if let Some(blob) = path.strip_prefix("/elsewhere") {
            // Whoever is sent here must not bring what was for the registry.
            let body = self.content.get(blob).filter(|_| authorization.is_empty());
            return body
                .map_or_else(|| nothing(400), |body| (200, String::new(), self.shown(body)));
        }
        let repository = path.strip_prefix("/v2/").unwrap_or_default();
        let repository =
            repository.split("/manifests/").next().unwrap_or_default().split("/blobs/").next();
        let repository = repository.unwrap_or_default();
        if !self.users.is_empty() && authorization != format!("Bearer token-for-{repository}") {
            let challenge = format!(
                "www-authenticate: Bearer realm=\"https://{address}/token\",service=\"double\"\r\n"
            );
            return (401, challenge, Vec::new());
        }
        match self.content.get(path) {
            Some(_) if path.contains("/blobs/") => {
                let to = format!("location: https://{address}/elsewhere{path}\r\n");
                (307, to, Vec::new())
            }
            Some(body) => (200, String::new(), self.shown(body)),
            None => nothing(404),
        }
    }

    fn token(&self, authorization: &str, query: &str) -> Option<String> {
        let basic = authorization.strip_prefix("Basic ")?;
        let pair = String::from_utf8(BASE64.decode(basic.as_bytes()).ok()?).ok()?;
        let scope = query.replace("%3A", ":").replace("%2F", "/");
        let found = self.users.iter().find(|(user, repository)| {
            *user == pair && scope.contains(&format!("repository:{repository}:pull"))
        });
        found.map(|(_, repository)| format!("token-for-{repository}"))
    }

    fn shown(&self, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        if self.broken {
            body.push(b' ');
        }
        body
    }
}
