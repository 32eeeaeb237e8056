//! What the two programs share: key files, signals, output, exit codes.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
};

use anyhow::Context as _;
use cloudtaser_core::{Secret, exit::Code, release::order::OrderError};
use cloudtaser_tls::raw::{KeyPair, PublicKey};
use data_encoding::HEXLOWER;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

pub use tokio::signal::unix::Signal;

use crate::{bridge::release::orders::OrderFileError, file::ConfigError};

/// Runs a program to its end; an error is one line on standard error.
pub fn run(main: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    match main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed = writeln!(io::stderr(), "error: {error:#}");
            let code = match error.downcast_ref() {
                Some(OrderFileError::Form(_)) => Code::Usage,
                Some(OrderFileError::File { .. }) => Code::Unavailable,
                Some(_) => Code::Denied,
                None if error.is::<ConfigError>() || error.is::<OrderError>() => Code::Usage,
                None => Code::Unavailable,
            };
            ExitCode::from(code.number())
        }
    }
}

/// What clap says about the command line, with the code that all our programs have for it.
pub fn of_arguments(error: &clap::Error) -> ExitCode {
    let _closed = error.print();
    if error.use_stderr() { ExitCode::from(Code::Usage.number()) } else { ExitCode::SUCCESS }
}

/// Writes to standard output.
///
/// # Errors
/// Where it is closed.
pub fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the answer")
}

/// Makes a private key in a new file and returns its public half.
///
/// # Errors
/// Where the file is there already, or cannot be written.
pub fn keygen(path: &Path) -> anyhow::Result<PublicKey> {
    let (pair, pem) = KeyPair::generate()?;
    write_new(path, &pem)?;
    Ok(pair.public())
}

/// Makes the secret of tickets in a new file.
///
/// # Errors
/// As [`keygen`].
pub fn ticketgen(path: &Path) -> anyhow::Result<()> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    cloudtaser_tls::random(&mut *bytes)?;
    write_new(path, &Secret::from(format!("{}\n", HEXLOWER.encode(&*bytes))))
}

/// A file that only its owner can read. What is there already is never replaced: with a key would go
/// the name that it stands for.
fn write_new(path: &Path, content: &Secret) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| {
        file.write_all(content.expose())?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Seconds since 1970.
#[must_use]
pub fn unix_now() -> u64 {
    crate::clock::unix_seconds()
}

/// A runtime, and within it what comes of this.
///
/// # Errors
/// Where there is no runtime, or the future's own.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(future)
}

/// As [`block_on`], with so many threads. One thread hands nothing to another, which makes each
/// thing cheaper; more of them do more.
///
/// # Errors
/// As [`block_on`].
pub fn block_on_threads<T: Send + 'static>(
    threads: usize,
    future: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    use tokio::runtime::Builder;
    let no_runtime = "cannot start the runtime";
    if threads <= 1 {
        let runtime = Builder::new_current_thread().enable_all().build();
        return runtime.context(no_runtime)?.block_on(future);
    }
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    // Within, and not beside the workers: what it takes in would go to them by a detour.
    let runtime = runtime.context(no_runtime)?;
    runtime.block_on(async { tokio::spawn(future).await.context("the program failed")? })
}

/// Has the kernel give this process as many descriptors as it may have. Where it does not, there are
/// fewer, and who comes first is sent away first.
pub fn raise_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _fewer = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Hears when the program is asked to read its files anew.
///
/// # Errors
/// Where signals cannot be heard.
pub fn hangup() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("cannot hear signals")
}

/// Ends when the program is asked to.
///
/// # Errors
/// Where signals cannot be heard.
pub fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let hear = |kind| signal(kind).context("cannot hear signals");
    let (mut terminate, mut interrupt) =
        (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
