//! House rules about source files that no lint knows: sizes, banned words, `forbid(unsafe_code)`.
//!
//! A file's size is its lines before the test module; files of tests, and everything under a
//! folder `tests`, `benches` or `fuzz_targets`, may be as long as they must.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::place;
use crate::ui;

/// From here on a file is listed, so that somebody asks whether it has two subjects.
const LONG: usize = 400;
/// More than this fails.
const TOO_LONG: usize = 700;
/// Folders of the work tree that hold our sources.
const FOLDERS: &[&str] = &["bench", "bpf", "crates", "fuzz", "tests", "xtask"];
/// Folders inside them that hold none.
const FOREIGN: &[&str] = &["artifacts", "corpus", "results", "target"];
/// Kinds of files that are read.
const KINDS: &[&str] = &["c", "go", "h", "java", "js", "py", "rs", "sh", "toml"];
/// Left-overs and hidden tests; assembled here, or this file would break its own rule.
const BANNED: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "open an issue instead"),
    (concat!("FIX", "ME"), "open an issue instead"),
    (concat!("#[ig", "nore"), "print `SKIP: reason` and return where the machine lacks something"),
];

/// Fails with each file that breaks a rule, and lists the long ones.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        let folder = place::root().join(folder);
        if folder.is_dir() {
            collect(&folder, &mut files)?;
        }
    }
    files.sort();
    let mut broken = Vec::new();
    for file in &files {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(place::root()).unwrap_or(file);
        broken.extend(judge(name, &text));
        let lines = product_lines(name, &text);
        if lines > LONG {
            ui::say(&format!("   long: {} has {lines} lines", name.display()));
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    ui::say(&format!("house rules: {} files keep them", files.len()));
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        let name = entry.file_name();
        if kind.is_dir() && !FOREIGN.iter().any(|foreign| name == *foreign) {
            collect(&path, files)?;
        }
        let ours = path.extension().is_some_and(|kind| KINDS.iter().any(|own| kind == *own));
        if kind.is_file() && ours {
            files.push(path);
        }
    }
    Ok(())
}

/// Each rule that the file breaks, as `path:line: words`.
fn judge(name: &Path, text: &str) -> Vec<String> {
    let shown = name.display();
    let mut broken = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (word, advice) in BANNED.iter().filter(|(word, _)| has_word(line, word)) {
            broken.push(format!("{shown}:{}: `{word}`: {advice}", number + 1));
        }
    }
    let lines = product_lines(name, text);
    if lines > TOO_LONG {
        broken.push(format!("{shown}: {lines} lines, more than {TOO_LONG}: split by subject"));
    }
    if is_crate_root(name) && !text.lines().any(|line| line == "#![forbid(unsafe_code)]") {
        broken
            .push(format!("{shown}: lacks #![forbid(unsafe_code)]: unsafe is in crates/sys alone"));
    }
    broken
}

/// Lines of a Rust file before its test module; none for other files and for tests.
fn product_lines(name: &Path, text: &str) -> usize {
    let in_tests = name.components().any(|part| {
        matches!(part.as_os_str().to_str(), Some("tests" | "benches" | "fuzz_targets" | "tests.rs"))
    });
    if in_tests || name.extension().is_none_or(|kind| kind != "rs") {
        return 0;
    }
    let lines: Vec<&str> = text.lines().collect();
    let test_module = lines
        .windows(2)
        .position(|pair| matches!(pair, ["#[cfg(test)]", second] if second.starts_with("mod ")));
    test_module.unwrap_or(lines.len())
}

fn is_crate_root(name: &Path) -> bool {
    let root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
    root && !name.starts_with("crates/sys")
}

/// Whether the line has the word and not merely a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_letter) && !after.is_some_and(is_letter)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, text: &str) -> Vec<String> {
        judge(Path::new(name), text)
    }

    #[test]
    fn left_over_words_are_found_with_their_line() {
        let text = format!("fine\n// {} later\n", BANNED[0].0);
        let broken = judged("crates/core/src/plan.rs", &text);
        assert_eq!(broken.len(), 1);
        assert!(broken[0].starts_with("crates/core/src/plan.rs:2: "), "{broken:?}");
        assert_eq!(judged("crates/core/src/plan.rs", "fn todo_list() {}\n"), [""; 0]);
        assert!(!has_word(&format!("MY{}S", BANNED[0].0), BANNED[0].0));
    }

    #[test]
    fn hidden_tests_are_found_with_and_without_reason() {
        let plain = format!("{}]\n", BANNED[2].0);
        let reasoned = format!("    {} = \"slow\"]\n", BANNED[2].0);
        assert_eq!(judged("crates/core/src/plan.rs", &(plain + &reasoned)).len(), 2);
    }

    #[test]
    fn size_ends_at_the_test_module() {
        let product = "x\n".repeat(TOO_LONG);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{product}}}\n");
        assert_eq!(judged("crates/core/src/plan.rs", &(product.clone() + &tests)), [""; 0]);
        assert_eq!(judged("crates/core/src/plan.rs", &(product.clone() + "x\n")).len(), 1);
        assert_eq!(judged("crates/core/src/plan/tests.rs", &(product.clone() + "x\n")), [""; 0]);
        assert_eq!(judged("tests/e2e/src/oracle.rs", &(product + "x\n")), [""; 0]);
    }

    #[test]
    fn a_test_only_item_does_not_end_the_product() {
        let text = "#[cfg(test)]\nuse a::B;\nfn product() {}\n";
        assert_eq!(product_lines(Path::new("crates/core/src/plan.rs"), text), 3);
    }

    #[test]
    fn every_crate_but_sys_forbids_unsafe() {
        assert_eq!(judged("crates/bao/src/lib.rs", "fn a() {}\n").len(), 1);
        assert_eq!(judged("crates/bao/src/lib.rs", "#![forbid(unsafe_code)]\n"), [""; 0]);
        assert_eq!(judged("crates/sys/src/lib.rs", "fn a() {}\n"), [""; 0]);
    }
}
