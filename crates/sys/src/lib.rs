//! The unsafe quarantine: everything that must talk to the kernel or to raw memory.
//!
//! Other crates of this workspace forbid `unsafe`; what they need of it is here behind safe
//! signatures. Each wrapper has an owner type, a test that runs the real system call, and a line
//! in `docs/unsafe.md`. This crate decides nothing: which road to take when the kernel refuses is
//! the caller's choice, so a refusal is always a value.
//!
//! Reading order: [`secretmem`] (pages that the kernel removes from its own map), [`heap`] (an
//! allocator that lives in them), [`beginning`] and [`harden`] (this process), [`facts`] (this kernel and
//! container), [`elf`] and [`target`] (the program to start), [`session`] (placing secrets in it),
//! [`roads`] (what an attacker would try).

#![expect(unsafe_code, reason = "this crate exists so that no other one needs it")]

pub mod beginning;
pub mod elf;
pub mod facts;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod harden;
pub mod heap;
pub mod roads;
pub mod secretmem;
pub mod session;
pub mod target;
pub mod writers;
