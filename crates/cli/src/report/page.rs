//! The page: its parts, and the template that lays them out and escapes every word.
//!
//! What comes from the evidence goes onto the page by [`Page::figure`] alone, which takes it from
//! [`super::facts`] and marks it; a test holds that nothing else changes with the evidence.

use askama::Template;
use cloudtaser_evidence::{
    Digest,
    verify::{
        Report,
        claims::{Claim, Standing},
    },
};
use serde::Serialize;

use super::{
    controls::{self, Framework, Shown},
    facts::{Fact, escaped},
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

/// One secret of the register: where its figures are.
#[derive(Debug)]
pub(crate) struct Secret {
    /// Where the name is that its owner opened: path, fields.
    pub(crate) opened: Option<[String; 2]>,
    pub(crate) hidden: String,
    pub(crate) pointer: String,
}

impl Secret {
    /// Takes it from the register.
    pub(crate) fn new(hidden: &str, report: &Report) -> Option<Self> {
        let hash = Digest::from_hex(hidden)?;
        let at = report.names.iter().position(|name| name.hash == hash);
        Some(Self {
            opened: at.map(|at| ["path", "fields"].map(|part| format!("/names/{at}/{part}"))),
            hidden: hidden.to_owned(),
            pointer: format!("/tally/register/{hidden}"),
        })
    }
}

/// A figure with its mark.
#[derive(Debug, Template)]
#[template(
    ext = "html",
    source = r##"<span class="e"><span>{{ shown }}</span>{% if !id.is_empty() %}<sup><a href="#{{ id }}">{{ id }}</a></sup>{% endif %}</span>"##
)]
pub(crate) struct Figure<'a> {
    shown: &'a str,
    id: &'a str,
}

/// Everything that is on the page.
#[derive(Debug, Template)]
#[template(path = "report.html")]
pub(crate) struct Page<'a> {
    pub(crate) title: &'static str,
    pub(crate) made: String,
    pub(crate) version: &'static str,
    /// The evidence's file and the policy's, each with its hash.
    pub(crate) source: String,
    pub(crate) policy: String,
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
    /// What is at a place of the evidence, with its mark.
    fn figure(&self, pointer: &str) -> Figure<'_> {
        let fact = self.facts.iter().find(|fact| fact.pointer == pointer);
        fact.map_or(Figure { shown: "–", id: "" }, |fact| Figure {
            shown: &fact.shown,
            id: &fact.id,
        })
    }

    /// The mark of the figure at a place of the evidence.
    fn mark(&self, pointer: &str) -> &str {
        self.facts.iter().find(|fact| fact.pointer == pointer).map_or("", |fact| &fact.id)
    }

    /// How many lines are shown so.
    fn count(&self, shown: &Shown) -> usize {
        self.lines.iter().filter(|line| line.shown == *shown).count()
    }

    /// The four, worst first.
    fn standings(&self) -> [(Shown, &'static str); 4] {
        [
            (Shown::Contradicted, "the evidence speaks against it: find out why before you sign"),
            (Shown::Nothing, "nothing here speaks to it, or what would speak to it does not pass"),
            (Shown::Partly, "some of the claims that speak to it pass"),
            (Shown::Fully, "every claim that speaks to it passes; never the whole of the rule"),
        ]
    }

    /// The same of an entry of a list.
    fn in_list(&self, list: &str, at: &usize, field: &str) -> Figure<'_> {
        self.figure(&format!("{list}/{at}/{field}"))
    }

    /// The same of an entry by its name, and of a field of it.
    fn in_map(&self, map: &str, name: &str, field: &str) -> Figure<'_> {
        self.figure(&format!("{map}/{}{field}", escaped(name)))
    }

    /// The same of a secret.
    fn of_secret(&self, secret: &Secret, field: &str) -> Figure<'_> {
        self.figure(&format!("{}/{field}", secret.pointer))
    }

    /// Whether hardware evidence was verified for every release.
    fn has_hardware(&self) -> bool {
        self.report.claims.iter().any(|claim| claim.id == "C4" && claim.standing == Standing::Pass)
    }

    /// A claim in few words.
    fn short(&self, claim: &str) -> &'static str {
        controls::short(claim)
    }

    /// How a claim stands.
    fn standing(&self, claim: &Claim) -> &'static str {
        standing(claim.standing)
    }

    /// Words as the name of a style.
    fn class(&self, words: &str) -> &'static str {
        match words {
            "pass" | "supported" => "good",
            "partly supported" => "some",
            "contradicted" | "fail" => "bad",
            _ => "dim",
        }
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
