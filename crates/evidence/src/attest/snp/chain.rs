//! The certificates above a report, from a root that is compiled in.
//!
//! AMD signs with RSASSA-PSS (SHA-384, 48 bytes of salt) down to the chip's key, and writes into the
//! chip's certificate which chip and which firmware that key stands for (publication 57230, 2.3).

use rsa::{
    PublicKey,
    pkcs1::DecodeRsaPublicKey as _,
    pss::{Signature, VerifyingKey},
    signature::Verifier as _,
};
use sha2::Sha384;
use x509_cert::{
    Certificate,
    crl::CertificateList,
    der::{
        Decode as _, Encode as _,
        asn1::{BitString, ObjectIdentifier},
    },
    spki::AlgorithmIdentifierOwned,
    time::Time,
};

use cloudtaser_core::release::hardware::Tcb;

use super::{
    SnpError,
    report::{classic, turin},
};

pub(super) const VEK: &str = "VCEK or VLEK";
const ASK: &str = "ASK";
const ARK: &str = "ARK";
const CRL: &str = "list of revoked certificates";

const PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const BOOTLOADER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const TEE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const SNP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const MICROCODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const FMC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
pub(super) const CHIP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
pub(super) const PROVIDER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");

/// What must be archived with a report.
#[derive(Clone, Copy, Debug)]
pub struct Collateral<'a> {
    /// The ASK or ASVK, DER.
    pub ask: &'a [u8],
    /// The VCEK or VLEK, DER.
    pub vek: &'a [u8],
    /// AMD's list of revoked certificates, DER, where there was one.
    pub crl: Option<&'a [u8]>,
}

/// Which kind of key signed a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endorsement {
    /// A kind that this program does not know.
    Unknown,
    /// A key of one chip.
    Vcek,
    /// A key that AMD gave to the provider for its machines.
    Vlek,
}

/// A family of processors, each under a root of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Product {
    /// EPYC 9004.
    Genoa,
    /// EPYC 7003.
    Milan,
    /// EPYC 9005.
    Turin,
}

/// A key, and what AMD says it stands for.
pub(super) struct Endorsed {
    pub(super) product: Product,
    pub(super) endorsement: Endorsement,
    pub(super) tcb: Tcb,
    pub(super) chip: Option<Vec<u8>>,
    /// SEC 1 encoding.
    pub(super) point: Vec<u8>,
}

impl Product {
    const ALL: [Self; 3] = [Self::Genoa, Self::Milan, Self::Turin];

    const fn root(self) -> &'static [u8] {
        match self {
            Self::Genoa => include_bytes!("roots/ark_genoa.der"),
            Self::Milan => include_bytes!("roots/ark_milan.der"),
            Self::Turin => include_bytes!("roots/ark_turin.der"),
        }
    }

    pub(super) const fn tcb(self, bytes: [u8; 8]) -> Tcb {
        match self {
            Self::Genoa | Self::Milan => classic(bytes),
            Self::Turin => turin(bytes),
        }
    }
}

/// Verifies the chain and reads what the chip's certificate says.
pub(super) fn endorsed(collateral: &Collateral<'_>, at: u64) -> Result<Endorsed, SnpError> {
    let ask = certificate(collateral.ask, ASK)?;
    let vek = certificate(collateral.vek, VEK)?;
    let mut found = None;
    for product in Product::ALL {
        let root = certificate(product.root(), ARK)?;
        if root.tbs_certificate().subject() == ask.tbs_certificate().issuer() {
            found = Some((product, root));
        }
    }
    let (product, root) = found.ok_or(SnpError::Chain(ASK))?;
    let root_key = rsa_key(&root, ARK)?;
    signed_by(&ask, &root_key, ASK)?;
    if vek.tbs_certificate().issuer() != ask.tbs_certificate().subject() {
        return Err(SnpError::Chain(VEK));
    }
    signed_by(&vek, &rsa_key(&ask, ASK)?, VEK)?;
    for (certificate, which) in [(&root, ARK), (&ask, ASK), (&vek, VEK)] {
        let validity = certificate.tbs_certificate().validity();
        valid(validity.not_before, Some(validity.not_after), at).ok_or(SnpError::Expired(which))?;
    }
    if let Some(list) = collateral.crl {
        not_revoked(list, &root_key, &ask, at)?;
    }
    let endorsement =
        if extension(&vek, PROVIDER).is_some() { Endorsement::Vlek } else { Endorsement::Vcek };
    let chip = match endorsement {
        Endorsement::Vcek => Some(extension(&vek, CHIP).ok_or_else(|| lacks("names no chip"))?),
        Endorsement::Unknown | Endorsement::Vlek => None,
    };
    let point = vek.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    Ok(Endorsed {
        product,
        endorsement,
        tcb: firmware(&vek, product)?,
        chip: chip.map(<[u8]>::to_vec),
        point: point.to_vec(),
    })
}

fn firmware(vek: &Certificate, product: Product) -> Result<Tcb, SnpError> {
    let version = |part| {
        let value = extension(vek, part).and_then(|der| u8::from_der(der).ok());
        value.ok_or_else(|| lacks("does not say which firmware it is for"))
    };
    Ok(Tcb {
        fmc: if product == Product::Turin { version(FMC)? } else { 0 },
        bootloader: version(BOOTLOADER)?,
        tee: version(TEE)?,
        snp: version(SNP)?,
        microcode: version(MICROCODE)?,
    })
}

const fn lacks(problem: &'static str) -> SnpError {
    SnpError::Certificate { which: VEK, problem }
}

fn certificate(der: &[u8], which: &'static str) -> Result<Certificate, SnpError> {
    let problem = "is no certificate";
    Certificate::from_der(der).map_err(|_form| SnpError::Certificate { which, problem })
}

fn rsa_key(certificate: &Certificate, which: &'static str) -> Result<PublicKey, SnpError> {
    let problem = "has no RSA key";
    let info = certificate.tbs_certificate().subject_public_key_info();
    PublicKey::from_pkcs1_der(info.subject_public_key.raw_bytes())
        .map_err(|_form| SnpError::Certificate { which, problem })
}

fn signed_by(
    certificate: &Certificate,
    key: &PublicKey,
    which: &'static str,
) -> Result<(), SnpError> {
    let tbs = certificate.tbs_certificate();
    if tbs.signature() != certificate.signature_algorithm() {
        return Err(SnpError::Chain(which));
    }
    let signed = tbs.to_der().map_err(|_form| SnpError::Chain(which))?;
    check(&signed, certificate.signature_algorithm(), certificate.signature(), key)
        .ok_or(SnpError::Chain(which))
}

fn check(
    signed: &[u8],
    algorithm: &AlgorithmIdentifierOwned,
    signature: &BitString,
    key: &PublicKey,
) -> Option<()> {
    let signature = Signature::try_from(signature.as_bytes()?).ok()?;
    let key = VerifyingKey::<Sha384>::new(key.clone());
    (algorithm.oid == PSS && key.verify(signed, &signature).is_ok()).then_some(())
}

/// Whether AMD's list, which must be genuine and of that time, leaves the certificate alone.
fn not_revoked(list: &[u8], key: &PublicKey, ask: &Certificate, at: u64) -> Result<(), SnpError> {
    let problem = "is no list";
    let list = CertificateList::from_der(list)
        .map_err(|_form| SnpError::Certificate { which: CRL, problem })?;
    let tbs = &list.tbs_cert_list;
    if tbs.signature != list.signature_algorithm {
        return Err(SnpError::Chain(CRL));
    }
    let signed = tbs.to_der().map_err(|_form| SnpError::Chain(CRL))?;
    check(&signed, &list.signature_algorithm, &list.signature, key).ok_or(SnpError::Chain(CRL))?;
    valid(tbs.this_update, tbs.next_update, at).ok_or(SnpError::Expired(CRL))?;
    let serial = ask.tbs_certificate().serial_number();
    let revoked = tbs.revoked_certificates.iter().flatten();
    match revoked.clone().any(|entry| entry.serial_number == *serial) {
        true => Err(SnpError::Revoked(ASK)),
        false => Ok(()),
    }
}

pub(in crate::attest) fn valid(from: Time, until: Option<Time>, at: u64) -> Option<()> {
    let seconds = |time: Time| time.to_unix_duration().as_secs();
    let begun = seconds(from) <= at;
    let ended = until.is_some_and(|until| at > seconds(until));
    (begun && !ended).then_some(())
}

/// The value of an extension, as it stands.
pub(in crate::attest) fn extension(
    certificate: &Certificate,
    id: ObjectIdentifier,
) -> Option<&[u8]> {
    let mut found = certificate
        .tbs_certificate()
        .extensions()?
        .iter()
        .filter(|extension| extension.extn_id == id);
    let first = found.next()?;
    found.next().is_none().then(|| first.extn_value.as_bytes())
}

#[cfg(test)]
mod tests;
