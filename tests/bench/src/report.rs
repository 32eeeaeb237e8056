//! Results as files: for programs, for readers, for the eye.

pub(crate) mod markdown;
pub(crate) mod svg;

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::ui;
use crate::wrapper::Unit;

/// Writes one result.
pub(crate) fn write(out: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let file = out.join(name);
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    ui::say(&format!("wrote {}", file.display()));
    Ok(())
}

/// A number with as many decimals as it deserves.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "–".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

/// A figure with its unit.
pub(crate) fn with_unit(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Count => format!("{value:.0}"),
        Unit::Megabytes => format!("{} MB", short(value)),
        Unit::Milliseconds => format!("{} ms", short(value)),
    }
}

/// What a figure should not exceed, as it was set.
pub(crate) fn limit(unit: Unit, target: f64) -> String {
    match unit {
        Unit::Count => format!("{target}"),
        Unit::Megabytes => format!("≤ {target} MB"),
        Unit::Milliseconds => format!("≤ {target} ms"),
    }
}
