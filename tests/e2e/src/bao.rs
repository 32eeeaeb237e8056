//! A real OpenBao in development mode with TLS, and what tests set up in it through its API.
//!
//! Its root token is random and travels by the environment of the server and by the header of each
//! request. The server runs under a shell that waits for the end of its standard input, so that it
//! ends with the test program however that ends.

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::{Value, json};
use ureq::{
    Agent,
    tls::{TlsConfig, TlsProvider},
};

use crate::{
    programs,
    scratch::{Scratch, canary, until},
};

mod auth;
mod durable;

pub use auth::{Role, Setup};
pub(crate) use auth::{base64url, openssl};

/// A cold start on a loaded or emulated machine; usually one second.
const PATIENCE: Duration = Duration::from_secs(300);

/// Starts the server, says its pid, ends it when standard input ends, and takes its directory away:
/// the owner of a shared server never does.
const KEEPER: &str = r#""$0" "$@" </dev/null >log 2>&1 & server=$!
echo "$server"; read -r _; kill "$server"; wait "$server"; cd / && rm -rf -- "$HOME""#;

/// A test adds an audit device once there is somebody to hear it; OpenBao tries devices of its
/// configuration when it starts.
const CONFIG: &str = "unsafe_allow_api_audit_creation = true\n";

/// What the app's token may do.
const POLICY: &str = r#"
path "secret/*" { capabilities = ["read"] }
path "kv1/*" { capabilities = ["read"] }
path "transit/decrypt/*" { capabilities = ["update"] }
path "sys/internal/ui/mounts/*" { capabilities = ["read"] }
"#;

/// A running OpenBao with KV v2 at `secret/`, KV v1 at `kv1/`, and a policy `app` that reads both.
#[derive(Debug)]
pub struct Bao {
    shell: Child,
    stdin: Option<ChildStdin>,
    pid: i32,
    port: u16,
    root: String,
    admin: Agent,
    scratch: Scratch,
    /// Where it outlives being killed.
    durable: Option<durable::Durable>,
}

impl Bao {
    /// The server that the tests of one program share; it is started by the first.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Bao> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server of the test's own.
    #[must_use]
    pub fn start() -> Self {
        let scratch = Scratch::new();
        let port = free_port();
        let root = canary();
        fs::write(scratch.path().join("more.hcl"), CONFIG).expect("a file");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", KEEPER]).arg(programs::bao());
        command.args(["server", "-dev", "-dev-tls", "-dev-no-store-token", "-config=more.hcl"]);
        command.arg(format!("-dev-listen-address=127.0.0.1:{port}"));
        command.arg(format!("-dev-tls-cert-dir={}", scratch.path().display()));
        command.env_clear().env("PATH", crate::launch::PATH).env("HOME", scratch.path());
        command.env("BAO_DEV_ROOT_TOKEN_ID", &root).current_dir(scratch.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().expect("a shell");
        let pid = read_pid(shell.stdout.take().expect("a pipe"));
        let stdin = shell.stdin.take();
        let bao = Self { shell, stdin, pid, port, root, admin: agent(), scratch, durable: None };
        until("OpenBao", PATIENCE, || bao.is_ready().then_some(()));
        bao.prepare();
        bao
    }

    fn is_ready(&self) -> bool {
        self.health() == Some(200)
    }

    fn prepare(&self) {
        let open = |file: &Path| {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(file, fs::Permissions::from_mode(0o444)).expect("the authority");
        };
        open(&self.ca());
        self.api("POST", "sys/mounts/kv1", &json!({ "type": "kv", "options": {"version": "1"} }));
        self.policy("app", POLICY);
        self.scratch.credential("token", &self.token("app"));
        // Where an unprivileged launch may execute it.
        let copy = self.scratch.path().join("cloudtaser-wrapper");
        fs::copy(programs::wrapper(), copy).expect("a copy of the wrapper");
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The authority that signed its certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.scratch.path().join("vault-ca.pem")
    }

    /// A file with a token of the policy `app`.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.scratch.path().join("token")
    }

    /// A copy of the wrapper that every user can execute.
    #[must_use]
    pub fn wrapper(&self) -> PathBuf {
        self.scratch.path().join("cloudtaser-wrapper")
    }

    /// Its directory: what is put there goes away with it.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Its port on the loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its root token; for a header or a file, never for an argv.
    #[must_use]
    pub fn root_token(&self) -> &str {
        &self.root
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// Stops it (it stays reachable and answers nothing), or lets it go on.
    pub fn signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(self.pid), signal).expect("OpenBao runs");
    }

    /// Seals it: each request is then answered by 503.
    pub fn seal(&self) {
        self.api("PUT", "sys/seal", &Value::Null);
    }

    /// Writes fields to a KV v2 secret, `PATH` being behind `secret/data/`.
    pub fn put(&self, path: &str, fields: &Value) {
        self.api("POST", &format!("secret/data/{path}"), &json!({ "data": fields }));
    }

    /// As [`Bao::put`], from the network in which it was started.
    pub fn put_within(&self, network: &crate::Network, path: &str, fields: &Value) {
        network.within(|| self.put(path, fields));
    }

    /// Writes fields to a KV v1 secret, `PATH` being behind `kv1/`.
    pub fn put_v1(&self, path: &str, fields: &Value) {
        self.api("POST", &format!("kv1/{path}"), fields);
    }

    /// Writes a policy.
    pub fn policy(&self, name: &str, rules: &str) {
        self.api("PUT", &format!("sys/policies/acl/{name}"), &json!({ "policy": rules }));
    }

    /// A new token with one policy.
    #[must_use]
    pub fn token(&self, policy: &str) -> String {
        self.token_with(&json!({ "policies": [policy], "ttl": "1h" }))
    }

    /// A new token with the options of `auth/token/create`.
    #[must_use]
    pub fn token_with(&self, options: &Value) -> String {
        let answer = self.api("POST", "auth/token/create", options);
        text(&answer, "/auth/client_token")
    }

    /// Whether a token still works, asked with the root token.
    #[must_use]
    pub fn is_valid(&self, token: &str) -> bool {
        self.try_api("POST", "auth/token/lookup", &json!({ "token": token })).is_ok()
    }

    /// The accessors of all tokens.
    #[must_use]
    pub fn accessors(&self) -> Vec<String> {
        let answer = self.api("LIST", "auth/token/accessors", &Value::Null);
        let keys = answer.pointer("/data/keys").and_then(Value::as_array).cloned();
        keys.unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Calls the API as root and demands success; the path is behind `/v1/`.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_api(method, path, body)
            .unwrap_or_else(|(status, said)| panic!("{method} {path}: {status} {said}"))
    }

    /// Calls the API as root.
    ///
    /// # Errors
    /// Status and body of an answer that is no success.
    pub fn try_api(&self, method: &str, path: &str, body: &Value) -> Result<Value, (u16, String)> {
        self.call(method, path, body, &[])
    }

    /// Calls the API as root and has the answer wrapped; returns the wrapping token.
    #[must_use]
    pub fn wrapped(&self, method: &str, path: &str, body: &Value) -> String {
        let answer = self
            .call(method, path, body, &[("X-Vault-Wrap-TTL", "5m")])
            .unwrap_or_else(|(status, said)| panic!("{method} {path}: {status} {said}"));
        text(&answer, "/wrap_info/token")
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Result<Value, (u16, String)> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.url()))
            .header("X-Vault-Token", &self.root);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = if matches!(method, "GET" | "LIST") {
            self.admin.run(request.body(()).expect("a request"))
        } else {
            self.admin.run(request.body(body.to_string()).expect("a request"))
        };
        let mut answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let said = answer.body_mut().read_to_string().expect("an answer as text");
        match answer.status() {
            status if status.is_success() => Ok(serde_json::from_str(&said).unwrap_or_default()),
            status => Err((status.as_u16(), said)),
        }
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        // A stopped server would not see the end.
        let _gone = signal::kill(Pid::from_raw(self.pid), Signal::SIGCONT);
        drop(self.stdin.take());
        drop(self.shell.wait());
    }
}

/// A port of the loopback that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

fn read_pid(pipe: impl io::Read) -> i32 {
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(pipe), &mut line).expect("the shell's line");
    line.trim().parse().expect("a pid")
}

fn text(answer: &Value, pointer: &str) -> String {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no {pointer} in the answer")).to_owned()
}

/// The tests' own way in; who answers on our loopback port is not what they are about.
fn agent() -> Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(cloudtaser_tls::provider().expect("a provider"))
        .disable_verification(true)
        .build();
    Agent::config_builder()
        .proxy(None)
        .tls_config(tls)
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .new_agent()
}
