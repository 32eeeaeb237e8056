//! Operators as children, and how they are asked.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use cloudtaser_e2e::{
    Scratch,
    cluster::{Cluster, Rule},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

pub(crate) const SERVICE: &str = "cloudtaser-operator.cloudtaser-system.svc";
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/cloudtaser-system/leases";
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn configuration(kind: &str) -> String {
    format!("{CONFIGURATIONS}/{kind}webhookconfigurations/cloudtaser-operator")
}

/// One replica.
pub(crate) struct Operator {
    child: Child,
    pub(crate) reviews: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) broker: Option<SocketAddr>,
    pub(crate) log: Arc<Mutex<String>>,
    _folder: Scratch,
}

pub(crate) const CONFIG: &str = r#"
[wrapper]
image = "registry.example/wrapper@sha256:00"

[[server]]
name = "main"
address = "https://bao.example:8200"
ca = "-----BEGIN CERTIFICATE-----"
"#;

impl Operator {
    pub(crate) fn start(cluster: &Cluster, pod: &str, more: &[&str]) -> Self {
        Self::configured(cluster, pod, CONFIG, more)
    }

    pub(crate) fn configured(cluster: &Cluster, pod: &str, config: &str, more: &[&str]) -> Self {
        let folder = Scratch::new();
        let config = folder.file("operator.toml", config, 0o644);
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloudtaser-operator"));
        command
            .arg("--config")
            .arg(config)
            .args(["--listen=127.0.0.1:0", "--metrics=127.0.0.1:0", "--drain=0s"])
            .args(["--namespace=cloudtaser-system", &format!("--pod={pod}")])
            .args(cluster.arguments())
            .args(more)
            .env_remove("POD_UID")
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let first = lines.by_ref().map_while(Result::ok).find_map(|line| {
            log.lock().unwrap().push_str(&line);
            let line: Value = serde_json::from_str(&line).ok()?;
            (line["message"] == "the operator listens").then_some(line)
        });
        let first = first.unwrap_or_else(|| panic!("it did not start: {}", log.lock().unwrap()));
        let address = |name: &str| first[name].as_str().unwrap().parse().unwrap();
        let (reviews, admin) = (address("reviews"), address("metrics"));
        let broker = first["broker"].as_str().map(|text| text.parse().unwrap());
        let keeping = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = keeping.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, reviews, admin, broker, log, _folder: folder }
    }

    pub(crate) fn broker(&self) -> SocketAddr {
        self.broker.unwrap()
    }

    pub(crate) fn is_ready(&self) -> bool {
        http(self.admin, "/readyz").starts_with("HTTP/1.1 200")
    }

    pub(crate) fn wait_until_ready(&self) {
        let end = Instant::now() + PATIENCE;
        while !self.is_ready() {
            assert!(Instant::now() < end, "never ready: {}", self.log.lock().unwrap());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = http(self.admin, "/metrics");
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
        let line = line.unwrap_or_else(|| panic!("{name} is not in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Asks it to stop, and waits for the end.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A whole response, head included.
pub(crate) fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A cluster with the webhooks registered, where only what the operator needs is allowed.
pub(crate) fn cluster() -> Cluster {
    let cluster = Cluster::start();
    cluster.register_webhooks();
    cluster.allow_only(rules());
    cluster
}

/// All that the operator may do, one line for each verb and resource of its roles.
pub(crate) fn rules() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new("GET", LEASES),
        Rule::new("POST", LEASES),
        Rule::new("GET", &format!("{LEASES}/*")),
        Rule::new("PUT", &format!("{LEASES}/*")),
        Rule::new("DELETE", &format!("{LEASES}/*")),
    ];
    for kind in ["mutating", "validating"] {
        rules.push(Rule::new("GET", &configuration(kind)));
        rules.push(Rule::new("PATCH", &configuration(kind)));
    }
    rules
}

/// One ready replica of a cluster.
pub(crate) fn ready() -> (Cluster, Operator) {
    let cluster = cluster();
    let operator = Operator::start(&cluster, "op-0", &[]);
    operator.wait_until_ready();
    cluster.endpoints(SERVICE, &[operator.reviews]);
    (cluster, operator)
}

pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "team", "labels": {"cloudtaser.io/inject": "true"}},
        "spec": {"serviceAccountName": "app", "containers": [{
            "name": "app", "image": "registry.example/app:1", "command": ["/app"],
            "env": [{"name": "PW", "value": "vault:secret/data/db#password"}]}]},
    })
}

/// The PEM text that a configuration trusts.
pub(crate) fn bundle(cluster: &Cluster, kind: &str) -> String {
    let object = cluster.get(&configuration(kind)).unwrap();
    let text = object.pointer("/webhooks/0/clientConfig/caBundle").and_then(Value::as_str);
    let bytes = data_encoding::BASE64.decode(text.unwrap_or_default().as_bytes()).unwrap();
    String::from_utf8(bytes).unwrap()
}

pub(crate) fn authorities(cluster: &Cluster) -> usize {
    bundle(cluster, "mutating").matches("BEGIN CERTIFICATE").count()
}

pub(crate) fn fixture(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/tests/fixtures/admission");
    serde_json::from_slice(&fs::read(format!("{folder}/{name}.json")).unwrap()).unwrap()
}
