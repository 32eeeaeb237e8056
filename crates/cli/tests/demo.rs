//! The demo with a real OpenBao and the real wrapper, where both are named in the environment, as
//! `cargo xtask test` does.

#[cfg(test)]
mod demo {

    use std::{
        fs,
        process::{Child, Command, Stdio},
        thread,
        time::{Duration, Instant},
    };

    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    use serde_json::Value;
    use tempfile::TempDir;

    /// A demo whose private directory lies in one of ours, or nothing where its tools are not named.
    fn start(flags: &[&str]) -> Option<(Child, TempDir)> {
        for name in ["CLOUDTASER_BAO", "CLOUDTASER_WRAPPER"] {
            if std::env::var_os(name).is_none() {
                println!("SKIP: {name} names no program");
                return None;
            }
        }
        let directory = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cloudtaser"))
            .arg("demo")
            .args(flags)
            .env("TMPDIR", directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Some((child, directory))
    }

    #[test]
    fn with_cloudtaser_no_passive_road_gives_the_secret() {
        let Some((child, directory)) = start(&["--json"]) else { return };
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let outcome: Value = serde_json::from_slice(&output.stdout).expect(&said);
        assert_eq!(outcome.pointer("/passed"), Some(&Value::Bool(true)), "{outcome:#}");
        assert_eq!(output.status.code(), Some(0), "{said}");
        let trials = outcome.pointer("/trials").and_then(Value::as_array).unwrap();
        assert!(trials.len() >= 2);
        let with = trials.iter().filter(|t| t.pointer("/mode") == Some(&Value::from("with")));
        for trial in with {
            assert!(trial.pointer("/level/level/facets").is_some(), "{trial:#}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_demo_that_is_interrupted_leaves_nothing_behind() {
        let Some((child, directory)) = start(&[]) else { return };
        let until = Instant::now() + Duration::from_secs(20);
        let token = || {
            let entries = fs::read_dir(directory.path()).unwrap();
            entries.flatten().any(|entry| entry.path().join("token").exists())
        };
        while !token() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(token(), "OpenBao runs and holds the secret");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let place = directory.path().display().to_string();
        let left = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&place)
        });
        assert_eq!(left.count(), 0, "no process of the demo is left");
    }
}
