//! `cloudtaser compose` as a user and a pipeline meet it.

#[cfg(test)]
mod compose {
    use std::{
        fs,
        io::Write as _,
        process::{Command, Output, Stdio},
    };

    use tempfile::TempDir;

    const POLICY: &str = "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata:\n  \
                          name: p\nspec:\n  selector:\n    matchLabels: {app: web} # ours\n  process:\n    \
                          matchDirectories:\n      - dir: /\n        recursive: true\n  action: Block\n";

    fn cloudtaser(arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cloudtaser"))
            .arg("compose")
            .args(arguments)
            .env("NO_COLOR", "1")
            .output()
            .unwrap()
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    fn folder(files: &[(&str, &[u8])]) -> (TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let path = directory.path().display().to_string();
        (directory, path)
    }

    #[test]
    fn a_finding_has_file_line_column_and_a_caret_and_ends_with_one() {
        let (_kept, path) = folder(&[("deep/p.yaml", POLICY.as_bytes()), ("notes.txt", b"{")]);
        let output = cloudtaser(&["check", &path]);
        assert_eq!(output.status.code(), Some(1));
        let shown = text(&output.stdout);
        assert!(shown.contains("deep/p.yaml:10:14"), "{shown}");
        assert!(
            shown.contains("^") && shown.contains("K6") && shown.contains("1 breaks"),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'), "NO_COLOR");
        assert!(shown.contains("every pod is assumed"), "{shown}");
    }

    #[test]
    fn a_fix_writes_into_the_file_and_then_nothing_is_left() {
        let (kept, path) = folder(&[("p.yaml", POLICY.as_bytes())]);
        let output = cloudtaser(&["check", "--fix", &path]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("it costs"));
        let fixed = fs::read_to_string(kept.path().join("p.yaml")).unwrap();
        assert!(fixed.contains("# ours") && fixed.contains("cloudtaser.io/inject=true"), "{fixed}");
        assert!(!fixed.contains("Allow"));
        assert_eq!(cloudtaser(&["check", &path]).status.code(), Some(0));
    }

    #[test]
    fn standard_input_is_read_and_mended_on_standard_output() {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cloudtaser"))
            .args(["compose", "check", "--fix", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(POLICY.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let mended = text(&output.stdout);
        assert!(
            mended.starts_with("apiVersion") && mended.ends_with("action: Block\n"),
            "{mended}"
        );
    }

    #[test]
    fn pipelines_get_json_and_sarif() {
        let (_kept, path) = folder(&[("p.yaml", POLICY.as_bytes())]);
        let json = cloudtaser(&["check", "--format", "json", "--fail-on", "never", &path]);
        assert_eq!(json.status.code(), Some(0));
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(json.pointer("/findings/0/rule").unwrap(), "K6");
        assert_eq!(json.pointer("/findings/0/line").unwrap(), 10);
        assert_eq!(json.pointer("/assumed").unwrap(), true);
        let sarif = cloudtaser(&["check", "--format", "sarif", &path]);
        assert_eq!(sarif.status.code(), Some(1));
        let sarif: serde_json::Value = serde_json::from_slice(&sarif.stdout).unwrap();
        assert_eq!(sarif.pointer("/version").unwrap(), "2.1.0");
        assert_eq!(sarif.pointer("/runs/0/results/0/ruleId").unwrap(), "K6");
    }

    #[test]
    fn severities_decide_the_exit_code() {
        let noisy = POLICY.replace(
            "matchDirectories:\n      - dir: /\n        recursive: true",
            "matchPaths: []",
        );
        let noisy = noisy.replace("process:", "presets: [{name: protectEnv}]\n  process:");
        let (_kept, path) = folder(&[("p.yaml", noisy.as_bytes())]);
        assert_eq!(cloudtaser(&["check", &path]).status.code(), Some(0));
        assert_eq!(cloudtaser(&["check", "--fail-on", "noisy", &path]).status.code(), Some(1));
    }

    #[test]
    fn what_cannot_be_read_ends_with_65_and_names_the_file() {
        let (_kept, path) =
            folder(&[("a.yaml", b"a: [1\n"), ("b.yaml", b"\xff\xfea"), ("c.json", b"{}")]);
        let output = cloudtaser(&["check", &path]);
        assert_eq!(output.status.code(), Some(65));
        let told = text(&output.stderr);
        assert!(
            told.contains("a.yaml:") && told.contains("b.yaml:") && told.contains("UTF-8"),
            "{told}"
        );
    }

    #[test]
    fn wrong_use_ends_with_64() {
        for arguments in [
            &["check", "/no/such/file"][..],
            &["check"],
            &["check", "--endpoint", "bao", "/"],
            &["explain", "K99"],
            &["export", "cuneiform"],
        ] {
            let output = cloudtaser(arguments);
            assert_eq!(output.status.code(), Some(64), "{arguments:?}");
            assert!(!output.stderr.is_empty());
        }
    }

    #[test]
    fn rules_are_explained_and_listed() {
        assert!(text(&cloudtaser(&["explain", "k9"]).stdout).starts_with("# K9: "));
        let list = cloudtaser(&["explain"]);
        assert!(["K1", "T14", "S3", "D1"].iter().all(|id| text(&list.stdout).contains(id)));
    }

    #[test]
    fn an_exported_profile_is_found_to_be_enough() {
        let profile = cloudtaser(&["export", "seccomp"]);
        let (_kept, path) = folder(&[("profile.json", &profile.stdout)]);
        assert_eq!(cloudtaser(&["check", "--fail-on", "noisy", &path]).status.code(), Some(0));
    }
}
