//! A root reader that never rests: it polls the environment block and the stack of every process
//! that appears while it watches, and counts where it finds a value.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::scan;

/// What a watch has seen.
#[derive(Debug, Default)]
pub struct Watched {
    /// Environment blocks and stacks that could be read.
    pub reads: u64,
    /// Reads with a process in the middle of its exec: memory of the new image, no block yet.
    pub mid_exec: u64,
    /// Processes seen, each counted once.
    pub processes: HashSet<i32>,
    /// Processes in which a value was seen, each with the first place where it was.
    pub hits: Vec<String>,
    /// Of those, how many processes.
    pub hit_processes: HashSet<i32>,
}

impl Watched {
    fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.mid_exec += other.mid_exec;
        self.processes.extend(other.processes);
        self.hits.extend(other.hits);
        self.hit_processes.extend(other.hit_processes);
    }
}

/// Two pollers: one for blocks alone, which is quicker, and one for blocks and stacks.
#[derive(Debug)]
pub struct EnvironWatcher {
    stop: Arc<AtomicBool>,
    pollers: Vec<JoinHandle<Watched>>,
}

impl EnvironWatcher {
    /// Watches for these values while the closure runs.
    pub fn during<T>(needles: &[&[u8]], work: impl FnOnce() -> T) -> (T, Watched) {
        let watcher = Self::start(needles);
        let result = work();
        (result, watcher.stop())
    }

    /// Begins to watch every process that is not there yet.
    #[must_use]
    pub fn start(needles: &[&[u8]]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let known = pids().collect::<HashSet<_>>();
        let needles = needles.iter().map(|needle| needle.to_vec()).collect::<Vec<_>>();
        let pollers = [Depth::Block, Depth::BlockAndStack].map(|depth| {
            let (stop, known, needles) = (Arc::clone(&stop), known.clone(), needles.clone());
            thread::spawn(move || {
                let mut poller = Poller::new(needles, known, depth);
                while !stop.load(Ordering::Relaxed) {
                    poller.round();
                }
                poller.watched
            })
        });
        Self { stop, pollers: pollers.into() }
    }

    /// Ends the watch.
    #[must_use]
    pub fn stop(self) -> Watched {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Watched::default();
        for poller in self.pollers {
            all.add(poller.join().expect("a poller does not panic"));
        }
        all
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Depth {
    Block,
    BlockAndStack,
}

struct Poller {
    needles: Vec<Vec<u8>>,
    known: HashSet<i32>,
    depth: Depth,
    buffer: Vec<u8>,
    watched: Watched,
}

impl Poller {
    fn new(needles: Vec<Vec<u8>>, known: HashSet<i32>, depth: Depth) -> Self {
        let buffer = vec![0; 128 * 1024];
        Self { needles, known, depth, buffer, watched: Watched::default() }
    }

    fn round(&mut self) {
        for pid in pids() {
            if !self.known.contains(&pid) {
                self.look(pid);
            }
        }
    }

    fn look(&mut self, pid: i32) {
        let block = self.block(pid);
        if let Some(holds) = block {
            self.note(pid, holds, "environment block");
        }
        if self.depth == Depth::BlockAndStack
            && let Some(holds) = scan::stack_holds(pid, &self.needles)
        {
            if block.is_none() {
                self.watched.mid_exec += 1;
            }
            self.note(pid, holds, "stack");
        }
    }

    /// Whether the block holds a value; `None` where there is none yet, or none any more.
    fn block(&mut self, pid: i32) -> Option<bool> {
        let mut file = File::open(format!("/proc/{pid}/environ")).ok()?;
        let mut len = 0;
        while let Ok(read @ 1..) = file.read(&mut self.buffer[len..]) {
            len += read;
        }
        let bytes = &self.buffer[..len];
        (len > 0).then(|| self.needles.iter().any(|needle| !scan::find(bytes, needle).is_empty()))
    }

    fn note(&mut self, pid: i32, holds: bool, place: &str) {
        self.watched.reads += 1;
        self.watched.processes.insert(pid);
        if holds && self.watched.hit_processes.insert(pid) {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            self.watched.hits.push(format!("{place} of {pid} ({command})"));
        }
    }
}

/// Every process there is, newest first: what was just started is what matters.
fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let mut all =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect::<Vec<i32>>();
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.into_iter()
}
