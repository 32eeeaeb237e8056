//! Credentials from a program that a kubeconfig names, as cloud providers have them
//! (`client.authentication.k8s.io`).

use std::{
    env, fmt,
    io::IsTerminal as _,
    path::Path,
    process::{Command, Stdio},
};

use cloudtaser_core::Secret;
use cloudtaser_tls::Identity;
use serde::Deserialize;
use serde_json::json;
use zeroize::{Zeroize as _, Zeroizing};

use super::{error::ClusterError, kubeconfig::Credentials};

/// What to run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exec {
    #[serde(default)]
    api_version: String,
    command: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<Variable>>,
    #[serde(default)]
    install_hint: Option<String>,
}

/// A variable of its environment.
#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variable").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Answer {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Exec {
    /// Runs it; what it says on standard error goes to the user, who may have to log in.
    pub(super) fn run(&self, folder: &Path, server: &str) -> Result<Credentials, ClusterError> {
        let failed = |what: String| ClusterError::Plugin { command: self.command.clone(), what };
        // A path in it is relative to the kubeconfig; a bare name is looked up.
        let relative = self.command.contains('/') && !self.command.starts_with('/');
        let program =
            if relative { folder.join(&self.command) } else { self.command.clone().into() };
        let asked = json!({
            "apiVersion": self.api_version,
            "kind": "ExecCredential",
            "spec": {
                "interactive": std::io::stdin().is_terminal(),
                "cluster": { "server": server },
            },
        });
        let mut command = Command::new(program);
        command.args(self.args.iter().flatten()).env("KUBERNETES_EXEC_INFO", asked.to_string());
        for variable in self.env.iter().flatten() {
            command.env(&variable.name, &variable.value);
        }
        if env::var_os("PATH").is_none() {
            command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        }
        let output = command.stderr(Stdio::inherit()).output().map_err(|error| {
            let hint = self.install_hint.as_deref().unwrap_or_default().trim();
            failed(format!("cannot be run: {error} {hint}").trim_end().to_owned())
        })?;
        let text = Zeroizing::new(output.stdout);
        if !output.status.success() {
            return Err(failed(format!("ended with {}", output.status)));
        }
        parse(&text).map_err(|what| failed(what.to_owned()))
    }
}

fn parse(text: &[u8]) -> Result<Credentials, &'static str> {
    // SECURITY: an error of the parser may quote what it read.
    let answer: Answer = serde_json::from_slice(text).ok().ok_or("gave no ExecCredential")?;
    let mut status = answer.status.ok_or("gave an ExecCredential without a status")?;
    let token = status.token.take().map(Secret::from);
    let identity = match (&status.client_certificate_data, status.client_key_data.take()) {
        (Some(chain), Some(key)) => {
            let key = Secret::from(key);
            let identity = Identity::from_pem(chain.as_bytes(), &key).ok();
            Some(identity.ok_or("gave a certificate or key that cannot be used")?)
        }
        (None, None) => None,
        (_, mut key) => {
            key.zeroize();
            return Err("gave a certificate without a key, or the reverse");
        }
    };
    if token.is_none() && identity.is_none() {
        return Err("gave neither a token nor a certificate");
    }
    Ok(Credentials { identity, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken() {
        let text =
            br#"{"kind":"ExecCredential","status":{"token":"abc","expirationTimestamp":"x"}}"#;
        assert_eq!(parse(text).unwrap().token.unwrap().expose(), b"abc");
    }

    #[test]
    fn nothing_of_a_broken_answer_is_repeated() {
        for text in [&b"hunter2"[..], br#"{"status":{"token":["hunter2"]}}"#, b"{}"] {
            assert!(!parse(text).unwrap_err().contains("hunter2"));
        }
        assert!(parse(br#"{"status":{}}"#).unwrap_err().contains("neither"));
    }

    #[test]
    fn a_program_that_is_not_there_comes_with_its_hint() {
        let exec: Exec = serde_json::from_value(json!({
            "command": "/nowhere/login", "installHint": "install it so",
        }))
        .unwrap();
        let error = exec.run(Path::new("."), "https://k").unwrap_err().to_string();
        assert!(error.contains("/nowhere/login") && error.ends_with("install it so"), "{error}");
    }

    #[test]
    fn what_it_prints_is_read() {
        let exec: Exec = serde_json::from_value(json!({
            "command": "/bin/sh",
            "args": ["-c", "echo '{\"status\":{\"token\":\"'$X'\"}}'"],
            "env": [{ "name": "X", "value": "from-plugin" }],
        }))
        .unwrap();
        let token = exec.run(Path::new("."), "https://k").unwrap().token.unwrap();
        assert_eq!(token.expose(), b"from-plugin");
    }
}
