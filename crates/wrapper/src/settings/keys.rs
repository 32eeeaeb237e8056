//! Which variables are ours, and so never reach the app.

use cloudtaser_core::names;

use super::Environment;

/// Variables that hold a credential by value: wiped from our own environment block, and never
/// passed on unless asked for by name.
pub(crate) const CREDENTIALS: &[&str] = &[
    "BAO_PASSWORD",
    "BAO_SECRET_ID",
    "BAO_TOKEN",
    "BAO_WRAPPED_SECRET_ID",
    "BAO_WRAPPED_TOKEN",
    "CLOUDTASER_PASSWORD",
    "CLOUDTASER_SECRET_ID",
    "CLOUDTASER_TOKEN",
    "CLOUDTASER_WRAPPED_SECRET_ID",
    "CLOUDTASER_WRAPPED_TOKEN",
    "VAULT_PASSWORD",
    "VAULT_SECRET_ID",
    "VAULT_TOKEN",
    "VAULT_WRAPPED_SECRET_ID",
    "VAULT_WRAPPED_TOKEN",
];

/// What vault-env, secret-init and OpenBao's own client read, behind `VAULT_` or `BAO_`.
const CLIENT_KEYS: &[&str] = &[
    "ADDR",
    "ADDRESS",
    "AUTH_METHOD",
    "AUTH_MOUNT",
    "CACERT",
    "CAPATH",
    "CLIENT_CERT",
    "CLIENT_KEY",
    "CLIENT_TIMEOUT",
    "DEADLINE",
    "DELAY",
    "ENV_DAEMON",
    "ENV_DELAY",
    "ENV_FROM_PATH",
    "ENV_PASSTHROUGH",
    "FROM",
    "FROM_PATH",
    "IGNORE_MISSING_SECRETS",
    "JSON_LOG",
    "JWT_FILE",
    "LOG_LEVEL",
    "MAX_RETRIES",
    "NAMESPACE",
    "PASSTHROUGH",
    "PASSWORD",
    "PASSWORD_FILE",
    "PATH",
    "REVOKE_TOKEN",
    "ROLE",
    "ROLE_ID",
    "ROLE_ID_FILE",
    "SECRET_ID",
    "SECRET_ID_FILE",
    "SKIP_VERIFY",
    "SPKI_PIN",
    "TLS_SERVER_NAME",
    "TOKEN",
    "TOKEN_FILE",
    "TRANSIT_BATCH_SIZE",
    "TRANSIT_KEY_ID",
    "TRANSIT_PATH",
    "USERNAME",
    "WRAPPED_SECRET_ID",
    "WRAPPED_SECRET_ID_FILE",
    "WRAPPED_TOKEN",
    "WRAPPED_TOKEN_FILE",
];

const OTHERS: &[&str] = &[
    "KUBERNETES_SERVICE_ACCOUNT_TOKEN",
    "SECRET_INIT_DAEMON",
    "SECRET_INIT_DELAY",
    "SECRET_INIT_JSON_LOG",
    "SECRET_INIT_LOG_LEVEL",
];

/// Whether a variable configures the wrapper rather than the app.
pub(crate) fn is_client_variable(name: &[u8]) -> bool {
    if name.starts_with(names::ENV_PREFIX.as_bytes()) {
        return true;
    }
    let key = name.strip_prefix(b"VAULT_").or_else(|| name.strip_prefix(b"BAO_"));
    match key {
        Some(key) => CLIENT_KEYS.iter().any(|known| known.as_bytes() == key),
        None => OTHERS.iter().any(|known| known.as_bytes() == name),
    }
}

/// What is left for the app: all that is not ours, what was asked to be passed on, and a token
/// variable that asks for the login's token.
pub(super) fn for_app(environment: Environment, passthrough: &[String]) -> Environment {
    let asked = |name: &[u8]| passthrough.iter().any(|asked| asked.as_bytes() == name);
    let login = |name: &[u8], value: &[u8]| {
        matches!(name, b"VAULT_TOKEN" | b"BAO_TOKEN")
            && matches!(value, b"vault:login" | b"bao:login")
    };
    environment
        .into_iter()
        .filter(|(name, value)| !is_client_variable(name) || asked(name) || login(name, value))
        .collect()
}
