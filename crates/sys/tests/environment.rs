//! What `/proc/PID/environ` shows of a process that took its environment.

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    const CANARY: &str = "hunter2-canary-9f3c";

    /// Examples are built next to the tests.
    fn example(name: &str) -> PathBuf {
        let test = std::env::current_exe().unwrap();
        let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
        assert!(path.exists(), "cargo build --examples first");
        path
    }

    fn block_after_taking(names: &[&str]) -> Vec<u8> {
        let output = Command::new(example("harden"))
            .arg("environment")
            .args(names)
            .env_clear()
            .env("VAULT_TOKEN", CANARY)
            .env("VAULT_TOKEN_FILE", "/run/token")
            .env("EMPTY", "")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    #[test]
    fn a_taken_value_is_gone_from_the_environment_block_and_kept_in_the_copy() {
        let shown = block_after_taking(&["VAULT_TOKEN", "EMPTY", "ABSENT"]);
        let text = String::from_utf8(shown).unwrap();
        let blank = "\0".repeat(CANARY.len());
        assert!(text.contains(&format!("VAULT_TOKEN={blank}\0")), "{text:?}");
        assert!(text.ends_with(CANARY), "{text:?}");
        assert_eq!(text.matches(CANARY).count(), 1, "{text:?}");
        assert!(text.contains("VAULT_TOKEN_FILE=/run/token\0"), "{text:?}");
    }

    #[test]
    fn a_value_that_is_not_taken_stays() {
        let text = String::from_utf8(block_after_taking(&["VAULT_TOKEN_FILE"])).unwrap();
        assert!(text.contains(&format!("VAULT_TOKEN={CANARY}\0")), "{text:?}");
        assert!(text.ends_with("/run/token"), "{text:?}");
    }
}
