//! What cloudtaser does to pods, and what it puts on a cluster, as pure functions over API objects.
//!
//! Nothing here talks to a cluster, reads a clock or opens a file: documents in, documents out, so
//! that every case can be tested and fuzzed without one.

#![forbid(unsafe_code)]

pub mod install;
