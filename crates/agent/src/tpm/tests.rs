//! Against a TPM in software (`swtpm`), where that is installed, and answers that are none.

use std::os::unix::net::UnixStream;
use std::process::{Child, Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cloudtaser_evidence::Digest;
use cloudtaser_evidence::attest::tpm::{self as verifier, Public, TpmError, credential};
use zeroize::Zeroizing;

use super::command::Shape;
use super::*;

/// A TPM that is this test's alone.
struct Software {
    child: Child,
    tpm: Tpm<UnixStream>,
    _folder: tempfile::TempDir,
}

impl Transport for UnixStream {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.write_all(command)?;
        let mut answer = vec![0; ANSWER_MAX];
        let len = self.read(&mut answer)?;
        answer.truncate(len);
        Ok(answer)
    }
}

impl Software {
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("tpm");
        let child = Process::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", folder.path().display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = child else {
            println!("SKIP: no swtpm here");
            return None;
        };
        let until = Instant::now() + Duration::from_secs(60);
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => {
                    let ended = child.try_wait().unwrap();
                    assert!(ended.is_none() && Instant::now() < until, "no swtpm: {error}");
                    thread::sleep(Duration::from_millis(20));
                }
            }
        };
        Some(Self { child, tpm: Tpm::over(stream), _folder: folder })
    }
}

impl Drop for Software {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn verified(quote: &Quote, data: &[u8]) -> Result<verifier::Verified, TpmError> {
    let values = quote.registers.iter().map(|(at, value)| (*at, Digest::new(*value))).collect();
    let evidence = verifier::Evidence {
        key: &quote.key,
        quote: &quote.quote,
        signature: &quote.signature,
        values: &values,
        // Nothing was measured by a firmware that is not there.
        log: &[],
    };
    verifier::verify(&evidence, data)
}

#[test]
fn a_tpm_has_the_same_keys_each_time_and_another_tpm_has_others() {
    let (Some(mut one), Some(mut other)) = (Software::start(), Software::start()) else { return };
    let identity = one.tpm.identity().unwrap();
    assert!(Public::parse(&identity.endorsement).unwrap().is_endorsement_key());
    assert!(Public::parse(&identity.attestation).unwrap().is_attestation_key());
    let again = one.tpm.identity().unwrap();
    assert_eq!(
        (&again.endorsement, &again.attestation),
        (&identity.endorsement, &identity.attestation)
    );
    let theirs = other.tpm.identity().unwrap();
    assert_ne!(theirs.attestation, identity.attestation);
}

#[test]
fn a_quote_is_of_its_data_and_its_registers() {
    let Some(mut software) = Software::start() else { return };
    let quote = software.tpm.quote(&[7; 32]).unwrap();
    let shown = verified(&quote, &[7; 32]).unwrap();
    assert_eq!(shown.registers.len(), REGISTERS.len());
    assert_eq!(shown.key, Public::parse(&quote.key).unwrap().name());
    assert_eq!(verified(&quote, &[8; 32]), Err(TpmError::Data), "another session");
    let mut bent = quote;
    bent.registers.insert(4, [1; 32]);
    assert_eq!(verified(&bent, &[7; 32]), Err(TpmError::Values));
    // Keys and sessions are given back: a TPM has room for three or so.
    for _ in 0..10 {
        software.tpm.quote(&[9; 32]).unwrap();
    }
}

#[test]
fn a_credential_is_opened_by_the_tpm_that_it_is_for_and_by_no_other() {
    let (Some(mut one), Some(mut other)) = (Software::start(), Software::start()) else { return };
    let parse = |bytes: &[u8]| Public::parse(bytes).unwrap();
    let (identity, theirs) = (one.tpm.identity().unwrap(), other.tpm.identity().unwrap());
    let random = Zeroizing::new([5; 32]);
    let secret = [6; 32];
    let make = |endorsement: &[u8], key: &[u8]| {
        credential::challenge(&parse(endorsement), &parse(key), &secret, &random).unwrap()
    };
    let mine = make(&identity.endorsement, &identity.attestation);
    assert_eq!(one.tpm.activate(&mine.blob, &mine.secret).unwrap(), secret);
    assert!(other.tpm.activate(&mine.blob, &mine.secret).is_err(), "another TPM");
    let foreign = make(&identity.endorsement, &theirs.attestation);
    assert!(one.tpm.activate(&foreign.blob, &foreign.secret).is_err(), "a key that is elsewhere");
    let mut bent = mine.blob.clone();
    *bent.last_mut().unwrap() ^= 1;
    assert!(one.tpm.activate(&bent, &mine.secret).is_err());
    // After all of that there is room for the next.
    assert_eq!(one.tpm.activate(&mine.blob, &mine.secret).unwrap(), secret);
}

/// `TPM_RH_OWNER`.
const OWNER: u32 = 0x4000_0001;

#[test]
fn a_certificate_that_the_maker_put_into_the_tpm_is_read_whole() {
    let Some(mut software) = Software::start() else { return };
    assert_eq!(software.tpm.identity().unwrap().certificate, None);
    // A head of DER, content over two chunks, and a store that is longer than that.
    let content: Vec<u8> = (0..1200_u16).map(|n| n.to_be_bytes()[1]).collect();
    let der = [&[0x30, 0x82, 4, 0xb0][..], &content].concat();
    let stored = [&der[..], &[0xff; 100]].concat();
    let length = u16::try_from(stored.len()).unwrap();
    let tpm = &mut software.tpm;
    tpm.ask(Command::define_stored(OWNER, CERTIFICATE, length)).unwrap();
    for (chunk, from) in stored.chunks(700).zip((0..).step_by(700)) {
        tpm.ask(Command::write_stored(OWNER, CERTIFICATE, chunk, from)).unwrap();
    }
    assert_eq!(tpm.identity().unwrap().certificate, Some(der));
}

#[test]
fn what_is_no_answer_is_an_error() {
    let shape = Shape { handle: true, sessions: true };
    let good = [0x80, 2, 0, 0, 0, 20, 0, 0, 0, 0, 0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0];
    assert!(Answer::parse(good.to_vec(), shape).unwrap().sized().unwrap().is_empty());
    for end in 0..good.len() {
        assert!(Answer::parse(good[..end].to_vec(), shape).is_err(), "cut at {end}");
    }
    let mut long = good;
    long[17] = 3;
    assert!(Answer::parse(long.to_vec(), shape).is_err());
    let refused = vec![0x80, 1, 0, 0, 0, 10, 0, 0, 0x09, 0x9d];
    let why = Answer::parse(refused, Shape::default()).unwrap_err().to_string();
    assert!(why.contains("0x1d"), "{why}");
}
