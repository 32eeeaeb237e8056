//! Each rule with a policy that it finds, one that looks alike, and one that is mended.

#[cfg(test)]
mod rules {
    use cloudtaser_compose::{
        Report, Settings, Source, check, export, fix, report,
        rule::{self, Rule},
    };

    fn checked(name: &str, text: &str) -> Report {
        check(&[Source::new(name, text)], &Settings::default())
    }

    fn ids(report: &Report) -> Vec<&'static str> {
        let mut ids: Vec<_> = report.findings.iter().map(|finding| finding.rule.id).collect();
        ids.dedup();
        ids
    }

    fn every(test: impl Fn(&Rule)) {
        for rule in rule::all() {
            test(rule);
        }
    }

    #[test]
    fn every_rule_finds_its_hit_and_nothing_else() {
        every(|rule| assert_eq!(ids(&checked("hit.yaml", rule.hit)), [rule.id], "{}", rule.id));
    }

    #[test]
    fn no_rule_finds_its_near_miss() {
        every(|rule| {
            let found = ids(&checked("near.yaml", rule.near));
            assert!(!found.contains(&rule.id), "{}: {found:?}", rule.id);
        });
    }

    #[test]
    fn what_was_mended_is_silent() {
        every(|rule| {
            let report = checked("fixed.yaml", rule.fixed);
            assert_eq!(ids(&report), [""; 0], "{}", rule.id);
            assert!(report.problems.is_empty(), "{}: {:?}", rule.id, report.problems);
        });
    }

    #[test]
    fn fixing_a_hit_gives_exactly_what_is_documented() {
        let mut by_hand = Vec::new();
        every(|rule| {
            let report = checked("hit.yaml", rule.hit);
            let exception = report.findings[0].exception.as_ref();
            if exception.is_none_or(|exception| exception.edits.is_empty()) {
                return;
            }
            let fixed = fix(&[Source::new("hit.yaml", rule.hit)], &Settings::default());
            assert_eq!(fixed.sources[0].text(), rule.fixed, "{}", rule.id);
            assert!(fixed.report.findings.is_empty(), "{}", rule.id);
        });
        for rule in rule::all() {
            let report = checked("hit.yaml", rule.hit);
            let exception = report.findings[0].exception.as_ref();
            if exception.is_none_or(|exception| exception.edits.is_empty()) {
                by_hand.push(rule.id);
            }
        }
        // What only a person can choose; a rule that lands here by accident is noticed.
        let chosen = [
            "K3", "K5", "K13", "K14", "K15", "K16", "T11", "T12", "T14", "S3", "C3", "P2", "P3",
            "P5", "P6",
        ];
        assert_eq!(by_hand, chosen);
    }

    #[test]
    fn a_finding_is_never_worse_than_its_rule_says() {
        every(|rule| {
            for finding in checked("hit.yaml", rule.hit).findings {
                assert!(finding.severity >= rule.severity, "{}", rule.id);
            }
        });
    }

    #[test]
    fn the_documents_are_those_that_would_be_made_now() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let same = |path: &str, text: &str| {
            let found = std::fs::read_to_string(docs.join(path)).unwrap_or_default();
            assert!(found == text, "docs/{path} is out of date: run cargo xtask codegen");
        };
        every(|rule| same(&format!("rules/{}.md", rule.id), &report::page(rule)));
        same("rules/README.md", &report::index());
        same("syscalls.md", &export::document());
    }
}
