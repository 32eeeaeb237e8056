//! Entry for the fuzzer: what must hold for any line of an audit log, in which whoever may send a
//! request to OpenBao has chosen the path.

use super::changed;

/// Any bytes as a line.
pub fn line(bytes: &[u8]) {
    let Some(names) = changed(bytes, None) else { return };
    assert!(!names.is_empty() && names.len() <= 5, "{} names", names.len());
    for name in names {
        let odd = |segment: &str| matches!(segment, "" | "." | "..");
        assert!(!name.split('/').any(odd), "a name leads elsewhere: {name:?}");
    }
    assert!(changed(bytes, Some("elsewhere")).is_none(), "another namespace is meant");
}
