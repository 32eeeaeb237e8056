//! Another product that guards files by BPF, on hooks of the agent's.

use std::io::{self, Read as _};

use libbpf_rs::{MapCore as _, MapFlags, ObjectBuilder};

/// libbpf reads the object in place and wants it aligned.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/second.bpf.o")));

/// Attaches, says so, and stays until its input ends; then says whether it saw anybody attach.
pub(crate) fn run() {
    let object = ObjectBuilder::default().open_memory(&OBJECT.0).unwrap();
    let object = object.load().expect("the second product is not let in");
    let links: Vec<_> = object.progs_mut().map(|program| program.attach().unwrap()).collect();
    println!("attached {}", links.len());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let map = object.maps().next().unwrap();
    let value = map.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
    println!("{}", u64::from_ne_bytes(*value.first_chunk().unwrap()) > 0);
}
