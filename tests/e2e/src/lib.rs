//! What the end-to-end tests stand on: a real OpenBao, the built wrapper as a child, and a reader
//! of other processes that runs as root.
//!
//! Tests see the programs only from outside: nothing here links the wrapper or the session. A
//! failure of the support itself is a panic, since that is how a test fails.
//!
//! Invariant: no value and no token is ever in an argv; values go in by the API of OpenBao, tokens
//! by file, and every process that is started here ends with the test program.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "support of tests: a panic is how a test fails"
)]

mod bao;
mod capture;
pub mod cluster;
mod double;
mod issuer;
mod launch;
mod netns;
mod programs;
mod recorder;
pub mod registry;
mod releases;
mod road;
mod scan;
mod scratch;
mod values;
mod watch;

pub use bao::{Bao, Role, Setup};
pub use capture::{Capture, Captured};
pub use double::FalseAgent;
pub use issuer::{Issuer, Pod, now};
pub use launch::{Launch, Output, Running, User};
pub use netns::{CLUSTER_ADDRESS, EU_ADDRESS, Network, Networks, RELAY_ADDRESS, Side};
pub use programs::{compile_c, compile_go, compile_rust, fixture, on_path, wrapper};
pub use recorder::Recorder;
pub use releases::{Beacons, Releases, SHOP, WAITS};
pub use road::{Program, Road, of_the_road};
pub use scan::{
    Hit, Region, Scan, descendants, environ, find, regions, scan, stack_holds, status_field,
};
pub use scratch::{Scratch, canary, until};
pub use values::{Shown, Values};
pub use watch::{EnvironWatcher, Watched};

/// Says that a test cannot run here, and ends it.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        println!("SKIP: {}", format_args!($($why)*));
        return;
    }};
}

/// Whether this is root: the reader of other processes needs it.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
