//! What runs inside the virtual machine of `cargo xtask vm test`: a target that holds a secret, the
//! attacks on it without and with the agent, and one line of output per finding.
//!
//! Lines, with tabs between the words: `@@ROW`, phase, attacker, road, result; `@@CHECK`, name, `ok`
//! or what went wrong; and what the agent says of itself. It expects to be root in a machine of its
//! own, which it leaves in any state. Reading order: [`scenario`], [`processes`], [`wrapped`],
//! [`early`], [`hardware`], [`around`], [`limited`], [`orders`], [`outlive`], [`halfway`]; [`refused`], [`scale`], [`strange`],
//! [`killed`], [`beside`] with [`second`] and [`modules`], [`tools`] and [`attested`] in machines of their own; [`cost`] is for `cargo xtask bench agent`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its output is its result")]
#![expect(clippy::unwrap_used, reason = "it has nobody to hand an error to but the test")]
#![expect(clippy::expect_used, reason = "it has nobody to hand an error to but the test")]
#![expect(clippy::panic, reason = "it has nobody to hand an error to but the test")]
#![expect(clippy::indexing_slicing, reason = "it reads JSON of ours")]

mod around;
mod attested;
mod beside;
mod code;
mod cost;
mod earlier;
mod early;
mod foreign;
mod halfway;
mod hardware;
mod killed;
mod limited;
mod listed;
mod modules;
mod orders;
mod outlive;
mod processes;
mod records;
mod refused;
mod roles;
mod scale;
mod scenario;
mod second;
mod strange;
mod tools;
mod wrapped;

use std::env;
use std::thread;

use cloudtaser_sys::roads;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["run", expected] => scenario::Scenario::run(expected),
        ["killed", expected] => killed::run(expected),
        ["crowds", expected] => scale::run(expected),
        ["cost", expected] => cost::run(expected),
        ["cost-of", phase] => cost::measure(phase),
        ["beside", expected] => beside::run(expected),
        ["tools", expected] => tools::run(expected),
        ["second", what] => second::run(what),
        ["traced-load", path] => listed::traced_load(path),
        ["cut"] => foreign::cut(),
        ["floor", tier] => foreign::floor(tier),
        ["crowded"] => limited::crowded(),
        ["reach", port] => limited::reach(port),
        ["masked", which] => hardware::hold(which),
        ["seal"] => hardware::send_seal(),
        ["seal-pair"] => hardware::seal_pair(),
        ["run-code", path] => code::run(path),
        ["write", path] => println!("{:?}", code::open_to_write(path)),
        ["try", path] => orders::try_open(path),
        ["signal", pid, name] => roles::signal(pid, name),
        ["nothing"] => {}
        ["target"] => roles::target(),
        ["as-user", ..] => roles::as_user(&words[1..]),
        ["traceme"] => println!("{:?}", nix::sys::ptrace::traceme()),
        ["traced"] => roles::traced(),
        ["look-around"] => roles::look_around(),
        ["load"] => println!("{:?}", roads::load_program()),
        ["storm"] => roles::storm(),
        ["secure", ..] => println!("{:?}", roles::is_secure()),
        ["attest", session, sealing] => attested::attest(session, sealing),
        ["ask", question] => wrapped::ask(question),
        ["crowd"] => wrapped::connect_without_end(),
        ["trace", pid] => wrapped::trace(pid),
        ["share"] => around::share(),
        ["huge"] => around::huge(),
        ["wait"] => thread::park(),
        _ => panic!("unknown: {words:?}"),
    }
}
