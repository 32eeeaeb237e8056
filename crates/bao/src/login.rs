//! Ways to log in, as requests without sending them.

use std::{fs, io::Read as _, path::PathBuf};

use cloudtaser_core::Secret;
use zeroize::Zeroizing;

use crate::{
    carried::BRIDGE,
    error::{BaoError, Failure, Operation},
    json::Object,
    request::Request,
};

/// A credential file larger than this is not one.
const MAX_CREDENTIAL_LEN: u64 = 64 << 10;

/// How to log in, and where.
#[derive(Debug)]
pub struct Login {
    /// How.
    pub method: Method,
    /// Where the auth method is mounted, if not under its own name. A leading `auth/` is ignored.
    pub mount: Option<String>,
    /// In which namespace, if not in the client's.
    pub namespace: Option<String>,
}

/// The ways to log in.
#[derive(Debug)]
#[non_exhaustive]
pub enum Method {
    /// A role and its secret.
    AppRole {
        /// The role's identifier.
        role_id: Credential,
        /// The role's secret, which some roles do without.
        secret_id: SecretId,
    },
    /// The client certificate of the TLS connection.
    Cert {
        /// The role, where the certificate fits more than one.
        role: Option<String>,
    },
    /// A JSON Web Token that OpenBao verifies by itself.
    Jwt {
        /// The role; the mount's default when absent.
        role: Option<String>,
        /// The token.
        jwt: Credential,
    },
    /// A service account's token, reviewed by the cluster's API server.
    Kubernetes {
        /// The role.
        role: String,
        /// The token.
        jwt: Credential,
    },
    /// A token of OpenBao.
    Token(Credential),
    /// A name and a password.
    UserPass {
        /// The name.
        user: String,
        /// The password.
        password: Credential,
    },
    /// A token of OpenBao inside a wrapping token.
    WrappedToken(Credential),
}

/// The secret of an `AppRole`.
#[derive(Debug)]
pub enum SecretId {
    /// The role is bound in other ways.
    None,
    /// As it is.
    Plain(Credential),
    /// Inside a wrapping token.
    Wrapped(Credential),
}

/// Where a credential comes from.
#[derive(Debug)]
pub enum Credential {
    /// A file, which is read anew at each login, since projected tokens change.
    File(PathBuf),
    /// The value itself.
    Value(Secret),
}

impl Credential {
    /// The credential, for a bridge that logs in with it.
    ///
    /// # Errors
    /// [`BaoError`], where it cannot be read.
    pub fn read(&self) -> Result<Secret, BaoError> {
        self.load().map_err(|failure| BaoError::new(Operation::Login(BRIDGE), None, failure))
    }

    /// The credential, without blanks around it.
    pub(crate) fn load(&self) -> Result<Secret, Failure> {
        let bytes = match self {
            Self::File(path) => {
                let failed = |source| self.unusable("cannot be read", Some(source));
                let mut file = fs::File::open(path).map_err(failed)?.take(MAX_CREDENTIAL_LEN + 1);
                // The capacity holds all that `take` lets through, so no copy is left behind.
                let capacity = usize::try_from(MAX_CREDENTIAL_LEN).unwrap_or(0) + 64;
                let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
                file.read_to_end(&mut bytes).map_err(failed)?;
                Secret::new(bytes.trim_ascii().to_vec())
            }
            Self::Value(value) => Secret::new(value.expose().trim_ascii().to_vec()),
        };
        if bytes.is_empty() {
            return Err(self.unusable("is empty", None));
        }
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_CREDENTIAL_LEN {
            return Err(self.unusable("is too long", None));
        }
        match bytes.expose_str() {
            Some(_) => Ok(bytes),
            None => Err(self.unusable("is not UTF-8 text", None)),
        }
    }

    /// As [`Credential::load`], for what travels in a header.
    pub(crate) fn load_token(&self) -> Result<Secret, Failure> {
        let token = self.load()?;
        if token.expose().iter().all(u8::is_ascii_graphic) {
            Ok(token)
        } else {
            Err(self.unusable("has characters that a token cannot have", None))
        }
    }

    fn unusable(&self, reason: &'static str, source: Option<std::io::Error>) -> Failure {
        let path = match self {
            Self::File(path) => Some(path.clone()),
            Self::Value(_) => None,
        };
        Failure::Credential { path, reason, source }
    }
}

impl Login {
    /// A login at the method's usual mount, in the client's namespace.
    #[must_use]
    pub const fn new(method: Method) -> Self {
        Self { method, mount: None, namespace: None }
    }

    pub(crate) const fn operation(&self) -> Operation {
        Operation::Login(self.method.name())
    }

    /// The mount, without `auth/`.
    pub(crate) fn mount(&self) -> &str {
        let named = self.mount.as_deref().map(|mount| {
            let mount = mount.trim_matches('/');
            mount.strip_prefix("auth/").unwrap_or(mount)
        });
        named.filter(|mount| !mount.is_empty()).unwrap_or_else(|| self.method.name())
    }

    /// The request for what is posted to the method's login path.
    pub(crate) fn request(&self, user: Option<&str>, body: Object) -> Request {
        let user = user.map_or(String::new(), |user| format!("/{user}"));
        let path = format!("auth/{}/login{user}", self.mount());
        Request::post(self.operation(), path, body.finish()).in_namespace(self.namespace.as_deref())
    }
}

impl Method {
    /// The name of the method, which is also its usual mount.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AppRole { .. } => "approle",
            Self::Cert { .. } => "cert",
            Self::Jwt { .. } => "jwt",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Token(_) => "token",
            Self::UserPass { .. } => "userpass",
            Self::WrappedToken(_) => "wrapped token",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Credential {
        Credential::Value(Secret::from(text.to_owned()))
    }

    #[test]
    fn the_mount_is_the_methods_name_or_what_is_said_without_auth() {
        let mut login = Login::new(Method::Kubernetes { role: "r".into(), jwt: value("j") });
        for (said, mount) in [
            (None, "kubernetes"),
            (Some("auth/eu/k8s/"), "eu/k8s"),
            (Some("k8s"), "k8s"),
            (Some(""), "kubernetes"),
        ] {
            login.mount = said.map(str::to_owned);
            assert_eq!(login.mount(), mount);
        }
        assert_eq!(login.request(None, Object::default()).target(), "auth/kubernetes/login");
    }

    #[test]
    fn a_user_name_cannot_leave_its_place() {
        let login = Login::new(Method::UserPass { user: "a b?".into(), password: value("p") });
        assert_eq!(
            login.request(Some("a b?"), Object::default()).target(),
            "auth/userpass/login/a%20b%3F"
        );
    }

    #[test]
    fn blanks_around_a_credential_are_taken_off() {
        assert_eq!(value(" s.x\n").load_token().unwrap().expose(), b"s.x");
    }

    #[test]
    fn what_cannot_be_a_credential_is_refused_without_showing_it() {
        for text in ["", " \n", "a b", "ü"] {
            let failure = value(text).load_token().unwrap_err();
            assert!(matches!(failure, Failure::Credential { .. }), "{text}");
        }
        let failure = Credential::File("/nowhere/token".into()).load().unwrap_err();
        assert!(failure.to_string().contains("/nowhere/token"), "{failure}");
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, vec![b'x'; 70_000]).unwrap();
        assert!(Credential::File(path).load().unwrap_err().to_string().contains("too long"));
    }
}
