//! The protection level in words, for `--explain`.

use std::fmt::Write as _;

use cloudtaser_core::{ProtectionLevel, level::Requirement};

/// The facets with what the node agent says of itself, one paragraph per adversary, then what
/// weakened the level.
pub(crate) fn explain(level: &ProtectionLevel, agent_said: Option<&str>) -> String {
    let mut out = String::from("What would protect a program started here\n\n");
    let facets = level.facets;
    let words = [
        Requirement::Memory(facets.memory),
        Requirement::Environ(facets.environ),
        Requirement::Supervisor(facets.supervisor),
        Requirement::Attach(facets.attach),
        Requirement::Transport(facets.transport),
        Requirement::Release(facets.release),
    ];
    for word in words {
        line(&mut out, format_args!("  {word}"));
    }
    let agent = Requirement::Agent(facets.agent);
    match agent_said {
        Some(said) => line(&mut out, format_args!("  {agent}, which says {said}")),
        None => line(&mut out, format_args!("  {agent}")),
    }
    for row in &level.rows {
        let verdict = row.verdict.as_str();
        line(&mut out, format_args!("\n{} {}: {verdict}", row.id, row.adversary));
        for why in &row.because {
            line(&mut out, format_args!("   - {why}"));
        }
    }
    if !level.reasons.is_empty() {
        out.push_str("\nWhy it is not better\n");
        for reason in &level.reasons {
            line(&mut out, format_args!("   - {reason}"));
        }
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _written = writeln!(out, "{text}");
}
