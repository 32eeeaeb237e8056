use std::collections::BTreeMap;

use cloudtaser_core::LaunchPlan;

use super::*;
use crate::{config::tests::config, image::Entrypoint};

mod words;

fn pod(spec: Value) -> Value {
    annotated(&[], spec)
}

fn annotated(annotations: &[(&str, &str)], spec: Value) -> Value {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {names::INJECT: "true"}, "annotations": annotations},
        "spec": spec,
    })
}

fn app() -> Value {
    json!({"name": "app", "image": "i", "command": ["/app", "-v"]})
}

fn patched(pod: &Value, images: &dyn ImageResolver) -> Value {
    let injection = inject(pod, &config(), images).unwrap();
    apply(pod, &injection)
}

fn apply(pod: &Value, injection: &Injection) -> Value {
    let mut after = pod.clone();
    let patch = serde_json::to_value(&injection.patch).unwrap();
    let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
    json_patch::patch(&mut after, &patch).unwrap();
    after
}

fn done(pod: &Value) -> Value {
    let after = patched(pod, &NoRegistry);
    assert_eq!(verify(&after, &config()), Ok(()));
    after
}

fn refused(pod: &Value) -> String {
    inject(pod, &config(), &NoRegistry).unwrap_err().to_string()
}

/// What the wrapper reads, after the kubelet has expanded it.
fn plan_of(pod: &Value, container: &str) -> LaunchPlan {
    let env = pod.pointer(&format!("{container}/env")).unwrap().as_array().unwrap();
    let entry = env.iter().find(|entry| entry["name"] == "CLOUDTASER_PLAN").unwrap();
    let text = entry["value"].as_str().unwrap().replace("$$", "$");
    LaunchPlan::from_json(text.as_bytes()).unwrap()
}

const APP: &str = "/spec/containers/0";

#[test]
fn a_pod_that_did_not_ask_is_not_touched() {
    let mut pod = pod(json!({"containers": [app()]}));
    for label in ["false", "True", ""] {
        pod["metadata"]["labels"][names::INJECT] = json!(label);
        let injection = inject(&pod, &config(), &NoRegistry).unwrap();
        assert!(injection.patch.is_empty());
        assert_eq!(injection.warnings.len(), usize::from(label == "True"));
        assert_eq!(verify(&pod, &config()), Ok(()));
    }
    pod["metadata"] = json!({});
    assert_eq!(inject(&pod, &config(), &NoRegistry).unwrap(), Injection::default());
}

#[test]
fn the_command_is_what_it_was_behind_the_wrapper() {
    let after = done(&pod(json!({"containers": [
        {"name": "app", "image": "i", "command": ["/app"], "args": ["-v", "x y"]}]})));
    assert_eq!(
        after.pointer("/spec/containers/0/command").unwrap(),
        &json!(["/cloudtaser/bin/cloudtaser-wrapper", "run", "--", "/app"])
    );
    assert_eq!(after.pointer("/spec/containers/0/args").unwrap(), &json!(["-v", "x y"]));
    assert_eq!(after["metadata"]["annotations"][names::WRAPPED], "app");
}

#[test]
fn the_init_container_meets_the_restricted_standard_by_itself() {
    let after = done(&pod(json!({"containers": [app()]})));
    let deliver = after.pointer("/spec/initContainers/0").unwrap();
    assert_eq!(deliver["name"], names::DELIVER);
    let security = &deliver["securityContext"];
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(security["seccompProfile"], json!({"type": "RuntimeDefault"}));
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security.get("runAsUser"), None, "a range of users may be prescribed");
    assert_eq!(deliver["command"], json!(["/cloudtaser-wrapper", "deliver", "/cloudtaser/bin"]));
}

#[test]
fn a_pod_that_runs_as_root_has_an_init_container_that_does_not() {
    let root = json!({"securityContext": {"runAsUser": 0}, "containers": [app()]});
    let after = done(&pod(root));
    let security = after.pointer("/spec/initContainers/0/securityContext").unwrap();
    assert_eq!(security["runAsUser"], USER_OF_IMAGE);
    let user = json!({"securityContext": {"runAsUser": 1000}, "containers": [app()]});
    let after = done(&pod(user));
    let security = after.pointer("/spec/initContainers/0/securityContext").unwrap();
    assert_eq!(security.get("runAsUser"), None, "the pod's own user is good enough");
}

const USER_OF_IMAGE: u32 = 65_532;

#[test]
fn quality_of_service_stays_as_it_is() {
    let deliver = |container: Value| {
        let after = done(&pod(json!({"containers": [container]})));
        after.pointer("/spec/initContainers/0/resources").cloned()
    };
    assert_eq!(deliver(app()), None, "BestEffort");
    let amounts = json!({"cpu": "1", "memory": "1Gi"});
    let mut guaranteed = app();
    guaranteed["resources"] = json!({"requests": amounts, "limits": amounts});
    let resources = deliver(guaranteed).unwrap();
    assert_eq!(resources["requests"], resources["limits"]);
}

#[test]
fn the_wrapper_is_in_memory_and_outside_the_paths_that_policies_watch() {
    let after = done(&pod(json!({"containers": [app()]})));
    assert_eq!(
        after.pointer("/spec/volumes/0").unwrap(),
        &json!({"name": "cloudtaser-bin", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}})
    );
    for path in [names::BIN_MOUNT, names::TOKEN_MOUNT] {
        for watched in ["/tmp", "/run", "/var/run", "/dev/shm", "/var/tmp"] {
            assert!(!path.starts_with(watched), "{path}");
        }
    }
    let mounts = after.pointer("/spec/containers/0/volumeMounts").unwrap().as_array().unwrap();
    assert!(mounts.iter().all(|mount| mount["readOnly"] == true));
}

#[test]
fn the_token_is_one_of_its_own_for_an_audience_of_its_own() {
    let after = done(&pod(json!({
        "automountServiceAccountToken": false, "serviceAccountName": "payer",
        "containers": [app()],
    })));
    let source = after.pointer("/spec/volumes/1/projected/sources/0/serviceAccountToken").unwrap();
    assert_eq!(source["audience"], "cloudtaser");
    assert_eq!(source["expirationSeconds"], 600);
    let plan = plan_of(&after, APP);
    assert_eq!(plan.auth.role.as_deref(), Some("payer"));
    assert_eq!(plan.auth.credential_file.as_deref(), Some(names::TOKEN_PATH));
}

#[test]
fn the_server_comes_from_the_operator_and_no_variable_changes_it() {
    let plan = plan_of(&done(&pod(json!({"containers": [app()]}))), APP);
    assert_eq!(plan.server.address, "https://bao.example:8200");
    assert_eq!(plan.server.ca_file.as_deref(), Some(names::CA_PATH));
    assert!(plan.server.fixed);
    let evil = annotated(
        &[("vault.security.banzaicloud.io/vault-addr", "https://evil:8200")],
        json!({"containers": [app()]}),
    );
    let message = refused(&evil);
    assert!(message.contains("banzaicloud.io/vault-addr") && message.contains("main, lab"));
    assert!(!message.contains("evil:8200"));
}

#[test]
fn a_container_without_a_command_starts_what_its_image_starts() {
    let image = json!({"name": "app", "image": "i"});
    let pod = pod(json!({"imagePullSecrets": [{"name": "s"}], "containers": [image]}));
    let wanted = unknown_images(&pod, &config()).unwrap();
    assert_eq!(
        (wanted[0].image.as_str(), &wanted[0].pull_secrets[..]),
        ("i", &["s".to_owned()][..])
    );
    let found = Entrypoint {
        entrypoint: vec!["/entry".to_owned()],
        cmd: vec!["serve".to_owned(), "$(HOME)".to_owned()],
    };
    let images: BTreeMap<_, _> = [(wanted[0].clone(), Ok(found))].into();
    let after = patched(&pod, &images);
    assert_eq!(after.pointer("/spec/containers/0/command/3").unwrap(), "/entry");
    let args = after.pointer("/spec/containers/0/args").unwrap();
    assert_eq!(args, &json!(["serve", "$$(HOME)"]), "the kubelet expands a pod, not an image");
    assert_eq!(verify(&after, &config()), Ok(()));
    assert!(unknown_images(&after, &config()).unwrap().is_empty(), "no second look-up");
    assert!(refused(&pod).contains("cloudtaser.io/command.app"));
}

#[test]
fn arguments_of_the_container_win_over_those_of_the_image() {
    let image = json!({"name": "app", "image": "i", "args": ["own"]});
    let pod = pod(json!({"containers": [image]}));
    let found = Entrypoint { entrypoint: Vec::new(), cmd: vec!["theirs".to_owned()] };
    let wanted = unknown_images(&pod, &config()).unwrap();
    let images: BTreeMap<_, _> = [(wanted[0].clone(), Ok(found))].into();
    let after = patched(&pod, &images);
    assert_eq!(after.pointer("/spec/containers/0/args").unwrap(), &json!(["own"]));
    assert_eq!(after.pointer("/spec/containers/0/command").unwrap().as_array().unwrap().len(), 3);
}

#[test]
fn an_annotation_says_the_command_and_no_registry_is_asked() {
    for (name, value) in [
        ("cloudtaser.io/command", "/docker-entrypoint.sh postgres"),
        ("cloudtaser.io/command.app", r#"["/docker-entrypoint.sh","postgres"]"#),
    ] {
        let pod =
            annotated(&[(name, value)], json!({"containers": [{"name": "app", "image": "i"}]}));
        assert!(unknown_images(&pod, &config()).unwrap().is_empty());
        let after = done(&pod);
        let command = after.pointer("/spec/containers/0/command").unwrap();
        assert_eq!(command.as_array().unwrap()[3..], ["/docker-entrypoint.sh", "postgres"]);
    }
    let quoted = annotated(
        &[("cloudtaser.io/command", "sh -c 'a b'")],
        json!({"containers": [{"name": "app", "image": "i"}]}),
    );
    assert!(refused(&quoted).contains("JSON array"));
}

#[test]
fn init_containers_and_sidecars_are_wrapped_where_they_hold_a_reference() {
    let reference = json!([{"name": "A", "value": "vault:kv/a#b"}]);
    let after = done(&annotated(
        &[("cloudtaser.io/from", "secret/data/app"), ("cloudtaser.io/file.k", "vault:kv/k#k")],
        json!({
            "initContainers": [
                {"name": "plain", "image": "i", "command": ["a"]},
                {"name": "migrate", "image": "i", "command": ["a"], "env": reference},
                {"name": "side", "image": "i", "command": ["a"], "env": reference, "restartPolicy": "Always"},
            ],
            "containers": [app()],
        }),
    ));
    assert_eq!(after["metadata"]["annotations"][names::WRAPPED], "migrate,side,app");
    let names: Vec<_> = after["spec"]["initContainers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| container["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, [names::DELIVER, "plain", "migrate", "side"]);
    assert_eq!(after.pointer("/spec/initContainers/1/command").unwrap(), &json!(["a"]));
    assert_eq!(after.pointer("/spec/initContainers/3/restartPolicy").unwrap(), "Always");
    let of_init = plan_of(&after, "/spec/initContainers/2");
    assert!(of_init.from.is_empty() && of_init.files.is_empty());
    let of_app = plan_of(&after, APP);
    assert_eq!((of_app.from.len(), of_app.files.len()), (1, 1));
}

#[test]
fn containers_that_other_injectors_add_are_left_alone() {
    let mesh = json!({"name": "istio-proxy", "image": "mesh"});
    let after = done(&pod(json!({"containers": [app(), mesh]})));
    assert_eq!(after.pointer("/spec/containers/1").unwrap(), &mesh);
}

#[test]
fn a_selection_by_name_is_taken_as_it_is_and_leaves_no_reference_behind() {
    let with = json!({"name": "b", "image": "i", "command": ["b"],
        "env": [{"name": "S", "value": "bao:kv/a#b"}]});
    let spec = json!({"containers": [app(), with]});
    let after = done(&annotated(&[("cloudtaser.io/containers", "b")], spec.clone()));
    assert_eq!(after.pointer("/spec/containers/0").unwrap(), &app());
    let message = refused(&annotated(&[("cloudtaser.io/containers", "app")], spec.clone()));
    assert!(message.contains("container b: variable S"), "{message}");
    let message = refused(&annotated(&[("cloudtaser.io/containers", "ap")], spec));
    assert!(message.contains("no container `ap`"), "{message}");
}

#[test]
fn a_reference_with_a_slip_is_refused_with_the_place_and_without_the_value() {
    let message = refused(&pod(json!({"containers": [{"name": "app", "image": "i",
        "command": ["a"], "env": [{"name": "S", "value": "vault:secret/data/db"}]}]})));
    assert!(message.contains("container app: variable S") && message.contains('^'), "{message}");
}

#[test]
fn a_near_miss_is_a_warning() {
    let pod = pod(json!({"containers": [{"name": "app", "image": "i", "command": ["a"],
        "env": [{"name": "S", "value": "vualt:secret/data/db#p"}]}]}));
    let injection = inject(&pod, &config(), &NoRegistry).unwrap();
    assert!(injection.warnings[0].contains("variable S"), "{:?}", injection.warnings);
}

#[test]
fn what_the_kubelet_would_expand_is_no_place_for_a_reference() {
    let with = |command: Value, other: &str| {
        pod(json!({"containers": [{"name": "app", "image": "i", "command": command, "env": [
            {"name": "PW", "value": "vault:kv/a#b"}, {"name": "URL", "value": other}]}]}))
    };
    assert!(refused(&with(json!(["a", "--pw=$(PW)"]), "x")).contains("command line uses $(PW)"));
    assert!(refused(&with(json!(["a"]), "db://$(PW)@h")).contains("${vault:PATH#FIELD}"));
    done(&with(json!(["a", "$$(PW)"]), "x"));
}

#[test]
fn probes_and_hooks_are_wrapped_when_asked_for_and_else_warned_of() {
    let container = json!({"name": "app", "image": "i", "command": ["a"],
        "env": [{"name": "PW", "value": "vault:kv/a#b"}],
        "livenessProbe": {"exec": {"command": ["check"]}, "periodSeconds": 5},
        "readinessProbe": {"httpGet": {"port": 1}},
        "lifecycle": {"preStop": {"exec": {"command": ["stop"]}}}});
    let quiet = pod(json!({"containers": [container]}));
    let injection = inject(&quiet, &config(), &NoRegistry).unwrap();
    assert!(injection.warnings[0].contains("cloudtaser.io/probes"));
    assert_eq!(
        apply(&quiet, &injection).pointer("/spec/containers/0/livenessProbe"),
        container.get("livenessProbe")
    );
    for name in ["cloudtaser.io/probes", "vault.security.banzaicloud.io/mutate-probes"] {
        let after = done(&annotated(&[(name, "true")], json!({"containers": [container]})));
        for place in ["livenessProbe/exec", "lifecycle/preStop/exec"] {
            let command = after.pointer(&format!("{APP}/{place}/command/0")).unwrap();
            assert_eq!(command, names::WRAPPER_PATH, "{place}");
        }
        assert_eq!(after.pointer(&format!("{APP}/livenessProbe/periodSeconds")).unwrap(), 5);
    }
}

#[test]
fn debug_containers_get_no_secret_and_may_hold_no_reference() {
    let mut pod = pod(json!({"containers": [app()], "ephemeralContainers": [
        {"name": "dbg", "image": "i", "env": [{"name": "A", "value": "x"}]}]}));
    assert_eq!(verify_ephemeral(&pod), Ok(()));
    pod["spec"]["ephemeralContainers"][0]["env"][0]["value"] = json!("vault:kv/a#b");
    assert!(verify_ephemeral(&pod).unwrap_err().to_string().contains("container dbg"));
}

#[test]
fn names_and_paths_of_the_injector_are_not_for_others() {
    let volume = json!({"name": names::BIN_VOLUME, "emptyDir": {}});
    assert!(refused(&pod(json!({"containers": [app()], "volumes": [volume]}))).contains("own"));
    for path in ["/cloudtaser", "/cloudtaser/", "/cloudtaser/bin", "/cloudtaser/identity/x"] {
        let mut container = app();
        container["volumeMounts"] = json!([{"name": "v", "mountPath": path}]);
        let message = refused(&pod(json!({"containers": [container]})));
        assert!(message.contains(path), "{message}");
    }
    let mut container = app();
    container["volumeMounts"] = json!([{"name": "v", "mountPath": "/cloudtaser-data"}]);
    done(&pod(json!({"containers": [container]})));
}

#[test]
fn a_plan_of_the_pods_own_is_refused() {
    let mut container = app();
    container["env"] = json!([{"name": "CLOUDTASER_PLAN", "value": "{}"}]);
    assert!(refused(&pod(json!({"containers": [container]}))).contains("CLOUDTASER_PLAN"));
}

#[test]
fn what_others_changed_afterwards_is_set_right_again_and_refused_until_it_is() {
    let before = done(&pod(json!({"containers": [app()]})));
    for (place, value) in [
        ("/spec/initContainers/0/securityContext/runAsNonRoot", json!(false)),
        ("/spec/initContainers/0/command", json!(["/bin/sh"])),
        ("/spec/containers/0/command", json!(["/app", "-v"])),
        ("/metadata/annotations/cloudtaser.io~1wrapped", json!("nothing")),
    ] {
        let mut changed = before.clone();
        *changed.pointer_mut(place).unwrap() = value;
        let refusal = verify(&changed, &config()).unwrap_err();
        assert!(matches!(refusal, Refusal::NotWrapped(_)), "{place}");
        assert_eq!(patched(&changed, &NoRegistry), before, "{place}");
    }
    let mut changed = before.clone();
    let env = changed.pointer_mut("/spec/containers/0/env").unwrap().as_array_mut().unwrap();
    let plan = env.iter_mut().find(|entry| entry["name"] == "CLOUDTASER_PLAN").unwrap();
    plan["value"] = json!("{}");
    assert!(verify(&changed, &config()).is_err());
    assert_eq!(patched(&changed, &NoRegistry), before);
}

#[test]
fn mirrors_pull_policies_and_limits_are_for_others_to_set() {
    let mut pod = done(&pod(json!({"containers": [app()]})));
    let deliver = pod.pointer_mut("/spec/initContainers/0").unwrap();
    deliver["image"] = json!("mirror.example/wrapper@sha256:00");
    deliver["imagePullPolicy"] = json!("Always");
    deliver["resources"] = json!({"limits": {"cpu": "1"}});
    deliver["securityContext"]["runAsUser"] = json!(1000);
    assert_eq!(verify(&pod, &config()), Ok(()));
}

#[test]
fn a_container_that_another_webhook_adds_is_wrapped_in_the_second_round() {
    let mut pod = done(&pod(json!({"containers": [app()]})));
    let more = json!({"name": "more", "image": "i", "command": ["m"],
        "env": [{"name": "S", "value": "vault:kv/a#b"}]});
    pod["spec"]["containers"].as_array_mut().unwrap().push(more);
    pod["spec"]["initContainers"].as_array_mut().unwrap().insert(
        0,
        json!({
        "name": "needs", "image": "i", "command": ["n"],
        "env": [{"name": "S", "value": "vault:kv/a#b"}]}),
    );
    assert!(verify(&pod, &config()).is_err());
    let after = done(&pod);
    assert_eq!(after.pointer("/spec/initContainers/0/name").unwrap(), names::DELIVER);
    assert_eq!(after["metadata"]["annotations"][names::WRAPPED], "needs,app,more");
}

#[test]
fn what_is_no_pod_is_refused() {
    for broken in [
        json!({}),
        json!({"spec": []}),
        json!({"spec": {"containers": []}}),
        json!({"spec": {"containers": "x"}}),
        json!({"spec": {"containers": [{"image": "i"}]}}),
        json!({"spec": {"containers": [{"name": "a", "command": "sh"}]}}),
        json!({"spec": {"containers": [{"name": "a", "command": ["x", 1]}]}}),
        json!({"spec": {"os": {"name": "windows"}, "containers": [app()]}}),
    ] {
        let mut pod = broken.clone();
        pod["metadata"] = json!({"labels": {names::INJECT: "true"}});
        assert!(inject(&pod, &config(), &NoRegistry).is_err(), "{broken}");
    }
}

#[test]
fn a_static_pod_is_not_touched_and_said_to_run_unwrapped() {
    let mut pod = pod(json!({"containers": [app()]}));
    pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let injection = inject(&pod, &config(), &NoRegistry).unwrap();
    assert!(injection.patch.is_empty() && injection.warnings[0].contains("static pod"));
    assert_eq!(verify(&pod, &config()), Ok(()));
}

#[test]
fn a_pod_that_runs_is_wrapped_outdated_or_unwrapped() {
    let before = pod(json!({"containers": [app()]}));
    let mut after = done(&before);
    assert_eq!(standing(&before, &config()), Standing::Unwrapped);
    assert_eq!(standing(&after, &config()), Standing::Wrapped);
    let mut newer = config();
    newer.servers[0].address = "https://moved.example:8200".to_owned();
    assert_eq!(standing(&after, &newer), Standing::Outdated);
    after["metadata"]["labels"] = json!({});
    assert_eq!(standing(&after, &config()), Standing::NotOptedIn);
    let mut fixed = pod(json!({"containers": [app()]}));
    fixed["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(standing(&fixed, &config()), Standing::Unwrapped);
}

#[test]
fn a_shared_process_namespace_is_pointed_out() {
    let pod = pod(json!({"shareProcessNamespace": true, "containers": [app()]}));
    let injection = inject(&pod, &config(), &NoRegistry).unwrap();
    assert!(injection.warnings[0].contains("shareProcessNamespace"));
}

#[test]
fn a_plan_with_dollars_reaches_the_wrapper_as_it_is() {
    let reference = "vault:kv/a#${.user | b64enc}";
    let after =
        done(&annotated(&[("cloudtaser.io/env.U", reference)], json!({"containers": [app()]})));
    assert_eq!(plan_of(&after, APP).env["U"], reference);
}

#[test]
fn the_agents_socket_comes_from_the_node_where_a_pod_asks_for_it() {
    for (word, kind, require) in [("use", "DirectoryOrCreate", 0), ("require", "Directory", 1)] {
        let after = done(&annotated(&[(names::AGENT, word)], json!({"containers": [app()]})));
        let volumes = after.pointer("/spec/volumes").unwrap().as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == names::AGENT_VOLUME).unwrap();
        assert_eq!(volume["hostPath"], json!({"path": "/run/cloudtaser-agent", "type": kind}));
        let mounts = after.pointer(&format!("{APP}/volumeMounts")).unwrap().as_array().unwrap();
        assert!(
            mounts.contains(&deliver::agent_mount()) && deliver::agent_mount()["readOnly"] == true
        );
        let asked = plan_of(&after, APP).require;
        let words: Vec<_> = asked.iter().map(ToString::to_string).collect();
        assert_eq!(words.iter().filter(|word| *word == "agent=enforcing").count(), require);
        let deliver = after.pointer("/spec/initContainers/0/volumeMounts").unwrap();
        assert_eq!(deliver.as_array().unwrap().len(), 1, "the init container has no need of it");
    }
    assert!(cloudtaser_core::names::AGENT_SOCKET.starts_with(names::AGENT_FOLDER));
}

#[test]
fn a_weaker_word_of_the_agent_is_the_one_that_counts() {
    let both = [(names::AGENT, "require"), (names::REQUIRE, "agent=degraded")];
    let after = done(&annotated(&both, json!({"containers": [app()]})));
    let asked = plan_of(&after, APP).require;
    assert_eq!(asked.iter().map(ToString::to_string).collect::<Vec<_>>(), ["agent=degraded"]);
}

#[test]
fn a_mount_of_the_pods_own_where_the_agents_socket_belongs_is_refused() {
    let mut app = app();
    app["volumeMounts"] = json!([{"name": "v", "mountPath": "/run/cloudtaser-agent/"}]);
    let spec = json!({"containers": [app], "volumes": [{"name": "v", "emptyDir": {}}]});
    assert!(refused(&annotated(&[(names::AGENT, "use")], spec.clone())).contains("in the way"));
    assert!(refused(&annotated(&[(names::AGENT, "maybe")], spec)).contains("require, use"));
}
