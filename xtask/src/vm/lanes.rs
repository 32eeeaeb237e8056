//! Machines side by side: an emulated one keeps one processor busy, whatever it has inside.

use std::fs;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// More at once measure each other rather than the agent.
const MOST: usize = 2;

/// KiB that a machine takes beside its own memory: its archive, and the emulator.
const OVERHEAD: u64 = 512 << 10;

/// How many machines of so many MiB this host has processors and memory for; at least one.
pub(super) fn that_fit(mib: u32) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    room(processors, available(&text), mib)
}

fn room(processors: usize, kib: u64, mib: u32) -> usize {
    let each = u64::from(mib) * 1024 + OVERHEAD;
    let fit = usize::try_from(kib / each).unwrap_or(MOST);
    fit.min(processors).clamp(1, MOST)
}

/// KiB that nobody needs.
fn available(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Does the work on each job, on so many threads, those that come first in `order` first. Results
/// come in the order of the jobs.
pub(super) fn each<J: Sync, R: Send>(
    jobs: &[J],
    lanes: usize,
    order: impl Fn(&J) -> u32,
    work: impl Fn(&J) -> R + Sync,
) -> Vec<R> {
    let mut queue: Vec<(usize, &J)> = jobs.iter().enumerate().collect();
    // The longest first, or the last one runs alone.
    queue.sort_by_key(|(_, job)| std::cmp::Reverse(order(job)));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                while let Some((place, job)) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(job);
                    if let Ok(mut done) = done.lock() {
                        done.push((*place, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs_whichever_is_done_first() {
        for lanes in [1, 2, 5] {
            let started = Mutex::new(Vec::new());
            let results = each(
                &[3_u32, 1, 2],
                lanes,
                |job| *job,
                |job| {
                    started.lock().unwrap().push(*job);
                    job * 10
                },
            );
            assert_eq!(results, [30, 10, 20]);
            if lanes == 1 {
                assert_eq!(*started.lock().unwrap(), [3, 2, 1]);
            }
        }
    }

    #[test]
    fn a_small_host_has_one_at_a_time() {
        let gib = 1 << 20;
        assert_eq!(room(1, 24 * gib, 1024), 1);
        assert_eq!(room(8, 24 * gib, 1024), 2);
        assert_eq!(room(2, 2 * gib, 1024), 1);
        assert_eq!(room(2, 0, 1024), 1);
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   7 kB\n"), 7);
    }
}
