//! Why a launch failed, and the exit code that says so.

use cloudtaser_bao::BaoError;
use cloudtaser_core::{Blame, exit::Code, level::Unmet};
use cloudtaser_sys::target::TargetError;

use crate::{
    connect::ConnectError, protection::Unavailable, resolve::ResolveError, settings::SettingsError,
    variables::VariablesError,
};

/// Why a launch failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// The settings make no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A fault of ours.
    #[error("{0}")]
    Internal(&'static str),
    /// A required level is not reached.
    #[error("{}", unmet_because(unmet, reasons))]
    Level {
        /// What was required.
        unmet: Vec<Unmet>,
        /// Why the level is what it is.
        reasons: Vec<String>,
    },
    /// OpenBao refused the login, or is away.
    #[error("login")]
    Login(#[source] BaoError),
    /// A mode was asked for that cannot be had.
    #[error(transparent)]
    Mode(#[from] Unavailable),
    /// The plan file cannot be read.
    #[error("the launch plan {path} cannot be read")]
    PlanFile {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A value could not be made.
    #[error(transparent)]
    Resolve(Box<ResolveError<BaoError>>),
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The plan names a signal that does not exist.
    #[error("rotation: there is no signal {name:?}; write HUP, USR1 or another name")]
    Signal {
        /// What was named.
        name: String,
    },
    /// A signal came before the app was started.
    #[error("stopped by signal {signal} before the app was started")]
    Stopped {
        /// The signal.
        signal: i32,
    },
    /// The program cannot be started.
    #[error("{what}")]
    Start {
        /// Which program, or which step.
        what: String,
        /// 125, 126 or 127.
        code: Code,
        /// Why.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// There is no such program, or it cannot be executed.
    #[error(transparent)]
    Target(TargetError),
    /// References that cannot be read.
    #[error(transparent)]
    Variables(#[from] VariablesError),
}

impl Failure {
    /// A step of the launch that the system refused.
    pub(crate) fn start(
        what: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let what = format!("the app cannot be started: {what}");
        Self::Start { what, code: Code::LaunchFailed, source: Some(source.into()) }
    }

    /// The same, for system calls.
    pub(crate) fn system(what: &'static str) -> impl Fn(nix::Error) -> Self {
        move |error| Self::start(what, error)
    }

    /// The number to exit with.
    pub(crate) fn number(&self) -> u8 {
        match self {
            Self::Stopped { signal } => 128_u8.saturating_add(u8::try_from(*signal).unwrap_or(127)),
            other => other.code().number(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Internal(_) | Self::Stopped { .. } => Code::Internal,
            Self::Level { .. } | Self::Mode(_) => Code::Denied,
            Self::Login(error) => of_bao(error),
            Self::Resolve(error) => match error.as_ref() {
                ResolveError::Read { source, .. } => of_bao(source),
                ResolveError::Field { .. } => Code::Refused,
                _ => Code::Usage,
            },
            Self::Start { code, .. } => *code,
            Self::Target(error) if error.exit_code() == 127 => Code::NotFound,
            Self::Target(_) => Code::NotExecutable,
            Self::Connect(ConnectError::Tls(error)) => error.blame().into(),
            Self::Connect(_)
            | Self::PlanFile { .. }
            | Self::Settings(_)
            | Self::Signal { .. }
            | Self::Variables(_) => Code::Usage,
        }
    }
}

/// An answer that will be the same next time is a refusal, silence is unavailability.
fn of_bao(error: &BaoError) -> Code {
    match (error.status(), error.blame()) {
        (Some(400..=499), _) => Code::Refused,
        (_, Blame::Configuration) => Code::Usage,
        (_, blame) => blame.into(),
    }
}

fn unmet_because(unmet: &[Unmet], reasons: &[String]) -> String {
    let unmet = unmet.iter().map(ToString::to_string);
    let reasons = reasons.iter().map(|reason| format!("  - {reason}"));
    unmet.chain(reasons).collect::<Vec<_>>().join("\n")
}
