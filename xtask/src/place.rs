//! Where things are: the work tree, the target directory, the tools in it.
//!
//! Paths are absolute, since tests and the demo change directory.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the work tree.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where cargo builds, by its own rule.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) if !directory.is_empty() => root().join(directory),
        _ => root().join("target"),
    }
}

/// Where downloaded tools are kept.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// The pinned OpenBao; there after [`crate::tools::ensure`].
pub(crate) fn bao() -> PathBuf {
    tools().join("bao")
}
