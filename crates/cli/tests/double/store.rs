//! What the API server of the double keeps, and what its controllers make of it.
//!
//! Time passes with each request: controllers take one step before each answer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::fields::{self, Fields, Owners, Path, Step};

/// An object and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) fields: Fields,
    pub(crate) owners: Owners,
    uid: u64,
    version: u64,
    generation: u64,
    /// Steps until it is gone, once it is being deleted.
    leaving: Option<u32>,
    pub(crate) finalizers: Vec<String>,
}

/// What goes wrong on this cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Images that no node can pull.
    pub(crate) no_image: BTreeSet<String>,
    /// Nodes whose kernel does not take an agent.
    pub(crate) off: BTreeSet<String>,
    /// The operator never writes its `caBundle`.
    pub(crate) no_ca: bool,
    /// What people at the bridge do about a cluster that has joined.
    pub(crate) bridge: People,
    /// How the keys of its tokens stand at the bridge, if they are not believed; `none`: an earlier
    /// operator, which says nothing of them.
    pub(crate) keys: Option<&'static str>,
    /// Others than the API server's, where somebody is between.
    pub(crate) false_keys: Option<&'static str>,
    /// Pods find no node.
    pub(crate) no_room: bool,
    /// `verb resource` that the caller may not.
    pub(crate) forbidden: BTreeSet<String>,
    /// Kinds that nobody defined, by their plurals.
    pub(crate) undefined: BTreeSet<String>,
    /// So many requests are answered with this status first.
    pub(crate) busy: Option<(u32, u16)>,
    /// The first continuation of a list is too old.
    pub(crate) expire_once: bool,
    /// Applies of this kind are refused, so that half of it is there.
    pub(crate) refuse_at: Option<String>,
    /// So many connections are cut in the middle of an apply.
    pub(crate) cut: u32,
    /// Its clock is so many seconds ahead.
    pub(crate) ahead: i64,
    /// Its minor version, where it is not a new one.
    pub(crate) minor: Option<&'static str>,
    /// Admits no privileged pods anywhere, whatever labels say.
    pub(crate) strict: bool,
}

/// People at the bridge.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum People {
    /// They have approved whoever comes.
    #[default]
    Approve,
    /// They take their time: so many looks at the Lease.
    Think(u32),
    /// They say no.
    Refuse,
}

/// What this API server signs tokens by: the key of RFC 7515, appendix A.3.
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"one","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
const DISCOVERY: &str = r#"{"issuer":"https://kubernetes.default.svc"}"#;

/// The fingerprint of it.
pub(crate) fn fingerprint() -> String {
    let shown = cloudtaser_road::issuer::KeySet::read(DISCOVERY.as_bytes(), JWKS.as_bytes());
    shown.unwrap().fingerprint(cloudtaser_tls::Digest::new().unwrap()).to_string()
}

/// The cluster's key, as the operator of the double has it.
pub(crate) const CLUSTER_KEY: &str = "ed25519:Kay64UG8yvCyLhqU000LxzYeUm0L/hLIl5S8kyKWbdc=";
/// What the double's operator puts where the cluster's key belongs.
pub(crate) const PRIVATE: &str = "cHJpdmF0ZSBrZXkgb2YgdGhlIGRvdWJsZQ==";

/// The whole cluster.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<String, Stored>,
    pub(crate) faults: Faults,
    /// Answers that are no objects, by path without query: logs, proxied metrics.
    pub(crate) texts: BTreeMap<String, String>,
    versions: u64,
    /// Every request: method, path with query, body.
    pub(crate) log: Vec<(String, String, String)>,
}

/// A refusal: status, reason, message.
pub(crate) type Refusal = (u16, &'static str, String);

const SLOW: u32 = 3;

impl Store {
    /// An object as it is read.
    pub(crate) fn read(&self, path: &str) -> Option<Value> {
        let stored = self.objects.get(path)?;
        let mut object = fields::object(&stored.fields);
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("uid".to_owned(), format!("uid-{}", stored.uid).into());
        metadata.insert("resourceVersion".to_owned(), stored.version.to_string().into());
        metadata.insert("generation".to_owned(), stored.generation.into());
        if stored.leaving.is_some() {
            metadata.insert("deletionTimestamp".to_owned(), "2026-01-01T00:00:00Z".into());
        }
        if !stored.finalizers.is_empty() {
            metadata.insert("finalizers".to_owned(), json!(stored.finalizers));
        }
        let managers: Vec<_> =
            stored.owners.keys().map(|name| json!({ "manager": name })).collect();
        metadata.insert("managedFields".to_owned(), managers.into());
        Some(object)
    }

    /// Puts an object there as somebody else.
    pub(crate) fn put(&mut self, path: &str, object: &Value, manager: &str) {
        self.apply(path, object, manager, true).unwrap();
    }

    /// The time, as HTTP has it.
    pub(crate) fn date(&self) -> String {
        let now = format!("@{}", now() + self.faults.ahead);
        let output = std::process::Command::new("date")
            .env("LC_ALL", "C")
            .args(["-u", "-d", &now, "+%a, %d %b %Y %H:%M:%S GMT"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn version(&self) -> Value {
        let minor = self.faults.minor.unwrap_or("36");
        json!({ "major": "1", "minor": minor, "gitVersion": format!("v1.{minor}.2") })
    }

    /// What it says to whoever asks by which keys it signs.
    pub(crate) fn published(&self, path: &str) -> Option<Option<(u16, Value)>> {
        let text = match path {
            "/.well-known/openid-configuration" => DISCOVERY,
            "/openid/v1/jwks" => JWKS,
            _ => return None,
        };
        if self.faults.forbidden.contains(&format!("get {path}")) {
            let message = format!("forbidden: User \"jane\" cannot get path \"{path}\"");
            return Some(super::refusal(403, "Forbidden", &message));
        }
        Some(Some((200, text.into())))
    }

    /// Server-side apply.
    pub(crate) fn apply(
        &mut self,
        path: &str,
        object: &Value,
        manager: &str,
        force: bool,
    ) -> Result<bool, Refusal> {
        if let Some(namespace) = namespace_of(path) {
            let place = format!("/api/v1/namespaces/{namespace}");
            match self.objects.get(&place) {
                None => {
                    return Err((404, "NotFound", format!("namespaces \"{namespace}\" not found")));
                }
                Some(there) if there.leaving.is_some() => {
                    let message = format!(
                        "unable to create new content in namespace {namespace} because it is being \
                         terminated"
                    );
                    return Err((403, "Forbidden", message));
                }
                Some(_) => {}
            }
        }
        self.versions += 1;
        let version = self.versions;
        let wanted = fields::fields(object);
        let created = !self.objects.contains_key(path);
        let stored = self.objects.entry(path.to_owned()).or_insert_with(|| Stored {
            fields: Fields::new(),
            owners: Owners::new(),
            uid: version,
            version: 0,
            generation: 0,
            leaving: None,
            finalizers: Vec::new(),
        });
        let now = fields::apply(&stored.fields, &mut stored.owners, &wanted, manager, force);
        let now = now.map_err(|conflicts| (409, "Conflict", told(&conflicts)))?;
        if now != stored.fields {
            let spec = |all: &Fields| {
                let of = |path: &Path| {
                    path.first() != Some(&Step::Field("status".to_owned()))
                        && path.first() != Some(&Step::Field("metadata".to_owned()))
                };
                all.iter()
                    .filter(|(path, _)| of(path))
                    .map(|(p, v)| (p.clone(), v.clone()))
                    .collect::<Fields>()
            };
            stored.generation += u64::from(spec(&now) != spec(&stored.fields));
            stored.fields = now;
            stored.version = version;
        }
        Ok(created)
    }

    /// Begins a removal; whether it was there.
    pub(crate) fn delete(&mut self, path: &str) -> bool {
        let Some(stored) = self.objects.get_mut(path) else { return false };
        if path.starts_with("/api/v1/namespaces/") && namespace_of(path).is_none() {
            stored.leaving.get_or_insert(SLOW);
        } else if !stored.finalizers.is_empty() {
            stored.leaving.get_or_insert(0);
        } else {
            self.objects.remove(path);
        }
        true
    }

    /// One step of everything that runs by itself.
    pub(crate) fn step(&mut self) {
        self.namespaces();
        self.orphans();
        self.workloads();
        self.operator();
    }

    fn namespaces(&mut self) {
        let leaving: Vec<String> = self
            .objects
            .iter()
            .filter(|(path, stored)| {
                path.starts_with("/api/v1/namespaces/")
                    && namespace_of(path).is_none()
                    && stored.leaving.is_some()
            })
            .map(|(path, _)| path.clone())
            .collect();
        for path in leaving {
            let name = path.rsplit('/').next().unwrap().to_owned();
            let content: Vec<String> = self
                .objects
                .keys()
                .filter(|each| namespace_of(each) == Some(&name))
                .cloned()
                .collect();
            for each in content {
                self.delete(&each);
            }
            let empty = !self.objects.keys().any(|each| namespace_of(each) == Some(&name));
            let stored = self.objects.get_mut(&path).unwrap();
            match stored.leaving {
                Some(0) if empty && stored.finalizers.is_empty() => {
                    self.objects.remove(&path);
                }
                Some(left) => stored.leaving = Some(left.saturating_sub(1)),
                None => {}
            }
        }
    }

    /// Pods whose workload is gone go too.
    fn orphans(&mut self) {
        let pods: Vec<String> =
            self.objects.keys().filter(|path| path.contains("/pods/made-by-")).cloned().collect();
        for pod in pods {
            let owner =
                pod.rsplit("/made-by-").next().unwrap().rsplit_once('-').unwrap().0.to_owned();
            let namespace = namespace_of(&pod).unwrap();
            let alive = ["deployments", "daemonsets"].iter().any(|kind| {
                let path = format!("/apis/apps/v1/namespaces/{namespace}/{kind}/{owner}");
                self.objects.contains_key(&path)
            });
            if !alive {
                self.objects.remove(&pod);
            }
        }
    }

    fn workloads(&mut self) {
        let all: Vec<String> = self
            .objects
            .keys()
            .filter(|path| path.contains("/deployments/") || path.contains("/daemonsets/"))
            .cloned()
            .collect();
        for path in all {
            let object = self.read(&path).unwrap();
            let daemons = object["kind"] == "DaemonSet";
            let nodes = self.nodes();
            let namespace = namespace_of(&path).unwrap().to_owned();
            let wanted = if daemons {
                nodes.clone()
            } else {
                let replicas = object["spec"]["replicas"].as_u64().unwrap_or(1);
                (0..replicas)
                    .map(|at| nodes[usize::try_from(at).unwrap() % nodes.len()].clone())
                    .collect()
            };
            let refused = self.refused(&object, &namespace);
            let mut ready = 0;
            if refused.is_none() {
                for (at, node) in wanted.iter().enumerate() {
                    ready += u64::from(self.pod(&object, &namespace, at, node));
                }
            }
            let count = wanted.len() as u64;
            let made = if refused.is_none() { count } else { 0 };
            let generation = object["metadata"]["generation"].clone();
            let mut status = if daemons {
                json!({ "observedGeneration": generation, "desiredNumberScheduled": count,
                    "updatedNumberScheduled": made, "numberReady": ready })
            } else {
                json!({ "observedGeneration": generation, "replicas": made,
                    "updatedReplicas": made, "availableReplicas": ready })
            };
            if let Some(message) = refused {
                if daemons {
                    let event = json!({ "kind": "Event", "apiVersion": "v1", "metadata": {
                        "name": "refused", "namespace": namespace }, "reason": "FailedCreate",
                        "involvedObject": { "name": object["metadata"]["name"] }, "message": message });
                    let at = format!("/api/v1/namespaces/{namespace}/events/refused");
                    self.put(&at, &event, "controller");
                } else {
                    status["conditions"] = json!([{ "type": "ReplicaFailure", "status": "True",
                        "message": message }]);
                }
            }
            let mut with_status = json!({ "metadata": { "name": object["metadata"]["name"] } });
            with_status["status"] = status;
            // Only the status: a controller owns nothing else.
            self.put(&path, &json!({ "status": with_status["status"] }), "controller");
        }
    }

    fn nodes(&self) -> Vec<String> {
        let nodes: Vec<String> = self
            .objects
            .keys()
            .filter_map(|path| path.strip_prefix("/api/v1/nodes/").map(str::to_owned))
            .collect();
        if nodes.is_empty() { vec!["node-1".to_owned(), "node-2".to_owned()] } else { nodes }
    }

    /// Pod Security admission, for what an installation has.
    fn refused(&self, workload: &Value, namespace: &str) -> Option<String> {
        let place = self.read(&format!("/api/v1/namespaces/{namespace}"))?;
        let level = &place["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
        let pod = &workload["spec"]["template"]["spec"];
        let container = &pod["containers"][0]["securityContext"];
        let privileged = container["privileged"] == true || pod["hostPID"] == true;
        let restricted = container["allowPrivilegeEscalation"] == false
            && container["capabilities"]["drop"] == json!(["ALL"])
            && pod["securityContext"]["runAsNonRoot"] == true
            && pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault";
        let admits = match level.as_str() {
            Some("privileged") => !self.faults.strict || !privileged,
            Some("restricted") => restricted && !privileged,
            Some(_) => !privileged,
            None => !self.faults.strict || !privileged,
        };
        let name = workload["metadata"]["name"].as_str().unwrap();
        (!admits).then(|| {
            format!("pods \"{name}-\" is forbidden: violates PodSecurity \"restricted:latest\": privileged")
        })
    }

    /// Makes a pod, or lets it get on; whether it is ready.
    fn pod(&mut self, workload: &Value, namespace: &str, at: usize, node: &str) -> bool {
        let owner = workload["metadata"]["name"].as_str().unwrap();
        let name = format!("made-by-{owner}-{at}");
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let template = &workload["spec"]["template"];
        let image = template["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        let age = self
            .objects
            .get(&path)
            .and_then(|_| {
                self.read(&path)?["metadata"]["annotations"]["age"].as_str()?.parse::<u32>().ok()
            })
            .unwrap_or(0);
        let agent = workload["kind"] == "DaemonSet";
        let ready = age >= 2;
        let mut spec = json!({ "containers": [{ "name": "c", "image": image }], "nodeName": node });
        let (ready, status) = if self.faults.no_room {
            spec.as_object_mut().unwrap().remove("nodeName");
            (
                false,
                json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled",
                "status": "False", "message": "0/2 nodes are available: 2 Insufficient memory." }] }),
            )
        } else if self.faults.no_image.contains(image) {
            (
                false,
                json!({ "phase": "Pending", "containerStatuses": [{ "name": "c", "image": image,
                "ready": false, "state": { "waiting": { "reason": "ImagePullBackOff",
                "message": "Back-off pulling image" } } }] }),
            )
        } else if agent && self.faults.off.contains(node) {
            (
                false,
                json!({ "phase": "Running", "containerStatuses": [{ "name": "c", "image": image,
                "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 71,
                "message": "{\"event\":\"state\",\"state\":\"OFF(the kernel has no BTF)\"}\n" } } }] }),
            )
        } else {
            (
                ready,
                json!({ "phase": "Running", "containerStatuses": [{ "name": "c", "image": image,
                "ready": ready, "state": { "running": {} } }] }),
            )
        };
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace,
                "labels": template["metadata"]["labels"],
                "annotations": { "age": (age + 1).min(9).to_string() } },
            "spec": spec, "status": status,
        });
        self.put(&path, &pod, "controller");
        ready
    }

    /// What our operator does to its own webhooks.
    fn operator(&mut self) {
        let runs = self.objects.keys().any(|path| {
            path.ends_with("/deployments/cloudtaser-operator")
                && self.read(path).unwrap()["status"]["availableReplicas"].as_u64() > Some(0)
        });
        if !runs || self.faults.no_ca {
            return;
        }
        for kind in ["mutating", "validating"] {
            let path = format!(
                "/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/cloudtaser-operator"
            );
            let Some(there) = self.read(&path) else { continue };
            let hooks = there["webhooks"].as_array().cloned().unwrap_or_default();
            let with: Vec<Value> = hooks
                .iter()
                .map(|hook| json!({ "name": hook["name"], "clientConfig": { "caBundle": "Q0E=" } }))
                .collect();
            self.put(&path, &json!({ "webhooks": with }), "cloudtaser-operator");
        }
        self.enrolment();
    }

    /// What our operator does about a bridge.
    fn enrolment(&mut self) {
        let own = "/api/v1/namespaces/cloudtaser-system";
        let (kept, invited) = (
            format!("{own}/secrets/cloudtaser-cluster"),
            format!("{own}/secrets/cloudtaser-invitation"),
        );
        let lease = "/apis/coordination.k8s.io/v1/namespaces/cloudtaser-system/leases/\
                     cloudtaser-enrolment";
        if !self.objects.contains_key(&kept) {
            return;
        }
        let config = self.read(&format!("{own}/configmaps/cloudtaser-operator")).unwrap();
        let config: toml::Table =
            config["data"]["operator.toml"].as_str().unwrap().parse().unwrap();
        // It is about to be given up.
        let Some(bridge) = config.get("bridge").and_then(|bridge| bridge.get("key")) else {
            return;
        };
        let bridge = bridge.as_str().unwrap().to_owned();
        let there = self.read(lease);
        let said = there.as_ref().and_then(|lease| {
            let text = lease["metadata"]["annotations"]["cloudtaser.io/enrolment"].as_str()?;
            serde_json::from_str::<Value>(text).ok()
        });
        let mut next = said.clone().unwrap_or(json!({ "standing": "uninvited", "bridge": bridge }));
        if let Some(secret) = self.read(&invited) {
            let text = secret["data"]["invitation"].as_str().unwrap();
            let text = data_encoding::BASE64.decode(text.as_bytes()).unwrap();
            let text = String::from_utf8(text).unwrap();
            let digest = cloudtaser_tls::Digest::new().unwrap();
            let read = cloudtaser_road::invitation::Invitation::parse(digest, &text).unwrap();
            next = json!({ "standing": "pending", "bridge": bridge, "key": CLUSTER_KEY,
                "invitation": data_encoding::HEXLOWER.encode(&read.id.0) });
            self.objects.remove(&invited);
            let data = json!({ "data": { "key": PRIVATE } });
            self.put(&kept, &data, "cloudtaser-operator");
        } else if next["standing"] == "pending" {
            match self.faults.bridge {
                People::Think(0) | People::Approve => {
                    next["standing"] = "enrolled".into();
                    next["good_until"] = (now() + 86_400).into();
                }
                People::Think(left) => self.faults.bridge = People::Think(left - 1),
                People::Refuse => {
                    next["standing"] = "refused".into();
                    next["why"] = "the cluster was revoked at the bridge".into();
                }
            }
        }
        let keys = self.faults.keys.unwrap_or("believed");
        if keys != "none" && next.get("key").is_some() {
            let print = self.faults.false_keys.map_or_else(fingerprint, str::to_owned);
            next["keys"] = json!({ "standing": keys, "fingerprint": print,
                "issuer": "https://kubernetes.default.svc" });
        }
        if said.as_ref() != Some(&next) {
            let object = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": { "name": "cloudtaser-enrolment", "namespace": "cloudtaser-system",
                    "annotations": { "cloudtaser.io/enrolment": next.to_string() } } });
            self.put(lease, &object, "cloudtaser-operator");
        }
    }
}

fn told(conflicts: &[(String, Path)]) -> String {
    let count = conflicts.len();
    let all: Vec<String> = conflicts
        .iter()
        .map(|(who, path)| format!("conflict with \"{who}\": {}", fields::shown(path)))
        .collect();
    format!("Apply failed with {count} conflict: {}", all.join(", "))
}

/// The namespace that an object's path is in; none for a namespace itself.
pub(crate) fn namespace_of(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("/namespaces/")?;
    let (name, rest) = rest.split_once('/')?;
    (!rest.is_empty()).then_some(name)
}

fn now() -> i64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).unwrap().tv_sec()
}
