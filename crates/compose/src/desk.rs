//! Where one policy lies while it is judged: what it is, whom it selects, how a finding is made.

use std::ops::Range;

use cloudtaser_core::needs::Step;

use crate::{
    cluster::{Cluster, Workload},
    finding::{Exception, Finding, Severity},
    object::Object,
    rule,
    settings::Settings,
    source::Source,
};

/// A policy, and all that a judgement needs.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) object: &'a Object,
    pub(crate) source: &'a Source,
    pub(crate) cluster: &'a Cluster,
    pub(crate) settings: &'a Settings,
    /// The workloads of ours that it is about.
    pub(crate) selected: Vec<&'a Workload>,
}

/// What is about to be said.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) rule: &'static str,
    pub(crate) severity: Severity,
    pub(crate) span: Range<usize>,
    pub(crate) step: Step,
    pub(crate) words: String,
    pub(crate) exception: Option<Exception>,
}

impl Desk<'_> {
    /// Makes a finding. `None` for a rule that does not exist, which a test excludes.
    pub(crate) fn finding(&self, draft: Draft) -> Option<Finding> {
        let mut exception = draft.exception;
        if self.object.has_aliases {
            // An edit behind one name would show behind the others.
            exception = exception.map(|exception| Exception { edits: Vec::new(), ..exception });
        }
        let given = self.selected.iter().filter(|workload| !workload.assumed);
        Some(Finding {
            rule: rule::named(draft.rule)?,
            severity: draft.severity,
            source: self.object.source,
            span: draft.span,
            object: self.object.title(),
            words: draft.words,
            step: draft.step,
            workloads: given.map(|workload| workload.title.clone()).collect(),
            exception,
        })
    }
}
