//! `cloudtaser compose export`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use cloudtaser_compose::{Settings, export};
use cloudtaser_core::{exit::Code, names};

use crate::ui;

const AFTER: &str = "\
Examples:
  cloudtaser compose export seccomp > cloudtaser.json
  cloudtaser compose export kubearmor   entries for allow-lists that select pods of ours
  cloudtaser compose export tetragon    filters for selectors that act

What an app needs itself is not among it. A profile of yours is completed in place by
`cloudtaser compose check --fix profile.json`.";

/// Prints what cloudtaser needs, in another tool's language.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct ExportArgs {
    /// The language.
    #[arg(value_enum)]
    language: Language,
    /// The wrapper in a pod.
    #[arg(long, value_name = "PATH", default_value = names::POD_WRAPPER)]
    wrapper: String,
    /// The token that the wrapper logs in with.
    #[arg(long, value_name = "PATH")]
    token: Option<String>,
}

/// Languages of needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Language {
    /// All needs with reasons, for programs.
    Json,
    /// A policy for allow-lists.
    Kubearmor,
    /// All needs with reasons, for people.
    Markdown,
    /// A profile that allows what the wrapper needs.
    Seccomp,
    /// Filters for selectors.
    Tetragon,
}

/// Runs `compose export`.
pub(crate) fn run(args: &ExportArgs) -> ExitCode {
    let settings = Settings {
        wrapper: args.wrapper.clone(),
        token: args.token.clone(),
        ..Settings::default()
    };
    let text = match args.language {
        Language::Json => export::json(),
        Language::Kubearmor => export::kubearmor(&settings),
        Language::Markdown => export::document(),
        Language::Seccomp => export::seccomp(),
        Language::Tetragon => export::tetragon(&settings),
    };
    ui::raw(text.as_bytes());
    ExitCode::from(Code::Ok.number())
}
