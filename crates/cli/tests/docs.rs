//! What README and guides tell a stranger to type is what the programs know.

#[cfg(test)]
mod docs {
    use std::{
        collections::BTreeMap,
        fs,
        path::{Path, PathBuf},
        process::Command,
    };

    /// Verbs that have verbs.
    const PARENTS: [&str; 4] = ["compose", "evidence", "policy", "witness"];
    /// Verbs whose rest is another program's.
    const OTHERS: [&str; 4] = ["agent", "beacon", "bridge", "broker"];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn pages() -> Vec<PathBuf> {
        let mut pages = vec![root().join("README.md"), root().join("docs/README.md")];
        let guides = fs::read_dir(root().join("docs/guide")).unwrap();
        pages.extend(guides.map(|entry| entry.unwrap().path()));
        pages
    }

    /// Commands on a page, in blocks and between backticks, each as its words.
    fn commands(text: &str) -> Vec<Vec<String>> {
        let text = text.replace("\\\n", " ");
        let begins = "cloudtaser ";
        let in_lines = text.lines().map(str::trim).filter(|line| line.starts_with(begins));
        let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        let quoted = quoted.filter(|part| part.starts_with(begins));
        in_lines
            .chain(quoted)
            .map(|line| {
                let ends = |word: &&str| word.starts_with(['#', '|', '>', '&', ';', '(']);
                let words = line.split_whitespace().skip(1).take_while(|word| !ends(word));
                words.map(|word| word.trim_end_matches(['`', '.', ',']).to_owned()).collect()
            })
            .collect()
    }

    /// The options among words; what follows `--` is another program's.
    fn options(words: &[String]) -> impl Iterator<Item = &str> {
        let own = words.iter().take_while(|word| *word != "--");
        let options = own.filter(|word| word.starts_with("--"));
        options.filter_map(|word| word.split(['=', '[']).next())
    }

    /// Whether a help text has this option, and not one that only begins so.
    fn has(help: &str, option: &str) -> bool {
        help.match_indices(option).any(|(at, _)| {
            let rest = help.get(at + option.len()..).unwrap_or_default();
            !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-')
        })
    }

    #[test]
    fn every_command_of_the_command_line_is_one_that_it_knows() {
        let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
        let mut checked = 0;
        for page in pages() {
            for words in commands(&fs::read_to_string(&page).unwrap()) {
                let Some(verb) = words.first() else { continue };
                let is_word = verb.bytes().all(|byte| byte.is_ascii_lowercase());
                if !is_word || OTHERS.contains(&verb.as_str()) {
                    continue;
                }
                let depth = if PARENTS.contains(&verb.as_str()) { 2 } else { 1 };
                let path: Vec<String> = words.iter().take(depth).cloned().collect();
                let help = helps.entry(path.clone()).or_insert_with(|| {
                    let output = Command::new(env!("CARGO_BIN_EXE_cloudtaser"))
                        .args(&path)
                        .arg("--help")
                        .output()
                        .unwrap();
                    let place = page.display();
                    assert!(output.status.success(), "{place}: there is no verb {path:?}");
                    String::from_utf8(output.stdout).unwrap()
                });
                for option in options(&words) {
                    assert!(has(help, option), "{}: {path:?} has no {option}", page.display());
                }
                checked += 1;
            }
        }
        assert!(checked > 30, "{checked}");
    }
}
