//! What the demo needs of other programs: someone to run as, a digest.

use std::{
    env,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::scratch::AppUser;
use crate::tools::is_program;

/// Every program of this name that the apps' user can start.
pub(crate) fn usable_by(user: AppUser, name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|path| {
        let mut command = Command::new(path);
        command.arg("--version").current_dir("/").env_clear().env("PATH", APP_PATH);
        as_user(&mut command, user);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        is_program(path) && quiet.status().is_ok_and(|status| status.success())
    })
}

/// The PATH that apps get.
pub(crate) const APP_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs the command as this user, where the caller is not that user already.
pub(crate) fn as_user(command: &mut Command, user: AppUser) {
    if nix::unistd::geteuid().is_root() {
        command.uid(user.uid).gid(user.gid);
    }
}

/// SHA-256 of the bytes as hex, by the same program that the apps use.
pub(crate) fn sha256(bytes: &[u8]) -> io::Result<String> {
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(bytes)?;
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_ascii_whitespace().next().unwrap_or_default().to_owned())
}
