//! `cloudtaser completions` and `cloudtaser man`: files made from the verbs themselves.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;
use cloudtaser_core::exit::Code;

use crate::ui;

/// Prints completions for a shell.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  cloudtaser completions bash > /etc/bash_completion.d/cloudtaser"
)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Prints the manual page, or writes one per verb.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  cloudtaser man | man -l -\n  cloudtaser man --dir /usr/share/man/man1"
)]
pub(crate) struct ManArgs {
    /// Write one page per verb into this directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs `completions`.
pub(crate) fn completions(args: &CompletionsArgs, mut program: Command) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut program, "cloudtaser", &mut text);
    ui::raw(&text);
    ExitCode::from(Code::Ok.number())
}

/// Runs `man`.
pub(crate) fn man(args: &ManArgs, program: Command) -> Result<ExitCode> {
    match &args.dir {
        Some(directory) => clap_mangen::generate_to(program, directory)
            .with_context(|| format!("cannot write into {}", directory.display()))?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(program).render(&mut page)?;
            ui::raw(&page);
        }
    }
    Ok(ExitCode::from(Code::Ok.number()))
}
