//! `cloudtaser-operator`: takes opted-in pods in hand as the API server creates them.
//!
//! It holds no credential of OpenBao and no private key outside its own memory. What is done to a
//! pod is in `cloudtaser-k8s`; here are sockets, certificates and the cluster.
//!
//! Reading order: [`options`] (what is asked), [`webhook`] (reviews), [`serve`] (connections),
//! [`serving`] (the certificate in use), [`keeper`] (who sees to it that the API server trusts it:
//! [`election`], [`replicas`], [`bundle`], [`cluster`]), [`enrolment`] (how the cluster comes to be let in by a bridge, and the broker), [`registry`] (what an image starts), [`watch`] (pods that run).

#![forbid(unsafe_code)]

mod admin;
mod bundle;
mod clock;
mod cluster;
mod election;
mod enrolment;
mod http;
mod keeper;
mod log;
mod metrics;
mod options;
mod registry;
mod replicas;
mod run;
mod serve;
mod serving;
mod stop;
mod trouble;
mod watch;
mod webhook;

use std::{io::Write as _, process::ExitCode};

use clap::Parser as _;
use cloudtaser_core::exit::Code;

fn main() -> ExitCode {
    let options = match options::Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let _closed = error.print();
            let wrong = error.use_stderr();
            return if wrong { ExitCode::from(Code::Usage.number()) } else { ExitCode::SUCCESS };
        }
    };
    match run::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "error: {error:#}");
            let wrong = error.is::<options::OptionsError>();
            ExitCode::from(if wrong { Code::Usage } else { Code::Unavailable }.number())
        }
    }
}
