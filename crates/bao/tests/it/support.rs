//! A real OpenBao for tests, with what the tests need around it.
//!
//! The server runs under a shell that waits for the end of its standard input, so that it ends with
//! the test program however that ends.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use cloudtaser_bao::{
    Address, BaoError, Client, Credential, Deadline, Login, Method, Session, Settings,
};
use cloudtaser_core::{Secret, reference::Source};
use cloudtaser_tls::{Authorities, Identity, TlsClient, TlsOptions, Trust, provider};
use tempfile::TempDir;
use ureq::{
    Agent,
    tls::{TlsConfig, TlsProvider},
};

/// A development server with TLS, whose root token is `root`.
pub(crate) struct Bao {
    shell: Child,
    dir: TempDir,
    pub(crate) port: u16,
    admin: Agent,
}

static RUNNING: Mutex<Weak<Bao>> = Mutex::new(Weak::new());

/// The server that this test program shares, or `None` (said aloud) where there is no OpenBao.
pub(crate) fn bao() -> Option<Arc<Bao>> {
    let mut running = RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(bao) = running.upgrade() {
        return Some(bao);
    }
    let Some(program) = find() else {
        println!("SKIP: no OpenBao: set CLOUDTASER_BAO or put bao into PATH or target/tools");
        return None;
    };
    let bao = Arc::new(Bao::start(&program));
    *running = Arc::downgrade(&bao);
    Some(bao)
}

pub(crate) fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CLOUDTASER_BAO").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        assert!(named.is_file(), "CLOUDTASER_BAO names no file");
        return Some(named);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::split_paths(&path)
        .map(|dir| dir.join("bao"))
        .chain([root.join("target/tools/bao")])
        .find(|file| file.is_file())
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Bao {
    pub(crate) fn start(program: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let shell = Command::new("/bin/sh")
            .arg("-c")
            .arg(r#""$0" "$@" </dev/null & server=$!; cat >/dev/null; kill $server; wait $server"#)
            .arg(program)
            .args(["server", "-dev", "-dev-tls", "-dev-no-store-token", "-dev-root-token-id=root"])
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .arg(format!("-dev-tls-cert-dir={}", dir.path().display()))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(provider().unwrap())
            .disable_verification(true)
            .build();
        let admin = Agent::config_builder()
            .proxy(None)
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .new_agent();
        let bao = Self { shell, dir, port, admin };
        bao.wait();
        bao
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            let up = self.admin.get(format!("{}/v1/sys/health", self.url())).call();
            if up.is_ok_and(|answer| answer.status() == 200) && self.ca().exists() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("OpenBao did not start: {}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("vault-ca.pem")
    }

    pub(crate) fn server_certificate(&self) -> PathBuf {
        self.dir.path().join("vault-cert.pem")
    }

    /// Calls the API as root and demands success.
    pub(crate) fn admin(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> serde_json::Value {
        self.admin_in("", method, path, body)
    }

    pub(crate) fn admin_in(
        &self,
        namespace: &str,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> serde_json::Value {
        self.call(&[("x-vault-namespace", namespace)], method, path, body)
    }

    /// The same, with the answer inside a wrapping token.
    pub(crate) fn admin_wrapped(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        self.call(&[("x-vault-wrap-ttl", "5m")], "POST", path, body)
    }

    fn call(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> serde_json::Value {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.url()))
            .header("x-vault-token", "root");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = if method == "GET" {
            self.admin.run(request.body(()).unwrap()).unwrap()
        } else {
            self.admin.run(request.body(body.to_string()).unwrap()).unwrap()
        };
        let text = answer.body_mut().read_to_string().unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {} {text}", answer.status());
        serde_json::from_str(&text).unwrap_or(serde_json::Value::Null)
    }

    pub(crate) fn policy(&self, name: &str, rules: &str) {
        let policy = serde_json::json!({ "policy": rules });
        self.admin("PUT", &format!("sys/policies/acl/{name}"), &policy);
    }

    /// A token with these policies and, unless told otherwise, the default one.
    pub(crate) fn token(&self, options: &serde_json::Value) -> String {
        let answer = self.admin("POST", "auth/token/create", options);
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn settings(&self, options: TlsOptions) -> Settings {
        let mut settings = Settings::new(Address::parse(&self.url()).unwrap());
        settings.tls = Some(TlsClient::new(&options).unwrap());
        settings
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::Authorities { sources: vec![Authorities::File(self.ca())], pins: Vec::new() }
    }

    pub(crate) fn client(&self) -> Client {
        let options = TlsOptions { trust: self.trust(), ..TlsOptions::default() };
        Client::new(self.settings(options)).unwrap()
    }

    pub(crate) fn client_in(&self, namespace: &str) -> Client {
        let options = TlsOptions { trust: self.trust(), ..TlsOptions::default() };
        let mut settings = self.settings(options);
        settings.namespace = Some(namespace.to_owned());
        Client::new(settings).unwrap()
    }

    pub(crate) fn client_with(&self, identity: Identity) -> Client {
        let identity = Some(identity);
        let options = TlsOptions { trust: self.trust(), identity, ..TlsOptions::default() };
        Client::new(self.settings(options)).unwrap()
    }

    pub(crate) fn root(&self, client: &Client) -> Session {
        session(client, "root")
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().unwrap();
    }
}

pub(crate) fn session(client: &Client, token: &str) -> Session {
    client.login(&Login::new(Method::Token(value(token))), &soon()).unwrap()
}

pub(crate) fn value(text: &str) -> Credential {
    Credential::Value(Secret::from(text.to_owned()))
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

pub(crate) fn source(text: &str) -> Source {
    Source::parse(text).unwrap()
}

pub(crate) fn text(secret: &Secret) -> &str {
    secret.expose_str().unwrap()
}

/// The error with its causes, as a program prints it.
pub(crate) fn chain(error: &BaoError) -> String {
    let mut line = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        line = format!("{line}: {cause}");
        next = cause.source();
    }
    line
}

/// Answers each connection of one port with what the function makes of the request's bytes.
pub(crate) fn http_stub(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let mut stream = stream;
                while let Some(request) = read_request(&mut stream) {
                    if stream.write_all(answer(&request).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// A whole request, head and body, or `None` at the end.
pub(crate) fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let wanted = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, len)| len.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= wanted {
                return Some(text);
            }
        }
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            len => bytes.extend_from_slice(&chunk[..len]),
        }
    }
}

pub(crate) fn http_answer(status: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
    )
}

/// Runs openssl in a directory; `false` (said aloud) where it is not installed.
pub(crate) fn openssl(dir: &Path, args: &str) -> bool {
    let run = Command::new("openssl").args(args.split(' ')).current_dir(dir).output();
    let Ok(output) = run else {
        println!("SKIP: openssl is not installed");
        return false;
    };
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args}: {problem}");
    true
}

/// Signs claims with `key.pem` of a directory.
pub(crate) fn jwt(dir: &Path, claims: &serde_json::Value) -> Option<String> {
    let url = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let head = url(br#"{"alg":"RS256","typ":"JWT"}"#);
    let signed = format!("{head}.{}", url(claims.to_string().as_bytes()));
    fs::write(dir.join("signed"), &signed).unwrap();
    openssl(dir, "dgst -sha256 -sign key.pem -out signature signed")
        .then(|| format!("{signed}.{}", url(&fs::read(dir.join("signature")).unwrap())))
}
