//! Rust targets: whether one is installed, and how rustup installs it.

use std::path::Path;

use crate::command::{find, program, read};
use crate::ui;

/// The target that this machine builds by default.
pub(crate) fn host() -> String {
    target(if cfg!(target_env = "musl") { "musl" } else { "gnu" })
}

/// The target whose programs need nothing of the system.
pub(crate) fn musl() -> String {
    target("musl")
}

/// Whether the standard library of a target is there.
pub(crate) fn has_target(target: &str) -> bool {
    let mut ask = program("rustc");
    ask.args(["--print=target-libdir", "--target", target]);
    read(&mut ask).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

/// Installs the musl target if rustup can; the build falls back to glibc and says so otherwise.
pub(super) fn ensure() -> bool {
    let musl = musl();
    if has_target(&musl) {
        return false;
    }
    if find("rustup").is_none() {
        ui::say(&format!("no rustup, so no target {musl}: static glibc is used instead"));
        return true;
    }
    ui::say(&format!("installing Rust target {musl}"));
    let mut add = program("rustup");
    if let Err(error) = read(add.args(["target", "add", &musl])) {
        ui::say(&format!("{error:#}\nstatic glibc is used instead"));
    }
    true
}

fn target(libc: &str) -> String {
    format!("{}-unknown-linux-{libc}", std::env::consts::ARCH)
}
