//! Runs other programs, in the root of the work tree, and turns their failures into errors that
//! name the command.
//!
//! Children see the environment of the person who called, not what `cargo run` added for xtask:
//! otherwise build scripts run again and the demo's apps inherit our library path.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail};

use crate::place;

/// Something that xtask needs and cannot get by itself; ends with its own exit code.
#[derive(Debug)]
pub(crate) struct Unavailable(pub(crate) String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// A program to be run in the root of the work tree.
pub(crate) fn program(name: impl Into<OsString>) -> Command {
    let mut command = Command::new(name.into());
    command.current_dir(place::root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_for_xtask_alone) {
            command.env_remove(name);
        }
    }
    match env::var_os("LD_LIBRARY_PATH").and_then(|paths| without_cargos(&paths)) {
        Some(paths) => command.env("LD_LIBRARY_PATH", paths),
        None => command.env_remove("LD_LIBRARY_PATH"),
    };
    command
}

/// The cargo that runs this xtask, with its arguments.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs to the end with our own stdin, stdout and stderr.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs to the end and returns what was printed to stdout; the rest is in the error.
pub(crate) fn read(command: &mut Command) -> anyhow::Result<String> {
    let output = captured(command)?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout);
        bail!("{} failed ({})\n{printed}{told}", shown(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} is not text", shown(command)))
}

/// Whether the command can be run and ends well; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    captured(command).is_ok_and(|output| output.status.success())
}

/// The first file of this name in `PATH` that may be executed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let mut text = name.into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

fn captured(command: &mut Command) -> anyhow::Result<Output> {
    command.stdin(Stdio::null());
    command.output().with_context(|| format!("cannot run {}", shown(command)))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Whether `cargo run` set this variable to describe xtask itself.
fn is_for_xtask_alone(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_BIN_")
        || matches!(name, "CARGO_MANIFEST_DIR" | "CARGO_MANIFEST_PATH" | "CARGO_PRIMARY_PACKAGE")
}

/// The library path as it was before `cargo run` put build folders and the toolchain in front.
fn without_cargos(paths: &OsString) -> Option<OsString> {
    let target = place::target();
    let own = |path: &Path| {
        path.starts_with(&target)
            || path.components().any(|part| part.as_os_str() == "rustlib")
            || path.components().any(|part| part.as_os_str() == "toolchains")
    };
    let kept: Vec<PathBuf> = env::split_paths(paths).filter(|path| !own(path)).collect();
    if kept.is_empty() { None } else { env::join_paths(kept).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_the_command_and_show_its_output() {
        let error = read(program("sh").args(["-c", "echo reason >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("sh -c echo reason"), "{text}");
        assert!(text.contains("exit status: 3") && text.contains("\nreason\n"), "{text}");
    }

    #[test]
    fn library_path_of_the_user_stays() {
        let mixed = env::join_paths([place::target().join("debug/deps"), "/opt/own".into()]);
        assert_eq!(without_cargos(&mixed.unwrap()), Some(OsString::from("/opt/own")));
        let alone = place::target().join("debug").into_os_string();
        assert_eq!(without_cargos(&alone), None);
    }

    #[test]
    fn programs_are_found_by_path() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
