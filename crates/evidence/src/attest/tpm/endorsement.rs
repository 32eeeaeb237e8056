//! Certificates of endorsement keys: whose TPM it is, as far as its maker says so.
//!
//! A challenge proves that a quoting key is in the TPM of an endorsement key; this, that somebody whom
//! the owner believes made that TPM. Makers are many and their roots change, so none is compiled in:
//! the owner gives the roots, and what may stand between. No clock is asked and nothing is fetched.
//! Form: TCG EK Credential Profile, 2.5; RFC 5280, of which names, policies and constraints of names
//! are not judged, and what is critical and not known here is refused.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::{Pkcs1v15Sign, PublicKey as RsaKey, pkcs1::DecodeRsaPublicKey as _};
use sha2::{Digest as _, Sha256, Sha384};
use x509_cert::{
    Certificate,
    crl::CertificateList,
    der::{
        Decode as _, Encode as _,
        asn1::{BitString, ObjectIdentifier},
    },
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages},
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
};

use super::Public;
use crate::attest::snp::chain::{extension, valid};

/// Maker's root, his authorities, the certificate.
const DEEPEST: usize = 5;
/// No certificate and no list of revoked ones is longer.
const DER_MAX: usize = 1 << 20;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ON_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ON_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
/// `tcg-kp-EKCertificate`.
const ENDORSEMENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
/// The TPM's maker and model are in an alternative name, which is critical where there is no other.
const ALTERNATIVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
const KNOWN: [ObjectIdentifier; 5] = [BASIC, USAGE, EXTENDED, ALTERNATIVE, POLICIES];

/// `DigestInfo` before a hash (RFC 8017, 9.2).
const INFO_SHA256: &[u8] =
    &[0x30, 0x31, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32];
const INFO_SHA384: &[u8] =
    &[0x30, 0x41, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2, 5, 0, 4, 48];

/// Why a certificate shows nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EndorsementError {
    /// Something given is no certificate or list, or of a kind that is not known here.
    #[error("{0}")]
    Form(&'static str),
    /// It is of another key.
    #[error("the certificate is of another key than this TPM's endorsement key")]
    OtherKey,
    /// It is for something else.
    #[error("the certificate is none of an endorsement key")]
    Purpose,
    /// No root that was given stands at its end.
    #[error("no root that was given stands above the certificate")]
    Unknown,
    /// One of the chain was not valid at that moment.
    #[error("a certificate of the chain, or a list of revoked ones, was not valid at that time")]
    Expired,
    /// Its maker revoked it, or one above it.
    #[error("the certificate, or one above it, was revoked")]
    Revoked,
}

/// What an endorsement key's certificate is verified with; all of it DER.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The certificate, as the TPM or its maker gives it.
    pub certificate: &'a [u8],
    /// Authorities that may stand between.
    pub between: &'a [Vec<u8>],
    /// Whom the owner believes.
    pub roots: &'a [Vec<u8>],
    /// Lists of revoked certificates.
    pub revoked: &'a [Vec<u8>],
}

/// Verifies that a maker under one of the roots certified this key; the root's own name.
///
/// # Errors
/// [`EndorsementError`].
pub fn verify(given: &Given<'_>, key: &Public, at: u64) -> Result<String, EndorsementError> {
    let leaf = certificate(given.certificate)?;
    is_of(&leaf, key)?;
    is_endorsement(&leaf)?;
    let all =
        |list: &[Vec<u8>]| list.iter().map(|der| certificate(der)).collect::<Result<Vec<_>, _>>();
    let (between, roots) = (all(given.between)?, all(given.roots)?);
    let revoked = given.revoked.iter().map(|der| list(der)).collect::<Result<Vec<_>, _>>()?;
    let mut current = &leaf;
    for _ in 0..DEEPEST {
        is_valid(current, at)?;
        if let Some(root) = roots.iter().find(|root| signed(current, root)) {
            is_valid(root, at)?;
            not_revoked(current, root, &revoked, at)?;
            all_of(&revoked, roots.iter().chain(&between))?;
            return Ok(root.tbs_certificate().subject().to_string());
        }
        let above = between.iter().find(|above| is_authority(above) && signed(current, above));
        let above = above.ok_or(EndorsementError::Unknown)?;
        not_revoked(current, above, &revoked, at)?;
        current = above;
    }
    Err(EndorsementError::Unknown)
}

fn certificate(der: &[u8]) -> Result<Certificate, EndorsementError> {
    let odd = EndorsementError::Form("what was given is no certificate");
    if der.len() > DER_MAX {
        return Err(odd);
    }
    let certificate = Certificate::from_der(der).map_err(|_form| odd)?;
    let extensions = certificate.tbs_certificate().extensions().into_iter().flatten();
    if extensions.clone().any(|one| one.critical && !KNOWN.contains(&one.extn_id)) {
        return Err(EndorsementError::Form("a certificate demands what is not known here"));
    }
    Ok(certificate)
}

fn list(der: &[u8]) -> Result<CertificateList, EndorsementError> {
    let odd = EndorsementError::Form("what was given is no list of revoked certificates");
    let list = (der.len() <= DER_MAX).then(|| CertificateList::from_der(der).ok());
    let list = list.flatten().ok_or(odd)?;
    // SECURITY: a list of changes, or of some certificates only, says in such an extension that what is
    // not on it may be revoked all the same.
    let mut extensions = list.tbs_cert_list.crl_extensions.iter().flatten();
    if extensions.any(|one| one.critical) {
        return Err(EndorsementError::Form(
            "a list of revoked certificates is a part of one, or demands what is not known here",
        ));
    }
    Ok(list)
}

/// SECURITY: the point is compared, so that no certificate speaks for a key that it does not have.
fn is_of(leaf: &Certificate, key: &Public) -> Result<(), EndorsementError> {
    let info = leaf.tbs_certificate().subject_public_key_info();
    let same = curve(info) == Some(ON_P256) && info.subject_public_key.raw_bytes() == key.sec1();
    if same { Ok(()) } else { Err(EndorsementError::OtherKey) }
}

/// What says what it is for must say that; what says nothing is for the key that it names.
fn is_endorsement(leaf: &Certificate) -> Result<(), EndorsementError> {
    let purpose = EndorsementError::Purpose;
    if is_authority(leaf) {
        return Err(purpose);
    }
    let Some(der) = extension(leaf, EXTENDED) else { return Ok(()) };
    let usage = ExtendedKeyUsage::from_der(der).map_err(|_form| purpose.clone())?;
    if usage.0.contains(&ENDORSEMENT) { Ok(()) } else { Err(purpose) }
}

/// Whether it may sign certificates.
fn is_authority(certificate: &Certificate) -> bool {
    let basic = extension(certificate, BASIC).and_then(|der| BasicConstraints::from_der(der).ok());
    let usage = extension(certificate, USAGE).map(|der| KeyUsage::from_der(der).ok());
    let signs = usage
        .is_none_or(|usage| usage.is_some_and(|usage| usage.0.contains(KeyUsages::KeyCertSign)));
    basic.is_some_and(|basic| basic.ca) && signs
}

fn is_valid(certificate: &Certificate, at: u64) -> Result<(), EndorsementError> {
    let validity = certificate.tbs_certificate().validity();
    let found = valid(validity.not_before, Some(validity.not_after), at);
    found.ok_or(EndorsementError::Expired)
}

/// Whether one certificate was signed by another's key, in its name.
fn signed(certificate: &Certificate, by: &Certificate) -> bool {
    let tbs = certificate.tbs_certificate();
    let named = tbs.issuer() == by.tbs_certificate().subject();
    let algorithm = certificate.signature_algorithm();
    named
        && tbs.signature() == algorithm
        && tbs.to_der().is_ok_and(|bytes| {
            let key = by.tbs_certificate().subject_public_key_info();
            check(&bytes, algorithm, certificate.signature(), key).is_some()
        })
}

/// A list that speaks for nobody would look like one that was asked.
fn all_of<'a>(
    lists: &[CertificateList],
    by: impl Iterator<Item = &'a Certificate> + Clone,
) -> Result<(), EndorsementError> {
    let issued = |list: &CertificateList| {
        let issuer = &list.tbs_cert_list.issuer;
        by.clone().any(|by| by.tbs_certificate().subject() == issuer)
    };
    let odd = EndorsementError::Form("a list of revoked certificates is of nobody who was given");
    if lists.iter().all(issued) { Ok(()) } else { Err(odd) }
}

/// Lists that are this authority's must be genuine and of that time.
fn not_revoked(
    certificate: &Certificate,
    by: &Certificate,
    lists: &[CertificateList],
    at: u64,
) -> Result<(), EndorsementError> {
    let subject = by.tbs_certificate().subject();
    for list in lists.iter().filter(|list| list.tbs_cert_list.issuer == *subject) {
        let tbs = &list.tbs_cert_list;
        let odd = EndorsementError::Form("a list of revoked certificates is not by its authority");
        let bytes = tbs.to_der().map_err(|_form| odd.clone())?;
        let key = by.tbs_certificate().subject_public_key_info();
        let genuine = tbs.signature == list.signature_algorithm
            && check(&bytes, &list.signature_algorithm, &list.signature, key).is_some();
        if !genuine {
            return Err(odd);
        }
        valid(tbs.this_update, tbs.next_update, at).ok_or(EndorsementError::Expired)?;
        let serial = certificate.tbs_certificate().serial_number();
        let mut revoked = tbs.revoked_certificates.iter().flatten();
        if revoked.any(|entry| entry.serial_number == *serial) {
            return Err(EndorsementError::Revoked);
        }
    }
    Ok(())
}

/// The curve that a key is on, where it is on one.
fn curve(info: &SubjectPublicKeyInfoOwned) -> Option<ObjectIdentifier> {
    let on = info.algorithm.parameters.as_ref()?;
    (info.algorithm.oid == EC).then(|| on.decode_as().ok()).flatten()
}

fn check(
    bytes: &[u8],
    algorithm: &AlgorithmIdentifierOwned,
    signature: &BitString,
    key: &SubjectPublicKeyInfoOwned,
) -> Option<()> {
    let signature = signature.as_bytes()?;
    let (hashed, info) = match algorithm.oid {
        RSA_SHA256 | ECDSA_SHA256 => (Sha256::digest(bytes).to_vec(), INFO_SHA256),
        RSA_SHA384 | ECDSA_SHA384 => (Sha384::digest(bytes).to_vec(), INFO_SHA384),
        _ => return None,
    };
    let point = key.subject_public_key.raw_bytes();
    match algorithm.oid {
        RSA_SHA256 | RSA_SHA384 if key.algorithm.oid == RSA => {
            let scheme = Pkcs1v15Sign { hash_len: Some(hashed.len()), prefix: info.into() };
            RsaKey::from_pkcs1_der(point).ok()?.verify(scheme, &hashed, signature).ok()
        }
        ECDSA_SHA256 | ECDSA_SHA384 => match curve(key)? {
            ON_P256 => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
                let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
                key.verify_prehash(&hashed, &signature).ok()
            }
            ON_P384 => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
                let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
                key.verify_prehash(&hashed, &signature).ok()
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
