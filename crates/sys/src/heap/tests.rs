//! The allocator against a model: every block keeps its bytes, and what is freed is zero.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::Arc;

use proptest::prelude::*;

use super::SealedHeap;

/// Talc keeps its links in the first and its tag in the last words of free memory.
const LINKS_BYTES: usize = 32;

#[derive(Clone, Debug)]
enum Step {
    Allocate { size: usize, align: usize },
    Free { pick: prop::sample::Index },
    Resize { pick: prop::sample::Index, size: usize },
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1_usize..300, 3 => 300_usize..20_000, 1 => 20_000_usize..700_000]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (sizes(), 0_u32..13).prop_map(|(size, shift)| Step::Allocate { size, align: 1 << shift }),
        2 => any::<prop::sample::Index>().prop_map(|pick| Step::Free { pick }),
        3 => (any::<prop::sample::Index>(), sizes()).prop_map(|(pick, size)| Step::Resize { pick, size }),
    ];
    prop::collection::vec(step, 1..120)
}

/// A live block, filled with its own byte.
struct Block {
    start: *mut u8,
    layout: Layout,
    fill: u8,
}

impl Block {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the block is live, as large as its layout, and nothing of it is read before `paint`.
        unsafe { std::slice::from_raw_parts(self.start, self.layout.size()) }
    }

    fn paint(&mut self, fill: u8) {
        self.fill = fill;
        // SAFETY: the block is live and as large as its layout, and no reference into it is.
        unsafe { self.start.write_bytes(fill, self.layout.size()) };
    }

    fn check(&self) {
        assert_eq!(self.start as usize % self.layout.align(), 0);
        assert!(self.bytes().iter().all(|&byte| byte == self.fill), "a block lost its bytes");
    }
}

struct Model {
    heap: SealedHeap,
    blocks: Vec<Block>,
    next_fill: u8,
}

impl Model {
    fn fill(&mut self) -> u8 {
        self.next_fill = self.next_fill % 250 + 1;
        self.next_fill
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Allocate { size, align } => {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the size is at least 1.
                let start = unsafe { self.heap.alloc(layout) };
                assert!(!start.is_null());
                let mut block = Block { start, layout, fill: 0 };
                block.paint(self.fill());
                self.blocks.push(block);
            }
            Step::Free { pick } if !self.blocks.is_empty() => {
                let block = self.blocks.swap_remove(pick.index(self.blocks.len()));
                block.check();
                // SAFETY: the block came from this heap with this layout.
                unsafe { self.heap.dealloc(block.start, block.layout) };
                assert_wiped(&block);
            }
            Step::Resize { pick, size } if !self.blocks.is_empty() => {
                let index = pick.index(self.blocks.len());
                let fill = self.fill();
                let block = &mut self.blocks[index];
                block.check();
                let kept = block.layout.size().min(size);
                // SAFETY: the block came from this heap with this layout; the size is at least 1.
                let start = unsafe { self.heap.realloc(block.start, block.layout, size) };
                assert!(!start.is_null());
                let layout = Layout::from_size_align(size, block.layout.align()).unwrap();
                let old = std::mem::replace(block, Block { start, layout, fill: block.fill });
                assert!(block.bytes()[..kept].iter().all(|&byte| byte == old.fill));
                if start == old.start {
                    assert_tail_wiped(&old, size);
                } else {
                    assert_wiped(&old);
                }
                let block = &mut self.blocks[index];
                block.paint(fill);
            }
            Step::Free { .. } | Step::Resize { .. } => {}
        }
    }
}

/// The block's old place holds none of its bytes but where the allocator put links since.
fn assert_wiped(block: &Block) {
    let len = block.layout.size();
    if len > 2 * LINKS_BYTES {
        assert_zero(block.start.wrapping_add(LINKS_BYTES), len - 2 * LINKS_BYTES);
    }
}

fn assert_tail_wiped(old: &Block, new_size: usize) {
    let from = new_size + 3 * LINKS_BYTES;
    let to = old.layout.size().saturating_sub(LINKS_BYTES);
    if from < to {
        assert_zero(old.start.wrapping_add(from), to - from);
    }
}

fn assert_zero(start: *mut u8, len: usize) {
    for offset in 0..len {
        // SAFETY: chunks stay mapped for the life of the process, so freed memory is readable.
        let byte = unsafe { start.wrapping_add(offset).read_volatile() };
        assert_eq!(byte, 0, "freed memory keeps a byte at {offset} of {len}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn blocks_keep_their_bytes_and_leave_none(steps in steps()) {
        let mut model = Model { heap: SealedHeap::new(), blocks: Vec::new(), next_fill: 0 };
        for step in steps {
            model.step(step);
        }
        for block in model.blocks.drain(..) {
            block.check();
        }
    }
}

#[test]
fn threads_share_one_heap() {
    let heap = Arc::new(SealedHeap::new());
    let workers: Vec<_> = (1_u8..=8)
        .map(|id| {
            let heap = Arc::clone(&heap);
            std::thread::spawn(move || churn(&heap, id))
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
}

fn churn(heap: &SealedHeap, id: u8) {
    for round in 1..400_usize {
        let layout = Layout::from_size_align(round * 7 % 3000 + 1, 16).unwrap();
        // SAFETY: the size is at least 1.
        let start = unsafe { heap.alloc(layout) };
        let mut block = Block { start, layout, fill: 0 };
        block.paint(id);
        block.check();
        // SAFETY: the block came from this heap with this layout.
        unsafe { heap.dealloc(start, layout) };
    }
}

#[test]
fn an_absurd_request_is_refused_and_not_fatal() {
    let heap = SealedHeap::new();
    let layout = Layout::from_size_align(isize::MAX as usize - 4096, 4096).unwrap();
    // SAFETY: the size is not zero.
    assert!(unsafe { heap.alloc(layout) }.is_null());
    // SAFETY: as above.
    assert!(!unsafe { heap.alloc(Layout::new::<u64>()) }.is_null());
}
