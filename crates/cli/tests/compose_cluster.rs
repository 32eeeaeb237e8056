//! `cloudtaser compose check --cluster` against a double of the API server.

#[cfg(test)]
mod double;

#[cfg(test)]
mod compose_cluster {
    use std::fs;

    use serde_json::{Value, json};

    use crate::double::Double;

    const POLICIES: &str = "/apis/security.kubearmor.com/v1/namespaces/pay/kubearmorpolicies";

    /// A cluster with one workload of ours, one pod that belongs to it, and one policy.
    fn cluster(dir: &str) -> Double {
        let double = Double::start();
        let labels = json!({ "app": "web", "cloudtaser.io/inject": "true" });
        let pod = json!({ "metadata": { "labels": labels }, "spec": { "containers": [
            { "name": "web", "image": "web:1", "command": ["/usr/bin/web"] } ] } });
        let workload = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "web", "namespace": "pay" },
            "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": pod } });
        let mut owned = pod;
        owned["apiVersion"] = "v1".into();
        owned["kind"] = "Pod".into();
        owned["metadata"]["name"] = "web-1".into();
        owned["metadata"]["namespace"] = "pay".into();
        owned["metadata"]["ownerReferences"] = json!([{ "kind": "ReplicaSet", "name": "web" }]);
        let policy = json!({ "apiVersion": "security.kubearmor.com/v1", "kind": "KubeArmorPolicy",
            "metadata": { "name": "p", "namespace": "pay" },
            "spec": { "selector": { "matchLabels": { "app": "web" } }, "action": "Block",
                "process": { "matchDirectories": [{ "dir": dir, "recursive": true }] } } });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": "pay" } });
        let put = |path: &str, object: &Value| double.store().put(path, object, "kubectl");
        put("/api/v1/namespaces/pay", &namespace);
        put("/apis/apps/v1/namespaces/pay/deployments/web", &workload);
        put("/api/v1/namespaces/pay/pods/web-1", &owned);
        put(&format!("{POLICIES}/p"), &policy);
        // Neither Tetragon nor Cilium is installed.
        for kind in ["tracingpolicies", "tracingpoliciesnamespaced", "ciliumnetworkpolicies"] {
            double.store().faults.undefined.insert(kind.to_owned());
        }
        double
    }

    fn found(output: &std::process::Output) -> Value {
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{text} {}", String::from_utf8_lossy(&output.stderr)))
    }

    #[test]
    fn what_runs_in_a_cluster_is_judged_with_its_workloads() {
        let double = cluster("/");
        let output = double.run(&["compose", "check", "--cluster", "--format", "json"]);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let report = found(&output);
        assert_eq!(report["assumed"], false, "{report}");
        assert_eq!(report["problems"], json!([]), "what is not installed is no problem");
        let finding = &report["findings"][0];
        assert_eq!((&finding["rule"], &finding["severity"]), (&json!("K6"), &json!("breaks")));
        assert_eq!(finding["file"], "KubeArmorPolicy pay/p");
        let workloads = finding["workloads"].to_string();
        assert!(workloads.contains("Deployment pay/web"), "{workloads}");
        assert!(!workloads.contains("pay/web-1"), "that pod is the workload's: {workloads}");
    }

    #[test]
    fn a_fix_is_a_patch_and_the_cluster_stays_as_it_is() {
        let double = cluster("/");
        let before = double.read(&format!("{POLICIES}/p"));
        let output = double.run(&["compose", "check", "--cluster", "--fix"]);
        let patch = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(patch.starts_with("--- KubeArmorPolicy pay/p"), "{patch}");
        assert!(patch.lines().any(|line| line.starts_with('+') && !line.starts_with("+++")));
        assert!(!patch.lines().any(|line| line.starts_with('-') && !line.starts_with("---")));
        assert_eq!(double.read(&format!("{POLICIES}/p")), before);
        let only_reads = double.store().log.iter().all(|(method, ..)| method == "GET");
        assert!(only_reads, "nothing is written");
    }

    #[test]
    fn a_file_is_judged_as_if_it_were_applied_to_the_cluster() {
        let double = cluster("/nowhere/");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new.yaml");
        let policy = "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {name: \
                      new, namespace: pay}\nspec:\n  selector: {matchLabels: {app: web}}\n  process:\n    \
                      matchDirectories:\n      - dir: /\n        recursive: true\n  action: Block\n";
        fs::write(&file, policy).unwrap();
        let path = file.to_str().unwrap();
        let output = double.run(&["compose", "check", "--cluster", "--format", "json", path]);
        let report = found(&output);
        assert_eq!(report["findings"].as_array().unwrap().len(), 1, "{report}");
        assert_eq!(report["findings"][0]["file"], path);
        fs::write(&file, policy.replace("app: web", "app: other")).unwrap();
        let output = double.run(&["compose", "check", "--cluster", "--format", "json", path]);
        assert_eq!(found(&output)["findings"], json!([]), "it selects nothing of ours");
        assert_eq!(output.status.code(), Some(0));
    }

    #[test]
    fn what_may_not_be_listed_is_named_and_the_rest_is_judged() {
        let double = cluster("/");
        double.store().faults.forbidden.insert("list networkpolicies".to_owned());
        let output = double.run(&["compose", "check", "--cluster", "--format", "json"]);
        let report = found(&output);
        assert_eq!(report["findings"][0]["rule"], "K6");
        let told = report["problems"].to_string();
        assert!(told.contains("networkpolicies") && told.contains("forbidden"), "{told}");
        double.store().objects.remove(&format!("{POLICIES}/p"));
        let output = double.run(&["compose", "check", "--cluster"]);
        assert_eq!(output.status.code(), Some(65), "a silent report would be too good");
    }

    #[test]
    fn a_cluster_that_cannot_be_used_is_an_error_with_a_code() {
        let double = cluster("/");
        double.write_config("{ token: another }");
        let output = double.run(&["compose", "check", "--cluster"]);
        assert_eq!(output.status.code(), Some(76), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains("log in again"));
        let output = double.run(&["compose", "check"]);
        assert_eq!(output.status.code(), Some(64), "neither files nor a cluster");
    }
}
