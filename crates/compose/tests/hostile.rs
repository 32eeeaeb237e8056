//! Files that are no policies, too large, too deep, of another time: a clear line, never a panic.

#[cfg(test)]
mod hostile {
    use cloudtaser_compose::{
        Report, Settings, Source, check, fix,
        read::{LARGEST_FILE, MOST_BY_ALIAS, MOST_DOCUMENTS},
        report::{self, Colour},
    };

    const POLICY: &str = include_str!("policies/K6/hit.yaml");

    fn checked(text: &str) -> Report {
        check(&[Source::new("f.yaml", text)], &Settings::default())
    }

    fn only_problem(text: &str) -> String {
        let report = checked(text);
        assert!(report.findings.is_empty());
        assert!(report.has_unread());
        assert_eq!(report.problems.len(), 1);
        report::problem(&[Source::new("f.yaml", text)], &report.problems[0])
    }

    #[test]
    fn a_bomb_of_aliases_is_one_line() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (before, level) in ('a'..='y').zip('b'..='z') {
            let aliases = vec![format!("*{before}"); 10].join(", ");
            bomb += &format!("{level}: &{level} [{aliases}]\n");
        }
        let line = only_problem(&bomb);
        assert!(line.contains(&MOST_BY_ALIAS.to_string()) && line.starts_with("f.yaml:"), "{line}");
    }

    #[test]
    fn an_alias_in_what_it_names_is_one_line() {
        assert!(only_problem("a: &a [*a]\n").contains("alias"));
    }

    #[test]
    fn a_hundred_megabytes_are_one_line() {
        let line = only_problem(&"#".repeat(100 * 1024 * 1024));
        assert!(line.contains(&LARGEST_FILE.to_string()), "{line}");
    }

    #[test]
    fn documents_without_number_are_one_line() {
        let line = only_problem(&"---\n".repeat(MOST_DOCUMENTS + 2));
        assert!(line.contains(&MOST_DOCUMENTS.to_string()), "{line}");
    }

    #[test]
    fn depth_is_one_line() {
        assert!(only_problem(&"- ".repeat(5_000)).contains("f.yaml:1:"));
        assert!(only_problem(&"[".repeat(100_000)).contains("f.yaml:1:"));
        assert!(only_problem(&"{a: ".repeat(200)).contains("f.yaml:1:"));
    }

    #[test]
    fn a_broken_document_hides_no_other() {
        let report = checked(&format!("{POLICY}---\na: [1\n---\n{POLICY}"));
        assert_eq!(report.findings.len(), 2);
        assert_eq!(report.problems.len(), 1);
    }

    #[test]
    fn a_version_of_the_future_is_judged_and_told() {
        let report = checked(&POLICY.replace(".com/v1", ".com/v2"));
        assert_eq!(report.findings.len(), 1);
        assert!(report.problems[0].words.contains("v1"));
        assert!(!report.has_unread());
    }

    #[test]
    fn fields_of_the_future_and_wrong_types_are_passed_over() {
        for (from, to) in [
            ("matchLabels:\n      app: web", "matchLabels: [app, web]"),
            ("dir: /cloudtaser/", "dir: [/cloudtaser/]"),
            ("recursive: true", "recursive: {deep: true}"),
            ("action: Block", "action: Explode"),
            ("process:", "process: 7\n  other:"),
            ("spec:", "spec: []\nother:"),
            ("metadata:", "metadata: x\nother:"),
        ] {
            let text = POLICY.replace(from, to);
            assert_ne!(text, POLICY, "{from}");
            let report = checked(&text);
            assert!(report.findings.len() <= 1, "{from}");
            let fixed = fix(&[Source::new("f.yaml", text)], &Settings::default());
            assert!(fixed.report.findings.len() <= report.findings.len());
        }
    }

    #[test]
    fn unknown_kinds_are_counted() {
        let report = checked("apiVersion: example.eu/v1\nkind: Fence\n---\nhello\n---\n- 1\n");
        assert!(report.findings.is_empty() && report.problems.is_empty());
        assert_eq!(report::others(&report).unwrap().split(' ').next(), Some("3"));
    }

    #[test]
    fn a_list_of_lists_ends_somewhere() {
        let mut text = "{apiVersion: v1, kind: Pod}".to_owned();
        for _ in 0..20 {
            text = format!("{{apiVersion: v1, kind: List, items: [{text}]}}");
        }
        assert_eq!(checked(&text).workloads, 0);
    }

    #[test]
    fn what_is_shown_does_not_drive_a_terminal() {
        let text = POLICY.replace("dir: /cloudtaser/", "dir: \"/cloudtaser/\\e[31m/../\"");
        let text = text.replace("name: only-the-image", "name: \"a\\e[2Jb\"");
        let sources = [Source::new("f.yaml", text.replace("/\\e[31m/../", "/"))];
        let report = check(&sources, &Settings::default());
        assert_eq!(report.findings.len(), 1);
        for finding in &report.findings {
            let shown = report::finding(&sources, finding, Colour::Off);
            assert!(!shown.contains('\u{1b}'), "{shown:?}");
        }
    }

    #[test]
    fn every_prefix_of_a_policy_is_read_or_refused() {
        for text in
            [POLICY, include_str!("policies/C1/hit.yaml"), include_str!("policies/S1/hit.yaml")]
        {
            for (at, _) in text.char_indices() {
                let _report = checked(text.get(..at).unwrap());
            }
        }
    }

    #[test]
    fn carriage_returns_and_marks_at_the_beginning_are_read() {
        let windows = format!("\u{feff}{}", POLICY.replace('\n', "\r\n"));
        let report = checked(&windows);
        assert_eq!(report.findings.len(), 1);
        let fixed = fix(&[Source::new("f.yaml", windows)], &Settings::default());
        assert!(fixed.report.findings.is_empty());
        let text = fixed.sources[0].text();
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    }

    #[test]
    fn sarif_names_rules_and_places() {
        let sources = [Source::new("a b.yaml", POLICY)];
        let report = check(&sources, &Settings::default());
        let sarif = report::sarif(&sources, &report, "1.2.3");
        let result = &sarif["runs"][0]["results"][0];
        assert_eq!(result["ruleId"], "K6");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.yaml");
        assert_eq!(place["region"]["startLine"], 13);
        let ids: Vec<_> =
            sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().iter().collect();
        assert!(ids.iter().any(|rule| rule["id"] == "K6"));
    }
}
