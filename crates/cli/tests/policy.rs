//! `cloudtaser policy` says what a bridge would do.

#[cfg(test)]
mod policy {
    use std::process::{Command, Output};

    const POLICY: &str = r#"
[[rule]]
name = "shop"
paths = ["secret/shop"]
identities = ["eu:shop/*"]
require = ["memory=sealed"]
"#;

    fn run(policy: &str, words: &[&str]) -> Output {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.toml"), policy).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloudtaser"));
        command.current_dir(folder.path()).arg("policy").args(words).output().unwrap()
    }

    fn explain(more: &[&str]) -> (Option<i32>, String) {
        let words = ["explain", "p.toml", "--identity", "eu:shop/web", "--path"];
        let output = run(POLICY, &[&words, more].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn a_good_policy_is_called_so_and_a_slip_is_named_with_its_place() {
        let good = run(POLICY, &["check", "p.toml"]);
        assert_eq!(good.status.code(), Some(0));
        assert_eq!(good.stdout, b"the policy is good: 1 rule\n");
        let empty = run("", &["check", "p.toml"]);
        assert_eq!(empty.stdout, b"the policy is good, and releases nothing\n");
        for (slip, part) in [
            ("[[rule]]\nname = \"a\"\npath = []\n", "path"),
            (&POLICY.replace("eu:shop/*", "shop"), "rule \"shop\": \"shop\" is no identity"),
            (&POLICY.replace("sealed", "safe"), "memory=safe"),
        ] {
            let output = run(slip, &["check", "p.toml"]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(64), "{said}");
            assert!(said.contains(part) && said.contains("p.toml"), "{said}");
        }
        assert_eq!(run(POLICY, &["check", "none.toml"]).status.code(), Some(64));
    }

    #[test]
    fn an_explanation_names_the_rule_and_what_is_missing() {
        let sealed = ["secret/data/shop/db", "--level", "memory=sealed"];
        assert_eq!(
            explain(&sealed),
            (Some(0), "released by rule \"shop\" (p.toml:3)\n".to_owned())
        );
        let (code, said) = explain(&["secret/shop/db"]);
        assert_eq!(code, Some(77));
        assert!(said.contains("memory=sealed is required, memory=plain"), "{said}");
        let (code, said) = explain(&["secret/pay"]);
        assert_eq!((code, &*said), (Some(77), "no rule of the policy names this path\n"));
        let (code, said) = explain(&["secret/shop/db", "--action", "write"]);
        assert!(code == Some(77) && said.contains("rules: shop"), "{said}");
        let (_, said) = explain(&["secret/shop", "--level=memory=sealed", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&json["released"], &json["rule"]), (&true.into(), &"shop".into()));
        assert_eq!(json["line"], 3);
        assert_eq!(explain(&["secret/shop", "--level", "T3=closed"]).0, Some(64));
    }

    const TERMS: &str = r#"
[[signer]]
name = "anna"
key = "ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

[[signer]]
name = "bert"
key = "ed25519:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="

[break-glass]
needed = 1
by = ["bert"]

[[rule]]
name = "pay"
paths = ["secret/pay"]
identities = ["eu:shop/pay"]
limit = { releases = 3 }
approvals = { needed = 1, by = ["anna"] }
"#;

    /// Tries these cases; the code and what was printed.
    fn tried(cases: &str, more: &[&str]) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.toml"), TERMS).unwrap();
        std::fs::write(folder.path().join("c.toml"), cases).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloudtaser"));
        command.current_dir(folder.path()).args(["policy", "test", "p.toml", "c.toml"]).args(more);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    fn case(more: &str) -> String {
        format!("[[case]]\nidentity = \"eu:shop/pay\"\npath = \"secret/data/pay/db\"\n{more}\n")
    }

    #[test]
    fn cases_say_what_a_policy_has_to_come_to() {
        let good = [
            "expect = \"approvals\"",
            "expect = \"refused\"",
            "approved_by = [\"anna\"]\nexpect = \"released\"\nrule = \"pay\"",
            "approved_by = [\"bert\"]\nexpect = \"approvals\"",
            "approved_by = [\"anna\"]\nreleased = 3\nexpect = \"limit\"",
            "action = \"write\"\nexpect = \"identity\"",
            "break_glass = [{ by = \"bert\", rule = \"pay\", relax = [\"approvals\"] }]\n\
             expect = \"released\"",
        ];
        let cases = good.map(case).concat();
        assert_eq!(tried(&cases, &[]), (Some(0), "7 cases as expected, 0 not\n".to_owned()));
        let bad = case("name = \"paid\"\nexpect = \"released\"");
        let (code, said) = tried(&(cases + &bad), &[]);
        assert_eq!(code, Some(77));
        assert!(said.contains("paid: expected released, and it is rule \"pay\" needs"), "{said}");
        assert!(
            said.contains("p.toml:15") && said.contains("7 cases as expected, 1 not"),
            "{said}"
        );
        let (code, said) = tried(&bad, &["--json"]);
        let json: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (code, &json["failed"], &json["cases"][0]["line"]),
            (Some(77), &1.into(), &15.into())
        );
        let wrong_rule = case("approved_by = [\"anna\"]\nexpect = \"released\"\nrule = \"x\"");
        assert_eq!(tried(&wrong_rule, &[]).0, Some(77));
    }

    #[test]
    fn a_case_with_a_slip_is_named_and_no_case_is_no_test() {
        for (cases, part) in [
            (String::new(), "c.toml has no [[case]]"),
            (case("expect = \"granted\""), "c.toml has no cases that can be read"),
            (case("expect = \"released\"\nlevel = \"memory=safe\""), "case 1 (eu:shop/pay"),
            (case("expect = \"released\"\napproved_by = [\"zoe\"]"), "no [[signer]] \"zoe\""),
            (case("expect = \"released\"").replace("eu:shop/pay", "shop"), "identity: write"),
        ] {
            let (code, said) = tried(&cases, &[]);
            assert_eq!(code, Some(64), "{said}");
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }
}
