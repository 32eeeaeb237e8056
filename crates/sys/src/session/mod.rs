//! Placing secrets in a program as it starts, and in every program that it starts.
//!
//! One thread, one loop: [`Session::launch`] starts the app, [`Session::next`] waits for whatever
//! comes first (a program that is about to start, a signal, a child that ended, another thread's
//! call) and returns only what its owner must know. The app finds its secrets in its environment;
//! its environment *block*, which `/proc/PID/environ` shows, holds placeholders.
//!
//! How: a seccomp filter makes every `exec` of the tree wait for us (`follow`); we swap the
//! environment for one with placeholders before the kernel copies it, and when the new image
//! stands ready we let it map fresh secret pages and turn its environment's pointers to them
//! (`place`, `inject`).
//!
//! Secret files are on no file system: the same filter makes calls that name a path wait, and those
//! that name one of ours are answered with a descriptor (`files`).
//!
//! What this is not: a guard. A program of the tree that wants to show its secrets does; the
//! values in `argv` or in other files are not looked at; a secret in another encoding is not recognised.
//!
//! Invariants that the owner relies on: an app never runs with an empty or a bare value where a
//! sealed one was asked for; the session never sleeps on a task but one that has just been
//! started and can only step or die; while it lives it must be kept turning, for the tree's execs
//! wait for it, and fail when it is gone.

mod arch;
mod child;
mod cores;
mod environment;
mod files;
mod filter;
mod follow;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod images;
mod inject;
mod launch;
mod listener;
mod needles;
mod place;
mod remote;
mod report;
mod scratch;
mod signals;
mod slots;
mod stack;
mod supervise;
mod trace;
mod waker;
mod words;

pub use cores::CoreSignals;
pub use files::{FileError, FileId, FileTable};
pub use follow::Untraceable;
pub use launch::{Delivery, EnvEntry, Launch, LaunchError, Privileges};
pub use place::Dumpable;
pub use report::{ExitStatus, Notice, PlaceError, SessionReport};
pub use signals::{Signals, hold_back_signals};
pub use slots::{SlotError, SlotId, SlotTable};
pub use stack::{StackError, StackView};
pub use supervise::{Event, RotateOutcome, Secrets, Session, SessionError};
pub use waker::Waker;
