//! The roads by which another process gets at a secret in memory, walked for real.
//!
//! Each function does what an attacker's tool does and returns what came of it: bytes or a
//! descriptor where the road is open, the kernel's error where it is not. What was found there,
//! and what it means, is for the caller to say. Roads that are plain files (`/proc/PID/environ`,
//! `/proc/PID/mem`, core files) need nothing from here.
//!
//! Invariant: the target goes on as before. Registers, the stack below the red zone and blocked
//! calls are put back; no byte of its code is changed by us.

mod code;
mod descriptor;
mod injection;
mod kernel;
mod memory;
mod network;
mod perf;
mod shared;
mod signal;
mod tracing;

#[cfg(test)]
mod tests;

pub use code::Code;
pub use descriptor::{Descriptor, open_process, take_descriptor};
pub use kernel::{
    BpfObject, attach_program, detach_link, load_program, load_tracer, offer_kernel, offer_module,
    offer_module_file, open_bpf_object, open_pinned, swap_to, take_ports, try_unmount, update_link,
};
pub use memory::{
    RawMemory, open_raw_memory, read_memory, rewrite_core_limit, rewrite_memory, shares_memory,
};
pub use network::{send_fast, send_unspecified};
pub use perf::{place_uprobe, sample_stack};
pub use shared::Shared;
pub use signal::signal_by_file;
pub use tracing::Attached;
