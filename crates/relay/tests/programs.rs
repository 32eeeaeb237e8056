//! The two programs from outside: verbs, files, exit codes.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        path::Path,
        process::{Command, Output},
    };

    const BEACON: &str = env!("CARGO_BIN_EXE_cloudtaser-beacon");
    const BRIDGE: &str = env!("CARGO_BIN_EXE_cloudtaser-bridge");

    fn run(program: &str, folder: &Path, words: &[&str]) -> Output {
        Command::new(program).args(words).current_dir(folder).output().unwrap()
    }

    fn said(output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[test]
    fn keys_are_for_their_owner_and_are_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = run(BRIDGE, folder.path(), &["init", "."]);
        assert!(first.status.success(), "{}", said(&first));
        assert!(first.stdout.starts_with(b"ed25519:"));
        for name in ["bridge.pem", "tickets.hex"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let key = fs::read(folder.path().join("bridge.pem")).unwrap();
        let second = run(BRIDGE, folder.path(), &["init", "."]);
        assert_eq!(second.status.code(), Some(69));
        assert!(said(&second).contains("bridge.pem"), "{}", said(&second));
        assert_eq!(fs::read(folder.path().join("bridge.pem")).unwrap(), key);
    }

    #[test]
    fn a_configuration_with_a_slip_is_named_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let config = "listen = \"127.0.0.1:0\"\nkey_file = \"beacon.pem\"\nany_brigde = true\n";
        fs::write(folder.path().join("beacon.toml"), config).unwrap();
        let output = run(BEACON, folder.path(), &["check-config", "beacon.toml"]);
        assert_eq!(output.status.code(), Some(64));
        let said = said(&output);
        assert!(said.contains("beacon.toml") && said.contains("any_brigde"), "{said}");
        let output = run(BRIDGE, folder.path(), &["serve", "--config", "nowhere.toml"]);
        assert_eq!(output.status.code(), Some(64));
    }

    #[test]
    fn a_door_for_others_has_to_be_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["proxy", "--via", "a", "--key", "b", "--listen", "0.0.0.0:8200"];
        let output = run(BRIDGE, folder.path(), &words);
        assert!(said(&output).contains("--beyond-loopback"), "{}", said(&output));
    }

    #[test]
    fn a_word_that_is_not_known_is_a_wrong_usage() {
        for program in [BEACON, BRIDGE] {
            assert_eq!(run(program, Path::new("/"), &["dance"]).status.code(), Some(64));
            assert_eq!(run(program, Path::new("/"), &["--help"]).status.code(), Some(0));
        }
    }
}
