//! How many copies of a secret a runtime itself keeps in ordinary memory: what `docs/runtimes.md`
//! says is measured here, and the rows that promise none are held.
//!
//! With `--no-capture` the tests print the rows of that table.

#[cfg(test)]
mod runtimes {
    use std::{ffi::OsString, process::Command, thread, time::Duration};

    use cloudtaser_e2e::{
        Bao, Launch, Running, Scratch, Shown, Values, compile_c, compile_go, compile_rust, find,
        fixture, is_root, on_path, scan, skip,
    };

    /// Copies in the app's ordinary memory.
    #[derive(Debug, Eq, PartialEq)]
    struct Copies {
        /// After the start, before the app has asked for the value.
        started: usize,
        /// After it has asked for it, idle.
        read: usize,
    }

    fn copies(app: &[OsString]) -> Copies {
        let bao = Bao::shared();
        let values = Values::one(bao);
        let launch = values.refer(Launch::wrapped(bao));
        let argv = app.iter().cloned().chain(values.arguments(Shown::Length)).collect::<Vec<_>>();
        let mut running = launch.spawn(argv);
        running.until_stdout("ready", |out| out.starts_with(b"ready\0"));
        let started = in_app(&running, &values);
        running.write(b"\n");
        let length = values.expected("PASSWORD").len();
        let answer = format!("ready\0{length}\0");
        running.until_stdout("the length", |out| out == answer.as_bytes());
        // A runtime with threads of its own comes to rest.
        thread::sleep(Duration::from_millis(300));
        let read = in_app(&running, &values);
        running.close_stdin();
        drop(running.wait().ok());
        Copies { started, read }
    }

    fn in_app(running: &Running, values: &Values) -> usize {
        let value = values.expected("PASSWORD");
        // Its end alone: an allocator overwrites the beginning of what was freed.
        let seen = scan(running.app(), &value[value.len() - 20..]);
        // The scan itself must work, and the sealed pages must be what it cannot read.
        assert!(seen.bytes > 10_000, "only {} bytes could be read", seen.bytes);
        let sealed = seen.refused.iter().any(|region| region.name.contains("secretmem"));
        assert!(sealed, "no sealed page in {:?}", seen.refused);
        seen.hits.len()
    }

    fn row(name: &str, app: &[OsString]) -> Copies {
        let copies = copies(app);
        println!("| {name} | {} | {} |", copies.started, copies.read);
        copies
    }

    fn version(program: &str, flag: &str) -> String {
        let output = Command::new(program).arg(flag).output();
        let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    }

    const NONE: Copies = Copies { started: 0, read: 0 };

    #[test]
    fn programs_that_use_the_c_environment_keep_no_copy() {
        if !is_root() {
            skip!("reading other processes needs root");
        }
        let scratch = Scratch::new();
        for (compiler, flags) in [
            ("gcc", &[][..]),
            ("gcc", &["-static"]),
            ("gcc", &["-static-pie"]),
            ("musl-gcc", &["-static"]),
        ] {
            match compile_c(&scratch, compiler, "show.c", flags) {
                Some(app) => {
                    assert_eq!(row(&format!("C, {compiler} {flags:?}"), &[app.into()]), NONE)
                }
                None => println!("SKIP: {compiler} is not installed"),
            }
        }
        let app = compile_rust(&scratch, "show.rs");
        assert_eq!(row("Rust", &[app.into()]).started, 0);
    }

    #[test]
    fn go_keeps_the_copy_of_its_runtime() {
        if !is_root() {
            skip!("reading other processes needs root");
        }
        let scratch = Scratch::new();
        let Some(app) = compile_go(&scratch, "show.go") else { skip!("go is not installed") };
        let copies = row(&format!("Go ({})", version("go", "version")), &[app.into()]);
        assert!(copies.read <= 2, "Go keeps more than docs/runtimes.md says: {copies:?}");
    }

    #[test]
    fn dash_keeps_no_copy() {
        if !is_root() {
            skip!("reading other processes needs root");
        }
        let script = fixture("show.sh").into_os_string();
        for (shell, arguments) in [("dash", &[][..]), ("busybox", &["sh"])] {
            let Some(program) = on_path(shell) else {
                println!("SKIP: {shell} is not installed");
                continue;
            };
            let arguments = arguments.iter().map(OsString::from);
            let app = [program.into()].into_iter().chain(arguments).chain([script.clone()]);
            assert_eq!(row(shell, &app.collect::<Vec<_>>()).started, 0);
        }
    }

    #[test]
    fn a_heap_dump_of_a_jvm_has_the_value_unless_attaching_is_off() {
        if on_path("jcmd").is_none() || on_path("javac").is_none() {
            skip!("jcmd and javac are not installed");
        }
        for (flag, is_open) in
            [("-XX:-DisableAttachMechanism", true), ("-XX:+DisableAttachMechanism", false)]
        {
            let bao = Bao::shared();
            let values = Values::one(bao);
            let launch = values.refer(Launch::wrapped(bao));
            let show = fixture("Show.java").into_os_string();
            let java = ["java".into(), flag.into(), "-Xmx64m".into(), show].into_iter();
            let argv = java.chain(values.arguments(Shown::Length)).collect::<Vec<_>>();
            let mut running = launch.spawn(argv);
            running.until_stdout("ready", |out| out.starts_with(b"ready\0"));
            running.write(b"\n");
            running.until_stdout("the length", |out| out.len() > 7 && out.ends_with(b"\0"));
            let scratch = Scratch::new();
            let dump = scratch.path().join("heap.hprof");
            let jcmd = Launch::bare();
            let pid = running.app().to_string();
            let wanted = [&pid, "GC.heap_dump", &dump.display().to_string()].map(OsString::from);
            let output = jcmd.run([OsString::from("jcmd")].into_iter().chain(wanted));
            assert_eq!(output.status.success(), is_open, "{flag}: {}", output.stderr);
            let bytes = std::fs::read(&dump).unwrap_or_default();
            let hits = find(&bytes, values.expected("PASSWORD")).len();
            assert_eq!(hits > 0, is_open, "{flag}: {hits} copies in {} bytes", bytes.len());
            running.close_stdin();
            drop(running.wait().ok());
        }
    }

    #[test]
    fn copies_that_other_runtimes_keep_are_counted() {
        if !is_root() {
            skip!("reading other processes needs root");
        }
        for (program, flag, arguments, script, most) in [
            ("bash", "--version", &[][..], "show.sh", 4),
            ("perl", "--version", &[], "show.pl", 3),
            ("python3", "--version", &[], "show.py", 2),
            ("node", "--version", &[], "show.js", 4),
            ("java", "-version", &["-Xmx64m"], "Show.java", 6),
        ] {
            let Some(path) = on_path(program) else {
                println!("SKIP: {program} is not installed");
                continue;
            };
            let app = [path.into()]
                .into_iter()
                .chain(arguments.iter().map(OsString::from))
                .chain([fixture(script).into_os_string()])
                .collect::<Vec<_>>();
            let copies = row(&format!("{program} ({})", version(program, flag)), &app);
            assert!(
                copies.read <= most,
                "{program} keeps more than docs/runtimes.md says: {copies:?}"
            );
        }
    }
}
