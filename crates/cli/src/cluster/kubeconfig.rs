//! Where a cluster is and as whom it is asked, as kubectl reads it.
//!
//! A kubeconfig holds credentials: nothing of its text is in an error, and it is wiped after use.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use cloudtaser_core::Secret;
use cloudtaser_tls::{Authorities, Identity, SkipVerify, Trust};
use data_encoding::BASE64;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{ClusterArgs, error::ClusterError, plugin};

/// Where to go, and as whom.
#[derive(Debug)]
pub(crate) struct Access {
    /// Name of the context.
    pub(crate) context: String,
    /// `https://HOST:PORT`, without a slash at the end.
    pub(crate) server: String,
    pub(crate) trust: Trust,
    pub(crate) server_name: Option<String>,
    pub(crate) identity: Option<Identity>,
    pub(crate) token: Option<Secret>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    current_context: Option<String>,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: ClusterEntry,
    /// The folder that its relative paths begin at.
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Debug, Deserialize)]
struct NamedContext {
    name: String,
    context: ContextEntry,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    name: String,
    user: UserEntry,
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Debug, Deserialize)]
struct ContextEntry {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct ClusterEntry {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct UserEntry {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<Held>,
    token: Option<Held>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    exec: Option<plugin::Exec>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

/// Text that is wiped.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Held(Zeroizing<String>);

impl From<String> for Held {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held(redacted)")
    }
}

/// Reads the files that `args` and the environment name.
pub(crate) fn access(args: &ClusterArgs) -> Result<Access, ClusterError> {
    let mut all = File::default();
    let paths = paths(args)?;
    for path in &paths {
        let more = read(path)?;
        all.current_context = all.current_context.or(more.current_context);
        // The first of a name counts, as kubectl merges.
        all.clusters.extend(more.clusters);
        all.contexts.extend(more.contexts);
        all.users.extend(more.users);
    }
    let shown = || paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
    let no = |what: String| ClusterError::Kubeconfig { path: shown(), what };
    let context = args.context.clone().or(all.current_context).filter(|name| !name.is_empty());
    let context =
        context.ok_or_else(|| no("names no current context: choose one with --context".into()))?;
    let entry = all.contexts.iter().find(|each| each.name == context);
    let entry = entry.ok_or_else(|| no(format!("has no context `{context}`")))?;
    let name = &entry.context.cluster;
    let cluster = all.clusters.iter().find(|each| each.name == *name);
    let cluster = cluster.ok_or_else(|| no(format!("has no cluster `{name}`")))?;
    let name = &entry.context.user;
    let user = all.users.iter().find(|each| each.name == *name);
    if user.is_none() && !name.is_empty() {
        return Err(no(format!("has no user `{name}`")));
    }
    cluster.access(context, user).map_err(|error| match error {
        Slip::What(what) => no(what),
        Slip::Other(error) => error,
    })
}

/// What is wrong, before the file's name is known.
enum Slip {
    What(String),
    Other(ClusterError),
}

impl From<ClusterError> for Slip {
    fn from(error: ClusterError) -> Self {
        Self::Other(error)
    }
}

impl NamedCluster {
    fn access(&self, context: String, user: Option<&NamedUser>) -> Result<Access, Slip> {
        let entry = &self.cluster;
        let server = entry.server.trim_end_matches('/').to_owned();
        let name = &self.name;
        if !server.starts_with("https://") {
            let what = format!("cluster `{name}`: server is not https://…");
            return Err(Slip::What(what));
        }
        if entry.proxy_url.is_some() {
            let what = format!("cluster `{name}`: proxy-url is not supported: use a tunnel");
            return Err(Slip::What(what));
        }
        let credentials = match user {
            Some(user) => user.credentials(&server)?,
            None => Credentials::default(),
        };
        Ok(Access {
            context,
            server,
            trust: self.trust()?,
            server_name: entry.tls_server_name.clone(),
            identity: credentials.identity,
            token: credentials.token,
        })
    }

    fn trust(&self) -> Result<Trust, Slip> {
        let entry = &self.cluster;
        if entry.insecure_skip_tls_verify {
            // Its owner wrote these words; the client says at each use what they mean.
            return Ok(Trust::SkipVerify(SkipVerify::anyone_may_answer()));
        }
        let source = match (&entry.certificate_authority_data, &entry.certificate_authority) {
            (Some(data), _) => {
                Authorities::Pem(decoded(data, "certificate-authority-data")?.to_vec())
            }
            (None, Some(path)) => Authorities::File(self.folder.join(path)),
            (None, None) => Authorities::System,
        };
        Ok(Trust::Authorities { sources: vec![source], pins: Vec::new() })
    }
}

/// What proves who asks.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    pub(super) identity: Option<Identity>,
    pub(super) token: Option<Secret>,
}

impl NamedUser {
    fn credentials(&self, server: &str) -> Result<Credentials, Slip> {
        let entry = &self.user;
        let name = &self.name;
        if entry.auth_provider.is_some() {
            let what = "auth-provider is gone from Kubernetes: use its exec plugin";
            return Err(Slip::What(format!("user `{name}`: {what}")));
        }
        if entry.username.is_some() {
            let what = "API servers take no passwords any more: use a token or a certificate";
            return Err(Slip::What(format!("user `{name}`: {what}")));
        }
        if let Some(exec) = &entry.exec {
            return Ok(exec.run(&self.folder, server)?);
        }
        let file = |path: &PathBuf| {
            let path = self.folder.join(path);
            fs::read(&path).map(Zeroizing::new).map_err(|source| {
                Slip::Other(ClusterError::Read { path: path.display().to_string(), source })
            })
        };
        let chain = match (&entry.client_certificate_data, &entry.client_certificate) {
            (Some(data), _) => Some(decoded(data, "client-certificate-data")?),
            (None, Some(path)) => Some(file(path)?),
            (None, None) => None,
        };
        let key = match (&entry.client_key_data, &entry.client_key) {
            (Some(data), _) => Some(decoded(&data.0, "client-key-data")?),
            (None, Some(path)) => Some(file(path)?),
            (None, None) => None,
        };
        let identity = match (chain, key) {
            (Some(chain), Some(key)) => {
                let key = Secret::new(key.to_vec());
                Some(Identity::from_pem(&chain, &key).map_err(ClusterError::Tls)?)
            }
            (None, None) => None,
            _ => {
                let what = "a client certificate and its key are needed together";
                return Err(Slip::What(format!("user `{name}`: {what}")));
            }
        };
        let token = match (&entry.token, &entry.token_file) {
            // The file is fresher, and kubectl prefers it.
            (_, Some(path)) => Some(trimmed(&file(path)?)),
            (Some(token), None) => Some(trimmed(token.0.as_bytes())),
            (None, None) => None,
        };
        Ok(Credentials { identity, token })
    }
}

fn trimmed(bytes: &[u8]) -> Secret {
    Secret::new(bytes.trim_ascii().to_vec())
}

fn decoded(text: &str, field: &str) -> Result<Zeroizing<Vec<u8>>, Slip> {
    let bytes = BASE64.decode(text.trim().as_bytes());
    bytes.map(Zeroizing::new).ok().ok_or_else(|| Slip::What(format!("{field} is no base64")))
}

fn paths(args: &ClusterArgs) -> Result<Vec<PathBuf>, ClusterError> {
    if let Some(path) = &args.kubeconfig {
        return Ok(vec![path.clone()]);
    }
    if let Some(list) = env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        // Files of the list that are not there are passed over, as kubectl does.
        let paths: Vec<_> = env::split_paths(&list).filter(|path| path.is_file()).collect();
        if paths.is_empty() {
            let path = list.to_string_lossy().into_owned();
            return Err(ClusterError::Kubeconfig { path, what: "is not there".to_owned() });
        }
        return Ok(paths);
    }
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
    home.filter(|path| path.is_file()).map(|path| vec![path]).ok_or(ClusterError::NoKubeconfig)
}

fn read(path: &Path) -> Result<File, ClusterError> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| ClusterError::Read { path: shown.clone(), source })?;
    let mut file = parse(&text).map_err(|what| ClusterError::Kubeconfig { path: shown, what })?;
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    for cluster in &mut file.clusters {
        cluster.folder.clone_from(&folder);
    }
    for user in &mut file.users {
        user.folder.clone_from(&folder);
    }
    Ok(file)
}

fn parse(text: &str) -> Result<File, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        // SECURITY: the message may quote the line, and the line may be a key.
        let at = error.location().map(|at| format!(" (line {})", at.line())).unwrap_or_default();
        format!("is no kubeconfig{at}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, ClusterArgs) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        fs::write(&path, text).unwrap();
        (folder, ClusterArgs { kubeconfig: Some(path), context: None })
    }

    fn config(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\npreferences: {{}}\ncontexts:\n\
             - {{ name: c, context: {{ cluster: k, user: u, namespace: n }} }}\nclusters:\n- name: k\n  \
             cluster: {cluster}\nusers:\n- name: u\n  user: {user}\n"
        )
    }

    fn refused(cluster: &str, user: &str) -> String {
        let (_folder, args) = written(&config(cluster, user));
        access(&args).unwrap_err().to_string()
    }

    #[test]
    fn a_token_and_the_systems_authorities_are_enough() {
        let (_folder, args) = written(&config("{ server: 'https://k:6443/' }", "{ token: 'abc' }"));
        let access = access(&args).unwrap();
        assert_eq!((access.server.as_str(), access.context.as_str()), ("https://k:6443", "c"));
        assert_eq!(access.token.unwrap().expose(), b"abc");
    }

    #[test]
    fn relative_files_are_beside_the_kubeconfig() {
        let (folder, args) = written(&config("{ server: 'https://k' }", "{ tokenFile: t }"));
        fs::write(folder.path().join("t"), "fresh\n").unwrap();
        assert_eq!(access(&args).unwrap().token.unwrap().expose(), b"fresh");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_name() {
        let https = "{ server: 'https://k' }";
        for (cluster, user, words) in [
            ("{ server: 'http://k' }", "{}", "cluster `k`: server is not https"),
            ("{ server: 'https://k', proxy-url: 'http://p' }", "{}", "proxy-url"),
            (https, "{ username: a, password: b }", "no passwords"),
            (https, "{ auth-provider: { name: gcp } }", "exec plugin"),
            (https, "{ client-certificate-data: '%' }", "client-certificate-data is no base64"),
            (https, "{ client-certificate-data: 'YQ==' }", "needed together"),
        ] {
            let error = refused(cluster, user);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn no_text_of_the_file_is_in_an_error() {
        let error = refused("{ server: 'https://k' }", "{ token: [hunter2] }");
        assert!(error.contains("is no kubeconfig (line"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_missing_context_is_named() {
        let (_folder, mut args) = written(&config("{ server: 'https://k' }", "{}"));
        args.context = Some("prod".to_owned());
        assert!(access(&args).unwrap_err().to_string().contains("has no context `prod`"));
    }
}
