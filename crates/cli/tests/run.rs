//! `cloudtaser run` becomes the wrapper that it finds, with the plan checked and nothing else added.

#[cfg(test)]
mod run {

    use std::{
        fs,
        os::unix::fs::PermissionsExt,
        path::PathBuf,
        process::{Command, Output},
    };

    use tempfile::TempDir;

    /// A wrapper that tells what it was given.
    const TELLER: &str = "#!/bin/sh\nfor a in \"$@\"; do echo \"arg $a\"; done\n\
                          echo \"plan $CLOUDTASER_PLAN\"\necho \"file $CLOUDTASER_PLAN_FILE\"\n\
                          echo \"pid $$\"\nexit 9\n";

    struct Stage {
        directory: TempDir,
    }

    impl Stage {
        fn new() -> Self {
            let stage = Self { directory: tempfile::tempdir().unwrap() };
            fs::write(stage.wrapper(), TELLER).unwrap();
            fs::set_permissions(stage.wrapper(), fs::Permissions::from_mode(0o755)).unwrap();
            stage
        }

        fn wrapper(&self) -> PathBuf {
            self.directory.path().join("wrapper")
        }

        fn plan(&self, text: &str) -> String {
            let path = self.directory.path().join("cloudtaser.yaml");
            fs::write(&path, text).unwrap();
            path.display().to_string()
        }

        fn run(&self, arguments: &[&str]) -> Output {
            Command::new(env!("CARGO_BIN_EXE_cloudtaser"))
                .arg("run")
                .args(arguments)
                .env("CLOUDTASER_WRAPPER", self.wrapper())
                .env("CLOUDTASER_PLAN_FILE", "/elsewhere")
                .output()
                .unwrap()
        }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn flags_and_command_reach_the_wrapper_and_its_code_comes_back() {
        let stage = Stage::new();
        let output = stage.run(&[
            "--require",
            "memory=sealed,T3=partial",
            "-q",
            "--",
            "app",
            "--require",
            "x",
        ]);
        assert_eq!(output.status.code(), Some(9));
        let told = text(output.stdout);
        let arguments: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("arg ")).collect();
        let wanted = [
            "run",
            "--require",
            "memory=sealed",
            "--require",
            "T3=partial",
            "--quiet",
            "--",
            "app",
            "--require",
            "x",
        ];
        assert_eq!(arguments, wanted);
        assert!(told.contains("file /elsewhere\n"), "without --plan the caller's own is kept");
    }

    #[test]
    fn a_yaml_plan_arrives_as_json_and_wins_over_a_named_file() {
        let stage = Stage::new();
        let plan =
            stage.plan("server: { address: https://bao:8200 }\nenv: { A: 'vault:kv/a#b' }\n");
        let told = text(stage.run(&["--plan", &plan, "--", "app"]).stdout);
        let json = told.lines().find_map(|line| line.strip_prefix("plan ")).unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let at = |pointer: &str| json.pointer(pointer).and_then(serde_json::Value::as_str);
        assert_eq!(at("/server/address"), Some("https://bao:8200"));
        assert_eq!(at("/env/A"), Some("vault:kv/a#b"));
        assert!(told.contains("file \n"), "{told}");
    }

    #[test]
    fn no_process_stays_between_the_caller_and_the_wrapper() {
        let stage = Stage::new();
        let child = Command::new(env!("CARGO_BIN_EXE_cloudtaser"))
            .args(["run", "--", "app"])
            .env("CLOUDTASER_WRAPPER", stage.wrapper())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let told = text(child.wait_with_output().unwrap().stdout);
        assert!(told.contains(&format!("pid {pid}\n")), "{told}");
    }

    #[test]
    fn the_wrapper_starts_with_what_the_caller_was_started_with() {
        let stage = Stage::new();
        let looking = "#!/bin/sh\n[ -e /proc/$$/fd/0 ] && echo 0 is open\n\
                       [ -e /proc/$$/fd/2 ] && echo 2 is open\ngrep SigIgn /proc/$$/status\n";
        fs::write(stage.wrapper(), looking).unwrap();
        let seen = |before: &str| {
            let output = Command::new("sh")
                .args(["-c", &format!("{before}; exec \"$0\" run -- app")])
                .arg(env!("CARGO_BIN_EXE_cloudtaser"))
                .env("CLOUDTASER_WRAPPER", stage.wrapper())
                .output()
                .unwrap();
            let told = text(output.stdout);
            let ignored = told.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
            let ignored = u64::from_str_radix(ignored, 16).unwrap();
            let is_open = |fd| told.contains(&format!("{fd} is open\n"));
            (is_open(0), is_open(2), ignored & (1 << 12) != 0)
        };
        assert_eq!(seen("true"), (true, true, false));
        assert_eq!(seen("exec 0<&-"), (false, true, false));
        assert_eq!(seen("trap '' PIPE; exec 2>&-"), (true, false, true));
    }

    #[test]
    fn a_wrong_plan_starts_nothing_and_points_at_the_place() {
        let stage = Stage::new();
        let plan = stage.plan("server:\n  adress: https://bao:8200\n");
        let output = stage.run(&["--plan", &plan, "--", "app"]);
        assert_eq!(output.status.code(), Some(64));
        assert!(output.stdout.is_empty());
        let said = text(output.stderr);
        let wanted = format!(
            "error: unknown field `adress`, expected one of address, namespace, ca_file, ca_dir, \
             spki_pin, client_cert, client_key, server_name, verify, fixed, mode, via, via_key, \
             broker, bridge_key\n --> {plan}:2:3\n  |\n2 |   adress: https://bao:8200\n  |   ^^^^^^\n"
        );
        assert_eq!(said, wanted);
    }

    #[test]
    fn a_wrapper_that_is_not_there_is_said_so() {
        let stage = Stage::new();
        fs::remove_file(stage.wrapper()).unwrap();
        let output = stage.run(&["--", "app"]);
        assert_eq!(output.status.code(), Some(64));
        let path = stage.wrapper().display().to_string();
        let wanted =
            format!("error: CLOUDTASER_WRAPPER names {path}, which is no executable file\n");
        assert_eq!(text(output.stderr), wanted);
    }
}
