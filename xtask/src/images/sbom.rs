//! What a program is made of, as CycloneDX 1.5: every crate that is linked, by cargo's own tree.

use std::collections::BTreeSet;

use super::oci::json;
use crate::command::{cargo, read};

/// The document of one image.
pub(super) fn of(name: &str, packages: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut crates = BTreeSet::new();
    for package in packages {
        let mut tree =
            cargo(["tree", "--locked", "--edges=normal", "--prefix=none", "--package", package]);
        let text = read(tree.arg("--format={p}\t{l}"))?;
        crates.extend(text.lines().filter_map(component));
    }
    Ok(document(name, &crates).into_bytes())
}

/// Name, version and licence from a line `name v1.2.3 (…)`, tab, licence.
fn component(line: &str) -> Option<(String, String, String)> {
    let (package, licence) = line.trim_end_matches(" (*)").split_once('\t')?;
    let mut words = package.split(' ');
    let name = words.next()?.to_owned();
    let version = words.next()?.strip_prefix('v')?.to_owned();
    Some((name, version, licence.trim_end_matches(" (*)").to_owned()))
}

fn document(name: &str, crates: &BTreeSet<(String, String, String)>) -> String {
    let components: Vec<_> = crates
        .iter()
        .map(|(name, version, licence)| {
            let ours = name.starts_with("cloudtaser");
            let reference = json(&format!("pkg:cargo/{name}@{version}"));
            // Ours come from no registry.
            let purl = if ours { String::new() } else { format!(",\"purl\":{reference}") };
            let licence = licence.replace('/', " OR ");
            format!(
                "{{\"type\":\"library\",\"bom-ref\":{reference},\"name\":{},\"version\":{}{purl},\
                 \"licenses\":[{{\"expression\":{}}}]}}",
                json(name),
                json(version),
                json(&licence)
            )
        })
        .collect();
    format!(
        "{{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,\"metadata\":{{\
         \"component\":{{\"type\":\"container\",\"name\":{}}}}},\"components\":[\n{}\n]}}\n",
        json(name),
        components.join(",\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tree_is_a_component() {
        let parts = |line| component(line).unwrap();
        assert_eq!(
            parts("serde v1.0.229\tMIT OR Apache-2.0"),
            ("serde".into(), "1.0.229".into(), "MIT OR Apache-2.0".into())
        );
        assert_eq!(parts("a v0.1.0 (/src)\tApache-2.0 (*)").2, "Apache-2.0");
        assert!(component("").is_none());
    }

    #[test]
    fn the_wrapper_lists_its_cryptography_and_no_runtime() {
        let text = String::from_utf8(of("x", &["cloudtaser-wrapper"]).unwrap()).unwrap();
        assert!(text.contains("\"name\":\"graviola\"") && !text.contains("\"name\":\"tokio\""));
    }
}
