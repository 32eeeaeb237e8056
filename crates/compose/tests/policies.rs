//! Policies of our own, each with what is to be found in it.
//!
//! A file of `tests/policies/more` begins with `# expect:` and the findings in order, as
//! `RULE severity line:column`, or `nothing`; `# with:` adds settings.

#[cfg(test)]
mod policies {
    use std::{collections::BTreeMap, fs, path::Path};

    use cloudtaser_compose::{
        Report, Settings, Source, check, fix,
        settings::{Endpoint, Posture},
    };

    struct Case {
        name: String,
        text: String,
        expected: Vec<String>,
        settings: Settings,
    }

    fn cases() -> Vec<Case> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/more");
        let mut paths: Vec<_> = Vec::new();
        for tool in fs::read_dir(folder).unwrap() {
            paths.extend(
                fs::read_dir(tool.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()),
            );
        }
        paths.sort();
        paths.into_iter().map(|path| case(&path)).collect()
    }

    fn case(path: &Path) -> Case {
        let text = fs::read_to_string(path).unwrap();
        let after = |key: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(key));
            let words = lines.flat_map(|line| line.split(',')).map(|word| word.trim().to_owned());
            words.collect()
        };
        let expected = after("# expect:");
        assert!(!expected.is_empty(), "{} says nothing of what is expected", path.display());
        let mut settings = Settings::default();
        for setting in after("# with:") {
            match setting.split_once(' ').unwrap() {
                ("endpoint", value) => {
                    let (host, port) = value.rsplit_once(':').unwrap();
                    let host = Some(host.to_owned()).filter(|host| !host.is_empty());
                    settings.endpoints.push(Endpoint { host, port: port.parse().unwrap() });
                }
                ("posture", "block") => settings.posture = Some(Posture::Block),
                ("token", path) => settings.token = Some(path.to_owned()),
                ("wrapper", path) => settings.wrapper = path.to_owned(),
                other => panic!("{}: {other:?}", path.display()),
            }
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Case { name, text, expected, settings }
    }

    fn shown(source: &Source, report: &Report) -> Vec<String> {
        let all = report.findings.iter().map(|finding| {
            let place = source.place(finding.span.start);
            format!("{} {} {}:{}", finding.rule.id, finding.severity, place.line, place.column)
        });
        let all: Vec<String> = all.collect();
        if all.is_empty() { vec!["nothing".to_owned()] } else { all }
    }

    #[test]
    fn each_policy_is_judged_as_it_says() {
        let mut wrong = Vec::new();
        for case in cases() {
            let source = Source::new(case.name.clone(), case.text);
            let report = check(std::slice::from_ref(&source), &case.settings);
            let found = shown(&source, &report);
            if found != case.expected {
                wrong.push(format!("{}: found {found:?}, not {:?}", case.name, case.expected));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// The texts of all lines, with how often each is there.
    fn lines(text: &str) -> BTreeMap<&str, usize> {
        let mut lines = BTreeMap::new();
        for line in text.lines() {
            *lines.entry(line).or_default() += 1;
        }
        lines
    }

    #[test]
    fn a_fix_only_adds_and_leaves_nothing_that_it_could_mend() {
        for case in cases() {
            let source = Source::new(case.name.clone(), case.text.clone());
            let fixed = fix(&[source], &case.settings);
            let text = fixed.sources[0].text();
            let left = fixed.report.findings.iter().filter(|finding| {
                finding.exception.as_ref().is_some_and(|exception| !exception.edits.is_empty())
            });
            let left: Vec<_> = left.map(|finding| (finding.rule.id, &finding.words)).collect();
            assert!(left.is_empty(), "{}: {left:?}", case.name);
            if fixed.changes.is_empty() {
                assert_eq!(text, case.text, "{}", case.name);
            }
            // Lists in brackets and values that are replaced keep their line, changed.
            let (before, after) = (lines(&case.text), lines(text));
            let gone = before.iter().filter(|(line, count)| after.get(*line) < Some(*count));
            assert!(gone.count() <= fixed.changes.len(), "{}", case.name);
        }
    }

    #[test]
    fn a_fix_never_makes_an_allow_list_of_a_section() {
        for case in cases().into_iter().filter(|case| case.text.contains("kind: KubeArmor")) {
            let source = Source::new(case.name.clone(), case.text.clone());
            let fixed = fix(&[source], &case.settings);
            let added = fixed.sources[0].text().matches("action: Allow").count();
            let there = case.text.matches("Allow").count();
            assert!(added == 0 || there > 0, "{}: an Allow where there was none", case.name);
        }
    }
}
