//! The first boot: who the node and its TPM are, and what was measured into its registers.

use std::fs;

use cloudtaser_core::node::Hash;
use cloudtaser_e2e::Pod;

use crate::{AGENT, FIRST, IDENTITY, NODE_KEY, attested, check, keep, say, start_agent};

pub(crate) fn boot() {
    start_agent();
    check("a-measured-boot-is-quoted", || {
        let identity = say(&[AGENT, "tpm", "identity", "--node-key", NODE_KEY]);
        fs::write(IDENTITY, identity).expect("a file");
        let evidence = attested(&Pod::new("shop", "web"), Hash::new([1; 32]), Hash::new([2; 32]));
        let tpm = evidence.tpm.as_ref().ok_or("the TPM signed nothing")?;
        for number in crate::second::PINNED {
            let value = tpm.registers.get(&number).copied().unwrap_or(Hash::new([0; 32]));
            if value == Hash::new([0; 32]) {
                return Err(format!("nothing was measured into register {number}"));
            }
        }
        fs::write(FIRST, serde_json::to_string(&evidence).expect("JSON")).expect("a file");
        Ok(())
    });
    keep();
}
