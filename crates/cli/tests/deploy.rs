//! `install`, `upgrade` and `uninstall` against an API server over real TLS: the end state is right
//! from whatever beginning, and what is wrong is said.

#[cfg(test)]
mod double;

#[cfg(test)]
mod deploy {
    use std::{fs, process::Output};

    use serde_json::{Value, json};

    use super::double::{Double, ends};

    const DEPLOYMENT: &str =
        "/apis/apps/v1/namespaces/cloudtaser-system/deployments/cloudtaser-operator";
    const DAEMONS: &str = "/apis/apps/v1/namespaces/cloudtaser-node/daemonsets/cloudtaser-agent";
    const MUTATING: &str =
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/cloudtaser-operator";
    const BAO: &str = "https://bao.example:8200";
    const OWN: &str = "/api/v1/namespaces/cloudtaser-system";

    fn install(double: &Double, more: &[&str]) -> Output {
        let mut arguments = vec!["install", "--registry", "r.example/c", "--openbao", BAO];
        arguments.extend_from_slice(more);
        double.run(&arguments)
    }

    fn spec_of(double: &Double, path: &str) -> Value {
        double.read(path).unwrap_or_else(|| panic!("no {path}"))["spec"].clone()
    }

    #[test]
    fn an_empty_cluster_gets_all_of_it_and_says_so() {
        let double = Double::start();
        let said = ends(&install(&double, &[]), 0);
        assert!(
            said.contains("created   Deployment cloudtaser-system/cloudtaser-operator"),
            "{said}"
        );
        assert!(said.contains("ready: 2 operators, 2 node agents"), "{said}");
        let hook = &double.read(MUTATING).unwrap()["webhooks"][0];
        assert_eq!(hook["clientConfig"]["caBundle"], "Q0E=", "the operator's field");
        assert_eq!(hook["failurePolicy"], "Fail");
    }

    #[test]
    fn the_second_time_nothing_changes_and_the_operators_fields_stay() {
        let double = Double::start();
        ends(&install(&double, &[]), 0);
        let before = double.paths();
        let versions = |double: &Double| {
            double
                .paths()
                .iter()
                .filter(|path| !path.contains("/pods/"))
                .map(|path| double.read(path).unwrap()["metadata"]["resourceVersion"].clone())
                .collect::<Vec<_>>()
        };
        let old = versions(&double);
        let said = ends(&install(&double, &["--json"]), 0);
        let result: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (&result["created"], &result["changed"], &result["removed"]),
            (&json!([]), &json!([]), &json!([]))
        );
        assert_eq!(result["ready"]["operators"], 2);
        assert_eq!(double.paths(), before);
        assert_eq!(versions(&double), old);
        assert_eq!(
            double.read(MUTATING).unwrap()["webhooks"][0]["clientConfig"]["caBundle"],
            "Q0E="
        );
    }

    #[test]
    fn a_half_install_is_made_whole_and_can_be_taken_off() {
        for kind in [
            "Namespace",
            "ServiceAccount",
            "ClusterRole",
            "Deployment",
            "DaemonSet",
            "MutatingWebhookConfiguration",
        ] {
            let double = Double::start();
            double.store().faults.refuse_at = Some(kind.to_owned());
            let said = ends(&install(&double, &["--wait", "0"]), 76);
            assert!(said.contains("policy"), "{said}");
            let half = double.paths();
            double.store().faults.refuse_at = None;
            ends(&install(&double, &[]), 0);
            assert!(double.paths().len() > half.len(), "{kind}");
            assert!(spec_of(&double, DEPLOYMENT)["replicas"] == 2);
        }
        for kind in ["Deployment", "MutatingWebhookConfiguration"] {
            let double = Double::start();
            double.store().faults.refuse_at = Some(kind.to_owned());
            ends(&install(&double, &["--wait", "0"]), 76);
            ends(&double.run(&["uninstall"]), 0);
            assert_eq!(double.paths(), [""; 0], "{kind}");
        }
    }

    #[test]
    fn uninstall_leaves_nothing_and_takes_the_webhooks_first() {
        let double = Double::start();
        ends(&install(&double, &[]), 0);
        let said = ends(&double.run(&["uninstall"]), 0);
        assert_eq!(double.paths(), [""; 0]);
        assert!(said.contains("until they boot"), "{said}");
        let deletes: Vec<String> = double
            .store()
            .log
            .iter()
            .filter(|each| each.0 == "DELETE")
            .map(|each| each.1.clone())
            .collect();
        assert!(
            deletes[0].contains("mutatingwebhook") && deletes[1].contains("validatingwebhook"),
            "{deletes:?}"
        );
        let said = ends(&double.run(&["uninstall"]), 0);
        assert!(said.contains("there is no cloudtaser"), "{said}");
        ends(&install(&double, &[]), 0);
    }

    #[test]
    fn uninstall_waits_for_what_a_finalizer_holds_and_names_it() {
        let double = Double::start();
        ends(&install(&double, &[]), 0);
        let service = format!("{OWN}/services/cloudtaser-operator");
        double.store().objects.get_mut(&service).unwrap().finalizers = vec!["cloud/lb".to_owned()];
        let said = ends(&double.run(&["uninstall", "--wait", "2"]), 69);
        assert!(said.contains("cloud/lb"), "{said}");
        double.store().objects.get_mut(&service).unwrap().finalizers.clear();
        ends(&double.run(&["uninstall"]), 0);
        assert_eq!(double.paths(), [""; 0]);
    }

    #[test]
    fn a_namespace_that_was_there_before_stays() {
        let double = Double::start();
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": "cloudtaser-system", "labels": { "team": "a" } } });
        double.store().put(OWN, &namespace, "kubectl");
        ends(&install(&double, &[]), 0);
        ends(&install(&double, &[]), 0);
        let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "cloudtaser-operator", "namespace": "cloudtaser-system" } });
        let place = "/apis/coordination.k8s.io/v1/namespaces/cloudtaser-system/leases";
        let path = format!("{place}/cloudtaser-operator");
        double.store().put(&path, &lease, "cloudtaser-operator");
        let said = ends(&double.run(&["uninstall"]), 0);
        assert!(said.contains("kept      Namespace cloudtaser-system"), "{said}");
        assert_eq!(double.paths(), [OWN]);
        let metadata = double.read(OWN).unwrap()["metadata"].clone();
        assert_eq!(metadata["labels"], json!({ "team": "a" }), "our labels are gone");
    }

    #[test]
    fn a_namespace_on_its_way_out_is_waited_for() {
        let double = Double::start();
        ends(&install(&double, &["--wait", "0"]), 0);
        assert!(double.store().delete(OWN));
        ends(&install(&double, &[]), 0);
        assert_eq!(spec_of(&double, DEPLOYMENT)["replicas"], 2);
        assert!(double.read(OWN).unwrap()["metadata"].get("deletionTimestamp").is_none());
    }

    #[test]
    fn pods_that_are_opted_in_keep_cloudtaser_on_the_cluster() {
        let double = Double::start();
        ends(&install(&double, &[]), 0);
        for at in 0..5 {
            let pod = json!({ "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": format!("p{at}"), "namespace": "default",
                    "labels": { "cloudtaser.io/inject": "true" } },
                "status": { "phase": if at == 0 { "Succeeded" } else { "Running" } } });
            double.store().put(&format!("/api/v1/namespaces/default/pods/p{at}"), &pod, "kube");
        }
        let said = ends(&double.run(&["uninstall"]), 76);
        assert!(said.contains("4 pods are opted in (default)"), "{said}");
        assert!(double.read(MUTATING).is_some(), "nothing was removed");
        ends(&double.run(&["uninstall", "--even-if-used"]), 0);
        assert!(double.read(MUTATING).is_none());
    }

    #[test]
    fn what_is_no_longer_asked_for_is_removed() {
        let double = Double::start();
        ends(&install(&double, &[]), 0);
        let values = double.kubeconfig().with_file_name("values.yaml");
        fs::write(&values, "agent: { enabled: false }\noperator: { replicas: 1 }\n").unwrap();
        let said = ends(&install(&double, &["--values", values.to_str().unwrap()]), 0);
        assert!(said.contains("removed   DaemonSet cloudtaser-node/cloudtaser-agent"), "{said}");
        assert!(double.read(DAEMONS).is_none());
        assert_eq!(spec_of(&double, DEPLOYMENT)["replicas"], 1);
    }

    #[test]
    fn upgrade_changes_images_and_needs_something_to_upgrade() {
        let double = Double::start();
        let upgrade = ["upgrade", "--registry", "r.example/c", "--tag", "9.9", "--openbao", BAO];
        let said = ends(&double.run(&upgrade), 69);
        assert!(said.contains("there is no cloudtaser"), "{said}");
        ends(&install(&double, &[]), 0);
        let said = ends(&double.run(&upgrade), 0);
        assert!(said.contains("changed   Deployment"), "{said}");
        let pod = &spec_of(&double, DEPLOYMENT)["template"]["spec"];
        assert_eq!(pod["containers"][0]["image"], "r.example/c/cloudtaser-operator:9.9");
    }

    #[test]
    fn somebody_elses_field_is_a_conflict_until_it_is_taken_over() {
        let double = Double::start();
        ends(&install(&double, &[]), 0);
        double.store().put(DEPLOYMENT, &json!({ "spec": { "replicas": 7 } }), "kubectl-edit");
        let said = ends(&install(&double, &[]), 76);
        assert!(said.contains("conflict with \"kubectl-edit\": .spec.replicas"), "{said}");
        assert!(said.contains("--take-over"), "{said}");
        assert_eq!(spec_of(&double, DEPLOYMENT)["replicas"], 7);
        ends(&install(&double, &["--take-over"]), 0);
        assert_eq!(spec_of(&double, DEPLOYMENT)["replicas"], 2);
    }

    #[test]
    fn an_image_that_is_not_there_is_named_long_before_time_is_up() {
        let double = Double::start();
        let image = format!("r.example/c/cloudtaser-operator:{}", env!("CARGO_PKG_VERSION"));
        double.store().faults.no_image.insert(image.clone());
        let start = std::time::Instant::now();
        let said = ends(&install(&double, &["--wait", "120"]), 69);
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
        assert!(said.contains(&format!("has no image {image}")), "{said}");
        assert!(said.contains("images.pullSecrets"), "{said}");
    }

    #[test]
    fn without_room_the_scheduler_is_heard() {
        let double = Double::start();
        double.store().faults.no_room = true;
        let said = ends(&install(&double, &["--wait", "3"]), 69);
        assert!(said.contains("2 Insufficient memory"), "{said}");
    }

    #[test]
    fn a_refusal_by_pod_security_is_told_from_the_event() {
        let double = Double::start();
        double.store().faults.strict = true;
        let said = ends(&install(&double, &["--wait", "3"]), 69);
        assert!(said.contains("violates PodSecurity"), "{said}");
        assert!(said.contains("node agents: 0 of 2"), "{said}");
    }

    #[test]
    fn a_webhook_without_a_certificate_is_not_ready() {
        let double = Double::start();
        double.store().faults.no_ca = true;
        let said = ends(&install(&double, &["--wait", "6"]), 69);
        assert!(said.contains("has not written its certificate authority"), "{said}");
    }

    #[test]
    fn a_node_that_cannot_be_guarded_is_named_and_not_waited_for() {
        let double = Double::start();
        double.store().faults.off.insert("node-2".to_owned());
        let said = ends(&install(&double, &[]), 0);
        assert!(said.contains("no guard on node-2: the kernel has no BTF\n"), "{said}");
    }

    #[test]
    fn who_may_not_is_told_what_and_nothing_is_half_done() {
        let double = Double::start();
        double.store().faults.forbidden.insert("list daemonsets".to_owned());
        let said = ends(&install(&double, &[]), 76);
        assert!(said.contains("User \"jane\" cannot list resource \"daemonsets\""), "{said}");
        assert_eq!(double.paths(), [""; 0]);
    }

    #[test]
    fn helms_installation_is_left_to_helm() {
        let double = Double::start();
        ends(&install(&double, &[]), 0);
        let helms = json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": "Helm" } } });
        double.store().put(DEPLOYMENT, &helms, "helm");
        for verb in
            [&["uninstall"][..], &["install", "--registry", "r.example/c", "--openbao", BAO]]
        {
            let said = ends(&double.run(verb), 76);
            assert!(said.contains("helm"), "{said}");
        }
        assert!(double.read(DEPLOYMENT).is_some());
    }

    #[test]
    fn a_busy_server_is_asked_again() {
        let double = Double::start();
        double.store().faults.busy = Some((3, 429));
        ends(&install(&double, &["--wait", "0"]), 0);
        double.store().faults.cut = 2;
        ends(&install(&double, &["--wait", "0"]), 0);
        double.store().faults.busy = Some((2, 503));
        ends(&double.run(&["uninstall"]), 0);
        assert_eq!(double.paths(), [""; 0]);
    }

    #[test]
    fn a_list_whose_continuation_expires_is_read_from_the_beginning() {
        let double = Double::start();
        ends(&install(&double, &["--wait", "0"]), 0);
        double.store().faults.expire_once = true;
        ends(&double.run(&["uninstall"]), 0);
        assert!(!double.store().faults.expire_once, "there was a second page");
        assert_eq!(double.paths(), [""; 0]);
    }

    #[test]
    fn a_client_certificate_and_a_plugin_let_in_and_a_wrong_token_does_not() {
        let double = Double::start();
        double.write_config(&Double::certificate());
        ends(&install(&double, &["--wait", "0"]), 0);
        double.write_config(&format!(
            "{{ exec: {{ apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, args: [-c, \
             'echo \"{{\\\"status\\\":{{\\\"token\\\":\\\"{}\\\"}}}}\"'] }} }}",
            super::double::TOKEN
        ));
        ends(&install(&double, &["--wait", "0"]), 0);
        double.write_config("{ token: wrong-token }");
        let said = ends(&install(&double, &[]), 76);
        assert!(said.contains("401") && !said.contains("wrong-token"), "{said}");
    }

    #[test]
    fn another_server_at_the_address_is_not_believed() {
        let double = Double::start();
        let text = fs::read_to_string(double.kubeconfig()).unwrap();
        let without = text.lines().filter(|line| !line.contains("certificate-authority-data"));
        fs::write(double.kubeconfig(), without.collect::<Vec<_>>().join("\n")).unwrap();
        let said = ends(&install(&double, &[]), 69);
        assert!(said.contains("signed by no trusted CA"), "{said}");
        assert!(double.store().log.is_empty(), "no token was sent");
    }

    #[test]
    fn no_token_is_in_any_word_or_object() {
        let double = Double::start();
        let said = ends(&install(&double, &[]), 0);
        assert!(!said.contains(super::double::TOKEN));
        for (_, target, body) in &double.store().log {
            assert!(!target.contains(super::double::TOKEN) && !body.contains(super::double::TOKEN));
        }
    }

    #[test]
    fn a_dry_run_asks_nobody_and_prints_what_would_be_applied() {
        let double = Double::start();
        let said = ends(&install(&double, &["--dry-run"]), 0);
        assert!(said.contains("kind: MutatingWebhookConfiguration"), "{said}");
        let said = ends(&install(&double, &["--dry-run", "-o", "json"]), 0);
        let list: Value = serde_json::from_str(&said).unwrap();
        assert!(list["items"].as_array().unwrap().len() > 15);
        assert!(double.store().log.is_empty());
    }

    #[test]
    fn values_with_a_slip_are_pointed_at() {
        let double = Double::start();
        let values = double.kubeconfig().with_file_name("values.yaml");
        fs::write(&values, "operator:\n  replicas: 2\n  replcas: 3\n").unwrap();
        let said = ends(&install(&double, &["--values", values.to_str().unwrap()]), 64);
        assert!(said.contains("values.yaml:3:3") && said.contains("^^^"), "{said}");
        let said = ends(&double.run(&["install", "--openbao", BAO]), 64);
        assert!(said.contains("images.operator is not set"), "{said}");
        let said = ends(&double.run(&["install", "--registry", "r.example/c"]), 64);
        assert!(said.contains("no OpenBao: give --openbao"), "{said}");
        let said = ends(&install(&double, &["--openbao-ca", "/nowhere/ca.pem"]), 64);
        assert!(said.contains("/nowhere/ca.pem"), "{said}");
    }
}
