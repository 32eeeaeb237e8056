//! Programs of ours and of others, and where they are looked for.

use std::{
    env,
    fs::File,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use cloudtaser_core::names;

/// Where `cargo xtask demo` puts the pinned OpenBao, seen from the work tree.
const FETCHED_BAO: &str = "target/tools/bao";

/// A program that is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ToolError {
    /// OpenBao.
    #[error(
        "no OpenBao program: {env} is not set, bao is not on the PATH and {FETCHED_BAO} is not there; \
         `cargo xtask demo` fetches it",
        env = names::ENV_BAO
    )]
    Bao,
    /// A path in the environment that leads nowhere.
    #[error("{name} names {path}, which is no executable file")]
    Named {
        /// The variable.
        name: &'static str,
        /// Its value.
        path: String,
    },
    /// A program of the road.
    #[error(
        "{program} is not beside this program nor on the PATH; install it where you want to use \
         it, or set {variable}"
    )]
    Road {
        /// Which.
        program: &'static str,
        /// The variable that may name it.
        variable: &'static str,
    },
    /// The wrapper.
    #[error(
        "cloudtaser-wrapper is not beside this program nor on the PATH; build it, or set {env}",
        env = names::ENV_WRAPPER
    )]
    Wrapper,
}

/// Finds the wrapper: by name in the environment, beside this program, on the PATH.
pub(crate) fn wrapper() -> Result<PathBuf, ToolError> {
    if let Some(named) = named(names::ENV_WRAPPER)? {
        return Ok(named);
    }
    let beside = env::current_exe().ok().map(|own| own.with_file_name("cloudtaser-wrapper"));
    beside
        .filter(|path| is_program(path))
        .or_else(|| on_path("cloudtaser-wrapper"))
        .ok_or(ToolError::Wrapper)
}

/// Finds a program of the road in the same places.
pub(crate) fn of_road(program: &'static str, variable: &'static str) -> Result<PathBuf, ToolError> {
    if let Some(named) = named(variable)? {
        return Ok(named);
    }
    let beside = env::current_exe().ok().map(|own| own.with_file_name(program));
    let beside = beside.filter(|path| is_program(path));
    beside.or_else(|| on_path(program)).ok_or(ToolError::Road { program, variable })
}

/// Finds the node agent in the same places; a demo goes without where there is none.
pub(crate) fn agent() -> Option<PathBuf> {
    let named = env::var_os(names::ENV_AGENT_PROGRAM).map(PathBuf::from);
    let own = env::current_exe().ok();
    let beside = own.map(|own| own.with_file_name("cloudtaser-agent"));
    let first = |path: Option<PathBuf>| path.filter(|path| is_program(path));
    first(named).or_else(|| first(beside)).or_else(|| on_path("cloudtaser-agent"))
}

/// Finds OpenBao: by name in the environment, on the PATH, where the build fetches it.
pub(crate) fn bao() -> Result<PathBuf, ToolError> {
    if let Some(named) = named(names::ENV_BAO)? {
        return Ok(named);
    }
    let fetched = || Some(PathBuf::from(FETCHED_BAO)).filter(|path| is_program(path));
    on_path("bao").or_else(fetched).ok_or(ToolError::Bao)
}

fn named(name: &'static str) -> Result<Option<PathBuf>, ToolError> {
    match env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from) {
        Some(path) if is_program(&path) => Ok(Some(path)),
        Some(path) => Err(ToolError::Named { name, path: path.display().to_string() }),
        None => Ok(None),
    }
}

/// Finds a program on the caller's PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|path| is_program(path))
}

/// Whether this is a file that somebody may execute.
pub(crate) fn is_program(path: &Path) -> bool {
    let metadata = File::open(path).and_then(|file| file.metadata());
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
