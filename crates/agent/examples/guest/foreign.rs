//! Programs of BPF that are nobody's product: one that ends the agent in the middle of its work, and
//! some that do nothing.

use std::io::{self, BufRead as _, Read as _};

use libbpf_rs::{Link, MapCore as _, MapFlags, Object, ObjectBuilder};

/// libbpf reads the object in place and wants it aligned.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static CUT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/cut.bpf.o")));
static FLOOR: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/floor.bpf.o")));

const ONLY: [u8; 4] = [0; 4];

/// Ends processes at the last of so many removals of files: each line that it reads is a process and
/// that number.
pub(crate) fn cut() {
    let (object, links) = attached(&CUT.0, "");
    let map = object.maps().next().unwrap();
    println!("attached {}", links.len());
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        let words = line.split(' ').flat_map(|word| word.parse::<u32>().unwrap().to_ne_bytes());
        map.update(&ONLY, &words.collect::<Vec<u8>>(), MapFlags::ANY).unwrap();
        println!("set");
    }
}

/// Attaches programs of one tier that do nothing, and stays until its input ends.
pub(crate) fn floor(tier: &str) {
    let (_object, links) = attached(&FLOOR.0, tier);
    println!("attached {}", links.len());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Loads and attaches the programs whose names begin like this.
fn attached(bytes: &[u8], prefix: &str) -> (Object, Vec<Link>) {
    let mut open = ObjectBuilder::default().open_memory(bytes).unwrap();
    for mut program in open.progs_mut() {
        let wanted = program.name().to_string_lossy().starts_with(prefix);
        program.set_autoload(wanted);
    }
    let object = open.load().expect("the programs are not let in");
    let programs = object.progs_mut().filter(|program| program.autoload());
    let links = programs.map(|program| program.attach().unwrap()).collect();
    (object, links)
}
