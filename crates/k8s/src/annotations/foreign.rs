//! What the annotations of other injectors mean here.
//!
//! The families: bank-vaults (`secrets-webhook.security.bank-vaults.io/`, and the older
//! `vault.security.banzaicloud.io/`), and the agent injectors (`openbao.org/`, and
//! `vault.hashicorp.com/`). `docs/guide/kubernetes.md` has the same table for people.

use cloudtaser_core::names::kubernetes as names;

/// What one annotation of another injector means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Foreign {
    /// It has no effect here, and needs none.
    Nothing,
    /// It would be wrong to go on: what to write instead.
    Refused(&'static str),
    /// The same as one of ours.
    Same(&'static str),
    /// Nobody knows it.
    Unknown,
    /// It has no effect here, which its author should know.
    Warned(&'static str),
}

/// Prefixes of one family, the stronger one first, and what its suffixes mean.
pub(crate) struct Family {
    pub(crate) prefixes: &'static [&'static str],
    pub(crate) meaning: fn(&str) -> Foreign,
}

/// All families that are understood.
pub(crate) const FAMILIES: &[Family] = &[
    Family {
        prefixes: &["secrets-webhook.security.bank-vaults.io/", "vault.security.banzaicloud.io/"],
        meaning: bank_vaults,
    },
    Family { prefixes: &["openbao.org/", "vault.hashicorp.com/"], meaning: agent_injector },
];

const BY_OPERATOR: &str =
    "remove it; the operator's configuration decides this ([[server]], [wrapper])";
const AGENT_CONFIG: &str = "agents with a configuration of their own are not run; write \
     cloudtaser.io/file.NAME: vault:PATH#FIELD for each file";
const RENDERED: &str = "files are not rendered to a volume; write \
     cloudtaser.io/file.NAME: vault:PATH#FIELD, and the app opens /run/cloudtaser/NAME";

fn bank_vaults(suffix: &str) -> Foreign {
    let bare = suffix.strip_prefix("vault-").or_else(|| suffix.strip_prefix("bao-"));
    match bare.unwrap_or(suffix) {
        "addr" => Foreign::Same(names::SERVER),
        "role" => Foreign::Same(names::ROLE),
        "path" => Foreign::Same(names::AUTH_MOUNT),
        "auth-method" => Foreign::Same(names::AUTH_METHOD),
        "namespace" => Foreign::Same(names::NAMESPACE),
        "skip-verify" => Foreign::Same(names::SKIP_VERIFY),
        "client-timeout" => Foreign::Same(names::DEADLINE),
        "ignore-missing-secrets" => Foreign::Same(names::IGNORE_MISSING),
        "env-from-path" | "from-path" => Foreign::Same(names::FROM),
        "env-passthrough" | "passthrough" => Foreign::Same(names::PASSTHROUGH),
        "env-delay" | "secret-init-delay" => Foreign::Same(names::DELAY),
        "enable-json-log" | "env-json-log" | "secret-init-json-log" => {
            Foreign::Same(names::LOG_FORMAT)
        }
        "log-level" | "env-log-level" | "secret-init-log-level" => Foreign::Same(names::LOG_LEVEL),
        "mutate-probes" => Foreign::Same(names::PROBES),
        "transit-key-id" => Foreign::Same(names::TRANSIT_KEY),
        "transit-path" => Foreign::Same(names::TRANSIT_MOUNT),
        "transit-batch-size" => Foreign::Same(names::TRANSIT_BATCH),
        // The label opts in, and the wrapper always stays as the parent.
        "mutate" | "env-daemon" | "secret-init-daemon" => Foreign::Nothing,
        "run-as-user"
        | "run-as-group"
        | "run-as-non-root"
        | "readonly-root-fs"
        | "psp-allow-privilege-escalation" => Foreign::Nothing,
        "tls-secret"
        | "registry-skip-verify"
        | "env-image"
        | "env-image-pull-policy"
        | "image"
        | "image-pull-policy"
        | "secret-init-image"
        | "secret-init-image-pull-policy"
        | "serviceaccount"
        | "service-account-token-volume-name" => Foreign::Warned(BY_OPERATOR),
        "token-auth-mount" => {
            Foreign::Refused("a pod logs in with its own token; remove this annotation")
        }
        rest if rest.starts_with("agent")
            || rest.starts_with("ct-")
            || rest == "configfile-path" =>
        {
            Foreign::Refused(AGENT_CONFIG)
        }
        _ => Foreign::Unknown,
    }
}

fn agent_injector(suffix: &str) -> Foreign {
    match suffix {
        "service" => Foreign::Same(names::SERVER),
        "role" => Foreign::Same(names::ROLE),
        "auth-path" => Foreign::Same(names::AUTH_MOUNT),
        "auth-type" => Foreign::Same(names::AUTH_METHOD),
        "namespace" => Foreign::Same(names::NAMESPACE),
        "tls-skip-verify" => Foreign::Same(names::SKIP_VERIFY),
        "client-timeout" => Foreign::Same(names::DEADLINE),
        "agent-inject-containers" => Foreign::Same(names::CONTAINERS),
        "log-format" => Foreign::Same(names::LOG_FORMAT),
        "log-level" => Foreign::Same(names::LOG_LEVEL),
        "template-static-secret-render-interval" => Foreign::Same(names::ROTATE_EVERY),
        "agent-inject" | "agent-inject-status" => Foreign::Warned(
            "the label cloudtaser.io/inject opts a pod in; where the agent injector runs too, \
             it acts on this pod as well",
        ),
        "ca-cert"
        | "ca-key"
        | "tls-secret"
        | "tls-server-name"
        | "client-cert"
        | "client-key"
        | "agent-image"
        | "agent-service-account-token-volume-name" => Foreign::Warned(BY_OPERATOR),
        "agent-inject-token" => Foreign::Refused("the token of the login is in no file"),
        "client-max-retries"
        | "agent-init-first"
        | "agent-pre-populate"
        | "agent-pre-populate-only"
        | "agent-revoke-on-shutdown"
        | "agent-revoke-grace"
        | "template-lease-renewal-threshold"
        | "template-max-connections-per-host"
        | "agent-set-security-context"
        | "agent-share-process-namespace"
        | "agent-json-patch"
        | "agent-init-json-patch"
        | "agent-copy-volume-mounts"
        | "preserve-secret-case"
        | "go-max-procs"
        | "agent-disable-idle-connections"
        | "agent-disable-keep-alives" => Foreign::Nothing,
        rest => agent_injector_family(rest),
    }
}

/// Suffixes that end in a name that the author chose.
fn agent_injector_family(suffix: &str) -> Foreign {
    const NOTHING: &[&str] = &[
        "agent-auto-auth-",
        "agent-cache-",
        "agent-enable-quit",
        "agent-limits-",
        "agent-requests-",
        "agent-run-as-",
        "agent-telemetry-",
        "error-on-missing-key-",
    ];
    const RENDERING: &[&str] = &[
        "agent-configmap",
        "agent-inject-command-",
        "agent-inject-default-template",
        "agent-inject-file-",
        "agent-inject-perms-",
        "agent-inject-secret-",
        "agent-inject-template-",
        "secret-volume-path",
    ];
    let is_one_of = |list: &[&str]| list.iter().any(|start| suffix.starts_with(start));
    if is_one_of(NOTHING) {
        Foreign::Nothing
    } else if is_one_of(RENDERING) {
        Foreign::Refused(RENDERED)
    } else if suffix.starts_with("auth-config-") {
        Foreign::Refused("logins other than kubernetes, jwt, approle and cert are not made here")
    } else {
        Foreign::Unknown
    }
}
