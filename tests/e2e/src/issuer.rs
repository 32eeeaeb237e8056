//! An issuer of workload tokens, as a cluster's API server is one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::bao::{base64url, openssl};

/// Who its tokens are for.
pub(crate) const AUDIENCE: &str = "cloudtaser";
/// `iss`.
pub(crate) const NAME: &str = "https://kubernetes.example";

/// A key that signs tokens, in a folder.
#[derive(Debug)]
pub struct Issuer {
    folder: PathBuf,
}

/// A pod that has tokens.
#[derive(Clone, Debug)]
pub struct Pod {
    namespace: String,
    account: String,
    uid: String,
}

impl Pod {
    /// A pod of its own of this service account.
    #[must_use]
    pub fn new(namespace: &str, account: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let uid = format!("0f6f7b1e-{:04x}-4000-8000-{:012x}", number, std::process::id());
        Self { namespace: namespace.to_owned(), account: account.to_owned(), uid }
    }

    /// Its uid.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

impl Issuer {
    /// Makes a key; `None` where `openssl` is not installed.
    #[must_use]
    pub fn make(folder: &Path) -> Option<Self> {
        openssl(folder, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out issuer.key")?;
        openssl(folder, "pkey -in issuer.key -pubout -out issuer.pub")?;
        let issuer = Self { folder: folder.to_owned() };
        fs::write(folder.join("jwks.json"), issuer.jwks().to_string()).ok()?;
        Some(issuer)
    }

    /// Its public key, PEM.
    #[must_use]
    pub fn public(&self) -> String {
        fs::read_to_string(self.folder.join("issuer.pub")).expect("a key")
    }

    fn jwks(&self) -> Value {
        let mut command = Command::new("openssl");
        command.args(["rsa", "-pubin", "-in", "issuer.pub", "-modulus", "-noout"]);
        let output = command.current_dir(&self.folder).output().expect("openssl");
        let text = String::from_utf8(output.stdout).expect("text");
        let digits = text.trim().strip_prefix("Modulus=").expect("a modulus").as_bytes();
        let byte = |pair: &[u8]| {
            u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits")
        };
        let modulus = digits.chunks(2).map(byte).collect::<Vec<_>>();
        let key = json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one",
            "n": base64url(&modulus), "e": "AQAB" });
        json!({ "keys": [key] })
    }

    /// A token of a pod that is good for so many seconds; each is another one.
    #[must_use]
    pub fn token(&self, pod: &Pod, seconds: i64) -> String {
        self.signed(&Self::claims(pod, seconds))
    }

    /// What such a token says.
    #[must_use]
    pub fn claims(pod: &Pod, seconds: i64) -> Value {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let now = now();
        json!({
            "iss": NAME, "aud": [AUDIENCE], "iat": now - 5, "nbf": now - 5, "exp": now + seconds,
            "jti": format!("jti-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)),
            "sub": format!("system:serviceaccount:{}:{}", pod.namespace, pod.account),
            "kubernetes.io": {
                "namespace": pod.namespace,
                "serviceaccount": { "name": pod.account, "uid": "1" },
                "pod": { "name": "pod", "uid": pod.uid },
            },
        })
    }

    /// These claims, signed.
    #[must_use]
    pub fn signed(&self, claims: &Value) -> String {
        let head = base64url(br#"{"alg":"RS256","kid":"one","typ":"JWT"}"#);
        let signed = format!("{head}.{}", base64url(claims.to_string().as_bytes()));
        // Several may sign at once.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let [from, to] = ["in", "sig"].map(|end| format!("token{number}.{end}"));
        fs::write(self.folder.join(&from), &signed).expect("a file");
        openssl(&self.folder, &format!("dgst -sha256 -sign issuer.key -out {to} {from}"))
            .expect("it was there before");
        let signature = fs::read(self.folder.join(&to)).expect("a signature");
        for file in [from, to] {
            fs::remove_file(self.folder.join(file)).expect("a file that was made here");
        }
        format!("{signed}.{}", base64url(&signature))
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "OpenBao goes by the real time")]
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("it fits")
}
