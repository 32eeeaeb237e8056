//! From an error to one message and an exit code that scripts can rely on.

use std::process::ExitCode;

use cloudtaser_bao::BaoError;
use cloudtaser_core::exit::Code;
use cloudtaser_evidence::{keys::KeyFileError, verify::Refusal, witness::WitnessError};
use cloudtaser_tls::TlsError;

use crate::{
    compose::{FileError, NoSuchRule, WrongEndpoint},
    demo::interrupt::Interrupted,
    deploy::DeployError,
    doctor::DeclaredError,
    evidence::EvidenceError,
    policy::PolicyFileError,
    probe::{ProbeError, as_uid::AsUidError, needle::NeedleError},
    tools::ToolError,
    ui,
    witness::ListenError,
    yaml::YamlError,
};

/// Prints the error and tells the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        // Laid out already, with a caret.
        Some(YamlError::Wrong { report }) => ui::error_block(report),
        _ => ui::error(error),
    }
    if error.is::<Interrupted>() {
        // As a shell says it of a program that SIGINT ended.
        return ExitCode::from(130);
    }
    ExitCode::from(code(error).number())
}

/// Help and version are results; anything else that clap says is a wrong use.
pub(crate) fn of_arguments(error: &clap::Error) -> ExitCode {
    // Nobody is left to be told when the reader has gone.
    let _closed = error.print();
    let code = if error.use_stderr() { Code::Usage } else { Code::Ok };
    ExitCode::from(code.number())
}

fn code(error: &anyhow::Error) -> Code {
    if let Some(error) = error.downcast_ref::<DeployError>() {
        return error.code();
    }
    if let Some(error) = error.downcast_ref::<BaoError>() {
        let refused = matches!(error.status(), Some(400..=499));
        return if refused { Code::Refused } else { error.blame().into() };
    }
    if let Some(error) = error.downcast_ref::<TlsError>() {
        return error.blame().into();
    }
    let usage = error.is::<NeedleError>()
        || error.is::<YamlError>()
        || error.is::<PolicyFileError>()
        || error.is::<DeclaredError>()
        || error.is::<ToolError>();
    let usage =
        usage || error.is::<FileError>() || error.is::<NoSuchRule>() || error.is::<WrongEndpoint>();
    if usage || error.is::<EvidenceError>() || error.is::<KeyFileError>() {
        return Code::Usage;
    }
    match error.downcast_ref() {
        Some(Refusal::Read { .. }) => return Code::Usage,
        Some(_) => return Code::Denied,
        None => {}
    }
    match error.downcast_ref() {
        Some(WitnessError::Damaged { .. }) => return Code::Denied,
        Some(_) => return Code::Usage,
        None => {}
    }
    if error.is::<ListenError>() {
        return Code::Unavailable;
    }
    let gone = matches!(error.downcast_ref(), Some(ProbeError::Gone(_)))
        || matches!(error.downcast_ref(), Some(AsUidError::Gone(_)));
    if gone {
        return Code::Unavailable;
    }
    if matches!(error.downcast_ref(), Some(AsUidError::Start { .. })) {
        return Code::Usage;
    }
    Code::Internal
}
