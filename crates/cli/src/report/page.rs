//! The page: its parts, and the template that lays them out and escapes every word.

use askama::Template;
use cloudtaser_evidence::{
    Digest, date,
    verify::{
        Report,
        claims::{Claim, Standing},
    },
};
use serde::Serialize;

use super::{
    controls::{Framework, Shown},
    facts::Fact,
    svg::{Bar, Stack},
};

/// One control of the report.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) framework: Framework,
    pub(crate) article: &'static str,
    pub(crate) asks: &'static str,
    pub(crate) shown: Shown,
    pub(crate) claims: Vec<(&'static str, &'static str)>,
    pub(crate) not_covered: &'static str,
}

/// One secret of the register.
#[derive(Debug)]
pub(crate) struct Secret {
    /// The hidden name, or the one that its owner opened.
    pub(crate) name: String,
    /// Where its counts are.
    pub(crate) pointer: String,
    pub(crate) releases: u64,
    pub(crate) versions: String,
    pub(crate) last: String,
}

impl Secret {
    /// Takes it from the register.
    pub(crate) fn new(hidden: &str, report: &Report) -> Option<Self> {
        let hash = Digest::from_hex(hidden)?;
        let secret = report.tally.register.get(&hash)?;
        let opened = report.names.iter().find(|name| name.hash == hash);
        let name = opened.map(|name| format!("{}#{}", name.path, name.fields.join(",")));
        let versions = match secret.versions {
            Some((low, high)) if low == high => format!("v{low}"),
            Some((low, high)) => format!("v{low} to v{high}"),
            None => "not told".to_owned(),
        };
        Some(Self {
            name: name.unwrap_or_else(|| hidden.to_owned()),
            pointer: format!("/tally/register/{hidden}/releases"),
            releases: secret.releases,
            versions,
            last: secret.last_ms.map_or_else(|| "never".to_owned(), date::to_text),
        })
    }
}

/// Everything that is on the page.
#[derive(Debug, Template)]
#[template(path = "report.html")]
pub(crate) struct Page<'a> {
    pub(crate) title: &'static str,
    pub(crate) made: String,
    pub(crate) source: String,
    pub(crate) report: &'a Report,
    pub(crate) lines: &'a [Line],
    pub(crate) facts: &'a [Fact],
    pub(crate) secrets: Vec<Secret>,
    pub(crate) days: Vec<Bar>,
    pub(crate) rows: Vec<Stack>,
    pub(crate) assumptions: &'a [(&'static str, &'static str)],
    pub(crate) not_covered: &'a [&'static str],
}

impl Page<'_> {
    /// The figure at a place of the evidence, with its mark.
    fn fact(&self, pointer: &str) -> &str {
        self.facts.iter().find(|fact| fact.pointer == pointer).map_or("–", |fact| &fact.value)
    }

    /// A witness's time.
    fn when(&self, unix_seconds: &u64) -> String {
        date::to_text(unix_seconds.saturating_mul(1000))
    }

    /// A time of the log's.
    fn at(&self, ms: &u64) -> String {
        date::to_text(*ms)
    }

    /// How a claim stands.
    fn standing(&self, claim: &Claim) -> &'static str {
        standing(claim.standing)
    }

    /// Words as the name of a style.
    fn class(&self, words: &str) -> String {
        words.replace(' ', "-")
    }

    /// The mark of the figure at a place of the evidence.
    fn mark(&self, pointer: &str) -> &str {
        self.facts.iter().find(|fact| fact.pointer == pointer).map_or("", |fact| &fact.id)
    }
}

/// For readers.
pub(crate) const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Fail => "fail",
        Standing::NotProvable => "not provable",
        Standing::Pass => "pass",
    }
}
