//! A configuration that cannot work is said so before anything is served.

use std::process::Command;

use cloudtaser_e2e::Scratch;

use super::support::CONFIG;

/// Exit code and error of a check.
fn checked(text: &str) -> (Option<i32>, String) {
    let folder = Scratch::new();
    let file = folder.file("operator.toml", text, 0o644);
    let mut operator = Command::new(env!("CARGO_BIN_EXE_cloudtaser-operator"));
    let output = operator.arg("--check-config").arg("--config").arg(file).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_good_one_is_good_and_a_bad_one_names_the_file_and_the_place() {
    assert_eq!(checked(CONFIG).0, Some(0));
    for (text, part) in [
        (CONFIG.replace("[wrapper]", "[wraper]"), "wraper"),
        (CONFIG.replace("https://", "http://"), "https://"),
        (CONFIG.replace("BEGIN CERTIFICATE", "BEGIN PRIVATE KEY"), "`ca` of server `main`"),
        (format!("{CONFIG}spki_pin = \"x\"\n"), "spki_pin"),
        (format!("{CONFIG}[pods]\nrequire = [\"memory=best\"]\n"), "memory"),
        (format!("{CONFIG}[registry]\nmirrors = {{ a = [\"http://m\"] }}\n"), "mirror"),
        ("[[server]]\nname".to_owned(), "line 2"),
        (String::new(), "wrapper"),
    ] {
        let (code, error) = checked(&text);
        assert_eq!(code, Some(64), "{text}\n{error}");
        assert!(error.contains("operator.toml") && error.contains(part), "{part}: {error}");
    }
}
