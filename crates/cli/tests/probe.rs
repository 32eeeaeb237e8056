//! The attack suite against processes whose secrets we know: a probe that cannot find is worthless,
//! and so is one that finds what is not there.

#[cfg(test)]
mod probe {
    use std::{
        fs::File,
        io::{BufRead, BufReader, Read, Seek, Write},
        os::unix::process::CommandExt,
        process::{Child, Command, Output, Stdio},
    };

    use cloudtaser_sys::{harden::fill_random, secretmem::SecretFile};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use serde_json::Value;

    /// Ends the target whatever becomes of the test.
    struct Target(Child);

    impl Target {
        fn start(command: &mut Command) -> Self {
            Self(command.spawn().unwrap())
        }

        fn pid(&self) -> u32 {
            self.0.id()
        }
    }

    impl Drop for Target {
        fn drop(&mut self) {
            let _gone = self.0.kill();
            let _reaped = self.0.wait();
        }
    }

    /// Letters that no program has by chance.
    fn canary() -> Vec<u8> {
        let mut bytes = [0; 24];
        fill_random(&mut bytes).unwrap();
        bytes.iter().map(|byte| b'a' + byte % 26).collect()
    }

    fn probe(pid: u32, needle: &[u8], flags: &[&str]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cloudtaser"))
            .args(["probe", &pid.to_string(), "--canary-file", "-", "--json"])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The prober may refuse before it reads.
        let _early = child.stdin.take().unwrap().write_all(needle);
        child.wait_with_output().unwrap()
    }

    fn report(output: &Output) -> Value {
        let text = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {text}"))
    }

    fn road<'r>(report: &'r Value, id: &str) -> &'r Value {
        let roads = report.pointer("/processes/0/roads").and_then(Value::as_array).unwrap();
        roads.iter().find(|road| road.pointer("/road") == Some(&Value::from(id))).unwrap()
    }

    fn found(report: &Value, id: &str) -> u64 {
        road(report, id).pointer("/found").and_then(Value::as_u64).unwrap()
    }

    fn is_root() -> bool {
        nix::unistd::geteuid().is_root()
    }

    fn has_gdb() -> bool {
        Command::new("gdb")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    }

    #[test]
    fn a_value_in_the_environment_is_found_on_every_road_to_it() {
        let canary = canary();
        let value = String::from_utf8(canary.clone()).unwrap();
        let target = Target::start(Command::new("sleep").arg("60").env("DEMO_PASSWORD", value));
        let output = probe(target.pid(), &canary, &["--env", "DEMO_PASSWORD"]);
        let report = report(&output);
        assert_eq!(output.status.code(), Some(1));
        for id in ["environ", "task", "mem", "process-vm-readv", "ptrace-peek", "ptrace-inject"] {
            assert!(found(&report, id) > 0, "{id}: {}", road(&report, id));
        }
        if has_gdb() {
            assert!(found(&report, "gcore") > 0, "{}", road(&report, "gcore"));
            let called = road(&report, "gdb-getenv");
            let note = called.pointer("/note").and_then(Value::as_str).unwrap();
            if note.contains("this gdb cannot write") {
                println!("SKIP: gdb-getenv: {note}");
            } else {
                assert!(found(&report, "gdb-getenv") > 0, "{called}");
            }
        } else {
            println!("SKIP: gdb is not installed; gcore and gdb-getenv not tried");
        }
        assert_eq!(found(&report, "cmdline"), 0);
    }

    #[test]
    fn a_value_on_the_heap_of_a_shell_is_found_there() {
        let canary = canary();
        let script = "read -r held; sleep 60 & echo ready; wait";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut target = Target::start(&mut command);
        let mut input = target.0.stdin.take().unwrap();
        input.write_all(&[canary.as_slice(), b"\n"].concat()).unwrap();
        let mut line = String::new();
        BufReader::new(target.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let report = report(&probe(target.pid(), &canary, &["--no-active", "--tree"]));
        let places = road(&report, "mem").pointer("/places").unwrap().to_string();
        assert!(places.contains("[heap]"), "{places}");
        assert_eq!(found(&report, "environ"), 0);
        let processes = report.pointer("/processes").and_then(Value::as_array).unwrap();
        assert_eq!(processes.len(), 2, "the shell and its sleep");
        let group = nix::unistd::Pid::from_raw(i32::try_from(target.pid()).unwrap());
        nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_value_in_an_open_memory_file_is_found_through_its_descriptor() {
        let canary = canary();
        let mut file = File::from(memfd_create("held", MFdFlags::MFD_CLOEXEC).unwrap());
        file.write_all(&canary).unwrap();
        file.rewind().unwrap();
        let target = Target::start(Command::new("sleep").arg("60").stdin(file));
        let report = report(&probe(target.pid(), &canary, &[]));
        for id in ["fd", "pidfd-getfd"] {
            assert_eq!(found(&report, id), 1, "{}", road(&report, id));
        }
        assert_eq!(found(&report, "mem"), 0);
    }

    #[test]
    fn sealed_pages_answer_only_the_active_roads() {
        let mut canary = canary();
        let Ok(file) = SecretFile::create(4096) else {
            println!("SKIP: this kernel offers no secret memory");
            return;
        };
        // A child that has the sealed file open; the page itself is mapped by this process alone.
        let mut mapping = file.map().unwrap();
        assert!(mapping.write(0, &canary));
        let needle = canary.clone();
        canary.fill(0);
        let own = std::process::id();
        let report = report(&probe_from_page(own, mapping.as_slice(), needle));
        let refused = |id: &str| road(&report, id).pointer("/note").unwrap().to_string();
        for id in ["environ", "mem", "process-vm-readv", "map-files", "fd", "ptrace-peek", "gcore"]
        {
            assert_eq!(found(&report, id), 0, "{id}: {}", road(&report, id));
        }
        assert!(refused("mem").contains("sealed pages refused"), "{}", refused("mem"));
        for id in ["pidfd-getfd", "ptrace-inject"] {
            assert_eq!(found(&report, id), 1, "{id}: {}", road(&report, id));
        }
    }

    /// Hands the needle over straight from the sealed page, after our ordinary copy is wiped.
    fn probe_from_page(pid: u32, page: &[u8], mut copy: Vec<u8>) -> Output {
        let len = copy.len();
        copy.fill(0);
        drop(copy);
        probe(pid, page.get(..len).unwrap(), &[])
    }

    #[test]
    fn another_uid_is_refused_where_root_is_not() {
        if !is_root() {
            println!("SKIP: probing as another uid needs root");
            return;
        }
        let canary = canary();
        let value = String::from_utf8(canary.clone()).unwrap();
        let mut command = Command::new("sleep");
        let target =
            Target::start(command.arg("60").env("DEMO_PASSWORD", value).uid(65533).gid(65533));
        let same = probe(target.pid(), &canary, &["--as-uid", "65533"]);
        assert!(found(&report(&same), "environ") > 0);
        let caller = report(&same).pointer("/caller/capabilities").cloned();
        assert_eq!(caller, Some(Value::from("0000000000000000")));
        let other = probe(target.pid(), &canary, &["--as-uid", "65532"]);
        let table = report(&other);
        assert_eq!(other.status.code(), Some(0));
        for id in ["environ", "mem", "process-vm-readv", "ptrace-peek", "ptrace-inject"] {
            assert_eq!(road(&table, id).pointer("/access"), Some(&Value::from("closed")), "{id}");
        }
        assert_eq!(road(&table, "environ").pointer("/errno"), Some(&Value::from("EACCES")));
    }

    #[test]
    fn the_target_goes_on_as_before() {
        let canary = canary();
        let mut command = Command::new("sh");
        command.args(["-c", "read -r first; echo \"$first\"; exit 7"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut target = Target::start(&mut command);
        let output = probe(target.pid(), &canary, &["--env", "HOME"]);
        assert_eq!(output.status.code(), Some(0), "{}", report(&output));
        target.0.stdin.take().unwrap().write_all(b"still here\n").unwrap();
        let mut said = String::new();
        target.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "still here\n");
        assert_eq!(target.0.wait().unwrap().code(), Some(7));
    }

    #[test]
    fn a_core_by_signal_is_searched_and_removed() {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        if pattern.contains(['|', '%', '/', '@']) || !is_root() {
            println!("SKIP: core_pattern is {pattern:?}, or not root");
            return;
        }
        let canary = canary();
        let value = String::from_utf8(canary.clone()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60").env("DEMO_PASSWORD", value).current_dir(directory.path());
        let target = Target::start(&mut command);
        let report = report(&probe(target.pid(), &canary, &["--no-active", "--destructive"]));
        assert!(found(&report, "kernel-core") > 0, "{}", road(&report, "kernel-core"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn wrong_use_and_a_gone_target_have_codes_of_their_own() {
        let short = probe(std::process::id(), b"short", &[]);
        assert_eq!(short.status.code(), Some(64));
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let gone = probe(pid, &canary(), &[]);
        assert_eq!(gone.status.code(), Some(69));
        assert!(gone.stdout.is_empty());
        assert_eq!(
            String::from_utf8(gone.stderr).unwrap(),
            format!(
                "error: process {pid} is gone; nothing was probed: No such file or directory (os error 2)\n"
            )
        );
        let unnamed =
            Command::new(env!("CARGO_BIN_EXE_cloudtaser")).args(["probe", "1"]).output().unwrap();
        assert_eq!(unnamed.status.code(), Some(64));
    }
}
