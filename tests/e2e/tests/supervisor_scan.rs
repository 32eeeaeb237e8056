//! What root finds in the supervisor's memory and core: no value, no token, no credential.
//!
//! All readable mappings are searched, with the stacks of all threads and the environment block, in
//! every login method, for the whole texts and for their halves, while the app runs. The same search
//! of an ordinary parent is the control: it finds them.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::Command,
        thread,
        time::{Duration, Instant},
    };

    use cloudtaser_e2e::{
        Bao, Launch, Role, Running, Scratch, Setup, User, canary, environ, find, is_root, on_path,
        scan, skip,
    };
    use nix::sys::signal::Signal;
    use serde_json::{Value, json};

    use super::common::{Double, eventually, level, python};

    /// Shows the token that it was given, so that the test can look for it, and waits.
    const APP: [&str; 3] = ["sh", "-c", "echo \"token $T\"; read -r _"];

    /// Texts that must not be found, each with what it is.
    #[derive(Clone, Debug, Default)]
    struct Needles(Vec<(String, String)>);

    impl Needles {
        /// A text and its halves: a copy that was cut is a copy.
        fn add(&mut self, what: &str, text: &str) {
            assert!(text.len() >= 20, "{what} is too short to be told from chance: {text:?}");
            let (head, tail) = text.split_at(text.len() / 2);
            for part in [text, head, tail] {
                self.0.push((what.to_owned(), part.to_owned()));
            }
        }

        fn found_in(&self, pid: i32) -> Vec<String> {
            let environment = environ(pid).unwrap();
            let mut found = Vec::new();
            for (what, text) in &self.0 {
                let seen = scan(pid, text.as_bytes());
                assert!(seen.bytes > 1 << 20, "too little was read of {pid}: {} bytes", seen.bytes);
                if !seen.hits.is_empty() {
                    found.push(format!("{what} ({} bytes):\n{}", text.len(), seen.shown()));
                }
                if !find(&environment, text.as_bytes()).is_empty() {
                    found.push(format!("{what}: in the environment block"));
                }
            }
            found
        }
    }

    #[track_caller]
    fn clean(pid: i32, needles: &Needles) {
        let found = needles.found_in(pid);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    /// A launch that looks again and again, so that the token has to stay.
    fn launch(bao: &Bao, secret: &str, name: &str) -> Launch {
        bao.put(name, &json!({ "a": secret }));
        Launch::wrapped(bao)
            .env("S", format!("vault:secret/data/{name}#a"))
            .env("T", "vault:login")
            .env("CLOUDTASER_ROTATE_EVERY", "1s")
            .env("CLOUDTASER_ROTATE_ACTION", "in-place")
    }

    /// Starts the app and learns the token of the login from it.
    fn started(launch: &Launch, needles: &mut Needles) -> Running {
        let mut running = launch.spawn(APP);
        let out = running.until_stdout("the token", |out| out.ends_with(b"\n"));
        let out = String::from_utf8(out).unwrap();
        needles.add("the token", out.trim().strip_prefix("token ").unwrap());
        running
    }

    /// Demands a clean memory now and for two rounds of looking.
    #[track_caller]
    fn stays_clean(running: &Running, needles: &Needles) {
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            clean(running.pid(), needles);
        }
    }

    fn needs() -> bool {
        if !is_root() {
            println!("SKIP: only root reads the memory of other processes");
        }
        is_root()
    }

    #[test]
    fn an_ordinary_parent_holds_what_the_supervisor_does_not() {
        if !needs() {
            return;
        }
        let Some(python) = python() else { return };
        let (secret, token) = (canary(), canary());
        let script = "import os, subprocess; s = os.environ['S']; subprocess.run(['sh', '-c', 'echo ready; read -r _'])";
        let launch = Launch::bare().env("S", &secret).env("VAULT_TOKEN", &token);
        let mut running = launch.spawn([python, "-c", script]);
        running.until_stdout("readiness", |out| out == b"ready\n");
        for text in [&secret, &token] {
            let mut needles = Needles::default();
            needles.add("control", text);
            let found = needles.found_in(running.pid());
            assert_eq!(found.len(), 6, "each part in memory and in the environment: {found:?}");
        }
    }

    /// The second control: the same supervisor where it may lock no memory.
    #[test]
    fn a_supervisor_without_sealed_memory_holds_the_value_and_does_not_claim_otherwise() {
        if !needs() {
            return;
        }
        if on_path("prlimit").is_none() || on_path("setpriv").is_none() {
            skip!("prlimit or setpriv is not installed");
        }
        let secret = canary();
        let mut needles = Needles::default();
        needles.add("the secret", &secret);
        let launch = launch(Bao::shared(), &secret, "unsealed").without_flag("--quiet");
        let launch = launch.user(User::Unprivileged).behind(["prlimit", "--memlock=0:0"]);
        let mut running = launch.spawn(["sh", "-c", "echo ready; read -r _"]);
        running.until_stdout("readiness", |out| out == b"ready\n");
        assert_eq!(level(&running.stderr())["facets"]["supervisor"], "wiped");
        eventually("a copy is found", || !needles.found_in(running.pid()).is_empty());
    }

    fn in_method(name: &str, setup: &Setup) {
        let secret = canary();
        let bao = Bao::shared();
        let mut needles = Needles::default();
        needles.add("the secret", &secret);
        for credential in &setup.credentials {
            needles.add("the credential", credential);
        }
        let launch = setup.apply(launch(bao, &secret, name));
        let running = started(&launch, &mut needles);
        stays_clean(&running, &needles);
    }

    #[test]
    fn nothing_is_found_in_any_login_method() {
        if !needs() {
            return;
        }
        let bao = Bao::shared();
        for role in Role::ALL {
            let Some(setup) = bao.login(role) else {
                skip!("{role:?} cannot be set up: no openssl")
            };
            in_method(&format!("{role:?}").to_lowercase(), &setup);
        }
    }

    #[test]
    fn nothing_is_found_of_credentials_given_by_value() {
        if !needs() {
            return;
        }
        let bao = Bao::shared();
        let given = [
            (Role::Token, "VAULT_TOKEN"),
            (Role::WrappedToken, "VAULT_WRAPPED_TOKEN"),
            (Role::Userpass, "VAULT_PASSWORD"),
            (Role::Approle, "VAULT_SECRET_ID"),
            (Role::ApproleWrapped, "VAULT_WRAPPED_SECRET_ID"),
        ];
        for (role, variable) in given {
            let Some(mut setup) = bao.login(role) else { skip!("{role:?} cannot be set up") };
            setup.env.retain(|(name, _)| !name.ends_with("_FILE"));
            setup.env.push((variable.to_owned(), setup.credentials[0].clone()));
            in_method(&format!("value-{role:?}").to_lowercase(), &setup);
        }
    }

    /// Head and claims of the token of a service account; the cluster alone judges the signature.
    const POD: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.\
        eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMiLCJzdWIiOiJzeXN0ZW06c2Vydmlj\
        ZWFjY291bnQ6c2hvcDphcHAiLCJuYmYiOjE3MDAwMDAwMDAsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjo0\
        MDAwMDAwMDAwLCJrdWJlcm5ldGVzLmlvIjp7Im5hbWVzcGFjZSI6InNob3AiLCJzZXJ2aWNlYWNjb3Vu\
        dCI6eyJuYW1lIjoiYXBwIiwidWlkIjoiNyJ9fX0";

    #[test]
    fn nothing_is_found_of_a_pods_token() {
        if !needs() {
            return;
        }
        let bao = Bao::shared();
        let cluster = Double::always(
            "201 Created",
            r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":{"authenticated":true,"user":{"username":"system:serviceaccount:shop:app","uid":"7","groups":["system:serviceaccounts"]},"audiences":[]}}"#,
        );
        bao.api("POST", "sys/auth/kubernetes", &json!({ "type": "kubernetes" }));
        let config = json!({
            "kubernetes_host": cluster.url(), "disable_local_ca_jwt": true,
            "kubernetes_ca_cert": fs::read_to_string(bao.ca()).unwrap(),
        });
        bao.api("POST", "auth/kubernetes/config", &config);
        let role = json!({
            "bound_service_account_names": "app", "bound_service_account_namespaces": "shop",
            "token_policies": "app",
        });
        bao.api("POST", "auth/kubernetes/role/app", &role);
        let hexadecimal = |text: String| text.trim_start_matches("canary-").to_owned();
        let token = format!("{POD}.{}", hexadecimal(canary()).repeat(4));
        let file = bao.scratch().credential("pod-token", &token);
        let setup = Setup {
            env: vec![
                ("VAULT_AUTH_METHOD".into(), "kubernetes".into()),
                ("VAULT_ROLE".into(), "app".into()),
                ("VAULT_JWT_FILE".into(), file.display().to_string()),
            ],
            credentials: vec![token],
        };
        in_method("kubernetes", &setup);
        assert!(cluster.reads() > 0, "the cluster was not asked");
    }

    #[test]
    fn nothing_is_found_after_a_rotation_and_after_a_failed_read() {
        if !needs() {
            return;
        }
        let bao = Bao::shared();
        let (first, second) = (canary(), canary());
        let mut needles = Needles::default();
        needles.add("the first value", &first);
        needles.add("the second value", &second);
        let launch = launch(bao, &first, "rotated").without_flag("--quiet");
        let mut running = started(&launch, &mut needles);
        clean(running.pid(), &needles);
        bao.put("rotated", &json!({ "a": second }));
        running.until_stderr("values changed and were written in place");
        stays_clean(&running, &needles);
        bao.api("DELETE", "secret/data/rotated", &Value::Null);
        running.until_stderr("reading again failed");
        stays_clean(&running, &needles);
        let third = canary();
        needles.add("the third value", &third);
        bao.put("rotated", &json!({ "a": third }));
        running.until_stderr("OpenBao answers again");
        stays_clean(&running, &needles);
    }

    #[test]
    fn nothing_is_found_after_a_restart_of_the_app() {
        if !needs() {
            return;
        }
        let bao = Bao::shared();
        let (first, second) = (canary(), canary());
        let mut needles = Needles::default();
        needles.add("the first value", &first);
        needles.add("the second value", &second);
        let launch = launch(bao, &first, "restarted").without_flag("--quiet");
        let launch = launch.env("CLOUDTASER_ROTATE_ACTION", "restart");
        let mut running = started(&launch, &mut needles);
        bao.put("restarted", &json!({ "a": second }));
        running.until_stderr("the app is started again");
        eventually("the second start", || {
            String::from_utf8_lossy(&running.stdout()).lines().count() == 2
        });
        stays_clean(&running, &needles);
    }

    #[test]
    fn nothing_is_found_of_many_secrets_of_every_kind() {
        if !needs() {
            return;
        }
        let bao = Bao::start();
        let mut needles = Needles::default();
        let mut fields = serde_json::Map::new();
        for nth in 0..50 {
            let value = canary();
            needles.add(&format!("field {nth}"), &value);
            fields.insert(format!("FIELD_{nth}"), value.into());
        }
        bao.put("many", &Value::Object(fields));
        let (old, user, password, cipher) = (canary(), canary(), canary(), canary());
        for (what, value) in
            [("kv 1", &old), ("user", &user), ("password", &password), ("transit", &cipher)]
        {
            needles.add(what, value);
        }
        bao.put_v1("old", &json!({ "a": old }));
        bao.put("pair", &json!({ "user": user, "password": password }));
        bao.api("POST", "sys/mounts/transit", &json!({ "type": "transit" }));
        bao.api("POST", "transit/keys/app", &json!({}));
        let plain = base64(cipher.as_bytes());
        needles.add("transit, encoded", &plain);
        let made = bao.api("POST", "transit/encrypt/app", &json!({ "plaintext": plain }));
        let ciphertext = made["data"]["ciphertext"].as_str().unwrap().to_owned();
        pki(&bao);
        let launch = launch(&bao, &canary(), "one")
            .env(
                "VAULT_TOKEN_FILE",
                bao.scratch().credential(
                    "token-all",
                    &bao.token_with(&json!({ "policies": ["app", "pki"], "ttl": "1h" })),
                ),
            )
            .env("VAULT_FROM_PATH", "secret/data/many")
            .env("OLD", "vault:kv1/old#a")
            .env("URL", "postgres://${vault:secret/data/pair#user}@db")
            .env("DSN", "vault:secret/data/pair#{{ user }}:{{ password }}@db")
            .env("CIPHER", format!("vault:{}", ciphertext.trim_start_matches("vault:")))
            .env("VAULT_TRANSIT_KEY_ID", "app")
            .env("KEY", r#">>vault:pki/issue/app#private_key#{"common_name":"app"}"#);
        let app = r#"echo "token $T"; echo "$KEY" | sed -n 2p; echo "$FIELD_49 $CIPHER $DSN $OLD"; read -r _"#;
        let mut running = launch.spawn(["sh", "-c", app]);
        let out = running.until_stdout("three lines", |out| {
            out.iter().filter(|byte| **byte == b'\n').count() == 3
        });
        let out = String::from_utf8(out).unwrap();
        let lines = out.lines().collect::<Vec<_>>();
        needles.add("the token", lines[0].strip_prefix("token ").unwrap());
        needles.add("a line of the private key", lines[1]);
        assert!(lines[2].contains(&format!("{cipher} {user}:{password}@db {old}")), "{}", lines[2]);
        clean(running.pid(), &needles);
        thread::sleep(Duration::from_secs(2));
        clean(running.pid(), &needles);
    }

    fn pki(bao: &Bao) {
        bao.api("POST", "sys/mounts/pki", &json!({ "type": "pki" }));
        let root = json!({ "common_name": "e2e", "key_type": "ec", "key_bits": 256, "ttl": "1h" });
        bao.api("POST", "pki/root/generate/internal", &root);
        let role = json!({
            "allow_any_name": true, "key_type": "ec", "key_bits": 256, "ttl": "10m",
            "generate_lease": true, "enforce_hostnames": false,
        });
        bao.api("POST", "pki/roles/app", &role);
        bao.policy(
            "pki",
            r#"
            path "pki/issue/app" { capabilities = ["update"] }
            path "sys/leases/*" { capabilities = ["update"] }
        "#,
        );
    }

    fn base64(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let chunks = bytes.chunks(3).map(|chunk| {
            let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte))
                << (8 * (3 - chunk.len()));
            let digit = |nth: usize| char::from(ALPHABET[bits >> (18 - 6 * nth) & 63]);
            (0..4).map(|nth| if nth <= chunk.len() { digit(nth) } else { '=' }).collect::<String>()
        });
        chunks.collect()
    }

    #[test]
    fn nothing_is_found_while_programs_are_executed() {
        if !needs() {
            return;
        }
        let secret = canary();
        let mut needles = Needles::default();
        needles.add("the secret", &secret);
        let launch = launch(Bao::shared(), &secret, "execs");
        let app = "echo ready; while :; do for i in 1 2 3 4 5 6 7 8 9; do true_by_exec=1 env true; done; done";
        let mut running = launch.spawn(["sh", "-c", app]);
        running.until_stdout("readiness", |out| out == b"ready\n");
        stays_clean(&running, &needles);
        running.signal(Signal::SIGTERM);
        running.wait();
    }

    #[test]
    fn nothing_is_found_in_a_forced_core() {
        if !needs() {
            return;
        }
        let Some(gcore) = on_path("gcore") else { skip!("gcore is not installed") };
        let secret = canary();
        let bao = Bao::shared();
        let mut needles = Needles::default();
        needles.add("the secret", &secret);
        let running = started(&launch(bao, &secret, "core"), &mut needles);
        let dumped = |pid: i32| {
            let scratch = Scratch::new();
            let base = scratch.path().join("core");
            let made =
                Command::new(&gcore).args(["-a", "-o"]).arg(&base).arg(pid.to_string()).output();
            let made = made.unwrap();
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            assert!(made.status.success(), "{said}");
            fs::read(scratch.path().join(format!("core.{pid}"))).unwrap()
        };
        let core = dumped(running.pid());
        assert!(core.len() > 1 << 20, "{} bytes", core.len());
        for (what, text) in &needles.0 {
            assert!(find(&core, text.as_bytes()).is_empty(), "{what} is in the core");
        }
        // The control: what the app keeps in ordinary memory is in its core.
        let Some(python) = python() else { return };
        let script = "import os; s = os.environ['S'] + 'x'; print('ready', flush=True); input()";
        let mut control = Launch::bare().env("S", &secret).spawn([python, "-c", script]);
        control.until_stdout("readiness", |out| out == b"ready\n");
        assert!(
            !find(&dumped(control.pid()), secret.as_bytes()).is_empty(),
            "the core is not searched"
        );
    }
}
