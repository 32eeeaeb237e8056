//! What the compiled objects have in them.

use super::*;

fn programs(object: &[u8]) -> Vec<(String, String)> {
    let object = ObjectBuilder::default().open_memory(object).unwrap();
    let text = |text: &OsStr| text.to_string_lossy().into_owned();
    object.progs().map(|program| (text(program.name()), text(program.section()))).collect()
}

#[test]
fn every_hook_has_one_program_per_tier() {
    let programs = programs(OBJECT);
    for hook in abi::HOOKS.into_iter().filter(|hook| *hook != abi::TRACEPOINT) {
        for tier in [Tier::Lsm, Tier::FmodRet] {
            let section = match tier {
                Tier::Lsm => format!("lsm/{hook}"),
                Tier::FmodRet | Tier::Kprobe => format!("fmod_ret/security_{hook}"),
            };
            let wanted = (format!("{}{hook}", tier.prefix()), section);
            assert!(programs.contains(&wanted), "{wanted:?}");
        }
    }
    // Beside them: three for the life of tasks, one for that of inodes, one for signals, and two
    // that only a security module can have.
    assert_eq!(programs.len(), 2 * (abi::HOOKS.len() - 1) + 7);
    let others = ["lsm_bprm_check_security", "lsm_bprm_creds_for_exec", attached::FORGETS];
    for other in others {
        assert!(programs.iter().any(|(name, _)| name == other), "{other}");
    }
}

/// Pins are what those guard, and nothing is pinned there; a fork cannot be refused.
const NOT_PROBED: [&str; 12] = [
    "task_alloc",
    "inode_unlink",
    "inode_rename",
    "inode_rmdir",
    "sb_umount",
    // Not yet: what they close is open in that tier, which its canary shows.
    "file_receive",
    "locked_down",
    "socket_connect",
    "socket_create",
    "socket_sendmsg",
    // Whoever asked is not who runs when the kernel asks.
    "file_send_sigiotask",
    abi::TRACEPOINT,
];

#[test]
fn without_trampolines_the_same_verdicts_hang_on_probes() {
    let programs = programs(PROBES);
    for hook in abi::HOOKS.iter().filter(|hook| !NOT_PROBED.contains(hook)) {
        let wanted = (format!("probe_{hook}"), format!("kprobe/security_{hook}"));
        assert!(programs.contains(&wanted), "{wanted:?}");
    }
    // Beside them: three for the life of tasks, one for that of inodes, and one for signals.
    assert_eq!(programs.len(), abi::HOOKS.len() - NOT_PROBED.len() + 5);
}

#[test]
fn the_objects_do_not_name_the_machine_that_built_them() {
    let home = env!("CARGO_MANIFEST_DIR").as_bytes();
    assert!(!OBJECT.windows(home.len()).any(|window| window == home));
    assert!(!PROBES.windows(home.len()).any(|window| window == home));
}

/// Where a call is of a helper, and which: `BPF_JMP | BPF_CALL`, and a source of 0.
const CALL: u8 = 0x85;
/// `bpf_probe_read` and its kin, by their numbers in `include/uapi/linux/bpf.h`.
const PROBE_READS: [i32; 6] = [4, 45, 112, 113, 114, 115];

#[test]
fn what_lockdown_takes_away_is_known() {
    assert!(PROBING.iter().all(|hook| *hook == CONTENT || abi::HOOKS.contains(hook)));
    let object = ObjectBuilder::default().open_memory(OBJECT).unwrap();
    let probing = |program: &libbpf_rs::OpenProgram<'_>| {
        let mut calls = program.insns().iter().filter(|each| each.code == CALL);
        calls.any(|each| each.src_reg() == 0 && PROBE_READS.contains(&each.imm))
    };
    let names: Vec<String> = object
        .progs()
        .filter(probing)
        .map(|program| program.name().to_string_lossy().into_owned())
        .collect();
    for name in &names {
        let hook = ["lsm_", "fmod_"].iter().find_map(|tier| name.strip_prefix(tier));
        assert!(hook.is_some_and(|hook| PROBING.contains(&hook)), "{name} would not load");
    }
    assert!(names.len() > PROBING.len(), "no program reads by a probe any more: {names:?}");
}
