//! The one crypto provider, and whether this machine can run it.
//!
//! Invariant: nothing of the provider is called before [`provider`] has seen the CPU features that
//! it asserts, because it would end the process instead of returning an error.

use std::sync::{Arc, OnceLock};

use rustls::{crypto::CryptoProvider, version::TLS13};

use crate::error::TlsError;

/// The provider, reduced to TLS 1.3, with X25519MLKEM768 as the first key exchange.
///
/// # Errors
/// [`TlsError::Cpu`] with the features that are missing.
pub fn provider() -> Result<Arc<CryptoProvider>, TlsError> {
    // It is asked for with every random number and every signature.
    static MADE: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    if let Some(provider) = MADE.get() {
        return Ok(Arc::clone(provider));
    }
    refuse_missing(&missing_features())?;
    let mut provider = rustls_graviola::default_provider();
    provider.cipher_suites.retain(|suite| suite.version() == &TLS13);
    Ok(Arc::clone(MADE.get_or_init(|| Arc::new(provider))))
}

/// Fills the buffer from the system's generator.
///
/// # Errors
/// [`TlsError::Cpu`] or [`TlsError::Random`].
pub fn random(buffer: &mut [u8]) -> Result<(), TlsError> {
    provider()?
        .secure_random
        .fill(buffer)
        .map_err(|rustls::crypto::GetRandomFailed| TlsError::Random)
}

/// SHA-256 by the provider.
///
/// # Errors
/// [`TlsError::Cpu`].
pub(crate) fn sha256(bytes: &[u8]) -> Result<[u8; 32], TlsError> {
    let provider = provider()?;
    provider
        .cipher_suites
        .iter()
        .filter_map(|suite| suite.tls13())
        .map(|suite| suite.common.hash_provider)
        .find(|hash| hash.algorithm() == rustls::crypto::hash::HashAlgorithm::SHA256)
        .and_then(|hash| hash.hash(bytes).as_ref().try_into().ok())
        .ok_or_else(|| TlsError::Refused(rustls::Error::General("no SHA-256".to_owned())))
}

fn refuse_missing(missing: &[&str]) -> Result<(), TlsError> {
    if missing.is_empty() { Ok(()) } else { Err(TlsError::Cpu { missing: missing.join(", ") }) }
}

/// What the provider needs and the CPU has not. `avx2` also stands for what it implies.
#[cfg(target_arch = "x86_64")]
fn missing_features() -> Vec<&'static str> {
    [
        ("adx", std::arch::is_x86_feature_detected!("adx")),
        ("aes", std::arch::is_x86_feature_detected!("aes")),
        ("avx", std::arch::is_x86_feature_detected!("avx")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("bmi1", std::arch::is_x86_feature_detected!("bmi1")),
        ("pclmulqdq", std::arch::is_x86_feature_detected!("pclmulqdq")),
    ]
    .into_iter()
    .filter_map(|(name, there)| (!there).then_some(name))
    .collect()
}

/// What the provider needs and the CPU has not.
#[cfg(target_arch = "aarch64")]
fn missing_features() -> Vec<&'static str> {
    [
        ("aes", std::arch::is_aarch64_feature_detected!("aes")),
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("pmull", std::arch::is_aarch64_feature_detected!("pmull")),
        ("sha2", std::arch::is_aarch64_feature_detected!("sha2")),
    ]
    .into_iter()
    .filter_map(|(name, there)| (!there).then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    #[test]
    fn the_hybrid_group_comes_first_and_only_tls13_suites_are_left() {
        let provider = provider().unwrap();
        assert_eq!(provider.kx_groups[0].name(), NamedGroup::X25519MLKEM768);
        assert!(provider.cipher_suites.iter().all(|suite| suite.version() == &TLS13));
        assert_eq!(provider.cipher_suites.len(), 3);
    }

    #[test]
    fn sha256_is_that_of_fips_180() {
        let digest = sha256(b"abc").unwrap();
        assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn a_poor_cpu_is_an_error_that_names_what_is_missing() {
        let error = refuse_missing(&["adx", "avx2"]).unwrap_err();
        assert!(error.to_string().contains("adx, avx2"), "{error}");
        assert_eq!(error.blame(), cloudtaser_core::Blame::Platform);
    }

    #[test]
    fn random_bytes_differ() {
        let (mut a, mut b) = ([0; 16], [0; 16]);
        random(&mut a).unwrap();
        random(&mut b).unwrap();
        assert_ne!(a, b);
    }
}
