//! Who has a copy of the node's key, as its root has and whoever reads its disk; and no TPM.

use std::fs;

use cloudtaser_core::{
    Secret,
    node::{Hash, NodeEvidence, NodeStatement, TpmEvidence, signed_bytes},
};
use cloudtaser_e2e::{FalseAgent, Pod, now};
use cloudtaser_tls::raw::KeyPair;
use data_encoding::{BASE64, HEXLOWER};

use crate::NODE_KEY;

/// PKCS#8 of an Ed25519 key, up to its 32 bytes (RFC 8410, 7).
const PKCS8: &str = "302e020100300506032b657004220420";

/// Signs for the session of whoever asks, in the node's name, and lays this quote beside it.
pub(crate) fn with_quote(pod: &Pod, model: &NodeEvidence, tpm: Option<TpmEvidence>) -> FalseAgent {
    let (key, pod, model) = (stolen(), pod.uid().to_owned(), model.clone());
    FalseAgent::start(move |session, sealing| {
        let mut statement = NodeStatement::parse(&model.statement).expect("a statement");
        (statement.session, statement.sealing) = (session, sealing);
        statement.at = u64::try_from(now()).expect("after 1970");
        statement.launch.pod = Some(pod.clone());
        let text = statement.to_text();
        let signature = key.sign(&signed_bytes(&text)).expect("a signature");
        NodeEvidence {
            signature: HEXLOWER.encode(&signature),
            key: Hash::new(*key.public().as_bytes()),
            statement: text,
            tpm: tpm.clone(),
            hardware: None,
        }
    })
}

fn stolen() -> KeyPair {
    let digits = fs::read_to_string(NODE_KEY).expect("the node's key");
    let key = HEXLOWER.decode(format!("{PKCS8}{}", digits.trim()).as_bytes()).expect("digits");
    let lines = BASE64.encode(&key);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n");
    KeyPair::from_pem(&Secret::new(pem.into_bytes())).expect("a key")
}
