//! A real OpenBao in the cluster, for the pods of the suite: development mode, in memory, with TLS.
//!
//! Its root token goes in by a Secret of the suite's namespace, and requests by a port that kubectl
//! brings here. Pods log in with their own tokens, which it has the cluster's API server review.

use std::{net::TcpListener, process::Child, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use ureq::{
    Agent,
    tls::{TlsConfig, TlsProvider},
};

use crate::{
    kubectl::{Kubectl, until},
    pods,
    world::{World, random},
};

const NAME: &str = "openbao";
const PORT: u16 = 8200;
/// A first pull of its image, on a slow node.
const PATIENCE: Duration = Duration::from_secs(300);

/// What pods may read.
const POLICY: &str = r#"
path "secret/data/*" { capabilities = ["read"] }
path "sys/internal/ui/mounts/*" { capabilities = ["read"] }
"#;

/// A running OpenBao with KV version 2 at `secret/`, and the kubernetes login for every account.
#[derive(Debug)]
pub(crate) struct OpenBao {
    root: String,
    authority: String,
    cluster_ip: String,
    port: u16,
    forward: Child,
    agent: Agent,
}

impl OpenBao {
    /// Starts it.
    ///
    /// # Errors
    /// Where its pod does not come up, or it refuses what is set.
    pub(crate) fn start(world: &World) -> anyhow::Result<Self> {
        let home = &world.home;
        let root = random()?;
        home.apply(&json!({ "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": NAME }, "stringData": { "root": root } }))?;
        for object in objects(world) {
            home.apply(&object)?;
        }
        let running =
            || Ok((home.text(&["pod", NAME], "/status/phase")? == "Running").then_some(()));
        until("OpenBao's pod", PATIENCE, running).with_context(|| pods::trouble(home, NAME))?;
        let authority = until("OpenBao's certificate", PATIENCE, || {
            let text = home.logs(NAME, "authority")?;
            Ok(text.contains("END CERTIFICATE").then_some(text))
        })?;
        let cluster_ip = home.text(&["service", NAME], "/spec/clusterIP")?;
        let (forward, port) = forward(home)?;
        let openbao = Self { root, authority, cluster_ip, port, forward, agent: agent()? };
        until("OpenBao", PATIENCE, || {
            let health = openbao.agent.get(format!("{}/v1/sys/health", openbao.here())).call()?;
            Ok((health.status() == 200).then_some(()))
        })?;
        openbao.prepare(home)?;
        Ok(openbao)
    }

    fn prepare(&self, home: &Kubectl) -> anyhow::Result<()> {
        let api =
            home.text(&["service", "kubernetes", "--namespace=default"], "/spec/clusterIP")?;
        self.api("PUT", "sys/policies/acl/app", &json!({ "policy": POLICY }))?;
        self.api("POST", "sys/auth/kubernetes", &json!({ "type": "kubernetes" }))?;
        // Its own token and authorities it finds where the kubelet puts them.
        let host = if api.contains(':') { format!("[{api}]") } else { api };
        let config = json!({ "kubernetes_host": format!("https://{host}:443") });
        self.api("POST", "auth/kubernetes/config", &config)?;
        let role = json!({
            "bound_service_account_names": "*", "bound_service_account_namespaces": "*",
            "audience": "cloudtaser", "token_policies": ["app"], "token_ttl": "10m",
        });
        // A pod that names no role has that of its account.
        self.api("POST", "auth/kubernetes/role/default", &role)?;
        Ok(())
    }

    /// For pods: an address that needs no name service.
    pub(crate) fn address(&self) -> String {
        let ip = &self.cluster_ip;
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
        format!("https://{host}:{PORT}")
    }

    /// For programs on this machine.
    pub(crate) fn here(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// PEM text of what its certificate is signed by.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// For a file.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// Writes fields to `secret/data/PATH`.
    ///
    /// # Errors
    /// What it answered.
    pub(crate) fn put(&self, path: &str, fields: &Value) -> anyhow::Result<()> {
        self.api("POST", &format!("secret/data/{path}"), &json!({ "data": fields })).map(drop)
    }

    /// Reads the fields of `secret/data/PATH`.
    ///
    /// # Errors
    /// What it answered.
    pub(crate) fn fields(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.api("GET", &format!("secret/data/{path}"), &Value::Null)?;
        Ok(answer.pointer("/data/data").cloned().unwrap_or_default())
    }

    fn api(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.here()))
            .header("X-Vault-Token", &self.root);
        let mut answer = match method {
            "GET" => self.agent.run(request.body(())?)?,
            _ => self.agent.run(request.body(body.to_string())?)?,
        };
        let said = answer.body_mut().read_to_string()?;
        if !answer.status().is_success() {
            bail!("OpenBao: {method} {path}: {} {}", answer.status(), said.trim());
        }
        Ok(serde_json::from_str(&said).unwrap_or_default())
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        drop(self.forward.kill());
        drop(self.forward.wait());
    }
}

fn objects(world: &World) -> Vec<Value> {
    let image = |name: &str| world.images.name(name);
    let policy = world.images.policy;
    let mount = json!({ "name": "tls", "mountPath": "/tls" });
    let server = json!({
        "name": "openbao", "image": image("cloudtaser-e2e-openbao"), "imagePullPolicy": policy,
        "command": ["/bao", "server", "-dev", "-dev-tls", "-dev-no-store-token",
            "-dev-tls-cert-dir=/tls", format!("-dev-listen-address=0.0.0.0:{PORT}")],
        "env": [
            { "name": "HOME", "value": "/tls" },
            { "name": "BAO_DEV_ROOT_TOKEN_ID",
              "valueFrom": { "secretKeyRef": { "name": NAME, "key": "root" } } },
        ],
        "volumeMounts": [mount], "securityContext": pods::restricted(),
    });
    let authority = json!({
        "name": "authority", "image": image("cloudtaser-e2e-subject"), "imagePullPolicy": policy,
        "command": ["/subject", "show", "/tls/vault-ca.pem"],
        "volumeMounts": [mount], "securityContext": pods::restricted(),
    });
    let binding = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": pods::REVIEWER },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "system:auth-delegator" },
        "subjects": [{ "kind": "ServiceAccount", "name": NAME,
            "namespace": world.home.namespace() }] });
    vec![
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": NAME } }),
        binding,
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": NAME },
            "spec": { "selector": { "app": NAME }, "ports": [{ "port": PORT }] } }),
        json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": NAME, "labels": { "app": NAME } },
            "spec": {
                "serviceAccountName": NAME,
                "terminationGracePeriodSeconds": 1,
                "securityContext": { "fsGroup": 65532 },
                "containers": [server, authority],
                "volumes": [{ "name": "tls", "emptyDir": { "medium": "Memory" } }],
            } }),
    ]
}

fn forward(home: &Kubectl) -> anyhow::Result<(Child, u16)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    Ok((home.forward(NAME, &format!("{port}:{PORT}"))?, port))
}

/// The suite's own way in, through a tunnel that the API server ends.
fn agent() -> anyhow::Result<Agent> {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(cloudtaser_tls::provider()?)
        .disable_verification(true)
        .build();
    Ok(Agent::config_builder()
        .proxy(None)
        .tls_config(tls)
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .new_agent())
}
