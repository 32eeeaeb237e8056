//! What fuzzing and the tests that replay its corpora call.

use crate::{Config, image::NoRegistry, review::Review};

const CONFIG: &str = r#"{"wrapper": {"image": "w"}, "server": [
    {"name": "a", "address": "https://a", "ca": "PEM"},
    {"name": "b", "address": "https://b", "allow_skip_verify": true}]}"#;

/// Any bytes are answered or refused, and neither holds up or ends anything.
pub fn review(bytes: &[u8]) {
    let Ok(config) = serde_json::from_str::<Config>(CONFIG) else { return };
    if let Ok(review) = Review::parse(bytes) {
        let _images = review.unknown_images(&config);
        let verdict = review.mutate(&config, &NoRegistry);
        assert!(!verdict.to_json().is_empty());
        let _judged = review.validate(&config).to_json();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn every_corpus_file_is_replayed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/admission");
        let files: Vec<_> = fs::read_dir(folder).unwrap().collect();
        assert!(files.len() >= 4);
        for file in files {
            super::review(&fs::read(file.unwrap().path()).unwrap());
        }
    }
}
