//! What fuzzing and the tests that replay its corpora call.

use crate::{
    Config,
    image::{NoRegistry, Reference},
    review::Review,
};

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

/// Any text is an image's name or none, and no name leaves its place in a URL.
pub fn image(text: &str) {
    let Some(reference) = Reference::parse(text) else { return };
    let url = format!(
        "{}/v2/{}/manifests/{}",
        reference.endpoint(),
        reference.repository,
        reference.selector()
    );
    assert!(!url.contains(['?', '#', '@', ' ', '%', '\\']) && !url.contains("/../"), "{url}");
    assert!(url.starts_with("https://") && url.matches("//").count() == 1, "{url}");
}

#[cfg(test)]
mod tests {
    include!("../../../fuzz/replay.rs");

    #[test]
    fn every_corpus_file_is_replayed() {
        replay("admission", super::review);
        replay("image", |bytes| super::image(&String::from_utf8_lossy(bytes)));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_name_or_none(text in "[a-z0-9A-Z./:@_%?# -]{0,40}") {
            super::image(&text);
        }
    }
}
