//! Every name that people or other programs see, once.

/// Prefix of annotations and labels.
pub const ANNOTATION_PREFIX: &str = "cloudtaser.io/";

/// Holds a [`crate::plan::LaunchPlan`] as JSON; set by the webhook.
pub const ENV_PLAN: &str = "CLOUDTASER_PLAN";

/// Names a file that holds a [`crate::plan::LaunchPlan`] as JSON.
pub const ENV_PLAN_FILE: &str = "CLOUDTASER_PLAN_FILE";

/// Protection levels that must be reached, such as `memory=sealed`.
pub const ENV_REQUIRE: &str = "CLOUDTASER_REQUIRE";

/// Where the node agent listens.
pub const ENV_AGENT: &str = "CLOUDTASER_AGENT";

/// File name of the wrapper.
pub const WRAPPER: &str = "cloudtaser-wrapper";

/// Prefix of every variable of ours; the app sees none of them.
pub const ENV_PREFIX: &str = "CLOUDTASER_";

/// Where secret files appear inside an app that asked for them.
pub const FILE_ROOT: &str = "/run/cloudtaser";

/// Path of the wrapper, for the CLI and for tests.
pub const ENV_WRAPPER: &str = "CLOUDTASER_WRAPPER";

/// Path of the `bao` program, for `demo` and for tests.
pub const ENV_BAO: &str = "CLOUDTASER_BAO";

/// Path of the `cloudtaser-agent` program, for `demo`.
pub const ENV_AGENT_PROGRAM: &str = "CLOUDTASER_AGENT_PROGRAM";

/// Path of a compiled `app.c` of the demo, for a machine without a compiler.
pub const ENV_DEMO_C: &str = "CLOUDTASER_DEMO_C";

/// Where the node agent listens, unless a plan says otherwise; its folder is not [`FILE_ROOT`].
pub const AGENT_SOCKET: &str = "/run/cloudtaser-agent/agent.sock";

/// Path of the beacon, for tests.
pub const ENV_BEACON: &str = "CLOUDTASER_BEACON";

/// Path of the bridge, for tests and for `cloudtaser bridge`.
pub const ENV_BRIDGE: &str = "CLOUDTASER_BRIDGE";

/// Path of the broker, for tests and for `cloudtaser broker`.
pub const ENV_BROKER: &str = "CLOUDTASER_BROKER";

/// Where the node agent keeps the number of its last audit record, and what its hook has not taken.
pub const AGENT_AUDIT_STATE: &str = "/var/lib/cloudtaser-agent";

/// Where the node agent keeps the key by which it signs statements.
pub const AGENT_NODE_KEY: &str = "/var/lib/cloudtaser-agent/node.key";

/// What a pod says to be taken part in, and how. [`kubernetes::INJECT`] is a label, since the API
/// server selects by labels alone; the others are annotations.
pub mod kubernetes {
    /// Label: `"true"` opts a pod in.
    pub const INJECT: &str = "cloudtaser.io/inject";
    /// Name or address of one of the servers that the operator's configuration allows.
    pub const SERVER: &str = "cloudtaser.io/server";
    /// Role of the login; the service account's name when absent.
    pub const ROLE: &str = "cloudtaser.io/role";
    /// Method of the login: `kubernetes` or `jwt`.
    pub const AUTH_METHOD: &str = "cloudtaser.io/auth-method";
    /// Mount of the method.
    pub const AUTH_MOUNT: &str = "cloudtaser.io/auth-mount";
    /// Namespace of OpenBao.
    pub const NAMESPACE: &str = "cloudtaser.io/namespace";
    /// `true`: the server's certificate is not checked, where the server's entry allows that.
    pub const SKIP_VERIFY: &str = "cloudtaser.io/skip-verify";
    /// Secrets of which every field becomes a variable: `PATH[#VERSION]`, with commas.
    pub const FROM: &str = "cloudtaser.io/from";
    /// Before a variable's name: sets it; the value may be a reference.
    pub const ENV: &str = "cloudtaser.io/env.";
    /// Before a file's name: what the app reads at `/run/cloudtaser/NAME`; a reference.
    pub const FILE: &str = "cloudtaser.io/file.";
    /// The containers that are wrapped, by name, with commas; `*` is all of them.
    pub const CONTAINERS: &str = "cloudtaser.io/containers";
    /// Containers that are left alone, by name, with commas.
    pub const SKIP_CONTAINERS: &str = "cloudtaser.io/skip-containers";
    /// What the image starts: a JSON array, or words with spaces. With `.CONTAINER` for one alone.
    pub const COMMAND: &str = "cloudtaser.io/command";
    /// `true`: exec probes and lifecycle hooks get the secrets too, with a login of their own each.
    pub const PROBES: &str = "cloudtaser.io/probes";
    /// `use`: the node agent's socket is mounted from the node; `require`: and without its guard no
    /// app starts. Namespaces under the baseline or restricted standard admit neither.
    pub const AGENT: &str = "cloudtaser.io/agent";
    /// Levels below which the app is not started, such as `memory=sealed`.
    pub const REQUIRE: &str = "cloudtaser.io/require";
    /// How values reach the app: `auto`, `follow`, `one-shot`, `plain`.
    pub const DELIVERY: &str = "cloudtaser.io/delivery";
    /// How often new values are looked for.
    pub const ROTATE_EVERY: &str = "cloudtaser.io/rotate-every";
    /// What a new value leads to: `none`, `in-place`, `signal`, `restart`.
    pub const ROTATE_ACTION: &str = "cloudtaser.io/rotate-action";
    /// The signal of `rotate-action: signal`.
    pub const ROTATE_SIGNAL: &str = "cloudtaser.io/rotate-signal";
    /// Time for login and reads together.
    pub const DEADLINE: &str = "cloudtaser.io/deadline";
    /// Wait before the login.
    pub const DELAY: &str = "cloudtaser.io/delay";
    /// `true`: a path or field that is not there leaves its variable out.
    pub const IGNORE_MISSING: &str = "cloudtaser.io/ignore-missing";
    /// Variables of OpenBao clients that the app is to see, with commas.
    pub const PASSTHROUGH: &str = "cloudtaser.io/passthrough";
    /// Transit key of `vault:v1:` values.
    pub const TRANSIT_KEY: &str = "cloudtaser.io/transit-key";
    /// Mount of the Transit engine.
    pub const TRANSIT_MOUNT: &str = "cloudtaser.io/transit-mount";
    /// Ciphertexts per request.
    pub const TRANSIT_BATCH: &str = "cloudtaser.io/transit-batch";
    /// Form of the wrapper's log: `text` or `json`.
    pub const LOG_FORMAT: &str = "cloudtaser.io/log-format";
    /// Least important lines of the wrapper's log.
    pub const LOG_LEVEL: &str = "cloudtaser.io/log-level";
    /// Set on a pod that was taken in hand: which containers start under the wrapper.
    pub const WRAPPED: &str = "cloudtaser.io/wrapped";

    /// The wrapper in its own image.
    pub const WRAPPER_IN_IMAGE: &str = "/cloudtaser-wrapper";
    /// Init container that brings the wrapper into the pod.
    pub const DELIVER: &str = "cloudtaser-deliver";
    /// Volume that holds the wrapper, in memory.
    pub const BIN_VOLUME: &str = "cloudtaser-bin";
    /// Where it is in a container.
    pub const BIN_MOUNT: &str = "/cloudtaser/bin";
    /// The wrapper in a container.
    pub const WRAPPER_PATH: &str = "/cloudtaser/bin/cloudtaser-wrapper";
    /// Authorities for OpenBao's certificate, where the operator gave any.
    pub const CA_PATH: &str = "/cloudtaser/bin/ca.pem";
    /// Volume with the token of the login.
    pub const TOKEN_VOLUME: &str = "cloudtaser-token";
    /// Where it is in a container.
    pub const TOKEN_MOUNT: &str = "/cloudtaser/identity";
    /// The token in a container.
    pub const TOKEN_PATH: &str = "/cloudtaser/identity/token";
    /// Volume with the node agent's socket, where a pod asks for it.
    pub const AGENT_VOLUME: &str = "cloudtaser-agent";
    /// Where that is, on the node and in a container: the folder of [`super::AGENT_SOCKET`].
    pub const AGENT_FOLDER: &str = "/run/cloudtaser-agent";
    /// Whom the token is for, unless the operator's configuration says otherwise.
    pub const TOKEN_AUDIENCE: &str = "cloudtaser";
    /// PEM text that `cloudtaser-wrapper deliver` writes beside the wrapper; certificates only.
    pub const ENV_DELIVER_CA: &str = "CLOUDTASER_DELIVER_CA";

    /// Service, deployment, both webhook configurations and the leader's Lease.
    pub const OPERATOR: &str = "cloudtaser-operator";
    /// Namespace of the operator, unless it is installed elsewhere.
    pub const OPERATOR_NAMESPACE: &str = "cloudtaser-system";
    /// Name of the webhook inside its mutating configuration.
    pub const MUTATING_WEBHOOK: &str = "inject.cloudtaser.io";
    /// Name of the webhook inside its validating configuration.
    pub const VALIDATING_WEBHOOK: &str = "wrapped.cloudtaser.io";
    /// Where reviews are mutated.
    pub const MUTATE_PATH: &str = "/mutate";
    /// Where the result is judged.
    pub const VALIDATE_PATH: &str = "/validate";
    /// Whether the operator lives.
    pub const HEALTH_PATH: &str = "/healthz";
    /// Whether it can take reviews: the API server knows its certificate.
    pub const READY_PATH: &str = "/readyz";
    /// Metrics, on an address of their own.
    pub const METRICS_PATH: &str = "/metrics";
    /// Port of the webhook in the operator's pod; the service has it on 443. TLS.
    pub const WEBHOOK_PORT: u16 = 8443;
    /// Port of health, readiness and metrics. Plain HTTP.
    pub const METRICS_PORT: u16 = 9402;
    /// Service of the broker, which is in the operator's pods.
    pub const BROKER: &str = "cloudtaser-broker";
    /// Port of the broker.
    pub const BROKER_PORT: u16 = 7443;
    /// Name of the server that the bridge is, for pods that choose one.
    pub const BRIDGE_SERVER: &str = "bridge";
    /// Where an API server says who it is, as an issuer of tokens.
    pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
    /// Where it shows the keys by which it signs them.
    pub const ISSUER_KEYS_PATH: &str = "/openid/v1/jwks";
    /// Secret with the cluster's key and what a bridge gave it.
    pub const CLUSTER_SECRET: &str = "cloudtaser-cluster";
    /// Secret with an invitation, for as long as it was not used.
    pub const INVITATION_SECRET: &str = "cloudtaser-invitation";
    /// The field in it.
    pub const INVITATION_FIELD: &str = "invitation";
    /// Lease on which the operator says how the cluster stands with its bridge.
    pub const ENROLMENT_LEASE: &str = "cloudtaser-enrolment";
    /// Annotation of that Lease: where it stands, as JSON.
    pub const ENROLMENT: &str = "cloudtaser.io/enrolment";
    /// Configuration of the operator, from a ConfigMap.
    pub const OPERATOR_CONFIG: &str = "/etc/cloudtaser/operator.toml";
}

/// More arguments of an agent that runs `from-node`, as a JSON array of strings.
pub const ENV_AGENT_ARGUMENTS: &str = "CLOUDTASER_AGENT_ARGUMENTS";

/// Metrics of the node agent.
pub mod agent_metrics {
    /// 1 at the state that holds, by `state` and `tier`.
    pub const STATE: &str = "cloudtaser_agent_state";
    /// Reasons why the state is not better.
    pub const REASONS: &str = "cloudtaser_agent_state_reasons";
    /// 1 at what came of a road in the canary's last round, by `road` and `outcome`.
    pub const ROAD: &str = "cloudtaser_agent_road";
    /// Since the canary's last round.
    pub const CANARY_AGE: &str = "cloudtaser_agent_canary_age_seconds";
    /// Verdicts, the canary's included, by `hook`, `action` and `tier`.
    pub const VERDICTS: &str = "cloudtaser_agent_verdicts_total";
    /// Denials that found no room in the kernel's buffer.
    pub const LOST: &str = "cloudtaser_agent_reports_lost_total";
    /// Attached programs.
    pub const PROGRAMS: &str = "cloudtaser_agent_programs";
    /// Runs that the kernel skipped, so that something was not judged.
    pub const SKIPPED: &str = "cloudtaser_agent_program_runs_skipped_total";
    /// Instructions that the verifier walked, by `program`.
    pub const VERIFIED: &str = "cloudtaser_agent_program_verified_instructions";
    /// Programs of others on a hook of ours, by `hook` and by whether they are `asked` before ours.
    pub const OTHERS: &str = "cloudtaser_agent_other_programs";
    /// Programs on a hook that is shared, ours included, by `hook`.
    pub const ON_HOOK: &str = "cloudtaser_agent_hook_programs";
    /// Programs of others that can read the memory of processes, by whether that is `known`.
    pub const READERS: &str = "cloudtaser_agent_other_readers";
    /// Loaders of the node that were replaced since the programs were loaded, and are refused.
    pub const UNLISTED: &str = "cloudtaser_agent_unlisted_loaders";
    /// Guarded processes, the agent and its canary included.
    pub const GUARDED: &str = "cloudtaser_agent_guarded_processes";
    /// How many the table holds.
    pub const CAPACITY: &str = "cloudtaser_agent_guarded_processes_limit";
    /// Children of guarded processes that did not fit.
    pub const UNGUARDED: &str = "cloudtaser_agent_unguarded_children_total";
    /// Audit records that were numbered.
    pub const RECORDS: &str = "cloudtaser_agent_audit_records_total";
    /// Denials without a record, by the limit per source.
    pub const SUPPRESSED: &str = "cloudtaser_agent_audit_suppressed_total";
    /// Records that a sink did not get, by `sink`.
    pub const DROPPED: &str = "cloudtaser_agent_audit_dropped_total";
    /// Requests to the hook, by `outcome`.
    pub const POSTS: &str = "cloudtaser_agent_audit_posts_total";
    /// What waits for the hook.
    pub const SPOOL: &str = "cloudtaser_agent_audit_spool_bytes";
}

/// Label of a pod that asks for secrets; `"true"` does.
pub const LABEL_INJECT: &str = kubernetes::INJECT;

/// Where the wrapper lies in a pod that it was put into.
pub const POD_WRAPPER: &str = kubernetes::WRAPPER_PATH;

/// Where such a pod has authorities for OpenBao's certificate.
pub const POD_CA: &str = kubernetes::CA_PATH;

/// Where such a pod has the token of the login.
pub const POD_TOKEN: &str = kubernetes::TOKEN_PATH;

/// Where any pod has its ServiceAccount's token; a wrapper that nobody injected logs in with it.
pub const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The node agent's program in its own container.
pub const POD_AGENT: &str = "/cloudtaser-agent";

/// Metrics of the operator.
pub mod operator_metrics {
    /// Reviews, by `path` and `outcome`.
    pub const REVIEWS: &str = "cloudtaser_operator_reviews";
    /// How long a review took, by `path`; registries are included.
    pub const REVIEW_SECONDS: &str = "cloudtaser_operator_review_seconds";
    /// Pods that were refused, by `kind`.
    pub const REFUSALS: &str = "cloudtaser_operator_refusals";
    /// Look-ups of what an image starts, by `outcome`.
    pub const IMAGES: &str = "cloudtaser_operator_image_lookups";
    /// Connections that are open.
    pub const CONNECTIONS: &str = "cloudtaser_operator_connections";
    /// Handshakes that did not come about.
    pub const HANDSHAKES_FAILED: &str = "cloudtaser_operator_tls_handshakes_failed";
    /// 1 once the API server knows this replica's certificate.
    pub const READY: &str = "cloudtaser_operator_ready";
    /// 1 at the replica that writes what the API server trusts.
    pub const LEADER: &str = "cloudtaser_operator_leader";
    /// When this replica's certificate ends, in seconds since 1970.
    pub const CERTIFICATE_END: &str = "cloudtaser_operator_certificate_not_after_seconds";
    /// Certificates that were taken into use.
    pub const ROTATIONS: &str = "cloudtaser_operator_certificate_rotations";
    /// Times that what the API server trusts was written.
    pub const BUNDLE_WRITES: &str = "cloudtaser_operator_ca_bundle_writes";
    /// Opted-in pods by `standing`, as the leader saw them last.
    pub const PODS: &str = "cloudtaser_operator_pods";
    /// Requests to the API server that failed.
    pub const API_FAILURES: &str = "cloudtaser_operator_api_failures";
}
