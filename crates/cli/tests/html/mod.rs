//! What every page of ours must hold, read from its text: well-formed, self-contained, and sane for
//! a keyboard, a screen reader and a printer.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::{collections::BTreeSet, env, fs, process::Command};

/// A tag: name, attributes, whether it ends an element.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) is_end: bool,
    is_empty: bool,
}

impl Tag {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

const VOID: [&str; 4] = ["meta", "link", "br", "img"];
/// All that our templates write; whatever else is on a page came in by a hole.
const KNOWN: [&str; 46] = [
    "a",
    "abbr",
    "bdi",
    "body",
    "br",
    "caption",
    "code",
    "dd",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
    "footer",
    "g",
    "h1",
    "h2",
    "h3",
    "head",
    "header",
    "html",
    "li",
    "link",
    "main",
    "meta",
    "nav",
    "ol",
    "p",
    "rect",
    "section",
    "span",
    "strong",
    "style",
    "sup",
    "svg",
    "table",
    "tbody",
    "td",
    "text",
    "th",
    "thead",
    "time",
    "title",
    "tr",
    "ul",
];

/// The tags of a page, in order; anything that is no tag of ours is a failure.
#[track_caller]
pub(crate) fn tags(page: &str) -> Vec<Tag> {
    let page = page.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once('<') {
        let (inside, after) = after.split_once('>').expect("a tag ends");
        rest = after;
        tags.push(tag(inside));
        if tags.last().unwrap().name == "style" && !tags.last().unwrap().is_end {
            rest = rest.split_once("</style>").unwrap().1;
            tags.push(tag("/style"));
        }
    }
    tags
}

fn tag(inside: &str) -> Tag {
    let is_end = inside.starts_with('/');
    let is_empty = inside.ends_with('/');
    let inside = inside.trim_start_matches('/').trim_end_matches('/');
    let (name, mut rest) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
    assert!(KNOWN.contains(&name), "<{inside}> is no tag of ours");
    let mut attributes = Vec::new();
    while let Some((key, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').expect("an attribute ends");
        let key = key.trim();
        assert!(!key.starts_with("on"), "<{inside}> runs something");
        attributes.push((key.to_owned(), value.to_owned()));
        rest = after;
    }
    assert!(rest.trim().is_empty(), "<{inside}>: {rest:?}");
    Tag { name: name.to_owned(), attributes, is_end, is_empty }
}

/// Everything that a page must hold, whatever is on it.
#[track_caller]
pub(crate) fn is_sound(page: &str) {
    let tags = tags(page);
    nests(&tags);
    loads_nothing(page, &tags);
    has_landmarks(&tags);
    names_resolve(&tags);
    tables_have_headings(&tags);
}

#[track_caller]
fn nests(tags: &[Tag]) {
    let mut open: Vec<&str> = Vec::new();
    for tag in tags.iter().filter(|tag| !VOID.contains(&tag.name.as_str()) && !tag.is_empty) {
        if tag.is_end {
            assert_eq!(open.pop(), Some(tag.name.as_str()), "in {open:?}");
        } else {
            open.push(&tag.name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[track_caller]
fn loads_nothing(page: &str, tags: &[Tag]) {
    let policy = tags.iter().filter_map(|tag| tag.attribute("content"));
    assert!(policy.clone().any(|text| text.starts_with("default-src 'none';")), "no policy");
    for tag in tags {
        for (key, value) in &tag.attributes {
            match key.as_str() {
                "href" => assert!(value.starts_with('#') || value == "data:,", "{value}"),
                "src" | "srcset" | "style" | "action" | "data" => panic!("{key} of {}", tag.name),
                _ => {}
            }
        }
    }
    for never in ["<script", "javascript:", "url(", "@import", "http-equiv=\"refresh"] {
        assert!(!page.contains(never), "{never}");
    }
}

#[track_caller]
fn has_landmarks(tags: &[Tag]) {
    let begins = |name: &str| tags.iter().filter(|tag| !tag.is_end && tag.name == name).count();
    for once in ["html", "header", "nav", "main", "footer", "h1"] {
        assert_eq!(begins(once), 1, "{once}");
    }
    let html = tags.iter().find(|tag| tag.name == "html").unwrap();
    assert_eq!(html.attribute("lang"), Some("en"));
    // A picture may have titles as well.
    let mut head = tags.iter().take_while(|tag| tag.name != "body");
    assert!(head.any(|tag| tag.name == "title"), "a tab has no name");
    let viewport = tags.iter().any(|tag| tag.attribute("name") == Some("viewport"));
    assert!(viewport, "a phone zooms out");
    let mut last = 0;
    for tag in tags.iter().filter(|tag| !tag.is_end) {
        let level = match tag.name.as_str() {
            "h1" => 1,
            "h2" => 2,
            "h3" => 3,
            _ => continue,
        };
        assert!(level <= last + 1, "a heading of level {level} after one of {last}");
        last = level;
    }
}

#[track_caller]
fn names_resolve(tags: &[Tag]) {
    let ids: Vec<&str> = tags.iter().filter_map(|tag| tag.attribute("id")).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "an id is there twice: {ids:?}");
    for tag in tags {
        let links = tag.attribute("href").and_then(|href| href.strip_prefix('#'));
        for target in links.into_iter().chain(tag.attribute("aria-labelledby")) {
            assert!(unique.contains(target), "nothing is called {target}");
        }
        if tag.attribute("role") == Some("img") || (tag.name == "nav" && !tag.is_end) {
            assert!(tag.attribute("aria-label").is_some(), "{} has no name", tag.name);
        }
        if tag.name == "section" && !tag.is_end {
            assert!(tag.attribute("aria-labelledby").is_some(), "a section has no name");
        }
        if tag.attribute("class") == Some("scroll") {
            assert_eq!(tag.attribute("tabindex"), Some("0"), "a keyboard cannot scroll it");
            assert_eq!(tag.attribute("role"), Some("region"));
        }
    }
}

#[track_caller]
fn tables_have_headings(tags: &[Tag]) {
    for tag in tags.iter().filter(|tag| tag.name == "th" && !tag.is_end) {
        assert!(matches!(tag.attribute("scope"), Some("col" | "row")), "{tag:?}");
    }
    let tables = tags.iter().filter(|tag| tag.name == "table" && !tag.is_end).count();
    let heads = tags.iter().filter(|tag| tag.name == "thead" && !tag.is_end).count();
    assert_eq!(tables, heads, "a table has no heading");
}

/// Text that stands on a ground can be read: at least 4.5 to 1 (WCAG 2.2, AA), on a light and on a
/// dark screen and on paper.
#[track_caller]
pub(crate) fn can_be_read(page: &str) {
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let schemes: Vec<&str> = style.split(":root {").skip(1).collect();
    assert_eq!(schemes.len(), 3, "light, dark and paper");
    for scheme in schemes {
        let scheme = scheme.split_once('}').unwrap().0;
        let colour = |name: &str| {
            let value =
                scheme.split_once(&format!("--{name}: #")).unwrap_or_else(|| panic!("{name}"));
            luminance(value.1.split([';', ' ']).next().unwrap())
        };
        let grounds = ["bg", "panel"];
        for ink in ["ink", "dim", "good", "some", "bad", "link"] {
            grounds.iter().for_each(|ground| readable(ink, colour(ink), ground, colour(ground)));
        }
        for ground in ["open", "partial", "closed", "unknown"] {
            readable("ink", colour("ink"), ground, colour(ground));
        }
    }
}

#[track_caller]
fn readable(ink: &str, light: f64, ground: &str, dark: f64) {
    let ratio = (light.max(dark) + 0.05) / (light.min(dark) + 0.05);
    assert!(ratio >= 4.5, "{ink} on {ground}: {ratio:.2} to 1");
}

/// Relative luminance of `rgb` or `rrggbb`.
fn luminance(hex: &str) -> f64 {
    let wide: String =
        if hex.len() == 3 { hex.chars().flat_map(|c| [c, c]).collect() } else { hex.to_owned() };
    let part = |at: usize| {
        let digits = wide.get(at..at + 2).unwrap();
        let value = f64::from(u8::from_str_radix(digits, 16).unwrap()) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
}

/// Opens it in a real browser, where `CLOUDTASER_BROWSER` names one of Chromium's kind: it has nothing
/// to complain of. With `CLOUDTASER_PICTURES=FOLDER` pictures of it are left there, to be looked at.
#[track_caller]
pub(crate) fn in_a_browser(page: &str, name: &str) {
    let Ok(browser) = env::var("CLOUDTASER_BROWSER") else {
        println!("skipped: CLOUDTASER_BROWSER names no browser");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    fs::write(&file, page).unwrap();
    let look = |more: &[String]| {
        let output = Command::new(&browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--hide-scrollbars", "--enable-logging=stderr"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .args(more)
            .arg(format!("file://{}", file.display()))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let complaints: Vec<_> = told.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(output.status.success() && complaints.is_empty(), "{complaints:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let seen = look(&["--dump-dom".to_owned()]);
    assert!(seen.contains("<main"), "{seen}");
    let Ok(pictures) = env::var("CLOUDTASER_PICTURES") else { return };
    let picture = |kind: &str, size: &str| {
        vec![format!("--screenshot={pictures}/{name}-{kind}.png"), format!("--window-size={size}")]
    };
    look(&picture("desktop", "1280,3000"));
    look(&picture("phone", "500,4000"));
    let mut dark = picture("dark", "1280,3000");
    dark.push("--blink-settings=preferredColorScheme=0".to_owned());
    look(&dark);
    look(&[format!("--print-to-pdf={pictures}/{name}.pdf"), "--no-pdf-header-footer".to_owned()]);
}
