//! The event log of a measured boot, recorded in a machine with a TPM (swtpm), firmware that measures
//! (OVMF) and Debian's kernel, and the registers that its kernel showed.

use super::*;

const LOG: &[u8] = include_bytes!("../../../../tests/vectors/tpm_boot.log");
/// As `/sys/class/tpm/tpm0/pcr-sha256` had them.
const REGISTERS_THEN: [(u8, &str); 9] = [
    (0, "3e695b1035f9b7fa5ade7430fc93730efab93bcb6c0a843cdab260323f7734c4"),
    (1, "8e9d1fe23131f12d6a523e9c32eb3223d4dc25e14eb5fd60163e7ba8de0f248c"),
    (2, "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"),
    (3, "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"),
    (4, "d38e3e90f7d3b0ad66c5ef36aa5f7e74e9309a2bdb71979ac8cc6cc4a4c706a4"),
    (5, "a5ceb755d043f32431d63e39f5161464620a3437280494b5850dc1b47cc074e0"),
    (6, "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"),
    (7, "65caf8dd1e0ea7a6347b635d2b379c93b9a1351edc2afc3ecda700e534eb3068"),
    (9, "9c56184bdbff56261ea5196fbae6b783ac4b10d6e53cde2c8cac88a3103475f6"),
];

fn then() -> Registers {
    let each = REGISTERS_THEN.map(|(number, value)| (number, Digest::from_hex(value).unwrap()));
    each.into()
}

#[test]
fn the_log_of_a_measured_boot_leads_to_the_registers_that_the_kernel_showed() {
    assert_eq!(replay(LOG), Ok(then()));
    assert_eq!(replay(b""), Ok(Registers::new()));
}

#[test]
fn a_log_that_was_cut_is_refused_or_leads_elsewhere() {
    for end in 1..LOG.len() {
        assert_ne!(replay(&LOG[..end]), Ok(then()), "cut at {end}");
    }
    assert!(replay(&[LOG, &[0]].concat()).is_err());
}

/// Texts, and the hashes of other banks, are looked at by nobody; all else leads elsewhere.
#[test]
fn a_changed_log_is_refused_or_leads_elsewhere_wherever_our_bank_is_hashed() {
    let mut same = 0;
    for at in 0..LOG.len() {
        let mut bent = LOG.to_vec();
        bent[at] ^= 1;
        same += usize::from(replay(&bent) == Ok(then()));
    }
    // An event has 20 + 48 + 64 bytes of others' hashes, 32 of ours, and a text.
    assert!(same > 0 && same < LOG.len() * 9 / 10, "{same} of {}", LOG.len());
}
