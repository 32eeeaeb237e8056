//! `install --invitation` against an API server over real TLS: the cluster comes to its bridge, says
//! what people have to do, and keeps its key until somebody wants it gone.

#[cfg(test)]
mod double;

#[cfg(test)]
mod bridge {
    use std::{fs, path::PathBuf, process::Output};

    use cloudtaser_road::{
        invitation::{DayBytes, Invitation, InvitationId, InvitationSecret},
        ticket::ClientTag,
    };
    use cloudtaser_tls::{Digest, raw::PublicKey};
    use serde_json::{Value, json};

    use super::double::{
        Double, ends,
        store::{CLUSTER_KEY, PRIVATE, People, fingerprint},
    };

    const OWN: &str = "/api/v1/namespaces/cloudtaser-system";
    const KEPT: &str = "/api/v1/namespaces/cloudtaser-system/secrets/cloudtaser-cluster";
    const INVITED: &str = "/api/v1/namespaces/cloudtaser-system/secrets/cloudtaser-invitation";

    fn invitation(bridge: u8, not_after: u64) -> Invitation {
        let mut id = [bridge; 16];
        id[..8].copy_from_slice(&not_after.to_be_bytes());
        Invitation {
            bridge: PublicKey::from_bytes([bridge; 32]),
            id: InvitationId(id),
            secret: InvitationSecret::new([3; 32]),
            not_after,
            tag: ClientTag([4; 8]),
            max_tunnels: 2,
            beacons: vec![("beacon.example:443".to_owned(), "beacon.example".to_owned())],
            days: vec![(20_781, DayBytes::new([5; 32]))],
        }
    }

    /// A file with an invitation of this bridge, and its text.
    fn invited(double: &Double, bridge: u8, not_after: u64) -> (PathBuf, String) {
        let text = invitation(bridge, not_after).to_text(Digest::new().unwrap()).to_string();
        let file = double.kubeconfig().with_file_name(format!("invitation-{bridge}"));
        fs::write(&file, format!("{text}\n")).unwrap();
        (file, text)
    }

    fn key(bridge: u8) -> String {
        PublicKey::from_bytes([bridge; 32]).to_string()
    }

    fn install(double: &Double, more: &[&str]) -> Output {
        double.run(&[&["install", "--registry", "r.example/c"], more].concat())
    }

    fn joined(double: &Double) -> String {
        let (file, _) = invited(double, 1, u64::MAX / 2);
        ends(&install(double, &["--invitation", file.to_str().unwrap()]), 0)
    }

    fn config(double: &Double) -> Value {
        let map = double.read(&format!("{OWN}/configmaps/cloudtaser-operator")).unwrap();
        let text = map["data"]["operator.toml"].as_str().unwrap().to_owned();
        serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
    }

    #[test]
    fn one_command_brings_the_invitation_and_says_what_people_have_to_do() {
        let double = Double::start();
        double.store().faults.bridge = People::Think(12);
        let said = joined(&double);
        assert!(said.contains("created   Secret cloudtaser-system/cloudtaser-cluster"), "{said}");
        let approve = format!("cloudtaser bridge approve --config bridge.toml {CLUSTER_KEY}");
        assert_eq!(said.matches(&approve).count(), 1, "{said}");
        assert!(said.contains(&format!("bridge: enrolled as {CLUSTER_KEY}, until ")), "{said}");
        assert_eq!(config(&double)["bridge"], json!({ "key": key(1), "broker": "" }));
        assert_eq!(config(&double).get("server"), None, "no OpenBao is needed beside");
        assert!(double.read(INVITED).is_none());
        let service = double.read(&format!("{OWN}/services/cloudtaser-broker")).unwrap();
        assert_eq!(service["spec"]["ports"][0]["port"], 7443);
    }

    #[test]
    fn the_fingerprint_of_the_clusters_keys_is_read_here_and_goes_into_the_approval() {
        let double = Double::start();
        double.store().faults.bridge = People::Think(12);
        let said = joined(&double);
        let print = fingerprint();
        let approve = format!(
            "bridge approve --config bridge.toml {CLUSTER_KEY} \\\n    --issuer-keys {print}"
        );
        assert!(said.contains(&approve), "{said}");
        assert!(
            said.contains("  issuer https://kubernetes.default.svc\n  key one (ES256)"),
            "{said}"
        );
        assert!(said.contains(", its tokens believed"), "{said}");
        assert!(!said.contains("other keys"), "{said}");
    }

    #[test]
    fn keys_that_wait_after_a_rotation_are_a_problem_of_status_with_what_to_say() {
        let double = Double::start();
        double.store().faults.keys = Some("waits");
        let said = joined(&double);
        assert!(said.contains(&format!("--issuer-keys {}", fingerprint())), "{said}");
        for (verb, words) in [("status", "! the bridge does not believe the keys"), ("doctor", "")]
        {
            let said = ends(&double.run(&[verb]), 1);
            assert!(said.contains(words), "{said}");
            assert!(said.contains(&format!("--issuer-keys {}", fingerprint())), "{verb}: {said}");
        }
        for (standing, words) in [
            ("no-issuer", "[[release.issuer]]"),
            ("not-shown", "carried there: cloudtaser bridge issuer-keys"),
        ] {
            double.store().faults.keys = Some(standing);
            ends(&install(&double, &["--bridge", &key(1)]), 0);
            let said = ends(&double.run(&["status"]), 1);
            assert!(said.contains(words), "{said}");
        }
        for standing in ["believed", "not-needed", "none"] {
            double.store().faults.keys = Some(standing);
            ends(&install(&double, &["--bridge", &key(1)]), 0);
            ends(&double.run(&["status"]), 0);
        }
    }

    #[test]
    fn keys_that_the_operator_shows_and_the_api_server_has_not_are_warned_of() {
        let double = Double::start();
        double.store().faults.bridge = People::Think(12);
        double.store().faults.keys = Some("waits");
        double.store().faults.false_keys = Some("sha256:false");
        let said = joined(&double);
        assert!(said.contains("other keys, sha256:false"), "{said}");
        assert!(said.contains(&format!("--issuer-keys {}", fingerprint())), "{said}");
        assert!(!said.contains("--issuer-keys sha256:false"), "{said}");
    }

    #[test]
    fn keys_that_cannot_be_read_here_keep_nobody_from_installing() {
        let double = Double::start();
        double.store().faults.bridge = People::Think(12);
        double.store().faults.forbidden.insert("get /openid/v1/jwks".to_owned());
        let said = joined(&double);
        assert!(said.contains("cannot be read here"), "{said}");
        assert!(said.contains("cloudtaser bridge issuer-keys"), "{said}");
        assert!(said.contains(&format!("bridge approve --config bridge.toml {CLUSTER_KEY}\n")));
    }

    #[test]
    fn nothing_secret_is_in_a_word_or_asked_for() {
        let double = Double::start();
        let (file, text) = invited(&double, 1, u64::MAX / 2);
        let file = file.to_str().unwrap();
        let secret = data_encoding::BASE64.encode(text.as_bytes());
        let mut said = String::new();
        for more in [&["--invitation", file][..], &["--invitation", file, "--json"]] {
            said += &ends(&install(&double, more), 0);
        }
        said += &ends(&install(&double, &["--invitation", file, "--dry-run"]), 0);
        said += &ends(&double.run(&["status"]), 0);
        assert!(!said.contains(&text) && !said.contains(&secret) && !said.contains(PRIVATE));
        let sent = double.store().log.iter().filter(|each| each.2.contains(&secret)).count();
        assert_eq!(sent, 2, "once for each time that it was brought");
        assert!(double.store().log.iter().all(|each| !each.2.contains(PRIVATE)));
    }

    #[test]
    fn the_key_stays_over_installations_and_goes_only_when_it_is_said() {
        let double = Double::start();
        joined(&double);
        let kept = |double: &Double| double.read(KEPT).map(|secret| secret["data"]["key"].clone());
        assert_eq!(kept(&double), Some(json!(PRIVATE)));
        // Whoever forgets the bridge is asked.
        let bao = ["--openbao", "https://bao.example:8200"];
        let said = ends(&install(&double, &bao), 76);
        assert!(said.contains(&format!("--bridge {}", key(1))), "{said}");
        assert_eq!(kept(&double), Some(json!(PRIVATE)));
        let said = ends(&install(&double, &["--bridge", &key(1)]), 0);
        assert!(said.contains("bridge: enrolled"), "{said}");
        assert_eq!(kept(&double), Some(json!(PRIVATE)));
        let said = ends(&install(&double, &["--bridge", &key(1), "--json"]), 0);
        let result: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&result["changed"], &result["removed"]), (&json!([]), &json!([])));
        assert_eq!(result["bridge"]["standing"], "enrolled");
        let said = ends(&install(&double, &[&bao[..], &["--bridge", "none"]].concat()), 0);
        assert!(said.contains("removed   Secret cloudtaser-system/cloudtaser-cluster"), "{said}");
        assert_eq!(kept(&double), None);
        assert!(config(&double).get("bridge").is_none());
        ends(&install(&double, &bao), 0);
    }

    #[test]
    fn who_is_not_let_in_is_told_why_and_what_helps() {
        let double = Double::start();
        double.store().faults.bridge = People::Refuse;
        let (file, _) = invited(&double, 1, u64::MAX / 2);
        let said = ends(&install(&double, &["--invitation", file.to_str().unwrap()]), 76);
        assert!(said.contains("revoked at the bridge"), "{said}");
        assert!(said.contains("cloudtaser install --invitation FILE"), "{said}");
        let said = ends(&double.run(&["doctor"]), 1);
        assert!(said.contains(&format!("refused as {CLUSTER_KEY}")), "{said}");
        let said = ends(&double.run(&["status"]), 1);
        assert!(said.contains(&format!("bridge     refused as {CLUSTER_KEY}")), "{said}");
        assert!(said.contains("! the bridge does not let this cluster in"), "{said}");
        // The next invitation is not refused for what the last one came to.
        double.store().faults.bridge = People::Approve;
        let (file, _) = invited(&double, 1, u64::MAX / 3);
        ends(&install(&double, &["--invitation", file.to_str().unwrap()]), 0);
    }

    #[test]
    fn people_who_take_their_time_are_waited_for_and_status_says_so() {
        let double = Double::start();
        double.store().faults.bridge = People::Think(u32::MAX);
        let (file, _) = invited(&double, 1, u64::MAX / 2);
        let file = file.to_str().unwrap();
        ends(&install(&double, &["--invitation", file, "--wait", "0"]), 0);
        // Its operators are there at some time; from then on only people are waited for.
        loop {
            let status = double.run(&["status", "--json"]);
            let status: Value = serde_json::from_slice(&status.stdout).unwrap();
            if status["operators"]["ready"] == 2 && status["bridge"]["standing"] == "pending" {
                break;
            }
        }
        let said = ends(&install(&double, &["--bridge", &key(1), "--wait", "2"]), 69);
        assert!(said.contains("has not let this cluster in yet"), "{said}");
        let said = ends(&double.run(&["status"]), 1);
        assert!(said.contains("bridge     waits as") && said.contains("bridge approve"), "{said}");
        let json: Value =
            serde_json::from_str(&ends(&double.run(&["status", "--json"]), 1)).unwrap();
        assert_eq!(json["bridge"]["standing"], "pending");
        double.store().faults.bridge = People::Approve;
        ends(&install(&double, &["--bridge", &key(1)]), 0);
        let said = ends(&double.run(&["status"]), 0);
        assert!(said.contains("bridge     enrolled") && !said.contains("! the bridge"), "{said}");
    }

    #[test]
    fn how_it_stands_is_not_known_to_who_may_not_read_it_and_all_else_is() {
        let double = Double::start();
        joined(&double);
        double.store().faults.forbidden.insert("get leases".to_owned());
        let said = ends(&double.run(&["status"]), 1);
        assert!(said.contains("stands with its bridge is not known"), "{said}");
        assert!(said.contains("operators  2 of 2 ready"), "{said}");
        double.store().faults.forbidden.insert("list secrets".to_owned());
        ends(&double.run(&["uninstall"]), 0);
    }

    #[test]
    fn slips_are_told_before_anything_is_done() {
        let double = Double::start();
        let (good, text) = invited(&double, 1, u64::MAX / 2);
        let (old, _) = invited(&double, 2, 1_000_000_000);
        let cut = double.kubeconfig().with_file_name("cut");
        fs::write(&cut, text.get(..text.len() - 4).unwrap()).unwrap();
        let values = double.kubeconfig().with_file_name("values.yaml");
        fs::write(&values, format!("bridge: {{ enabled: true, key: '{}' }}\n", key(7))).unwrap();
        let empty = double.kubeconfig().with_file_name("empty.yaml");
        fs::write(&empty, "bridge: { enabled: true }\n").unwrap();
        let [good, old, cut, values, empty] =
            [&good, &old, &cut, &values, &empty].map(|path| path.to_str().unwrap());
        for (more, words) in [
            (&["--invitation", "/nowhere"][..], "/nowhere"),
            (&["--invitation", old], "ran out at 2001-09-09"),
            (&["--invitation", cut], "not whole"),
            (&["--invitation", good, "--values", values], "that is not the one"),
            (&["--values", empty], "bridge.key is empty"),
            (&["--bridge", "ed25519:x"], "is no key of a bridge"),
            (&["--invitation", good, "--bridge", "none"], "cannot be used with"),
        ] {
            let said = ends(&install(&double, more), 64);
            assert!(said.contains(words) && !said.contains(&text), "{said}");
        }
        assert_eq!(double.paths(), [""; 0]);
    }

    #[test]
    fn a_half_install_is_made_whole_and_uninstall_leaves_nothing() {
        let double = Double::start();
        double.store().faults.refuse_at = Some("Deployment".to_owned());
        let (file, text) = invited(&double, 1, u64::MAX / 2);
        let file = file.to_str().unwrap();
        ends(&install(&double, &["--invitation", file, "--wait", "0"]), 76);
        double.store().faults.refuse_at = None;
        // An invitation that nobody has used yet is not taken away by whoever installs again.
        let data = json!({ "invitation": data_encoding::BASE64.encode(text.as_bytes()) });
        let brought = json!({ "apiVersion": "v1", "kind": "Secret", "data": data, "metadata": {
            "name": "cloudtaser-invitation", "namespace": "cloudtaser-system", "labels": {
                "app.kubernetes.io/name": "cloudtaser",
                "app.kubernetes.io/managed-by": "cloudtaser" } } });
        double.store().put(INVITED, &brought, "cloudtaser-install");
        double.store().faults.no_ca = true;
        ends(&install(&double, &["--bridge", &key(1), "--wait", "0"]), 0);
        assert!(double.read(INVITED).is_some());
        double.store().faults.no_ca = false;
        ends(&install(&double, &["--invitation", file]), 0);
        let said = ends(&double.run(&["uninstall"]), 0);
        assert_eq!(double.paths(), [""; 0]);
        let revoke = format!("cloudtaser bridge revoke --config bridge.toml {CLUSTER_KEY}");
        assert!(said.contains(&revoke), "{said}");
    }

    #[test]
    fn a_namespace_that_was_there_before_keeps_nothing_of_the_enrolment() {
        let double = Double::start();
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": "cloudtaser-system" } });
        double.store().put(OWN, &namespace, "kubectl");
        joined(&double);
        ends(&double.run(&["uninstall"]), 0);
        assert_eq!(double.paths(), [OWN]);
    }
}
