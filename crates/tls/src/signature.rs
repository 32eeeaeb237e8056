//! Signatures outside of TLS, verified by the one provider.
//!
//! JOSE (RFC 7518) and TLS write the same things differently: a key as its numbers, an ECDSA
//! signature as two of them. Here they are brought into the form that the provider reads. What is
//! not exactly in form is no key, and verifies nothing.

use data_encoding::BASE64;
use rustls::SignatureScheme;
use rustls_pki_types::{AlgorithmIdentifier, alg_id};

use crate::{error::TlsError, provider::provider};

/// Shorter RSA keys are within reach; longer ones cost more than any issuer asks for.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
const P256_BYTES: usize = 32;
/// RFC 7468 §2.
const PEM_COLUMNS: usize = 64;

/// A public key with the one algorithm that it is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifyingKey(Form);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Form {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (`RS256`); its numbers, and both of them as PKCS#1.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8>, both: Vec<u8> },
    /// ECDSA on P-256 with SHA-256 (`ES256`); uncompressed point.
    P256(Vec<u8>),
}

/// The numbers of a key, big-endian, without leading zeros but for those of coordinates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Numbers<'a> {
    /// Of an RSA key.
    Rsa {
        /// The modulus.
        modulus: &'a [u8],
        /// The public exponent.
        exponent: &'a [u8],
    },
    /// Of a key on P-256: 32 bytes each.
    P256 {
        /// One coordinate.
        x: &'a [u8],
        /// The other.
        y: &'a [u8],
    },
}

impl VerifyingKey {
    /// An RSA key of 2048 to 4096 bits from its numbers, big-endian.
    #[must_use]
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let [modulus, exponent] = [modulus, exponent].map(without_zeros);
        if !RSA_BYTES.contains(&modulus.len()) || exponent.is_empty() || exponent.len() > 4 {
            return None;
        }
        let both = sequence(&[integer(modulus), integer(exponent)].concat());
        Some(Self(Form::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec(), both }))
    }

    /// A key on P-256 from its coordinates.
    #[must_use]
    pub fn p256(x: &[u8], y: &[u8]) -> Option<Self> {
        let fits = x.len() == P256_BYTES && y.len() == P256_BYTES;
        fits.then(|| Self(Form::P256([&[4], x, y].concat())))
    }

    /// What it is made of.
    #[must_use]
    pub fn numbers(&self) -> Numbers<'_> {
        match &self.0 {
            Form::Rsa { modulus, exponent, .. } => Numbers::Rsa { modulus, exponent },
            Form::P256(point) => {
                let both = point.get(1..).unwrap_or_default();
                let (x, y) = both.split_at_checked(P256_BYTES).unwrap_or_default();
                Numbers::P256 { x, y }
            }
        }
    }

    /// The name of its algorithm in JOSE.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self.0 {
            Form::Rsa { .. } => "RS256",
            Form::P256(_) => "ES256",
        }
    }

    /// As OpenSSL and OpenBao write it: SubjectPublicKeyInfo (RFC 5280) in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let (kind, key) = match &self.0 {
            Form::Rsa { both, .. } => (alg_id::RSA_ENCRYPTION, both),
            Form::P256(key) => (alg_id::ECDSA_P256, key),
        };
        let bits = [&[0][..], key].concat();
        let bits = [&[3][..], &der_len(bits.len()), &bits].concat();
        let body = BASE64.encode(&sequence(&[sequence(kind.as_ref()), bits].concat()));
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for (at, character) in body.chars().enumerate() {
            if at > 0 && at % PEM_COLUMNS == 0 {
                pem.push('\n');
            }
            pem.push(character);
        }
        pem + "\n-----END PUBLIC KEY-----\n"
    }

    /// Whether this key has signed the message; the signature is in JOSE's form.
    ///
    /// # Errors
    /// [`TlsError::Cpu`].
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> Result<bool, TlsError> {
        match &self.0 {
            Form::Rsa { both, .. } => {
                let (scheme, kind) = (SignatureScheme::RSA_PKCS1_SHA256, alg_id::RSA_ENCRYPTION);
                verifies(scheme, kind, both, message, signature)
            }
            Form::P256(key) => {
                let (scheme, kind) = (SignatureScheme::ECDSA_NISTP256_SHA256, alg_id::ECDSA_P256);
                match signature.split_at_checked(P256_BYTES) {
                    Some((r, s)) if s.len() == P256_BYTES => {
                        let both = [integer(without_zeros(r)), integer(without_zeros(s))];
                        verifies(scheme, kind, key, message, &sequence(&both.concat()))
                    }
                    _ => Ok(false),
                }
            }
        }
    }
}

pub(crate) fn verifies(
    scheme: SignatureScheme,
    kind: AlgorithmIdentifier,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<bool, TlsError> {
    let provider = provider()?;
    let known = provider.signature_verification_algorithms.mapping;
    let of = known.iter().filter(|(known, _)| *known == scheme).flat_map(|(_, of)| *of);
    let algorithm = of.copied().find(|algorithm| algorithm.public_key_alg_id() == kind);
    let missing = || TlsError::Refused(rustls::Error::General("no such signature".to_owned()));
    let algorithm = algorithm.ok_or_else(missing)?;
    Ok(algorithm.verify_signature(key, message, signature).is_ok())
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// A positive INTEGER of DER from a number without leading zeros.
fn integer(number: &[u8]) -> Vec<u8> {
    let sign = number.first().is_none_or(|first| *first >= 0x80);
    let body = [if sign { &[0][..] } else { &[] }, number].concat();
    [&[2][..], &der_len(body.len()), &body].concat()
}

fn sequence(body: &[u8]) -> Vec<u8> {
    [&[0x30][..], &der_len(body.len()), body].concat()
}

fn der_len(len: usize) -> Vec<u8> {
    let [.., high, low] = len.to_be_bytes();
    match len {
        0..0x80 => vec![low],
        0x80..0x100 => vec![0x81, low],
        _ => vec![0x82, high, low],
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
    }

    /// RFC 7515, appendix A.2.
    const RS256: [&str; 4] = [
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "AQAB",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    ];

    /// RFC 7515, appendix A.3.
    const ES256: [&str; 4] = [
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ];

    #[test]
    fn keys_are_written_as_openssl_reads_them() {
        let der = |key: &VerifyingKey| {
            let pem = key.to_pem();
            assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
            let body = pem.strip_prefix("-----BEGIN PUBLIC KEY-----\n");
            let body = body.and_then(|body| body.strip_suffix("\n-----END PUBLIC KEY-----\n"));
            BASE64.decode(body.unwrap().replace('\n', "").as_bytes()).unwrap()
        };
        // RFC 5480 §2: an id-ecPublicKey on secp256r1, and 66 bytes of BIT STRING.
        let p256 = VerifyingKey::p256(&bytes(ES256[0]), &bytes(ES256[1])).unwrap();
        let head = *b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\
            \x3d\x03\x01\x07\x03\x42\x00\x04";
        assert_eq!(der(&p256), [&head[..], &bytes(ES256[0]), &bytes(ES256[1])].concat());
        // RFC 3279 §2.3.1: rsaEncryption with NULL, and an RSAPublicKey of 270 bytes.
        let rsa = VerifyingKey::rsa(&bytes(RS256[0]), &bytes(RS256[1])).unwrap();
        let head = *b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\
            \x03\x82\x01\x0f\x00\x30\x82\x01\x0a\x02\x82\x01\x01\x00";
        let tail = [&[2, 3][..], &bytes(RS256[1])].concat();
        assert_eq!(der(&rsa), [&head[..], &bytes(RS256[0]), &tail].concat());
    }

    #[test]
    fn the_examples_of_the_standard_verify_and_nothing_beside_them() {
        let rsa = VerifyingKey::rsa(&bytes(RS256[0]), &bytes(RS256[1])).unwrap();
        let p256 = VerifyingKey::p256(&bytes(ES256[0]), &bytes(ES256[1])).unwrap();
        for (key, message, signature) in [(&rsa, RS256[2], RS256[3]), (&p256, ES256[2], ES256[3])] {
            let signature = bytes(signature);
            assert!(key.verifies(message.as_bytes(), &signature).unwrap(), "{}", key.algorithm());
            for at in 0..signature.len() {
                let mut changed = signature.clone();
                changed[at] ^= 1;
                assert!(!key.verifies(message.as_bytes(), &changed).unwrap(), "byte {at}");
            }
            let other = message.replace("iss", "iSs").replace("eyJpc3M", "eyJpc3N");
            assert!(!key.verifies(other.as_bytes(), &signature).unwrap());
            for len in [0, 1, signature.len() - 1] {
                assert!(!key.verifies(message.as_bytes(), &signature[..len]).unwrap());
            }
            let longer = [&signature[..], &[0]].concat();
            assert!(!key.verifies(message.as_bytes(), &longer).unwrap());
        }
        assert!(!p256.verifies(RS256[2].as_bytes(), &bytes(RS256[3])).unwrap());
        assert!(!p256.verifies(ES256[2].as_bytes(), &[0; 64]).unwrap(), "CVE-2022-21449");
    }

    #[test]
    fn a_key_is_written_as_others_read_it() {
        let der = |key: &VerifyingKey| {
            let pem = key.to_pem();
            assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
            let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            BASE64.decode(body.as_bytes()).unwrap()
        };
        // RFC 5480 §2 and RFC 3279 §2.3.1, for keys of these sizes.
        let point = [&[4][..], &bytes(ES256[0]), &bytes(ES256[1])].concat();
        let head =
            data_encoding::HEXLOWER.decode(b"3059301306072a8648ce3d020106082a8648ce3d030107034200");
        let p256 = VerifyingKey::p256(&bytes(ES256[0]), &bytes(ES256[1])).unwrap();
        assert_eq!(der(&p256), [head.unwrap(), point].concat());
        let rsa = der(&VerifyingKey::rsa(&bytes(RS256[0]), &bytes(RS256[1])).unwrap());
        let head = data_encoding::HEXLOWER
            .decode(b"30820122300d06092a864886f70d01010105000382010f003082010a0282010100");
        assert!(rsa.starts_with(&head.unwrap()));
        assert_eq!(rsa.len(), 294);
    }

    #[test]
    fn keys_that_are_too_short_or_no_points_are_none() {
        assert_eq!(VerifyingKey::rsa(&[0xff; 128], &[1, 0, 1]), None);
        assert_eq!(VerifyingKey::rsa(&[0xff; 1024], &[1, 0, 1]), None);
        assert_eq!(VerifyingKey::rsa(&[0xff; 256], &[]), None);
        assert_eq!(VerifyingKey::p256(&[1; 31], &[1; 32]), None);
        let nowhere = VerifyingKey::p256(&[1; 32], &[1; 32]).unwrap();
        assert!(!nowhere.verifies(ES256[2].as_bytes(), &bytes(ES256[3])).unwrap());
    }
}
