//! Apart from its secrets, an app starts exactly as it does without the wrapper.

#[cfg(test)]
mod inherited {
    use std::{collections::BTreeSet, ffi::OsString, os::unix::ffi::OsStringExt as _};

    use cloudtaser_e2e::{
        Bao, Launch, Output, Scratch, User, Values, compile_c, is_root, on_path, skip,
    };

    /// What the state fixture tells under a launch, in both ways of starting.
    struct Twice {
        bare: BTreeSet<String>,
        wrapped: BTreeSet<String>,
    }

    impl Twice {
        fn run(describe: impl Fn(Launch) -> Launch, app: &[OsString]) -> Self {
            let bao = Bao::shared();
            let values = Values::one(bao);
            let lines = |output: Output| output.text().lines().map(str::to_owned).collect();
            Self {
                bare: lines(describe(values.set(Launch::bare())).run(app).ok()),
                wrapped: lines(describe(values.refer(Launch::wrapped(bao))).run(app).ok()),
            }
        }

        /// Lines that only one of the two has, without those that are expected to differ.
        fn differences(&self, expected: &[&str]) -> Vec<String> {
            let known = |line: &&String| !expected.iter().any(|start| line.starts_with(start));
            let gone = self.bare.difference(&self.wrapped).filter(known);
            let new = self.wrapped.difference(&self.bare).filter(known);
            gone.map(|line| format!("- {line}"))
                .chain(new.map(|line| format!("+ {line}")))
                .collect()
        }
    }

    /// What the wrapper changes, and says that it does: its filter, whether the app is dumpable,
    /// and that the app is told to end when the wrapper is killed. Pending signals are counted per
    /// user, so other programs change them.
    const CHANGED: &[&str] = &["status Seccomp", "dumpable ", "death signal ", "status SigQ"];

    fn state(scratch: &Scratch) -> Option<OsString> {
        compile_c(scratch, "gcc", "state.c", &["-static"]).map(Into::into)
    }

    fn is_the_same(describe: impl Fn(Launch) -> Launch, before: &[&str]) {
        let scratch = Scratch::new();
        let Some(state) = state(&scratch) else { skip!("gcc is not installed") };
        let app = before.iter().map(OsString::from).chain([state]).collect::<Vec<_>>();
        let both = Twice::run(describe, &app);
        assert!(both.bare.len() > 40, "{:?}", both.bare);
        let differences = both.differences(CHANGED);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    #[test]
    fn an_app_starts_as_it_does_without_the_wrapper() {
        is_the_same(|launch| launch, &[]);
    }

    #[test]
    fn an_unprivileged_app_starts_as_it_does_without_the_wrapper() {
        if !is_root() {
            skip!("changing the user needs root");
        }
        is_the_same(|launch| launch.user(User::Unprivileged), &[]);
    }

    #[test]
    fn a_grandchild_starts_as_it_does_without_the_wrapper() {
        let script = r#""$0"; exit $?"#;
        is_the_same(|launch| launch, &["sh", "-c", script]);
    }

    #[test]
    fn umask_directory_limits_and_niceness_are_passed_on() {
        let before =
            ["sh", "-c", "umask 027; ulimit -n 77; ulimit -c 0; exec nice -n 3 \"$@\"", "x"];
        is_the_same(|launch| launch.behind(before).cwd("/usr/bin"), &[]);
    }

    #[test]
    fn open_descriptors_are_passed_on_and_none_is_added() {
        if on_path("bash").is_none() {
            skip!("bash is not installed");
        }
        let opened = "exec 5</etc/passwd 9>>/dev/null 7<&0 200</; exec \"$@\"";
        let before = ["bash", "-c", opened, "x"];
        is_the_same(|launch| launch.behind(before), &[]);
    }

    #[test]
    fn closed_standard_descriptors_stay_closed() {
        // The app tells what it sees at descriptor 9, whatever is closed.
        let look = "for fd in 0 1 2; do [ -e /proc/$$/fd/$fd ] && echo $fd is open >&9; done; \
                    echo done >&9";
        for closed in ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 2>&-", "0<&- 1>&- 2>&-"] {
            let before = ["sh", "-c", &format!("exec 9>&1 {closed}; exec \"$@\""), "x"];
            for delivery in ["follow", "one-shot", "plain"] {
                let describe =
                    |launch: Launch| launch.behind(before).env("CLOUDTASER_DELIVERY", delivery);
                let both = Twice::run(describe, &["sh".into(), "-c".into(), look.into()]);
                assert_eq!(both.wrapped, both.bare, "{closed} {delivery}");
                let open = 3 - closed.matches('-').count();
                assert_eq!(both.bare.len(), open + 1, "{closed}: {:?}", both.bare);
            }
        }
    }

    #[test]
    fn ignored_and_blocked_signals_stay_so() {
        let ignored = ["sh", "-c", "trap '' HUP INT USR1 CHLD; exec \"$@\"", "x"];
        is_the_same(|launch| launch.behind(ignored), &[]);
        let pipe = ["sh", "-c", "trap '' PIPE; exec \"$@\"", "x"];
        is_the_same(|launch| launch.behind(pipe), &[]);
        if on_path("python3").is_none() {
            skip!("python3, which blocks signals here, is not installed");
        }
        let blocked = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM, signal.SIGCHLD, 40])
signal.signal(signal.SIGPIPE, signal.SIG_DFL); signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])";
        is_the_same(|launch| launch.behind(["python3", "-c", blocked]), &[]);
    }

    #[test]
    fn arguments_are_passed_on_byte_by_byte() {
        let scratch = Scratch::new();
        let Some(state) = state(&scratch) else { skip!("gcc is not installed") };
        let odd = b"\xff\xfe not utf-8 \x01\n".to_vec();
        let app = [state, "".into(), OsString::from_vec(odd), "--".into(), "-q".into(), "".into()];
        let both = Twice::run(|launch| launch, &app);
        let arguments = |lines: &BTreeSet<String>| {
            let of = |line: &&String| line.starts_with("argument ");
            lines.iter().filter(of).cloned().collect::<Vec<_>>()
        };
        assert_eq!(arguments(&both.wrapped), arguments(&both.bare));
        assert_eq!(arguments(&both.bare).len(), 6);
    }

    #[test]
    fn the_app_sees_no_variable_of_the_wrapper() {
        let bao = Bao::shared();
        let values = Values::one(bao);
        let launch = values
            .refer(Launch::wrapped(bao))
            .env("CLOUDTASER_DELIVERY", "follow")
            .env("VAULT_ROLE", "unused")
            .env("BAO_NAMESPACE", "")
            .env("VAULT_ENV_PASSTHROUGH", "VAULT_ADDR");
        let text = launch.run(["sh", "-c", "tr '\\0' '\\n' </proc/self/environ; env"]).ok().text();
        let ours = |line: &&str| {
            ["VAULT_", "BAO_", "CLOUDTASER_"].iter().any(|prefix| line.starts_with(prefix))
        };
        let seen = text.lines().filter(ours).collect::<BTreeSet<_>>();
        assert_eq!(seen, [format!("VAULT_ADDR={}", bao.url()).as_str()].into());
    }

    #[test]
    fn standard_streams_are_the_apps_own() {
        let bao = Bao::shared();
        let values = Values::one(bao);
        let launch = values.refer(Launch::wrapped(bao));
        let mut running = launch.spawn(["sh", "-c", "cat; echo to-stderr >&2"]);
        let block = vec![b'x'; 1 << 20];
        running.write(&block);
        running.close_stdin();
        let output = running.wait().ok();
        assert!(output.stdout == block, "{} bytes came back", output.stdout.len());
        assert_eq!(output.stderr, "to-stderr\n");
    }

    #[test]
    fn only_the_filter_and_the_dumpability_tell_an_app_of_the_wrapper() {
        let scratch = Scratch::new();
        let Some(state) = state(&scratch) else { skip!("gcc is not installed") };
        let both = Twice::run(|launch| launch, &[state]);
        let has = |lines: &BTreeSet<String>, line: &str| lines.contains(line);
        assert!(has(&both.bare, "status Seccomp:\t0") || has(&both.bare, "status Seccomp:\t2"));
        assert!(has(&both.wrapped, "status Seccomp:\t2"), "no filter: {:?}", both.wrapped);
        assert!(has(&both.bare, "dumpable 1"));
        if is_root() {
            assert!(has(&both.wrapped, "dumpable 0"), "root keeps its apps from being dumped");
            assert!(has(&both.wrapped, "status NoNewPrivs:\t0"), "root needs no NoNewPrivs");
        }
    }

    #[test]
    fn exit_codes_and_deaths_are_passed_on() {
        let bao = Bao::shared();
        let values = Values::one(bao);
        let launch = values.refer(Launch::wrapped(bao));
        for code in [0, 1, 7, 64, 125, 127, 255] {
            assert_eq!(launch.run(["sh", "-c", &format!("exit {code}")]).code(), code);
        }
        for signal in [1, 2, 6, 9, 11, 15] {
            assert_eq!(
                launch.run(["sh", "-c", &format!("kill -{signal} $$")]).code(),
                128 + signal
            );
        }
    }
}
