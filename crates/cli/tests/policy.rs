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
        assert_eq!(explain(&sealed), (Some(0), "released by rule \"shop\"\n".to_owned()));
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
        assert_eq!(explain(&["secret/shop", "--level", "T3=closed"]).0, Some(64));
    }
}
