//! Real system calls: what is true on this machine must be found, and nothing may be left behind.

use super::*;

#[test]
fn probing_leaves_no_child_behind() {
    let before = children();
    let _facts = Facts::probe();
    assert_eq!(children(), before);
}

fn children() -> String {
    let tid = nix::unistd::gettid();
    std::fs::read_to_string(format!("/proc/self/task/{tid}/children")).unwrap()
}

#[test]
fn secret_memory_is_found_where_a_mapping_of_it_works() {
    match secret_memory() {
        Probe::Works => {}
        other => println!("SKIP: no secret memory here: {other:?}"),
    }
    assert!(!matches!(secret_memory(), Probe::Untried(_)));
}

#[test]
fn tracing_is_tried_to_the_end() {
    let found = Tracing::probe();
    for probe in [found.listener, found.seize, found.seize_undumpable, found.trace_me] {
        assert!(!matches!(probe, Probe::Untried(_)), "{found:?}");
    }
}

#[test]
fn a_child_that_is_not_dumpable_needs_the_capability() {
    let found = Tracing::probe();
    if !found.seize.works() {
        println!("SKIP: children cannot be traced here: {:?}", found.seize);
        return;
    }
    let capable = effective_capabilities().unwrap().has(Capability::SysPtrace);
    assert_eq!(found.seize_undumpable.works(), capable);
}

#[test]
fn probing_leaves_this_process_as_it_was() {
    let status = || {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        text.lines()
            .filter(|line| {
                ["NoNewPrivs", "Seccomp", "TracerPid"].iter().any(|name| line.starts_with(name))
            })
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = status();
    let _facts = Facts::probe();
    assert_eq!(status(), before);
}

#[test]
fn capabilities_agree_with_the_status_file() {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let bits = u64::from_str_radix(line.trim(), 16).unwrap();
    let caps = effective_capabilities().unwrap();
    for capability in [Capability::IpcLock, Capability::SysAdmin, Capability::SysPtrace] {
        assert_eq!(caps.has(capability), bits >> (capability as u8) & 1 == 1, "{capability:?}");
    }
    assert_eq!(caps.is_empty(), bits == 0);
}

#[test]
fn the_kernel_release_is_what_uname_says() {
    let uname = std::process::Command::new("uname").arg("-r").output().unwrap();
    let release = String::from_utf8(uname.stdout).unwrap();
    assert_eq!(Kernel::read().release, Reading::Known(release.trim().to_owned()));
}
