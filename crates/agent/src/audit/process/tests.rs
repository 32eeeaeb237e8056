use std::os::unix::fs::{MetadataExt as _, symlink};

use proptest::prelude::*;

use super::*;

/// A `/proc` of our own: number, parent, start in ticks, name.
fn machine(processes: &[(u32, u32, u64, &str)]) -> (tempfile::TempDir, Processes) {
    let folder = tempfile::tempdir().unwrap();
    for (pid, parent, started, comm) in processes {
        let own = folder.path().join(pid.to_string());
        fs::create_dir(&own).unwrap();
        let zeros = "0 ".repeat(17);
        fs::write(own.join("stat"), format!("{pid} ({comm}) S {parent} {zeros}{started} 0"))
            .unwrap();
        fs::write(own.join("status"), "Name:\tx\nUid:\t1000\t0\t0\t0\n").unwrap();
        fs::write(own.join("cgroup"), "0::/system.slice/ssh.service\n").unwrap();
        symlink(format!("/bin/{comm}"), own.join("exe")).unwrap();
    }
    let processes = Processes { root: folder.path().into(), ticks_per_second: 100 };
    (folder, processes)
}

fn at(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}

fn pids(process: &Process) -> Vec<u32> {
    process.ancestors.iter().map(|ancestor| ancestor.pid).collect()
}

#[test]
fn a_process_is_described_with_its_line() {
    let (_folder, machine) =
        machine(&[(1, 0, 0, "init"), (50, 1, 10, "sh"), (60, 50, 20, "g) (d b")]);
    let found = machine.describe(60, None, at(20));
    assert_eq!((found.uid, found.comm.as_deref()), (Some(1000), Some("g) (d b")));
    assert_eq!(found.exe.as_deref(), Some("/bin/g) (d b"));
    assert_eq!(found.cgroup.as_deref(), Some("/system.slice/ssh.service"));
    assert_eq!((pids(&found), found.gone), (vec![50, 1], false));
}

#[test]
fn a_number_that_was_given_away_since_is_not_believed() {
    let (_folder, machine) = machine(&[(1, 0, 0, "init"), (50, 1, 10, "sh"), (60, 1, 31, "other")]);
    let found = machine.describe(60, Some(50), at(30));
    assert_eq!((found.gone, found.exe.as_deref()), (true, None));
    assert_eq!(pids(&found), [50, 1], "who started it is still there");
    let found = machine.describe(50, None, at(30));
    assert!(!found.gone);
    let young_parent = machine.describe(99, Some(60), at(30));
    assert!(young_parent.ancestors.is_empty());
}

#[test]
fn one_that_ended_and_was_not_waited_for_is_gone() {
    let (folder, machine) = machine(&[(1, 0, 0, "init"), (50, 1, 10, "sh"), (60, 50, 20, "cat")]);
    let stat = folder.path().join("60/stat");
    fs::write(&stat, fs::read_to_string(&stat).unwrap().replace(" S ", " Z ")).unwrap();
    let found = machine.describe(60, Some(50), at(30));
    assert_eq!((found.gone, found.exe.as_deref(), pids(&found)), (true, None, vec![50, 1]));
}

#[test]
fn a_line_ends_where_a_parent_is_younger_than_its_child_and_at_its_bound() {
    let (_folder, first) = machine(&[(40, 1, 90, "new"), (50, 40, 10, "sh")]);
    assert!(first.describe(50, None, at(99)).ancestors.is_empty());
    let many: Vec<_> = (1..30).map(|pid| (pid, pid - 1, u64::from(pid), "sh")).collect();
    let (_folder, deep) = machine(&many);
    assert_eq!(deep.describe(29, None, at(99)).ancestors.len(), ANCESTORS);
    let (_folder, ring) = machine(&[(5, 6, 1, "a"), (6, 5, 1, "b")]);
    assert_eq!(ring.describe(5, None, at(9)).ancestors.len(), ANCESTORS);
}

#[test]
fn this_very_process_is_found() {
    let own = std::process::id();
    let found = Processes::of_this_machine().describe(own, None, crate::host::since_boot());
    let exe = std::env::current_exe().unwrap();
    assert_eq!(found.exe.as_deref(), exe.to_str());
    assert_eq!(found.uid, Some(nix::unistd::getuid().as_raw()));
    assert!(found.cgroup.is_some() && !found.gone);
}

#[test]
fn a_group_is_found_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("kubepods/pod1");
    fs::create_dir_all(&inner).unwrap();
    let id = fs::metadata(&inner).unwrap().ino();
    let mut groups =
        Groups { root: folder.path().into(), known: Default::default(), searched: None };
    assert_eq!(groups.path(1, at(0)), None);
    assert_eq!(groups.path(id, at(0)), Some("/kubepods/pod1"));
    let later = folder.path().join("later");
    fs::create_dir(&later).unwrap();
    let id = fs::metadata(&later).unwrap().ino();
    assert_eq!(groups.path(id, at(1)), None, "not searched at once again");
    assert_eq!(groups.path(id, at(300)), Some("/later"));
}

proptest! {
    #[test]
    fn any_text_is_a_stat_or_none(text in "\\PC{0,200}") {
        drop((Stat::parse(&text), real_uid(&text)));
        prop_assert!(cut(&text.repeat(9)).len() <= PATH_LEN);
    }

    #[test]
    fn any_name_is_read_back(comm in "\\PC{0,15}", parent: u32, started: u64) {
        let text = format!("1 ({comm}) S {parent} {}{started} 0 0", "0 ".repeat(17));
        prop_assert_eq!(Stat::parse(&text), Some(Stat { comm, ended: false, parent, started }));
    }
}
