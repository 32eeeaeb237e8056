//! Prints what this kernel and container allow, and how long it took to find out.

use std::time::Instant;

use cloudtaser_sys::facts::Facts;

#[expect(clippy::print_stdout, reason = "printing is what this example is for")]
fn main() {
    let start = Instant::now();
    let facts = Facts::probe();
    let took = start.elapsed();
    println!("{facts:#?}");
    println!("{took:?}");
}
