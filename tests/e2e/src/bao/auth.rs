//! Auth methods of a test's OpenBao, each with the policy `app`, and the settings by which a
//! launch uses them.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use super::{Bao, text};
use crate::launch::Launch;

/// The role name, and the name of the user, in every method.
const NAME: &str = "app";

/// A way to log in that a test sets up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Role id by value, secret id by file.
    Approle,
    /// The same, with the secret id response-wrapped.
    ApproleWrapped,
    /// Client certificate.
    Cert,
    /// JWT with a static key.
    Jwt,
    /// A ready token by file.
    Token,
    /// User and password file.
    Userpass,
    /// A response-wrapped token by file.
    WrappedToken,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Approle,
        Self::ApproleWrapped,
        Self::Cert,
        Self::Jwt,
        Self::Token,
        Self::Userpass,
        Self::WrappedToken,
    ];
}

/// What a login needs: settings for the launch, and the credentials themselves as needles.
#[derive(Debug)]
pub struct Setup {
    /// Variables for the launch.
    pub env: Vec<(String, String)>,
    /// Credentials that no memory but OpenBao's and the file's may hold in the end.
    pub credentials: Vec<String>,
}

impl Setup {
    /// Lays the settings over a launch by [`Launch::wrapped`].
    #[must_use]
    pub fn apply(&self, launch: Launch) -> Launch {
        let launch = launch.without_env("VAULT_TOKEN_FILE");
        self.env.iter().fold(launch, |launch, (name, value)| launch.env(name, value))
    }
}

impl Bao {
    /// Sets a method up; `None` where `openssl`, which makes keys, is not installed.
    #[must_use]
    pub fn login(&self, role: Role) -> Option<Setup> {
        Some(match role {
            Role::Approle => self.approle("approle", |bao| {
                let answer = bao.api("POST", "auth/approle/role/app/secret-id", &json!({}));
                text(&answer, "/data/secret_id")
            }),
            Role::ApproleWrapped => self.approle("approle-wrapped", |bao| {
                bao.wrapped("POST", "auth/approle/role/app/secret-id", &json!({}))
            }),
            Role::Cert => self.cert()?,
            Role::Jwt => self.jwt()?,
            Role::Token => {
                let token = self.token(NAME);
                self.by_file("token", "VAULT_TOKEN_FILE", token)
            }
            Role::Userpass => self.userpass(),
            Role::WrappedToken => {
                let options = json!({ "policies": [NAME] });
                let token = self.wrapped("POST", "auth/token/create", &options);
                self.by_file("wrapped-token", "VAULT_WRAPPED_TOKEN_FILE", token)
            }
        })
    }

    fn by_file(&self, method: &str, variable: &str, credential: String) -> Setup {
        let file = self.scratch().credential(&format!("credential-{method}"), &credential);
        let env = [
            ("CLOUDTASER_AUTH_METHOD".to_owned(), method.to_owned()),
            (variable.to_owned(), file.display().to_string()),
        ];
        Setup { env: env.to_vec(), credentials: vec![credential] }
    }

    fn enable(&self, method: &str) {
        // Already enabled by an earlier set-up is as good.
        drop(self.try_api("POST", &format!("sys/auth/{method}"), &json!({ "type": method })));
    }

    fn approle(&self, method: &str, secret_id: impl Fn(&Self) -> String) -> Setup {
        self.enable("approle");
        let role = json!({ "token_policies": [NAME], "token_ttl": "10m" });
        self.api("POST", "auth/approle/role/app", &role);
        let answer = self.api("GET", "auth/approle/role/app/role-id", &json!(null));
        let role_id = text(&answer, "/data/role_id");
        let variable = match method {
            "approle" => "VAULT_SECRET_ID_FILE",
            _ => "VAULT_WRAPPED_SECRET_ID_FILE",
        };
        let mut setup = self.by_file(method, variable, secret_id(self));
        setup.env.push(("VAULT_ROLE_ID".to_owned(), role_id));
        setup
    }

    fn userpass(&self) -> Setup {
        self.enable("userpass");
        let password = crate::canary();
        let user = json!({ "password": password, "token_policies": [NAME] });
        self.api("POST", "auth/userpass/users/app", &user);
        let mut setup = self.by_file("userpass", "VAULT_PASSWORD_FILE", password);
        setup.env.push(("VAULT_USERNAME".to_owned(), NAME.to_owned()));
        setup
    }

    fn jwt(&self) -> Option<Setup> {
        let dir = self.scratch().path();
        openssl(dir, "genpkey -algorithm ed25519 -out jwt.key")?;
        openssl(dir, "pkey -in jwt.key -pubout -out jwt.pub")?;
        self.enable("jwt");
        let key = fs::read_to_string(dir.join("jwt.pub")).ok()?;
        self.api("POST", "auth/jwt/config", &json!({ "jwt_validation_pubkeys": [key] }));
        let role = json!({
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["openbao"],
            "token_policies": [NAME],
        });
        self.api("POST", "auth/jwt/role/app", &role);
        let claims = json!({
            "sub": NAME, "aud": "openbao",
            "iat": 1_700_000_000_u32, "nbf": 1_700_000_000_u32, "exp": 4_102_444_800_u32,
        });
        let head = base64url(br#"{"alg":"EdDSA","typ":"JWT"}"#);
        let signed = format!("{head}.{}", base64url(claims.to_string().as_bytes()));
        fs::write(dir.join("jwt.in"), &signed).ok()?;
        openssl(dir, "pkeyutl -sign -rawin -inkey jwt.key -in jwt.in -out jwt.sig")?;
        let signature = base64url(&fs::read(dir.join("jwt.sig")).ok()?);
        let mut setup = self.by_file("jwt", "VAULT_JWT_FILE", format!("{signed}.{signature}"));
        setup.env.push(("VAULT_ROLE".to_owned(), NAME.to_owned()));
        Some(setup)
    }

    fn cert(&self) -> Option<Setup> {
        let dir = self.scratch().path();
        let curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        let authority = "-x509 -subj /CN=e2e-clients -keyout client-ca.key -out client-ca.pem";
        openssl(dir, &format!("req {curve} {authority}"))?;
        openssl(
            dir,
            &format!(
                "req {} -subj /CN=app -keyout client.key -out client.csr",
                curve.replace(" -days 2", "")
            ),
        )?;
        fs::write(dir.join("client.ext"), "extendedKeyUsage=clientAuth\n").ok()?;
        openssl(
            dir,
            "x509 -req -in client.csr -CA client-ca.pem -CAkey client-ca.key -CAcreateserial \
             -days 2 -extfile client.ext -out client.pem",
        )?;
        self.enable("cert");
        let authority = fs::read_to_string(dir.join("client-ca.pem")).ok()?;
        let role = json!({ "certificate": authority, "token_policies": [NAME] });
        self.api("POST", "auth/cert/certs/app", &role);
        let key = fs::read_to_string(dir.join("client.key")).ok()?;
        let key_file = self.scratch().credential("client-key.pem", &key);
        let chain = dir.join("client.pem");
        let env = [
            ("CLOUDTASER_AUTH_METHOD", "cert".to_owned()),
            ("VAULT_CLIENT_CERT", chain.display().to_string()),
            ("VAULT_CLIENT_KEY", key_file.display().to_string()),
            ("VAULT_ROLE", NAME.to_owned()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        // A whole line of the key's body: no other file of the machine has it.
        let line = key.lines().nth(1).unwrap_or_default().to_owned();
        Some(Setup { env, credentials: vec![line] })
    }
}

/// Runs openssl in a directory; `None` where it is not installed.
pub(crate) fn openssl(dir: &Path, args: &str) -> Option<()> {
    let output = Command::new("openssl").args(args.split_whitespace()).current_dir(dir).output();
    let output = output.ok()?;
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args}: {problem}");
    Some(())
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            out.push(char::from(ALPHABET[group >> (18 - 6 * digit) & 63]));
        }
    }
    out
}
