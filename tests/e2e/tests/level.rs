//! The level that is told is the level that there is.
//!
//! Each test takes something away from the wrapper (a system call, locked memory, the listener, a
//! capability) or gives it a program that cannot be served, and demands four things: the facets and
//! the reason in the one line of JSON; that the environment blocks show what the facets say; the
//! same by `--explain`; and that a requirement above the level ends the launch with 77 before
//! anything was asked of OpenBao and anything was started.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

    use cloudtaser_e2e::{Bao, Launch, Scratch, User, canary, is_root, on_path, skip};
    use serde_json::{Value, json};

    use super::common::{
        Double, SECRET, TOKEN, level,
        programs::{self, REFUSE_CALLS, TAKE_LISTENER},
        refused, shows_nothing,
    };

    /// `ptrace(2)`, `memfd_secret(2)`, and the request that attaches to a running process.
    const PTRACE: &str = "101";
    const MEMFD_SECRET: &str = "447";
    const PTRACE_SEIZE: &str = "101:16902";

    const EPERM: &str = "1";
    const ENOSYS: &str = "38";

    /// Prints what its own environment block and that of a program that it starts hold, and its
    /// variable.
    const APP: [&str; 3] = [
        "sh",
        "-c",
        "echo started; cat /proc/$$/environ; echo; echo =====; cat /proc/self/environ; echo; echo =====; echo \"$S\"",
    ];

    /// What is expected of one place.
    #[derive(Clone, Copy, Debug)]
    struct Expected<'a> {
        memory: &'a str,
        environ: &'a str,
        supervisor: &'a str,
        /// `refused`, or empty for what Yama decides.
        attach: &'a str,
        reason: &'a str,
        require: &'a str,
    }

    const BEST: Expected<'_> = Expected {
        memory: "sealed",
        environ: "hidden",
        supervisor: "sealed",
        attach: "refused",
        reason: "",
        require: "",
    };

    const PLAIN: Expected<'_> = Expected {
        memory: "plain",
        environ: "plain",
        attach: "",
        require: "memory=sealed",
        ..BEST
    };

    const FIRST_IMAGE: Expected<'_> =
        Expected { environ: "first-image", require: "environ=hidden", ..BEST };

    fn matches(level: &Value, expected: Expected<'_>) {
        let facet = |name: &str| level["facets"][name].as_str().unwrap_or_default().to_owned();
        assert_eq!(facet("memory"), expected.memory, "{level}");
        assert_eq!(facet("environ"), expected.environ, "{level}");
        assert_eq!(facet("supervisor"), expected.supervisor, "{level}");
        if expected.attach.is_empty() {
            assert_ne!(facet("attach"), "refused", "{level}");
        } else {
            assert_eq!(facet("attach"), expected.attach, "{level}");
        }
        assert_eq!(facet("agent"), "off", "{level}");
        let mut reasons = level["reasons"].as_array().unwrap().clone();
        reasons.retain(|told| !told.as_str().unwrap().starts_with("no guard by a node agent: "));
        assert_eq!(reasons.len() + 1, level["reasons"].as_array().unwrap().len(), "{level}");
        if expected.reason.is_empty() {
            assert!(reasons.is_empty(), "{reasons:?}");
        }
        let is_told = reasons.iter().any(|told| told.as_str().unwrap().contains(expected.reason));
        assert!(is_told || expected.reason.is_empty(), "no {:?} in {reasons:?}", expected.reason);
        let rows = level["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 6);
        if expected.environ != "hidden" || expected.attach != "refused" {
            assert_ne!(rows[0]["verdict"], "closed", "{level}");
        }
        assert_ne!(rows[2]["verdict"], "closed", "without an agent root has roads: {level}");
    }

    /// Holds what was printed by [`APP`] against the facets.
    fn is_true(out: &str, expected: Expected<'_>) {
        let parts = out.split("=====\n").collect::<Vec<_>>();
        assert_eq!(parts.len(), 3, "{out}");
        assert_eq!(parts[2], format!("{SECRET}\n"), "the app has its value");
        assert_eq!(parts[0].contains(SECRET), expected.environ == "plain", "{}", parts[0]);
        assert_eq!(parts[1].contains(SECRET), expected.environ != "hidden", "{}", parts[1]);
    }

    /// Starts the app there, and demands the four things.
    fn holds(place: &dyn Fn(&Double) -> Launch, expected: Expected<'_>) {
        let double = Double::good();
        let output = place(&double).run(APP).ok();
        matches(&level(&output.stderr), expected);
        is_true(&output.text(), expected);
        shows_nothing_beside_the_app(&output.stderr);
        refuses(place, &APP, expected);
    }

    fn shows_nothing_beside_the_app(log: &str) {
        assert!(!log.contains(SECRET) && !log.contains(TOKEN), "{log}");
    }

    /// The part that can be had of programs that print nothing.
    fn refuses<A: AsRef<std::ffi::OsStr>>(
        place: &dyn Fn(&Double) -> Launch,
        app: &[A],
        expected: Expected<'_>,
    ) {
        let double = Double::good();
        let explained = place(&double).flag("--explain").flag("--log-format=json").run(app).ok();
        matches(&serde_json::from_str(&explained.text()).unwrap(), expected);
        assert_eq!(explained.text().lines().count(), 1);
        let text = place(&double).flag("--explain").run(app).ok().text();
        assert!(text.contains(expected.reason), "no {:?} in {text}", expected.reason);
        assert!(text.contains(&format!("environ={}", expected.environ)), "{text}");
        if !expected.require.is_empty() {
            let reached = expected.require.split_once('=').unwrap().0;
            let message = format!("{} is required, {reached}=", expected.require);
            let launch = || place(&double).flag("--require").flag(expected.require);
            refused(&launch().run(app), 77, &[&message, "is what this place gives"]);
            let by_variable = place(&double).env("CLOUDTASER_REQUIRE", expected.require);
            refused(&by_variable.run(app), 77, &[&message]);
            let explained = launch().flag("--explain").run(app);
            assert_eq!(explained.code(), 77, "{}", explained.stderr);
            assert!(explained.text().contains("What would protect"), "{}", explained.text());
        }
        assert!(double.seen().is_empty(), "OpenBao was asked: {:?}", double.seen());
    }

    /// As the user of the test.
    fn here(double: &Double) -> Launch {
        super::common::at(double)
    }

    /// As uid 1000 without capabilities and with `NoNewPrivs`, as in a restricted pod.
    fn restricted(double: &Double) -> Launch {
        Launch::wrapped(Bao::shared())
            .without_flag("--quiet")
            .without_env("VAULT_TOKEN_FILE")
            .without_env("VAULT_CACERT")
            .env("VAULT_ADDR", double.url())
            .env("VAULT_TOKEN", TOKEN)
            .env("S", "vault:kv1/data/x#a")
            .user(User::Unprivileged)
    }

    fn is_ready() -> bool {
        if !is_root() {
            println!("SKIP: privileges can only be taken away from root");
            return false;
        }
        let missing = ["setpriv", "prlimit"].into_iter().find(|program| on_path(program).is_none());
        if let Some(missing) = missing {
            println!("SKIP: {missing} is not installed");
        }
        missing.is_none()
    }

    /// Puts a filter before a launch that refuses these calls.
    fn without(scratch: &Scratch, calls: &[&str]) -> Option<Vec<String>> {
        let program = programs::c(scratch, "refuse", REFUSE_CALLS)?;
        let mut words = vec![program.display().to_string()];
        words.extend(calls.iter().map(|word| (*word).to_owned()));
        words.push("--".to_owned());
        Some(words)
    }

    #[test]
    fn root_on_a_kernel_that_has_everything_reaches_the_best() {
        if is_ready() {
            holds(&here, BEST);
        }
    }

    #[test]
    fn a_restricted_pod_reaches_what_it_can() {
        if !is_ready() {
            return;
        }
        let reason = "without CAP_SYS_PTRACE the programs that a non-dumpable app executes cannot be followed";
        holds(&restricted, Expected { attach: "", reason, require: "attach=refused", ..BEST });
    }

    #[test]
    fn a_refused_memfd_secret_leaves_an_ordinary_environment() {
        let scratch = Scratch::new();
        for (errno, name) in [(ENOSYS, "ENOSYS"), (EPERM, "EPERM")] {
            let Some(words) = without(&scratch, &[MEMFD_SECRET, errno]) else { return };
            let reason = format!("no sealed memory: memfd_secret is refused ({name}");
            let expected = Expected { supervisor: "wiped", reason: &reason, ..PLAIN };
            holds(&|double| here(double).behind(&words), expected);
        }
    }

    #[test]
    fn no_locked_memory_leaves_an_ordinary_environment() {
        if !is_ready() {
            return;
        }
        let place = |double: &Double| restricted(double).behind(["prlimit", "--memlock=0:0"]);
        let expected =
            Expected { supervisor: "wiped", reason: "no sealed memory: memfd_secret", ..PLAIN };
        holds(&place, expected);
        let heap = "the supervisor's heap does not fit the limit on locked memory (RLIMIT_MEMLOCK)";
        refuses(&place, &APP, Expected { reason: heap, require: "supervisor=sealed", ..expected });
    }

    #[test]
    fn little_locked_memory_goes_to_the_app_first() {
        if !is_ready() {
            return;
        }
        let place =
            |double: &Double| restricted(double).behind(["prlimit", "--memlock=65536:65536"]);
        let heap = "the supervisor's heap does not fit the limit on locked memory (RLIMIT_MEMLOCK)";
        let expected = Expected {
            supervisor: "wiped",
            attach: "",
            reason: heap,
            require: "supervisor=sealed",
            ..BEST
        };
        holds(&place, expected);
    }

    #[test]
    fn a_refused_ptrace_leaves_an_ordinary_environment() {
        let scratch = Scratch::new();
        let Some(words) = without(&scratch, &[PTRACE, EPERM]) else { return };
        let expected =
            Expected { reason: "values cannot be placed: ptrace is refused (EPERM", ..PLAIN };
        holds(&|double| here(double).behind(&words), expected);
    }

    #[test]
    fn a_refused_attach_covers_the_first_image_only() {
        let scratch = Scratch::new();
        let Some(words) = without(&scratch, &[PTRACE_SEIZE, EPERM]) else { return };
        let reason = "later programs cannot be followed: attaching is refused (EPERM";
        holds(&|double| here(double).behind(&words), Expected { reason, ..FIRST_IMAGE });
    }

    #[test]
    fn a_listener_that_is_taken_covers_the_first_image_only() {
        let scratch = Scratch::new();
        let Some(taker) = programs::c(&scratch, "taker", TAKE_LISTENER) else { return };
        let reason = "later programs cannot be followed: the seccomp listener is refused (EBUSY";
        holds(&|double| here(double).behind([&taker]), Expected { reason, ..FIRST_IMAGE });
    }

    #[test]
    fn a_wrapper_inside_a_wrapper_starts_its_app_and_tells_its_level() {
        let double = Double::good();
        let mut inner = vec!["env".to_owned(), format!("VAULT_ADDR={}", double.url())];
        let scratch = Scratch::new();
        let token = scratch.credential("token", TOKEN);
        inner.extend([
            format!("VAULT_TOKEN_FILE={}", token.display()),
            "S=vault:kv1/data/x#a".to_owned(),
        ]);
        inner.push(cloudtaser_e2e::wrapper().display().to_string());
        inner.extend(["run", "--"].iter().chain(&APP).map(|word| (*word).to_owned()));
        let output = Launch::wrapped_bare().flag("--quiet").run(inner).ok();
        // Only one of two may have the listener; the outer one needs none without a secret.
        let reached = level(&output.stderr);
        let busy = "the seccomp listener is refused (EBUSY";
        let expected = match reached["facets"]["environ"].as_str() {
            Some("first-image") => Expected { reason: busy, ..FIRST_IMAGE },
            _ => BEST,
        };
        matches(&reached, expected);
        is_true(&output.text(), expected);
    }

    /// A copy of a program with another mode.
    fn copy(scratch: &Scratch, program: &str, mode: u32) -> Option<PathBuf> {
        let copy = scratch.path().join(program);
        fs::copy(on_path(program)?, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).unwrap();
        Some(copy)
    }

    #[test]
    fn a_setuid_program_for_somebody_else_is_not_served() {
        if !is_ready() {
            return;
        }
        let scratch = Scratch::new();
        let Some(program) = copy(&scratch, "true", 0o4755) else { skip!("no /bin/true") };
        // Without NoNewPrivs, which takes the privilege away anyhow.
        let drop = "setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all --";
        let place =
            |double: &Double| restricted(double).user(User::Same).behind(drop.split_whitespace());
        let reason =
            "the program is setuid or has file capabilities: placed values would take them away";
        let expected = Expected { reason, ..PLAIN };
        refuses(&place, &[&program], expected);
        let double = Double::good();
        matches(&level(&place(&double).run([&program]).ok().stderr), expected);
    }

    #[test]
    fn a_program_that_cannot_be_read_is_not_served() {
        if !is_ready() {
            return;
        }
        let scratch = Scratch::new();
        let Some(program) = copy(&scratch, "true", 0o111) else { skip!("no /bin/true") };
        let expected = Expected {
            reason: "the program is execute-only: its image cannot be written to",
            ..PLAIN
        };
        refuses(&restricted, &[&program], expected);
        let double = Double::good();
        matches(&level(&restricted(&double).run([&program]).ok().stderr), expected);
    }

    /// A 32-bit program that ends with 42: header, one segment, three instructions.
    fn narrow() -> Vec<u8> {
        const BASE: u32 = 0x0804_8000;
        const CODE: [u8; 12] = [0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80];
        let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
        let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
        half(&mut file, 2);
        half(&mut file, 3);
        for value in [1, BASE + 84, 52, 0, 0] {
            word(&mut file, value);
        }
        for value in [52, 32, 1, 0, 0, 0] {
            half(&mut file, value);
        }
        for value in [1, 0, BASE, BASE, 96, 96, 5, 4096] {
            word(&mut file, value);
        }
        file.extend(CODE);
        file
    }

    #[test]
    fn a_32_bit_program_is_not_served_and_runs() {
        let scratch = Scratch::new();
        let program = scratch.file("narrow", narrow(), 0o755);
        let expected =
            Expected { reason: "the program is for another architecture, or 32-bit", ..PLAIN };
        refuses(&here, &[&program], expected);
        match std::process::Command::new(&program).status().map(|status| status.code()) {
            Ok(Some(42)) => {}
            other => skip!("this kernel runs no 32-bit programs: {other:?}"),
        }
        let double = Double::good();
        let output = here(&double).run([&program]);
        assert_eq!(output.status.code(), Some(42), "{}", output.stderr);
        matches(&level(&output.stderr), expected);
    }

    #[test]
    fn what_the_plan_asks_of_dumps_is_told() {
        if !is_ready() {
            return;
        }
        let keep = |double: &Double| here(double).env("CLOUDTASER_DUMPABLE", "keep");
        let reason = "the plan leaves the app dumpable";
        holds(&keep, Expected { attach: "", reason, require: "attach=refused", ..BEST });
        let off = |double: &Double| restricted(double).env("CLOUDTASER_DUMPABLE", "off");
        let reason = "it is one or the other";
        holds(&off, Expected { reason, ..FIRST_IMAGE });
    }

    #[test]
    fn what_the_plan_asks_of_delivery_is_told() {
        let by = |mode: &'static str| {
            move |double: &Double| here(double).env("CLOUDTASER_DELIVERY", mode)
        };
        let reason = "the plan asks for an ordinary environment";
        holds(&by("plain"), Expected { reason, ..PLAIN });
        holds(&by("follow"), BEST);
    }

    #[test]
    fn a_delivery_that_was_named_and_cannot_be_had_is_refused() {
        let scratch = Scratch::new();
        let Some(no_memory) = without(&scratch, &[MEMFD_SECRET, ENOSYS]) else { return };
        let Some(no_attach) = without(&scratch, &[PTRACE_SEIZE, EPERM]) else { return };
        let double = Double::good();
        let table = [
            (
                &no_memory,
                "one-shot",
                "delivery by one-shot was asked for and cannot be had here",
                "memfd_secret",
            ),
            (
                &no_memory,
                "follow",
                "delivery by exec-follow was asked for and cannot be had here",
                "memfd_secret",
            ),
            (
                &no_attach,
                "follow",
                "delivery by exec-follow was asked for and cannot be had here",
                "attaching",
            ),
        ];
        for (words, mode, message, why) in table {
            let launch = here(&double).behind(words).env("CLOUDTASER_DELIVERY", mode);
            refused(&launch.run(APP), 77, &[message, why]);
        }
        assert!(double.seen().is_empty(), "OpenBao was asked: {:?}", double.seen());
    }

    #[test]
    fn the_way_to_openbao_is_told_as_it_turned_out() {
        let bao = Bao::shared();
        let value = canary();
        bao.put("transport", &json!({ "a": value }));
        let launch = || {
            let launch = Launch::wrapped(bao).without_flag("--quiet");
            launch.env("S", "vault:secret/data/transport#a")
        };
        let transport = |launch: Launch| {
            let output = launch.run(["true"]).ok();
            shows_nothing(&output, &[&value]);
            level(&output.stderr)["facets"]["transport"].as_str().unwrap().to_owned()
        };
        assert_eq!(transport(launch()), "hybrid");
        assert_eq!(transport(launch().env("VAULT_SKIP_VERIFY", "true")), "unverified");
        let double = Double::good();
        assert_eq!(transport(here(&double)), "plaintext");
        let output =
            launch().env("VAULT_SKIP_VERIFY", "true").flag("--require=transport=tls").run(APP);
        refused(
            &output,
            77,
            &["transport=tls is required, transport=unverified is what this place gives"],
        );
    }

    #[test]
    fn a_requirement_that_is_met_and_one_of_a_row_are_told_apart() {
        if !is_ready() {
            return;
        }
        let double = Double::good();
        let met =
            "memory=sealed,environ=hidden,supervisor=sealed,attach=refused,T1=closed,T3=partial";
        let output = here(&double).flag("--require").flag(met).run(APP).ok();
        assert!(output.text().starts_with("started"), "{}", output.text());
        let before = double.seen().len();
        let unmet = here(&double)
            .flag("--require")
            .flag("T3=closed,agent=enforcing,release=bridge,T6=partial");
        let parts = [
            "T3=closed is required, T3=partial is what this place gives",
            "agent=enforcing is required, agent=off is what this place gives",
            "release=bridge is required, release=direct is what this place gives",
            "T6=partial is required, T6=open is what this place gives",
        ];
        refused(&unmet.run(APP), 77, &parts);
        assert_eq!(double.seen().len(), before, "OpenBao was asked");
    }

    #[test]
    fn a_launch_without_references_is_held_to_its_requirements_too() {
        let scratch = Scratch::new();
        let Some(words) = without(&scratch, &[MEMFD_SECRET, ENOSYS]) else { return };
        let launch = Launch::wrapped_bare().behind(words).flag("--require=memory=sealed");
        refused(&launch.run(["echo", "started"]), 77, &["memory=sealed is required"]);
    }
}
