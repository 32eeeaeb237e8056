//! An operator's key: who may order the agent to open a road. No node has the secret half.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use cloudtaser_core::agent::order::signed_bytes;
use data_encoding::HEXLOWER_PERMISSIVE;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

/// A key file has some hundred bytes.
const FILE_MAX: u64 = 4096;

/// The public half.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) struct OperatorKey(VerifyingKey);

impl OperatorKey {
    /// The key of these bytes; `None` where they are none, as zeros are.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        if bytes == [0; 32] {
            return None;
        }
        // SECURITY: a weak key has signatures that hold for every text.
        VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak()).map(Self)
    }

    /// Its bytes.
    pub(crate) fn bytes(self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Whether this key signed the text as an order.
    pub(crate) fn has_signed(self, text: &str, signature: &str) -> bool {
        let bytes = HEXLOWER_PERMISSIVE.decode(signature.as_bytes()).unwrap_or_default();
        let Ok(signature) = Signature::from_slice(&bytes) else { return false };
        self.0.verify_strict(&signed_bytes(text), &signature).is_ok()
    }
}

impl FromStr for OperatorKey {
    type Err = anyhow::Error;

    /// Reads a file, in PEM as `openssl pkey -pubout` writes it.
    fn from_str(path: &str) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let Ok(key) = VerifyingKey::from_public_key_pem(&text) else {
            bail!("{path} is no public Ed25519 key in PEM (openssl pkey -pubout)");
        };
        Self::from_bytes(key.to_bytes()).with_context(|| format!("{path} is a weak key"))
    }
}

impl fmt::Display for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Signs an order with the secret half, which is read, used and wiped.
pub(crate) fn sign(text: &str, file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let mut pem = Zeroizing::new(String::with_capacity(usize::try_from(FILE_MAX)?));
    fs::File::open(file)
        .and_then(|file| file.take(FILE_MAX).read_to_string(&mut pem))
        .with_context(|| format!("cannot read {shown}"))?;
    let Ok(key) = SigningKey::from_pkcs8_pem(&pem) else {
        bail!("{shown} is no secret Ed25519 key in PEM (openssl genpkey -algorithm ed25519)");
    };
    Ok(data_encoding::HEXLOWER.encode(&key.sign(&signed_bytes(text)).to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As OpenSSL 3.0 wrote them.
    const SECRET: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEICORJ0K2h3iD6uGbCJpMMm7YSJVO04JqXSpT7ddjCgJx\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn what_openssl_makes_signs_and_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, public) = (folder.path().join("secret"), folder.path().join("public"));
        fs::write(&secret, SECRET).unwrap();
        let key = SigningKey::from_pkcs8_pem(SECRET).unwrap().verifying_key();
        let pem = ed25519_dalek::pkcs8::EncodePublicKey::to_public_key_pem(
            &key,
            ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF,
        );
        fs::write(&public, pem.unwrap()).unwrap();
        let public: OperatorKey = public.to_str().unwrap().parse().unwrap();
        let signature = sign("an order", &secret).unwrap();
        assert!(public.has_signed("an order", &signature));
        assert!(!public.has_signed("another order", &signature));
        assert!(!public.has_signed("an order", &signature.replace('0', "1")));
        assert!(!public.has_signed("an order", ""));
        assert_eq!(OperatorKey::from_bytes(public.bytes()), Some(public));
    }

    #[test]
    fn what_is_no_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, SECRET).unwrap();
        let path = file.to_str().unwrap();
        let why = path.parse::<OperatorKey>().unwrap_err().to_string();
        assert!(why.contains("no public Ed25519 key"), "{why}");
        fs::write(&file, "").unwrap();
        assert!(sign("x", &file).unwrap_err().to_string().contains("no secret Ed25519 key"));
        assert_eq!(OperatorKey::from_bytes([0; 32]), None);
        // The neutral element: every signature with it holds.
        let mut weak = [0; 32];
        weak[0] = 1;
        assert_eq!(OperatorKey::from_bytes(weak), None);
    }
}
