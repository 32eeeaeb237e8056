//! Real programs under a session, each started by the `launch` example in a process of its own, so
//! that the harness's threads and signals are left alone.
//!
//! `cargo test` builds the example too; where one test target is named, build it first:
//! `cargo build --example launch`.

#[cfg(test)]
mod launcher;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod under_fire;
