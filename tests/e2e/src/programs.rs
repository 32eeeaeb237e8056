//! Where the programs under test are, and the small apps that are compiled for the tests.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::scratch::Scratch;

/// The built wrapper.
///
/// # Panics
/// Where it was not built: `cargo xtask test` does that and says where it is.
#[must_use]
pub fn wrapper() -> PathBuf {
    let named = env::var_os(cloudtaser_core::names::ENV_WRAPPER).map(PathBuf::from);
    let built = root().join("target/x86_64-unknown-linux-musl/release/cloudtaser-wrapper");
    named
        .or_else(|| built.is_file().then_some(built))
        .expect("no wrapper: run the tests by `cargo xtask test`, or set CLOUDTASER_WRAPPER")
}

/// The command line.
///
/// # Panics
/// Where it was not built.
#[must_use]
pub(crate) fn cli() -> PathBuf {
    let named = env::var_os("CLOUDTASER_CLI").map(PathBuf::from);
    named.expect("no command line: run the tests by `cargo xtask test`, or set CLOUDTASER_CLI")
}

/// The OpenBao to test against.
pub(crate) fn bao() -> PathBuf {
    let named = env::var_os(cloudtaser_core::names::ENV_BAO).map(PathBuf::from);
    let pinned = root().join("target/tools/bao");
    named
        .or_else(|| pinned.is_file().then_some(pinned))
        .expect("no OpenBao: run the tests by `cargo xtask test`, or set CLOUDTASER_BAO")
}

/// A file below `tests/e2e/fixtures`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A program that the app's `PATH` finds, or `None`.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    crate::launch::PATH.split(':').map(|dir| Path::new(dir).join(name)).find(|file| file.is_file())
}

/// Compiles a C fixture into the scratch directory; `None` where the compiler is missing.
///
/// # Panics
/// When the compiler is there and refuses.
#[must_use]
pub fn compile_c(
    scratch: &Scratch,
    compiler: &str,
    source: &str,
    flags: &[&str],
) -> Option<PathBuf> {
    let compiler = on_path(compiler)?;
    let out = scratch.path().join(output_name(&compiler, source, flags));
    if !out.exists() {
        let mut command = Command::new(&compiler);
        command.args(["-O1", "-Wall", "-Werror"]).args(flags).arg("-o").arg(&out);
        finish(command.arg(fixture(source)));
    }
    Some(out)
}

/// Compiles a Rust fixture into the scratch directory with the toolchain that runs the tests.
#[must_use]
pub fn compile_rust(scratch: &Scratch, source: &str) -> PathBuf {
    let out = scratch.path().join(format!("rust-{source}").replace('.', "-"));
    // Cargo names itself to the tests that it runs; rustc is its neighbour.
    let cargo = env::var_os("CARGO").map(PathBuf::from);
    let rustc = cargo.map(|cargo| cargo.with_file_name("rustc")).filter(|rustc| rustc.is_file());
    let mut command = Command::new(rustc.unwrap_or_else(|| "rustc".into()));
    command.args(["--edition=2024", "-o"]).arg(&out).arg(fixture(source));
    finish(&mut command);
    out
}

/// Compiles a Go fixture into a static program; `None` where there is no Go.
#[must_use]
pub fn compile_go(scratch: &Scratch, source: &str) -> Option<PathBuf> {
    let mut command = Command::new(on_path("go")?);
    let out = scratch.path().join(format!("go-{source}").replace('.', "-"));
    command.args(["build", "-o"]).arg(&out).arg(fixture(source));
    // Beside the test's program: a fresh cache would have the standard library compiled each time.
    let own = env::current_exe().expect("the test's program");
    command.env("GOCACHE", own.with_file_name("go-cache"));
    command.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod");
    finish(&mut command);
    Some(out)
}

fn finish(command: &mut Command) {
    let output = command.output().expect("a compiler that can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn output_name(compiler: &Path, source: &str, flags: &[&str]) -> String {
    let compiler = compiler.file_name().unwrap_or_default().to_string_lossy();
    format!("{compiler}{}-{source}", flags.concat()).replace(['.', '=', '/'], "-")
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::canonicalize(&root).unwrap_or(root)
}
