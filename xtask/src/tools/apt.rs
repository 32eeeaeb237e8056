//! Programs that come from Debian's packages.
//!
//! Installs only what is missing, as root or through sudo. Without either, or where there is no
//! apt-get, it says what to run and goes on: the tests that need the program skip with a reason.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::Need;
use crate::command::{find, program, read, succeeds};
use crate::ui;

/// A program, or a file where it begins with `/`; the packages that bring it; and from which need on
/// it is wanted.
const PROGRAMS: &[(&str, &[&str], Need)] = &[
    ("/usr/include/libelf.h", &["libelf-dev"], Need::Build),
    ("/usr/include/zlib.h", &["zlib1g-dev"], Need::Build),
    ("bash", &["bash"], Need::Demo),
    ("busybox", &["busybox-static"], Need::Tests),
    ("busybox", &["busybox-static"], Need::Vm),
    ("clang-14", &["clang-14"], Need::Build),
    ("dash", &["dash"], Need::Tests),
    ("gcc", &["gcc", "libc6-dev"], Need::Build),
    ("gcc", &["gcc", "libc6-dev"], Need::Demo),
    ("/usr/sbin/haproxy", &["haproxy"], Need::Bench),
    (
        "/usr/lib/nginx/modules/ngx_stream_module.so",
        &["nginx-light", "libnginx-mod-stream"],
        Need::Bench,
    ),
    ("gdb", &["gdb"], Need::Tests),
    ("go", &["golang-go"], Need::Tests),
    ("javac", &["default-jdk-headless"], Need::Tests),
    ("make", &["make"], Need::Build),
    ("musl-gcc", &["musl-tools"], Need::Tests),
    ("node", &["nodejs"], Need::Tests),
    ("perl", &["perl"], Need::Tests),
    ("pkg-config", &["pkg-config"], Need::Build),
    ("python3", &["python3"], Need::Demo),
    ("qemu-system-x86_64", &["qemu-system-x86", "seabios"], Need::Vm),
    ("strace", &["strace"], Need::Tests),
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", &["ovmf"], Need::Vm),
    ("openssl", &["openssl"], Need::Vm),
    ("python3", &["python3"], Need::Vm),
    ("swtpm", &["swtpm"], Need::Tests),
    ("swtpm_setup", &["swtpm", "swtpm-tools"], Need::Vm),
];

/// Installs the missing programs of a need; says so and returns true when there was one.
pub(crate) fn ensure(need: Need) -> bool {
    let packages = missing(need, is_there);
    if packages.is_empty() {
        return false;
    }
    if let Err(error) = install(&packages) {
        ui::say(&format!("{error:#}\ngoing on: tests that need these packages will skip"));
    }
    true
}

/// Installs packages, silently unless it fails.
pub(super) fn install(packages: &[&str]) -> anyhow::Result<()> {
    let names = packages.join(" ");
    ui::say(&format!("apt-get install {names}"));
    let by_hand = || format!("please install by hand: apt-get install {names}");
    let mut update = apt_get().with_context(by_hand)?;
    // Old lists may still name packages that can be fetched, so only the installation decides.
    if !succeeds(update.args(["-qq", "update"])) {
        ui::say("apt-get update failed; trying with the lists that are there");
    }
    let mut install = apt_get().with_context(by_hand)?;
    install.args(["-qq", "--yes", "--no-install-recommends", "install"]).args(packages);
    read(&mut install).with_context(by_hand)?;
    Ok(())
}

fn is_there(name: &str) -> bool {
    if name.starts_with('/') { Path::new(name).exists() } else { find(name).is_some() }
}

fn missing(need: Need, is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let wanted = PROGRAMS.iter().filter(|(_, _, from)| need.includes(*from));
    let mut missing: Vec<&'static str> = Vec::new();
    for (_, packages, _) in wanted.filter(|(name, ..)| !is_there(name)) {
        for package in *packages {
            if !missing.contains(package) {
                missing.push(package);
            }
        }
    }
    missing
}

/// `apt-get` with the rights that it needs and without questions.
fn apt_get() -> anyhow::Result<Command> {
    find("apt-get").context("there is no apt-get here")?;
    let is_root = fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0);
    let mut command = if is_root {
        program("env")
    } else {
        find("sudo").context("neither root nor sudo")?;
        let mut sudo = program("sudo");
        if !io::stdin().is_terminal() {
            sudo.arg("-n");
        }
        sudo.arg("env");
        sudo
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_need_wants_and_lacks_is_installed() {
        assert_eq!(missing(Need::Tests, |_| true), [""; 0]);
        assert_eq!(missing(Need::Tests, |name| name != "javac"), ["default-jdk-headless"]);
        let build =
            ["libelf-dev", "zlib1g-dev", "clang-14", "gcc", "libc6-dev", "make", "pkg-config"];
        assert_eq!(missing(Need::Build, |_| false), build);
        assert_eq!(missing(Need::Demo, |_| false), ["bash", "gcc", "libc6-dev", "python3"]);
        assert_eq!(
            missing(Need::Vm, |name| !name.starts_with("qemu")),
            ["qemu-system-x86", "seabios"]
        );
    }
}
