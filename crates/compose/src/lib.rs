//! Policies of other tools beside cloudtaser.
#![forbid(unsafe_code)]
pub mod read;
pub mod source;
pub mod tree;
