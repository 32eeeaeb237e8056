//! The page: its parts, and the template that lays them out and escapes every word.

use askama::Template;
use cloudtaser_evidence::{
    date,
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
