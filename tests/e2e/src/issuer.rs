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
    /// As tokens and sets call the key, and how its files begin.
    kid: &'static str,
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
    /// Makes a key, and its set; `None` where `openssl` is not installed.
    #[must_use]
    pub fn make(folder: &Path) -> Option<Self> {
        let issuer = Self::of_key(folder, "one")?;
        fs::write(folder.join("jwks.json"), Self::set(&[&issuer])).ok()?;
        Some(issuer)
    }

    /// `iss` of its tokens.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        NAME
    }

    /// Makes another key of the same issuer, which is in no set yet.
    #[must_use]
    pub fn next(&self) -> Self {
        Self::of_key(&self.folder, "two").expect("openssl was there before")
    }

    fn of_key(folder: &Path, kid: &'static str) -> Option<Self> {
        let options = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";
        openssl(folder, &format!("genpkey {options} -out {kid}.key"))?;
        openssl(folder, &format!("pkey -in {kid}.key -pubout -out {kid}.pub"))?;
        Some(Self { folder: folder.to_owned(), kid })
    }

    /// Its public key, PEM.
    #[must_use]
    pub fn public(&self) -> String {
        fs::read_to_string(self.folder.join(format!("{}.pub", self.kid))).expect("a key")
    }

    /// What an API server publishes that has these keys.
    #[must_use]
    pub fn set(keys: &[&Self]) -> String {
        json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
    }

    fn jwk(&self) -> Value {
        let mut command = Command::new("openssl");
        command.args(["rsa", "-pubin", "-in"]).arg(format!("{}.pub", self.kid));
        let output = command.args(["-modulus", "-noout"]).current_dir(&self.folder).output();
        let text = String::from_utf8(output.expect("openssl").stdout).expect("text");
        let digits = text.trim().strip_prefix("Modulus=").expect("a modulus").as_bytes();
        let byte = |pair: &[u8]| {
            u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits")
        };
        let modulus = digits.chunks(2).map(byte).collect::<Vec<_>>();
        json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid,
            "n": base64url(&modulus), "e": "AQAB" })
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
        let head = json!({ "alg": "RS256", "kid": self.kid, "typ": "JWT" });
        let head = base64url(head.to_string().as_bytes());
        let signed = format!("{head}.{}", base64url(claims.to_string().as_bytes()));
        // Several may sign at once.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let [from, to] = ["in", "sig"].map(|end| format!("token{number}.{end}"));
        fs::write(self.folder.join(&from), &signed).expect("a file");
        let key = self.kid;
        openssl(&self.folder, &format!("dgst -sha256 -sign {key}.key -out {to} {from}"))
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
