//! `cloudtaser-wrapper`: starts an unmodified program with secrets in sealed memory.
//!
//! Reading order: [`args`] and [`settings`] (what is asked), [`variables`] (what will be needed),
//! [`guard`] (the node agent), [`protection`] (what this place allows), [`connect`],
//! [`home`], [`vault`] and [`resolve`] (the values), [`launch`] (the app), [`keeper`] (what stays
//! alive). [`deliver`] stands beside all this. Nothing here is `unsafe`; nothing here
//! prints a value.

#![forbid(unsafe_code)]

mod args;
mod bridge;
mod chain;
mod connect;
mod deliver;
mod explain;
mod failure;
mod fetch;
mod guard;
mod home;
mod keeper;
mod launch;
mod log;
mod protection;
mod resolve;
mod run;
mod settings;
mod supervise;
mod template;
mod variables;
mod vault;

use std::{io::Write as _, process::ExitCode};

use cloudtaser_core::exit::Code;
use cloudtaser_sys::heap::SealedHeap;

/// The whole heap is sealed memory, so that no library's buffer is an exception.
#[global_allocator]
static HEAP: SealedHeap = SealedHeap::new();

fn main() -> ExitCode {
    let answer = match args::parse(std::env::args_os().skip(1)) {
        Ok(args::Args::Help) => print(args::HELP),
        Ok(args::Args::Version) => {
            print(concat!("cloudtaser-wrapper ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        Ok(args::Args::Run(asked)) => run::run(asked),
        Ok(args::Args::Deliver(folder)) => match deliver::deliver(&folder) {
            Ok(()) => Code::Ok.number(),
            Err(error) => complain(&error, Code::LaunchFailed),
        },
        Err(error) => complain(&error, Code::Usage),
    };
    ExitCode::from(answer)
}

fn complain(error: &dyn std::error::Error, code: Code) -> u8 {
    log::Log::default().error(&chain::Chain(error).to_string(), &[]);
    code.number()
}

fn print(text: &str) -> u8 {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Code::Ok.number(),
        Err(_closed) => Code::Internal.number(),
    }
}
