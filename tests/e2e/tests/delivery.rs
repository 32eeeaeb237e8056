//! An unmodified program gets its secrets, whatever it is written in and however it is started,
//! and its environment block shows none of them.

#[cfg(test)]
mod delivery {
    use std::{ffi::OsString, path::PathBuf};

    use cloudtaser_e2e::{
        Bao, Launch, Output, Scratch, User, Values, compile_c, compile_go, compile_rust, fixture,
        is_root, on_path, skip,
    };

    /// Runs an app as the user of the test and, where that is root, as a restricted pod does.
    fn check(app: &[OsString]) {
        let bao = Bao::shared();
        let users = if is_root() { &[User::Same, User::Unprivileged][..] } else { &[User::Same] };
        for user in users {
            println!("as {user:?}: {app:?}");
            let values = Values::seed(bao);
            let launch = values.refer(Launch::wrapped(bao)).user(*user).env("LC_ALL", "C.UTF-8");
            values.check(&launch, app);
        }
    }

    /// A script for a program that may not be installed.
    fn script(interpreter: &str, before: &[&str], name: &str) {
        let Some(interpreter) = on_path(interpreter) else {
            skip!("{interpreter} is not installed")
        };
        let scratch = Scratch::new();
        let script = copied(&scratch, name);
        let before = before.iter().map(OsString::from);
        check(&[interpreter.into()].into_iter().chain(before).chain([script]).collect::<Vec<_>>());
    }

    /// A fixture where every user can read and execute it.
    fn copied(scratch: &Scratch, name: &str) -> OsString {
        let content = std::fs::read(fixture(name)).unwrap();
        scratch.file(name, content, 0o755).into()
    }

    fn show(scratch: &Scratch) -> Option<PathBuf> {
        compile_c(scratch, "gcc", "show.c", &[])
    }

    fn compiled(compiler: &str, flags: &[&str]) {
        let scratch = Scratch::new();
        match compile_c(&scratch, compiler, "show.c", flags) {
            Some(app) => check(&[app.into()]),
            None => skip!("{compiler} is not installed"),
        }
    }

    #[test]
    fn bash_gets_its_values() {
        script("bash", &[], "show.sh");
    }

    #[test]
    fn dash_gets_its_values() {
        script("dash", &[], "show.sh");
    }

    #[test]
    fn busybox_gets_its_values() {
        script("busybox", &["sh"], "show.sh");
    }

    #[test]
    fn python_gets_its_values() {
        script("python3", &[], "show.py");
    }

    #[test]
    fn perl_gets_its_values() {
        script("perl", &[], "show.pl");
    }

    #[test]
    fn node_gets_its_values() {
        script("node", &[], "show.js");
    }

    #[test]
    fn java_gets_its_values() {
        if on_path("javac").is_none() {
            skip!("javac is not installed");
        }
        script("java", &["-Xmx64m"], "Show.java");
    }

    #[test]
    fn a_dynamic_c_program_gets_its_values() {
        compiled("gcc", &[]);
    }

    #[test]
    fn a_static_c_program_gets_its_values() {
        compiled("gcc", &["-static"]);
    }

    #[test]
    fn a_static_pie_gets_its_values() {
        compiled("gcc", &["-static-pie"]);
    }

    #[test]
    fn a_musl_program_gets_its_values() {
        compiled("musl-gcc", &["-static"]);
    }

    #[test]
    fn a_rust_program_gets_its_values() {
        let scratch = Scratch::new();
        check(&[compile_rust(&scratch, "show.rs").into()]);
    }

    #[test]
    fn a_go_program_gets_its_values() {
        let scratch = Scratch::new();
        let Some(app) = compile_go(&scratch, "show.go") else { skip!("go is not installed") };
        check(&[app.into()]);
    }

    #[test]
    fn the_program_behind_env_in_a_first_line_gets_its_values() {
        if on_path("python3").is_none() {
            skip!("python3 is not installed");
        }
        let scratch = Scratch::new();
        check(&[copied(&scratch, "show.py")]);
    }

    #[test]
    fn a_shell_that_executes_the_app_hands_the_values_on() {
        let scratch = Scratch::new();
        let Some(show) = show(&scratch) else { skip!("gcc is not installed") };
        for shell in ["sh", "bash"] {
            for script in [r#"exec "$0" "$@""#, r#""$0" "$@""#, r#""$0" "$@"; exit $?"#] {
                check(&[shell.into(), "-c".into(), script.into(), show.clone().into()]);
            }
        }
    }

    #[test]
    fn every_way_to_start_a_program_hands_the_values_on() {
        let scratch = Scratch::new();
        let Some(show) = show(&scratch) else { skip!("gcc is not installed") };
        let spawn = compile_c(&scratch, "gcc", "spawn.c", &["-pthread"]).unwrap();
        for how in ["fork", "vfork", "posix_spawn", "search", "thread", "descriptor"] {
            check(&[spawn.clone().into(), how.into(), show.clone().into()]);
        }
    }

    #[test]
    fn a_process_is_as_before_after_execs_that_fail() {
        let scratch = Scratch::new();
        let Some(show) = show(&scratch) else { skip!("gcc is not installed") };
        let spawn = compile_c(&scratch, "gcc", "spawn.c", &["-pthread"]).unwrap();
        check(&[spawn.into(), "after-failures".into(), show.into()]);
    }

    #[test]
    fn a_search_through_path_finds_the_program_and_its_values() {
        let scratch = Scratch::new();
        let Some(show) = show(&scratch) else { skip!("gcc is not installed") };
        let spawn = compile_c(&scratch, "gcc", "spawn.c", &["-pthread"]).unwrap();
        let dir = scratch.path().display();
        let path = format!("PATH=/nonexistent:/etc:/proc/version:{dir}:/bin");
        let name = show.file_name().unwrap();
        for how in [&["search", "search"][..], &["posix_spawn", "search"]] {
            let ways = how.iter().flat_map(|how| [spawn.clone().into(), OsString::from(how)]);
            let app = ["env".into(), OsString::from(&path)].into_iter().chain(ways);
            check(&app.chain([name.into()]).collect::<Vec<_>>());
        }
    }

    #[test]
    fn forty_nested_execs_keep_the_values() {
        let scratch = Scratch::new();
        let Some(show) = show(&scratch) else { skip!("gcc is not installed") };
        let nest = copied(&scratch, "nest.sh");
        for how in ["exec", "child"] {
            check(&[nest.clone(), "40".into(), how.into(), show.clone().into()]);
        }
    }

    #[test]
    fn python_and_node_hand_the_values_to_their_children() {
        let scratch = Scratch::new();
        let Some(show) = show(&scratch) else { skip!("gcc is not installed") };
        let python = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))";
        let node = "const { spawnSync } = require('child_process');\
                    process.exit(spawnSync(process.argv[1], process.argv.slice(2), \
                    { stdio: 'inherit' }).status)";
        for (program, flag, code) in [("python3", "-c", python), ("node", "-e", node)] {
            match on_path(program) {
                Some(_) => check(&[program.into(), flag.into(), code.into(), show.clone().into()]),
                None => println!("SKIP: {program} is not installed"),
            }
        }
    }

    #[test]
    fn no_image_sees_a_value_in_its_own_environment_block() {
        let bao = Bao::shared();
        let values = Values::seed(bao);
        let launch = values.refer(Launch::wrapped(bao));
        let script = "cat /proc/self/environ; (cat /proc/self/environ); cat /proc/$$/environ; \
                      exec bash -c 'cat /proc/$$/environ; cat /proc/self/environ'";
        let output = launch.run(["sh", "-c", script]).ok();
        let count = |needle: &[u8]| cloudtaser_e2e::find(&output.stdout, needle).len();
        assert_eq!(count(b"PLAIN=as it was=yes\0"), 5, "every block was read");
        for needle in values.needles() {
            assert_eq!(count(needle), 0, "a value in a block: {}", output.text());
        }
    }

    #[test]
    fn one_shot_delivery_covers_the_first_image() {
        let scratch = Scratch::new();
        let bao = Bao::shared();
        for flags in [&[][..], &["-static"]] {
            let Some(app) = compile_c(&scratch, "gcc", "show.c", flags) else {
                skip!("gcc is not installed")
            };
            let values = Values::seed(bao);
            let launch = values.refer(Launch::wrapped(bao)).env("CLOUDTASER_DELIVERY", "one-shot");
            values.check(&launch, [app]);
        }
    }

    /// An app of a wrapper that is itself started by a wrapper's app.
    fn nested(bao: &Bao, outer: &Launch, inner: &[(&str, &str)], app: &[&str]) -> Output {
        let mut command = vec!["env".to_owned(), format!("VAULT_ADDR={}", bao.url())];
        command.push(format!("VAULT_CACERT={}", bao.ca().display()));
        command.push(format!("VAULT_TOKEN_FILE={}", bao.token_file().display()));
        command.extend(inner.iter().map(|(name, value)| format!("{name}={value}")));
        command.extend([bao.wrapper().display().to_string(), "run".into(), "-q".into()]);
        command.push("--".to_owned());
        outer.run(command.into_iter().chain(app.iter().map(|word| (*word).to_owned())))
    }

    #[test]
    fn a_wrapper_in_a_wrapper_gives_its_app_the_secrets_of_both() {
        let bao = Bao::shared();
        let (outer, inner) = (Values::one(bao), Values::one(bao));
        let reference = inner.reference("PASSWORD");
        let tell = "printf '%s\\n' \"$PASSWORD\" \"$SECOND\"; \
                    echo --; cat /proc/$$/environ; echo --; sh -c 'cat /proc/$$/environ'; echo --; \
                    sh -c 'printf \"%s\\n\" \"$PASSWORD\" \"$SECOND\"'; exit 7";
        let users = if is_root() { &[User::Same, User::Unprivileged][..] } else { &[User::Same] };
        for user in users {
            let launch = outer.refer(Launch::wrapped(bao)).user(*user);
            for inner_has in [true, false] {
                let second = if inner_has { reference.as_str() } else { "bare" };
                let output = nested(bao, &launch, &[("SECOND", second)], &["sh", "-c", tell]);
                assert_eq!(output.code(), 7, "{user:?}: {}{}", output.text(), output.stderr);
                let password = String::from_utf8_lossy(outer.expected("PASSWORD")).into_owned();
                let fetched = String::from_utf8_lossy(inner.expected("PASSWORD")).into_owned();
                let second = if inner_has { fetched.as_str() } else { second };
                let text = output.text();
                let parts = text.split("--\n").collect::<Vec<_>>();
                let [values, first_block, ..] = parts[..] else { panic!("{text}") };
                let both = format!("{password}\n{second}\n");
                assert_eq!(values, both, "{user:?}");
                // The outer wrapper follows every exec, the inner one holds the first image only.
                assert!(first_block.contains("PASSWORD=\0"), "{user:?}: {text}");
                assert_eq!(text.matches(&password).count(), 2, "in no block, {user:?}: {text}");
                assert!(text.ends_with(&both), "{user:?}: {text}");
                assert!(!inner_has || !first_block.contains(&fetched), "{user:?}: {text}");
            }
        }
    }

    #[test]
    fn a_plain_environment_shows_the_values_to_this_very_check() {
        let bao = Bao::shared();
        let values = Values::one(bao);
        let launch = values.refer(Launch::wrapped(bao)).env("CLOUDTASER_DELIVERY", "plain");
        let output = launch.run(["cat", "/proc/self/environ"]).ok();
        let hits = cloudtaser_e2e::find(&output.stdout, values.expected("PASSWORD"));
        assert_eq!(hits.len(), 1, "{}", output.stderr);
    }

    #[test]
    fn a_changed_variable_is_left_alone() {
        let bao = Bao::shared();
        let values = Values::one(bao);
        let launch = values.refer(Launch::wrapped(bao));
        let scratch = Scratch::new();
        let tell = r#"printf '%s|' "${PASSWORD-none}""#;
        let tell = scratch.file("tell", tell, 0o644).display().to_string();
        for (script, expected) in [
            (format!("env PASSWORD=changed sh {tell}"), "changed|"),
            (format!("PASSWORD=changed sh {tell}"), "changed|"),
            (format!("PASSWORD= sh {tell}"), "|"),
            (format!("env -i sh {tell}"), "none|"),
            (format!("unset PASSWORD; sh {tell}"), "none|"),
            (format!("env -u PASSWORD sh {tell}"), "none|"),
        ] {
            let output = launch.run(["sh", "-c", &script]).ok();
            assert_eq!(output.text(), expected, "{script}");
        }
    }

    #[test]
    fn a_value_that_is_made_from_a_secret_is_sealed_too() {
        let bao = Bao::shared();
        let values = Values::one(bao);
        let launch = values.refer(Launch::wrapped(bao));
        let script = r#"export URL="pg://u:$PASSWORD@h" COPY="$PASSWORD"
            exec sh -c 'printf "%s %s\n" "$URL" "$COPY"; cat /proc/self/environ /proc/$$/environ'"#;
        let output = launch.run(["sh", "-c", script]).ok();
        let password = String::from_utf8_lossy(values.expected("PASSWORD")).into_owned();
        let text = output.text();
        let (line, blocks) = text.split_once('\n').unwrap();
        assert_eq!(line, format!("pg://u:{password}@h {password}"));
        assert!(blocks.contains("PATH=") && !blocks.contains(&password), "{blocks}");
    }

    #[test]
    fn variables_keep_their_order_and_their_twins() {
        let bao = Bao::shared();
        let values = Values::one(bao);
        let launch = values
            .refer(Launch::wrapped(bao).env("A_FIRST", "1"))
            .env("B_LAST", "2")
            .env("EQUALS", "a=b=c");
        let output = launch.run(["env"]).ok();
        let password = String::from_utf8_lossy(values.expected("PASSWORD")).into_owned();
        let mut lines = output.text().lines().map(str::to_owned).collect::<Vec<_>>();
        lines.sort();
        let path = lines.iter().find(|line| line.starts_with("PATH=")).cloned().unwrap();
        let expected = [
            "A_FIRST=1",
            "B_LAST=2",
            "EQUALS=a=b=c",
            "HOME=/",
            &format!("PASSWORD={password}"),
            &path,
        ];
        assert_eq!(lines, expected);
    }
}
