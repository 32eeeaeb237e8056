//! `migrate` from an API server over real TLS into a real OpenBao: values arrive, are compared, and
//! are nowhere else.

#[cfg(test)]
mod double;

#[cfg(test)]
mod migrate {
    use std::{
        env, fs,
        net::TcpListener,
        path::{Path, PathBuf},
        process::{Child, Command, Output, Stdio},
        time::{Duration, Instant},
    };

    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::double::{self, Double};

    const ROOT: &str = "root-of-this-test";
    const VALUE: &str = "hunter2-\"quoted\"\nand a line";

    /// An OpenBao that ends with the test.
    struct Bao {
        program: PathBuf,
        server: Child,
        folder: TempDir,
        address: String,
    }

    impl Drop for Bao {
        fn drop(&mut self) {
            drop(self.server.kill());
            drop(self.server.wait());
        }
    }

    impl Bao {
        fn start() -> Option<Self> {
            let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bao");
            let program = env::var_os("CLOUDTASER_BAO").map_or(usual, PathBuf::from);
            if !program.is_file() {
                println!("SKIP: no OpenBao at {}", program.display());
                return None;
            }
            let folder = tempfile::tempdir().unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let server = Command::new(&program)
                .args(["server", "-dev", "-dev-tls", "-dev-no-store-token"])
                .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
                .arg(format!("-dev-tls-cert-dir={}", folder.path().display()))
                .env("BAO_DEV_ROOT_TOKEN_ID", ROOT)
                .env("HOME", folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let address = format!("https://127.0.0.1:{port}");
            let bao = Self { program, server, folder, address };
            fs::write(bao.token(), ROOT).unwrap();
            let start = Instant::now();
            while !bao.ask(&["status"]).status.success() {
                assert!(start.elapsed() < Duration::from_secs(60), "OpenBao does not come up");
                std::thread::sleep(Duration::from_millis(200));
            }
            Some(bao)
        }

        fn ca(&self) -> PathBuf {
            self.folder.path().join("vault-ca.pem")
        }

        fn token(&self) -> PathBuf {
            self.folder.path().join("token")
        }

        fn ask(&self, arguments: &[&str]) -> Output {
            Command::new(&self.program)
                .args(arguments)
                .env("BAO_ADDR", &self.address)
                .env("BAO_CACERT", self.ca())
                .env("BAO_TOKEN", ROOT)
                .output()
                .unwrap()
        }

        fn read(&self, path: &str) -> Value {
            let output = self.ask(&["kv", "get", "-format=json", "-mount=secret", path]);
            let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            json["data"]["data"].clone()
        }
    }

    fn secret(double: &Double, name: &str, data: &Value) {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "data": data,
            "metadata": { "name": name, "namespace": "default" } });
        let path = format!("/api/v1/namespaces/default/secrets/{name}");
        double.store().put(&path, &secret, "kubectl");
    }

    fn plan(double: &Double, names: &[&str]) -> PathBuf {
        let path = double.kubeconfig().with_file_name("plan.yaml");
        let moves: Vec<_> = names
            .iter()
            .map(|name| {
                format!(
                    "- {{ namespace: default, secret: {name}, path: secret/data/default/{name} }}"
                )
            })
            .collect();
        let text = format!(
            "apiVersion: cloudtaser.io/v1alpha1\nkind: MigrationPlan\nsecrets:\n{}\nworkloads: []\n",
            moves.join("\n")
        );
        fs::write(&path, text).unwrap();
        path
    }

    fn run(double: &Double, bao: &Bao, names: &[&str], more: &[&str]) -> Output {
        let plan = plan(double, names);
        let (ca, token) = (bao.ca(), bao.token());
        let mut arguments = vec!["migrate", "--plan", plan.to_str().unwrap()];
        arguments.extend(["--openbao", &bao.address, "--openbao-ca", ca.to_str().unwrap()]);
        arguments.extend(["--token-file", token.to_str().unwrap()]);
        arguments.extend_from_slice(more);
        double.run(&arguments)
    }

    #[track_caller]
    fn ends(output: &Output, code: i32) -> String {
        let said = double::ends(output, code);
        assert!(!said.contains("hunter2"), "{said}");
        assert!(!said.contains(ROOT), "{said}");
        said
    }

    fn encoded(text: &[u8]) -> String {
        data_encoding::BASE64.encode(text)
    }

    #[test]
    fn values_arrive_are_compared_and_are_said_nowhere() {
        let Some(bao) = Bao::start() else { return };
        let double = Double::start();
        secret(&double, "db", &json!({ "pw": encoded(VALUE.as_bytes()), "user": encoded(b"app") }));
        let said = ends(&run(&double, &bao, &["db"], &[]), 0);
        assert!(said.contains("copied   default/db"), "{said}");
        assert_eq!(bao.read("default/db"), json!({ "pw": VALUE, "user": "app" }));
        let said = ends(&run(&double, &bao, &["db"], &[]), 0);
        assert!(said.contains("there    default/db"), "{said}");
        for (method, target, _) in &double.store().log {
            assert_eq!(method, "GET", "{target}: nothing is changed on the cluster");
        }
    }

    #[test]
    fn what_openbao_has_already_is_never_replaced() {
        let Some(bao) = Bao::start() else { return };
        let double = Double::start();
        secret(&double, "db", &json!({ "pw": encoded(b"hunter2") }));
        assert!(
            bao.ask(&["kv", "put", "-mount=secret", "default/db", "pw=older"]).status.success()
        );
        let said = ends(&run(&double, &bao, &["db"], &["--delete"]), 1);
        assert!(said.contains("other values there (pw)"), "{said}");
        assert_eq!(bao.read("default/db"), json!({ "pw": "older" }));
        assert!(double.read("/api/v1/namespaces/default/secrets/db").is_some());
    }

    #[test]
    fn what_cannot_be_moved_is_said_and_the_rest_goes_on() {
        let Some(bao) = Bao::start() else { return };
        let double = Double::start();
        secret(&double, "blob", &json!({ "key": encoded(&[0xff, 0x00]) }));
        secret(&double, "db", &json!({ "pw": encoded(b"hunter2") }));
        let said = ends(&run(&double, &bao, &["blob", "gone", "db"], &[]), 1);
        assert!(said.contains("field key is no text"), "{said}");
        assert!(said.contains("there is no such Secret"), "{said}");
        assert_eq!(bao.read("default/db"), json!({ "pw": "hunter2" }));
    }

    #[test]
    fn a_secret_goes_when_openbao_has_it_and_nobody_uses_it() {
        let Some(bao) = Bao::start() else { return };
        let double = Double::start();
        for name in ["free", "mounted", "served"] {
            secret(&double, name, &json!({ "pw": encoded(b"hunter2") }));
        }
        let workload = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": { "name": "queue", "namespace": "default" },
            "spec": { "template": { "spec": { "containers": [{ "name": "q", "envFrom": [{
                "secretRef": { "name": "mounted" } }] }] } } } });
        let path = "/apis/apps/v1/namespaces/default/statefulsets/queue";
        double.store().put(path, &workload, "kubectl");
        let ingress = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": "shop", "namespace": "default" },
            "spec": { "tls": [{ "secretName": "served" }] } });
        let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses/shop";
        double.store().put(path, &ingress, "kubectl");
        let said = ends(&run(&double, &bao, &["free", "mounted", "served"], &["--delete"]), 0);
        assert!(said.contains("deleted  default/free"), "{said}");
        assert!(said.contains("StatefulSet queue still uses it"), "{said}");
        assert!(said.contains("Ingress shop still uses it"), "{said}");
        assert!(double.read("/api/v1/namespaces/default/secrets/free").is_none());
        assert!(double.read("/api/v1/namespaces/default/secrets/mounted").is_some());
        assert_eq!(bao.read("default/free"), json!({ "pw": "hunter2" }));
    }

    #[test]
    fn a_wrong_token_is_refused_and_not_repeated() {
        let Some(bao) = Bao::start() else { return };
        let double = Double::start();
        fs::write(bao.token(), "no-such-token").unwrap();
        secret(&double, "db", &json!({ "pw": encoded(b"hunter2") }));
        let said = ends(&run(&double, &bao, &["db"], &["--delete"]), 1);
        assert!(said.contains("403") && !said.contains("no-such-token"), "{said}");
        assert!(double.read("/api/v1/namespaces/default/secrets/db").is_some());
    }
}
