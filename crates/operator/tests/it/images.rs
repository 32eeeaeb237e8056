//! Containers without a command: what their image starts is asked of its registry.

use std::time::{Duration, Instant};

use cloudtaser_e2e::{
    cluster::{Cluster, Rule},
    registry::Registry,
};
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::support::*;

struct Stage {
    cluster: Cluster,
    registry: Registry,
    _operator: Operator,
}

/// A cluster with a registry that the operator may ask.
fn stage(more: &str) -> Stage {
    let registry = Registry::start();
    let cluster = cluster();
    let mut rules = rules();
    rules.push(Rule::new("GET", "/api/v1/namespaces/team/secrets/*"));
    rules.push(Rule::new("GET", "/api/v1/namespaces/team/serviceaccounts/*"));
    cluster.allow_only(rules);
    let folder = cloudtaser_e2e::Scratch::new();
    let ca = folder.file("registry.pem", registry.authority(), 0o644);
    let config = format!(
        "{CONFIG}\n[registry]\nhosts = [\"{}\"]\nca_file = \"{}\"\n{more}",
        registry.host(),
        ca.display()
    );
    let operator = Operator::configured(&cluster, "op-0", &config, &[]);
    operator.wait_until_ready();
    cluster.endpoints(SERVICE, &[operator.reviews]);
    Stage { cluster, registry, _operator: operator }
}

impl Stage {
    fn create(&self, change: impl FnOnce(&mut Value)) -> Result<Value, String> {
        let mut pod = pod("p");
        pod["spec"]["containers"][0]["command"] = json!([]);
        pod["spec"]["containers"][0]["image"] =
            json!(format!("{}/team/app:1", self.registry.host()));
        change(&mut pod);
        self.cluster.create_pod(&pod).map_err(|refused| refused.0)
    }

    fn secret(&self, name: &str, credential: &str) {
        let auth = BASE64.encode(credential.as_bytes());
        let config = json!({"auths": {self.registry.host(): {"auth": auth}}}).to_string();
        self.cluster.put(
            &format!("/api/v1/namespaces/team/secrets/{name}"),
            &json!({"type": "kubernetes.io/dockerconfigjson",
                "data": {".dockerconfigjson": BASE64.encode(config.as_bytes())}}),
        );
    }
}

fn started(pod: &Value) -> Vec<String> {
    let container = &pod["spec"]["containers"][0];
    let words = |list: &Value| serde_json::from_value::<Vec<String>>(list.clone());
    let command = words(&container["command"]).unwrap();
    let args = words(&container["args"]).unwrap_or_default();
    command.into_iter().skip(3).chain(args).collect()
}

#[test]
fn a_container_without_a_command_starts_what_its_image_starts() {
    let stage = stage("");
    stage.registry.push("team/app", "1", &[("amd64", &["/entry"], &["serve", "-v"])]);
    let pod = stage.create(|_| ()).unwrap();
    assert_eq!(started(&pod), ["/entry", "serve", "-v"]);
    let asked = stage.registry.seen().len();
    stage.create(|_| ()).unwrap();
    assert_eq!(stage.registry.seen().len(), asked, "the second time it is known");
}

#[test]
fn no_registry_is_asked_where_the_command_is_given() {
    let stage = stage("");
    stage.create(|pod| pod["spec"]["containers"][0]["command"] = json!(["/app"])).unwrap();
    stage
        .create(|pod| pod["metadata"]["annotations"] = json!({"cloudtaser.io/command": "/app"}))
        .unwrap();
    assert!(stage.registry.seen().is_empty());
}

#[test]
fn of_several_pull_secrets_for_one_registry_each_is_tried() {
    let stage = stage("pull_secrets = true");
    stage.registry.push("team/app", "1", &[("amd64", &["/entry"], &[])]);
    stage.registry.user("right:pw", "team/app");
    stage.secret("wrong", "wrong:pw");
    stage.secret("right", "right:pw");
    let refused = stage.create(|pod| {
        pod["spec"]["imagePullSecrets"] = json!([{"name": "wrong"}, {"name": "none"}]);
    });
    let refused = refused.unwrap_err();
    assert!(refused.contains("401 (1 credentials were tried)"), "{refused}");
    assert!(!refused.contains("pw"), "{refused}");
    let pod = stage.create(|pod| {
        pod["spec"]["imagePullSecrets"] = json!([{"name": "wrong"}, {"name": "right"}]);
    });
    assert_eq!(started(&pod.unwrap()), ["/entry"]);
}

#[test]
fn pull_secrets_of_the_service_account_count_and_no_other_secret_is_read() {
    let stage = stage("pull_secrets = true");
    stage.registry.push("team/app", "1", &[("amd64", &["/entry"], &[])]);
    stage.registry.user("right:pw", "team/app");
    stage.secret("right", "right:pw");
    stage.secret("other", "x:y");
    stage.cluster.put(
        "/api/v1/namespaces/team/serviceaccounts/app",
        &json!({"imagePullSecrets": [{"name": "right"}]}),
    );
    assert_eq!(started(&stage.create(|_| ()).unwrap()), ["/entry"]);
    let read: Vec<_> = stage
        .cluster
        .seen()
        .into_iter()
        .map(|(_, path)| path)
        .filter(|path| path.contains("/secrets/"))
        .collect();
    assert_eq!(read, ["/api/v1/namespaces/team/secrets/right"]);
}

#[test]
fn without_the_setting_no_secret_is_read() {
    let stage = stage("");
    stage.registry.push("team/app", "1", &[("amd64", &["/entry"], &[])]);
    stage.create(|pod| pod["spec"]["imagePullSecrets"] = json!([{"name": "s"}])).unwrap();
    assert!(stage.cluster.seen().iter().all(|(_, path)| !path.contains("/api/v1/")));
}

#[test]
fn an_image_of_several_architectures_is_read_for_the_one_that_the_pod_asks_for() {
    let stage = stage("");
    let two: &[(&str, &[&str], &[&str])] = &[("amd64", &["/amd"], &[]), ("arm64", &["/arm"], &[])];
    stage.registry.push("team/app", "1", two);
    let refused = stage.create(|_| ()).unwrap_err();
    assert!(refused.contains("kubernetes.io/arch"), "{refused}");
    let pod = stage.create(|pod| {
        pod["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"});
    });
    assert_eq!(started(&pod.unwrap()), ["/arm"]);
    let same: &[(&str, &[&str], &[&str])] =
        &[("amd64", &["/same"], &[]), ("arm64", &["/same"], &[])];
    stage.registry.push("team/app", "2", same);
    let image = format!("{}/team/app:2", stage.registry.host());
    let pod = stage.create(|pod| pod["spec"]["containers"][0]["image"] = json!(image));
    assert_eq!(started(&pod.unwrap()), ["/same"]);
}

#[test]
fn an_image_by_digest_is_what_the_digest_names_or_nothing() {
    let stage = stage("");
    let digest = stage.registry.push("team/app", "1", &[("amd64", &["/entry"], &[])]);
    let image = format!("{}/team/app@{digest}", stage.registry.host());
    let create =
        |image: &str| stage.create(|pod| pod["spec"]["containers"][0]["image"] = json!(image));
    assert_eq!(started(&create(&image).unwrap()), ["/entry"]);
    stage.registry.break_content();
    assert_eq!(started(&create(&image).unwrap()), ["/entry"], "a digest is known for good");
    let tagged = create(&format!("{}/team/app:1", stage.registry.host())).unwrap_err();
    assert!(tagged.contains("not what its digest names"), "{tagged}");
}

#[test]
fn registries_that_nobody_allowed_and_images_that_are_not_there_are_said_so() {
    let stage = stage("");
    let create = |image: &str| {
        stage.create(|pod| pod["spec"]["containers"][0]["image"] = json!(image)).unwrap_err()
    };
    let elsewhere = create("169.254.169.254/latest/meta-data");
    assert!(elsewhere.contains("does not ask registry 169.254.169.254"), "{elsewhere}");
    assert!(elsewhere.contains("cloudtaser.io/command.app"), "{elsewhere}");
    let missing = create(&format!("{}/team/none:1", stage.registry.host()));
    assert!(missing.contains("answered 404"), "{missing}");
    assert!(create("UPPER CASE").contains("cannot be read"));
}

#[test]
fn a_registry_that_is_slow_is_not_waited_for_beyond_the_api_servers_patience() {
    let stage = stage("");
    stage.registry.push("team/app", "1", &[("amd64", &["/entry"], &[])]);
    stage.registry.delay(Duration::from_secs(30));
    let started = Instant::now();
    let refused = stage.create(|_| ()).unwrap_err();
    assert!(refused.contains("container app: it has no command"), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
