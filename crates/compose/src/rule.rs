//! The rules: what each is about, and the examples that its page and its tests share.

mod kubearmor;
mod kubernetes;
mod tetragon;

use crate::finding::Severity;

/// Whose language a rule is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Tool {
    /// KubeArmor's policies and settings.
    KubeArmor,
    /// Tetragon's policies and settings.
    Tetragon,
    /// Seccomp profiles.
    Seccomp,
    /// Kubernetes' own objects, and Cilium's network policies.
    Kubernetes,
}

impl Tool {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KubeArmor => "KubeArmor",
            Self::Kubernetes => "Kubernetes",
            Self::Seccomp => "seccomp",
            Self::Tetragon => "Tetragon",
        }
    }
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name, stable.
    pub id: &'static str,
    /// Whose language it is about.
    pub tool: Tool,
    /// What it finds, in a few words.
    pub title: &'static str,
    /// How bad it is at worst.
    pub severity: Severity,
    /// What happens, and why.
    pub why: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    /// A policy that it finds.
    pub hit: &'static str,
    /// One that looks alike and is not found.
    pub near: &'static str,
    /// The first one as `--fix` leaves it, or as a person would.
    pub fixed: &'static str,
}

/// All rules, in order.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    kubearmor::RULES.iter().chain(tetragon::RULES).chain(kubernetes::RULES)
}

/// A rule by its name, in any case.
#[must_use]
pub fn named(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id.eq_ignore_ascii_case(id))
}

/// Examples of a rule.
macro_rules! examples {
    ($rule:expr, $id:literal) => {
        $crate::rule::Rule {
            id: $id,
            hit: include_str!(concat!("../../tests/policies/", $id, "/hit.yaml")),
            near: include_str!(concat!("../../tests/policies/", $id, "/near.yaml")),
            fixed: include_str!(concat!("../../tests/policies/", $id, "/fixed.yaml")),
            ..$rule
        }
    };
}
use examples;

const fn rule(
    tool: Tool,
    severity: Severity,
    title: &'static str,
    why: &'static str,
    fix: &'static str,
) -> Rule {
    Rule { id: "", tool, title, severity, why, fix, hit: "", near: "", fixed: "" }
}
