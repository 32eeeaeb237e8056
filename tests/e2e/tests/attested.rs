//! A path that demands what a node has signed is released to a launch of that node and to no other;
//! an auditor sees which node it was, and that the statement was made for that very launch.
//!
//! The agent is a double that signs; the real one signs in virtual machines (`cargo xtask vm test`).

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        thread,
        time::{Duration, Instant},
    };

    use cloudtaser_core::{
        level::Agent,
        node::{Hash, Launch, NodeEvidence, NodeStatement, signed_bytes},
    };
    use cloudtaser_e2e::{
        FalseAgent, Launch as Started, Output, Pod, Releases, canary, is_root, now, skip,
    };
    use cloudtaser_tls::raw::KeyPair;
    use data_encoding::HEXLOWER;
    use serde_json::{Value, json};

    const POLICY: &str = r#"
[[node]]
name = "worker-1"
key = "KEY"

[[rule]]
name = "shop"
paths = ["secret/shop"]
identities = ["eu:shop/*"]
[rule.node]
agent = "enforcing"
"#;

    /// What it says of itself, and what it signed last.
    #[derive(Default)]
    struct Script {
        pod: Option<String>,
        degraded: bool,
        replays: bool,
        last: Option<NodeEvidence>,
    }

    /// Guards everybody, and signs.
    struct Node {
        agent: FalseAgent,
        key: Hash,
        script: Arc<Mutex<Script>>,
    }

    impl Node {
        fn start() -> Self {
            let (pair, _pem) = KeyPair::generate().unwrap();
            let key = Hash::new(*pair.public().as_bytes());
            let script = Arc::<Mutex<Script>>::default();
            let told = Arc::clone(&script);
            let agent = FalseAgent::start(move |session, sealing| {
                signed(&pair, &mut told.lock().unwrap(), session, sealing)
            });
            Self { agent, key, script }
        }

        fn policy(&self) -> String {
            POLICY.replace("KEY", &self.key.to_string())
        }

        /// From now on it speaks of this pod.
        fn of(&self, pod: &Pod, change: impl FnOnce(&mut Script)) {
            let mut script = self.script.lock().unwrap();
            let last = script.last.take();
            *script = Script { pod: Some(pod.uid().to_owned()), last, ..Script::default() };
            change(&mut script);
        }
    }

    fn signed(key: &KeyPair, script: &mut Script, session: Hash, sealing: Hash) -> NodeEvidence {
        if script.replays {
            return script.last.clone().expect("an earlier statement");
        }
        let launch = Launch { wrapper: None, pod: script.pod.clone(), container: None };
        let statement = NodeStatement {
            at: u64::try_from(now()).unwrap(),
            kernel: "6.12".to_owned(),
            boot: "one".to_owned(),
            state: if script.degraded { Agent::Degraded } else { Agent::Enforcing },
            tier: Some("lsm".to_owned()),
            ..NodeStatement::new(session, sealing, Hash::new([3; 32]), launch)
        };
        let text = statement.to_text();
        let signature = HEXLOWER.encode(&key.sign(&signed_bytes(&text)).unwrap());
        let evidence = NodeEvidence {
            statement: text,
            key: Hash::new(*key.public().as_bytes()),
            signature,
            tpm: None,
            hardware: None,
        };
        script.last = Some(evidence.clone());
        evidence
    }

    fn run(road: &Releases, launch: &Started) -> Output {
        road.networks.cluster.within(|| launch.run(["/bin/sh", "-c", "echo \"got $S\""]))
    }

    #[track_caller]
    fn refused(road: &Releases, output: &Output, part: &str) {
        assert_eq!(output.code(), 76, "{}\nbridge: {}", output.stderr, road.bridge.log());
        assert!(output.stderr.contains(part), "no {part:?} in {}", output.stderr);
        assert_eq!(output.text(), "", "the app was started");
    }

    #[test]
    fn what_demands_a_signed_statement_is_released_to_launches_of_that_node_alone() {
        if !is_root() {
            skip!("only root can pose as the agent");
        }
        let node = Node::start();
        let road = Releases::or_skip(|networks| Releases::start(networks, &node.policy()));
        let Some(road) = road else { return };
        let value = canary();
        road.put("shop/db", &json!({ "password": value }));
        let alone = |pod: &Pod| road.launch_of(pod).env("S", "vault:secret/shop/db#password");
        let launch = |pod: &Pod| alone(pod).env("CLOUDTASER_AGENT", node.agent.path());

        let pod = Pod::new("shop", "web");
        node.of(&pod, |_| ());
        let output = run(&road, &launch(&pod));
        assert_eq!(output.text(), format!("got {value}\n"), "{}", output.stderr);
        let line = road.audit().1.into_iter().find(|line| line["decision"] == "released").unwrap();
        assert_eq!(line["node"], "worker-1");
        proved(&road, &line);

        let pod = Pod::new("shop", "web");
        node.of(&pod, |script| script.replays = true);
        refused(&road, &run(&road, &launch(&pod)), "it was made for another session");
        let pod = Pod::new("shop", "web");
        node.of(&Pod::new("shop", "other"), |_| ());
        refused(&road, &run(&road, &launch(&pod)), "not of this pod");
        let pod = Pod::new("shop", "web");
        node.of(&pod, |script| script.degraded = true);
        refused(&road, &run(&road, &launch(&pod)), "agent=enforcing is required");
        let pod = Pod::new("shop", "web");
        refused(&road, &run(&road, &alone(&pod)), "and there is none");
        // A node that is taken out of the policy.
        road.policy(&POLICY.replace("KEY", &"00".repeat(32)));
        let pod = Pod::new("shop", "web");
        node.of(&pod, |_| ());
        refused(&road, &run(&road, &launch(&pod)), "none of those that the policy names");
    }

    /// What an auditor sees who has the bundle, the log's policy and the release policy.
    fn proved(road: &Releases, line: &Value) {
        let until = Instant::now() + Duration::from_secs(30);
        let verified = loop {
            road.evidence(&["export", "state/log", "--out", "bundle"]).unwrap();
            let words = ["verify", "bundle", "--policy", "state/log.policy", "--json"];
            let words = [&words[..], &["--release-policy", "policy.toml"]].concat();
            let verified: Value = serde_json::from_str(&road.evidence(&words).unwrap()).unwrap();
            // What was written in the last moment is not in the tiles yet.
            if verified["tally"]["released"] != 0 {
                break verified;
            }
            assert!(Instant::now() < until, "the receipt is not exported");
            thread::sleep(Duration::from_millis(200));
        };
        let node = &verified["nodes"][0];
        assert_eq!((&node["name"], &node["state"]), (&json!("worker-1"), &json!("enforcing")));
        assert_eq!((&node["releases"], &node["assurance"]), (&json!(1), &json!("L0")));
        assert_eq!(verified["tally"]["attested"], 1);
        let hash = line["evidence"].as_str().unwrap();
        assert_eq!(hash.len(), 64);
        let claims = verified["claims"].as_array().unwrap();
        let hardware = claims.iter().find(|claim| claim["id"] == "C4").unwrap();
        assert_eq!(hardware["standing"], "not-provable", "{hardware}");
        assert!(hardware["because"].as_str().unwrap().contains("a key in software"));
    }
}
