//! `status --html` against an API server over real TLS: the page shows what is protected and why
//! not, is sound whatever anybody called a pod, and can be read by everybody.

#[cfg(test)]
mod double;
#[cfg(test)]
mod html;

#[cfg(test)]
mod posture {
    use std::fs;

    use cloudtaser_core::level::{
        Agent, Attach, Environ, Facets, Memory, ProtectionLevel, Release, Supervisor, Transport,
        Verdict,
    };
    use cloudtaser_evidence::{
        Digest, Draft, Log, keys,
        log::Options,
        note::KeyKind,
        receipt::{Assurance, Decision, Name, Rows, SecretEntry, Workload},
    };
    use serde_json::{Value, json};

    use super::{
        double::{Double, ends},
        html,
    };

    const WRAPPER: &str = "/cloudtaser/bin/cloudtaser-wrapper";
    const STRONG: Facets = Facets {
        memory: Memory::Sealed,
        environ: Environ::Hidden,
        supervisor: Supervisor::Sealed,
        attach: Attach::Refused,
        transport: Transport::Hybrid,
        release: Release::Bridge,
        agent: Agent::Enforcing,
    };

    /// A cluster with two nodes, one of them with a road open.
    fn installed() -> Double {
        let double = Double::start();
        for (name, kernel) in [("a", "6.12.0-cloud"), ("b", "5.10.0-cloud")] {
            let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
                "status": { "nodeInfo": { "kernelVersion": kernel } } });
            double.store().put(&format!("/api/v1/nodes/{name}"), &node, "kubelet");
        }
        let install =
            ["install", "--registry", "r.example/c", "--openbao", "https://bao.example:8200"];
        ends(&double.run(&install), 0);
        for (at, state) in ["enforcing", "degraded"].into_iter().enumerate() {
            let path = format!(
                "/api/v1/namespaces/cloudtaser-node/pods/made-by-cloudtaser-agent-{at}:9464/proxy/metrics"
            );
            let open = u8::from(state == "degraded");
            let text = format!(
                "cloudtaser_agent_state{{state=\"{state}\",tier=\"lsm\"}} 1\n\
                 cloudtaser_agent_road{{road=\"kcore\",outcome=\"open\"}} {open}\n\
                 cloudtaser_agent_unlisted_loaders {open}\n\
                 cloudtaser_agent_canary_age_seconds 3\n"
            );
            double.store().texts.insert(path, text);
        }
        double
    }

    /// A pod, and what its wrapper measured.
    fn pod(double: &Double, name: &str, command: &str, facets: Option<Facets>) {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default",
                "labels": { "cloudtaser.io/inject": "true" } },
            "spec": { "nodeName": "a",
                "initContainers": [{ "name": "cloudtaser-deliver", "command": [WRAPPER],
                    "image": "r.example/c/cloudtaser-wrapper:1" }],
                "containers": [{ "name": "app", "command": [command] },
                    { "name": "proxy", "command": ["/proxy"] }] },
            "status": { "phase": "Running" } });
        let path = format!("/api/v1/namespaces/default/pods/{name}");
        double.store().put(&path, &pod, "kube");
        if let Some(facets) = facets {
            let level = ProtectionLevel::from_facets(facets, Vec::new());
            let line = json!({ "cloudtaser": "protection-level", "level": level }).to_string();
            double.store().texts.insert(format!("{path}/log"), line);
        }
    }

    /// The page of this cluster.
    fn page(double: &Double, more: &[&str], code: i32) -> String {
        let path = double.kubeconfig().with_file_name("posture.html");
        let mut arguments = vec!["status", "--html", path.to_str().unwrap()];
        arguments.extend_from_slice(more);
        ends(&double.run(&arguments), code);
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn it_says_what_is_protected_at_which_level_and_why_not_more() {
        let double = installed();
        pod(&double, "good", WRAPPER, Some(STRONG));
        let weak = Facets { agent: Agent::Off, transport: Transport::Tls, ..STRONG };
        pod(&double, "weaker", WRAPPER, Some(weak));
        pod(&double, "late", "/app", None);
        let page = page(&double, &[], 1);
        for words in [
            "<dt>of them unprotected</dt><dd class=\"bad\">1</dd>",
            "<dt>nodes enforcing</dt><dd class=\"bad\">1 of 2</dd>",
            "node b: the agent is degraded, open: kcore",
            "node b: an update replaced its runc or systemd",
            "pod default/late: is opted in and not wrapped",
            "Level 1: 1 container",
            "Level 2: 1 container",
            "no node agent: root can run code in the app",
            "what is recorded today may be read later",
            "6.12.0-cloud",
            "r.example/c/cloudtaser-wrapper:1",
            "unwrapped beside it: <bdi>proxy</bdi>",
            "Without verified confidential hardware nothing stops the hypervisor",
            "Read at <time datetime=\"20",
        ] {
            assert!(page.contains(words), "{words}");
        }
        let place = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words}"));
        let rows =
            ["<bdi>default/late</bdi>", "<bdi>default/weaker</bdi>", "<bdi>default/good</bdi>"];
        assert!(rows.is_sorted_by_key(|row| place(row)), "worst first");
        html::is_sound(&page);
        html::can_be_read(&page);
        html::in_a_browser(&page, "posture");
    }

    #[test]
    fn a_cluster_where_nothing_asked_has_a_page_as_well() {
        let double = installed();
        double.store().texts.clear();
        let page = page(&double, &[], 1);
        assert!(page.contains("No pod is opted in"), "{page}");
        assert!(page.contains("the agent is not known"));
        assert!(!page.contains("No problem was found"));
        html::is_sound(&page);
    }

    #[test]
    fn what_somebody_called_a_thing_is_text_and_cannot_turn_its_direction() {
        let double = installed();
        let hostile = "<script>alert(1)</script>\"' onload=x &lt; \u{202e}txt\u{1b}[2J";
        let labels = json!({ "cloudtaser.io/inject": "true" });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": hostile, "namespace": "default", "labels": labels },
            "spec": { "nodeName": hostile,
                "initContainers": [{ "name": "cloudtaser-deliver", "image": hostile }],
                "containers": [{ "name": hostile, "command": [WRAPPER] },
                    { "name": format!("{hostile}2") }] },
            "status": { "phase": hostile } });
        double.store().put("/api/v1/namespaces/default/pods/x", &pod, "kube");
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": hostile },
            "status": { "nodeInfo": { "kernelVersion": hostile } } });
        double.store().put("/api/v1/nodes/x", &node, "kubelet");
        let config = fs::read_to_string(double.kubeconfig()).unwrap();
        let name = json!(hostile).to_string();
        let config = config
            .replace("current-context: double", &format!("current-context: {name}"))
            .replace("- name: double", &format!("- name: {name}"));
        fs::write(double.kubeconfig(), config).unwrap();
        let page = page(&double, &[], 1);
        assert!(page.matches("&#60;script&#62;").count() >= 8, "{page}");
        assert!(!page.contains(['\u{202e}', '\u{1b}']));
        html::is_sound(&page);
    }

    fn name(text: &str) -> Name {
        Name::try_from(text).unwrap()
    }

    #[test]
    fn a_last_release_comes_from_receipts_that_verify_and_from_nothing_else() {
        let double = installed();
        pod(&double, "good", WRAPPER, Some(STRONG));
        let uid = double.read("/api/v1/namespaces/default/pods/good").unwrap();
        let uid = uid["metadata"]["uid"].as_str().unwrap();
        let folder = double.kubeconfig().parent().unwrap().to_owned();
        let signer =
            keys::make_signer(&folder.join("log.key"), "eu.example/log", KeyKind::Log).unwrap();
        let policy = format!("log {}\nquorum none\n", signer.verifier());
        fs::write(folder.join("policy"), policy).unwrap();
        drop(signer);
        let draft = |pod: &str, decision: Decision| Draft {
            cluster: name("prod"),
            workload: Workload {
                namespace: name("shop"),
                service_account: name("api"),
                pod: name(pod),
            },
            role: name("shop"),
            secrets: vec![SecretEntry { name: Digest::of(b"x"), version: None, request: None }],
            policy: Digest::of(b"policy"),
            protection: Rows::new([Verdict::Open; 6]),
            assurance: Assurance::L0,
            wrapper: None,
            session: Digest::of(b"session"),
            evidence: None,
            decision,
            bridge: None,
            key_exchange: None,
            sealing: None,
            orders: None,
        };
        let refused =
            Draft { secrets: Vec::new(), ..draft(uid, Decision::Refused(name("level-too-low"))) };
        let others = [refused, draft("another-pod", Decision::Released)];
        // A log is read after it was closed: what it publishes, it publishes behind its answers.
        let write = |to: &str, drafts: &[Draft]| {
            let signer = keys::read_signer(&folder.join("log.key")).unwrap();
            let log = Log::open(&folder.join(to), signer, Options::default()).unwrap();
            drafts.iter().for_each(|draft| drop(log.append(draft.clone()).unwrap()));
        };
        write("none", &others);
        write("log", &[&others[..], &[draft(uid, Decision::Released)]].concat());
        let policy = folder.join("policy");
        let policy = policy.to_str().unwrap();
        let (empty, evidence) = (folder.join("none"), folder.join("log"));
        let none = ["--evidence", empty.to_str().unwrap(), "--policy", policy];
        let none = page(&double, &none, 1);
        assert!(none.contains("<td class=\"nowrap\">not shown</td>"), "no release of this pod");
        let more = ["--evidence", evidence.to_str().unwrap(), "--policy", policy];
        let json: Vec<&str> = ["status", "--json"].into_iter().chain(more).collect();
        let json: Value = serde_json::from_str(&ends(&double.run(&json), 1)).unwrap();
        let last = json["pods"][0]["last_release"].as_str().unwrap();
        assert!(last.starts_with("20") && last.ends_with('Z'), "{last}");
        let shown = page(&double, &more, 1);
        assert!(shown.contains(&format!("<td class=\"nowrap\">{last}</td>")), "{shown}");
        let tile = folder.join("log/tile/entries/000.p/3");
        let mut bytes = fs::read(&tile).unwrap();
        bytes[40] ^= 1;
        fs::write(&tile, bytes).unwrap();
        let verb: Vec<&str> = ["status"].into_iter().chain(more).collect();
        ends(&double.run(&verb), 77);
        ends(&double.run(&["status", "--evidence", "x"]), 64);
    }
}
