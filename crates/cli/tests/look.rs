//! `status` and `doctor` against an API server over real TLS: what is wrong is seen and said, and
//! what cannot be read is not taken for good.

#[cfg(test)]
mod double;

#[cfg(test)]
mod look {
    use serde_json::{Value, json};

    use super::double::{Double, ends};

    const WRAPPER: &str = "/cloudtaser/bin/cloudtaser-wrapper";

    /// A cluster with two nodes and an installation.
    fn installed() -> Double {
        let double = Double::start();
        for (name, kernel) in [("a", "6.12.0-cloud"), ("b", "5.10.0-cloud")] {
            let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
                "status": { "nodeInfo": { "kernelVersion": kernel, "osImage": "Debian",
                "containerRuntimeVersion": "containerd://2.0" } } });
            double.store().put(&format!("/api/v1/nodes/{name}"), &node, "kubelet");
        }
        let install =
            ["install", "--registry", "r.example/c", "--openbao", "https://bao.example:8200"];
        ends(&double.run(&install), 0);
        for at in 0..2 {
            let path = format!(
                "/api/v1/namespaces/cloudtaser-node/pods/made-by-cloudtaser-agent-{at}:9464/proxy/metrics"
            );
            let text = "cloudtaser_agent_state{state=\"enforcing\",tier=\"lsm\"} 1\n";
            double.store().texts.insert(path, text.to_owned());
        }
        double
    }

    fn pod(double: &Double, name: &str, command: &str) {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default",
                "labels": { "cloudtaser.io/inject": "true" } },
            "spec": { "nodeName": "a", "containers": [{ "name": "app", "command": [command] }] },
            "status": { "phase": "Running" } });
        double.store().put(&format!("/api/v1/namespaces/default/pods/{name}"), &pod, "kube");
    }

    #[test]
    fn a_cluster_without_it_says_how_to_get_it() {
        let double = Double::start();
        let said = ends(&double.run(&["status"]), 69);
        assert!(said.contains("cloudtaser install"), "{said}");
    }

    #[test]
    fn what_is_protected_is_told_with_the_level_that_the_wrapper_said() {
        let double = installed();
        pod(&double, "good", WRAPPER);
        let log = "{\"cloudtaser\":\"protection-level\",\"level\":{\"rows\":[{\"id\":\"T1\",\
                   \"verdict\":\"closed\"},{\"id\":\"T6\",\"verdict\":\"open\"}]}}\nhello\n";
        double
            .store()
            .texts
            .insert("/api/v1/namespaces/default/pods/good/log".to_owned(), log.into());
        let said = ends(&double.run(&["status"]), 0);
        assert!(said.contains("T1 closed, T6 open"), "{said}");
        assert!(said.contains("enforcing") && said.contains("no problem found"), "{said}");
        let json: Value =
            serde_json::from_str(&ends(&double.run(&["status", "--json"]), 0)).unwrap();
        assert_eq!(json["pods"][0]["wrapped"], json!(["app"]));
        assert_eq!(json["pods"][0]["levels"]["app"]["T6"], "open");
    }

    #[test]
    fn a_pod_that_is_opted_in_and_not_wrapped_is_a_problem() {
        let double = installed();
        pod(&double, "late", "/app");
        let said = ends(&double.run(&["status"]), 1);
        assert!(said.contains("pod default/late: is opted in and not wrapped"), "{said}");
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let double = installed();
        double.store().texts.clear();
        pod(&double, "good", WRAPPER);
        let said = ends(&double.run(&["status"]), 1);
        assert!(said.contains("node a: the agent is not known"), "{said}");
        let json: Value =
            serde_json::from_str(&ends(&double.run(&["status", "--json"]), 1)).unwrap();
        assert_eq!(json["pods"][0]["levels"], json!({}));
    }

    #[test]
    fn a_node_whose_agent_is_off_and_a_webhook_that_is_gone_are_problems() {
        let double = installed();
        double.store().texts.clear();
        double.store().faults.off.insert("b".to_owned());
        double.store().delete(
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/cloudtaser-operator",
        );
        let said = ends(&double.run(&["status"]), 1);
        assert!(said.contains("node b: the agent is off"), "{said}");
        assert!(said.contains("a webhook configuration is gone"), "{said}");
    }

    fn finding(double: &Double, check: &str, code: i32) -> Value {
        let said = ends(&double.run(&["doctor", "--json"]), code);
        let all: Vec<Value> = serde_json::from_str(&said).unwrap();
        all.into_iter().find(|each| each["check"] == check).unwrap_or_else(|| panic!("{said}"))
    }

    #[test]
    fn a_good_cluster_is_found_good_but_for_its_old_kernel() {
        let double = installed();
        let said = ends(&double.run(&["doctor"]), 0);
        assert!(said.contains("Kubernetes v1.36.2"), "{said}");
        assert_eq!(finding(&double, "node a", 0)["state"], "ok");
        assert_eq!(finding(&double, "node b", 0)["state"], "weak");
        assert_eq!(finding(&double, "clock", 0)["state"], "ok");
    }

    #[test]
    fn an_old_cluster_a_wrong_clock_and_missing_rights_are_bad_and_come_with_a_fix() {
        let double = Double::start();
        double.store().faults.minor = Some("29+");
        assert_eq!(finding(&double, "version", 1)["state"], "bad");
        double.store().faults.minor = None;
        double.store().faults.ahead = 120;
        let clock = finding(&double, "clock", 1);
        assert!(clock["found"].as_str().unwrap().starts_with("-1"), "{clock}");
        assert!(clock["fix"].as_str().unwrap().contains("NTP"), "{clock}");
        double.store().faults.ahead = 0;
        double.store().faults.forbidden.insert("patch clusterroles".to_owned());
        let rights = finding(&double, "your rights", 1);
        assert_eq!(rights["found"], "you may not: patch clusterroles");
    }

    #[test]
    fn neighbours_that_load_programs_are_named_with_what_that_means() {
        let double = installed();
        let tetragon = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": "tetragon", "namespace": "kube-system" },
            "spec": { "template": { "spec": { "containers": [{ "name": "t", "image": "t" }] } } } });
        let path = "/apis/apps/v1/namespaces/kube-system/daemonsets/tetragon";
        double.store().put(path, &tetragon, "helm");
        let found = finding(&double, "neighbours", 0);
        assert!(found["found"].as_str().unwrap().contains("Tetragon"), "{found}");
        assert!(found["fix"].as_str().unwrap().contains("--allow-loader=sha256:"), "{found}");
    }

    #[test]
    fn a_namespace_that_would_not_admit_agents_is_bad() {
        let double = Double::start();
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": "cloudtaser-node",
            "labels": { "pod-security.kubernetes.io/enforce": "baseline" } } });
        double.store().put("/api/v1/namespaces/cloudtaser-node", &namespace, "kubectl");
        assert_eq!(finding(&double, "pod security", 1)["state"], "bad");
    }

    #[test]
    fn the_machine_is_looked_at_without_a_cluster() {
        let double = Double::start();
        let output = double.run(&["doctor", "--local", "--json"]);
        let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        for check in ["sealed memory", "memory that may be locked", "security modules", "kernel"] {
            assert!(all.iter().any(|each| each["check"] == check), "{check}: {all:?}");
        }
        assert!(double.store().log.is_empty());
    }

    #[test]
    fn discover_plans_from_pod_templates_and_asks_for_no_secret() {
        let double = Double::start();
        let workload = |kind: &str, name: &str, namespace: &str| {
            json!({
            "apiVersion": "apps/v1", "kind": kind,
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "replicas": 1, "template": { "metadata": { "labels": { "a": "b" } }, "spec": {
                "containers": [{ "name": "web", "env": [{ "name": "PASSWORD", "valueFrom": {
                    "secretKeyRef": { "name": "db", "key": "pw" } } }] }] } } } })
        };
        for (kind, plural, name, namespace) in [
            ("Deployment", "deployments", "web", "default"),
            ("StatefulSet", "statefulsets", "queue", "default"),
            ("DaemonSet", "daemonsets", "proxy", "kube-system"),
        ] {
            let path = format!("/apis/apps/v1/namespaces/{namespace}/{plural}/{name}");
            double.store().put(&path, &workload(kind, name, namespace), "kubectl");
        }
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "data": { "pw": "aHVudGVyMg==" },
            "metadata": { "name": "db", "namespace": "default" } });
        double.store().put("/api/v1/namespaces/default/secrets/db", &secret, "kubectl");
        let plan = double.kubeconfig().with_file_name("plan.yaml");
        let said = ends(&double.run(&["discover", "--plan", plan.to_str().unwrap()]), 0);
        assert!(said.contains("Deployment default/web"), "{said}");
        assert!(said.contains("2 workloads, 2 uses"), "the system's own is left out: {said}");
        assert!(said.contains(&format!("cloudtaser migrate --plan {}", plan.display())), "{said}");
        let text = std::fs::read_to_string(plan).unwrap();
        assert!(text.contains("PASSWORD: vault:secret/data/default/db#pw"), "{text}");
        let asked: Vec<_> = double.store().log.iter().map(|each| each.1.clone()).collect();
        assert!(!asked.iter().any(|target| target.contains("secrets")), "{asked:?}");
        assert!(!said.contains("hunter2") && !text.contains("aHVudGVyMg"));
    }
}
