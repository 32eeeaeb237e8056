//! Whether a program may send a signal to the process that it runs in, wherever that is.
//!
//! KERNEL: with real-time preemption it must not wait for the process's lock, which its caller has. The
//! kernel looks for that since the versions below (CVE-2025-21728), and would stand still before.

/// The first of each line of versions that has it; later lines do.
const SINCE: [[u32; 3]; 5] = [[6, 1, 129], [6, 6, 76], [6, 12, 13], [6, 13, 2], [6, 14, 0]];

/// Asks this kernel.
pub(crate) fn are_deferred() -> bool {
    nix::sys::utsname::uname().is_ok_and(|name| {
        judge(&name.release().to_string_lossy(), &name.version().to_string_lossy())
    })
}

fn judge(release: &str, version: &str) -> bool {
    if !version.contains("PREEMPT_RT") {
        return true;
    }
    // Debian says in the second which version its release is made of.
    let known = [version, release].into_iter().flat_map(|text| text.split([' ', '-', '+']));
    let Some(own) = known.filter_map(numbers).max_by_key(|own| own[2]) else { return false };
    let line = SINCE.iter().find(|since| since[..2] == own[..2]);
    line.map_or(own[..2] > [6, 13][..], |since| own >= *since)
}

/// `6.1.129`.
fn numbers(text: &str) -> Option<[u32; 3]> {
    let parsed: Option<Vec<u32>> = text.split('.').map(|word| word.parse().ok()).collect();
    parsed?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_time_kernels_are_asked_for_their_version() {
        assert!(judge("5.10.0", "#1 SMP PREEMPT_DYNAMIC Debian 5.10.1-1"));
        let real_time =
            |release, version: &str| judge(release, &format!("#1 SMP PREEMPT_RT {version}"));
        assert!(real_time("6.1.0-56-rt-amd64", "Debian 6.1.192-2 (2026-09-01)"));
        assert!(!real_time("6.1.0-9-rt-amd64", "Debian 6.1.27-1 (2023-05-08)"));
        assert!(real_time("6.12.117+deb12-rt-amd64", "Debian 6.12.117-1~deb12u1"));
        assert!(real_time("6.15.0", "Wed Jan 1"));
        assert!(real_time("7.0.1-rt", ""));
        assert!(!real_time("6.12.12-rt", "Wed Jan 1"));
        assert!(!real_time("6.11.9", ""));
        assert!(!real_time("custom", ""));
    }
}
