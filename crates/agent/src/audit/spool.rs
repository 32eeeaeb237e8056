//! What the hook has not taken yet, on the disk and in order.
//!
//! Segments are named after their first record. One thread appends, another one reads and
//! acknowledges; neither waits for the other's disk. When it is full, new records are refused and
//! old ones kept: a flood must not push out what it came after.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::file::{Number, sync_folder};
use super::record::sequence;

/// A segment is removed as a whole, so this much more than needed may be kept.
const SEGMENT: u64 = 4 << 20;
/// One request has no more than this, or one record.
const BATCH: usize = 256 << 10;
/// What was acknowledged last.
const ACKNOWLEDGED: &str = "acknowledged";

/// Records between the disk and the hook.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    limit: u64,
    inner: Mutex<Inner>,
    grown: Condvar,
}

#[derive(Debug)]
struct Inner {
    /// First record and length of each segment.
    segments: BTreeMap<u64, u64>,
    /// The last of them, when this process began it.
    open: Option<File>,
    /// The last record that is whole.
    last: u64,
}

/// Where the one reader is.
#[derive(Debug)]
pub(crate) struct Reader {
    acknowledged: Number,
    /// Everything up to this was taken.
    upto: u64,
    /// The segment, and how much of it was taken.
    at: Option<(u64, u64)>,
}

/// Lines for one request.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Batch {
    /// The lines.
    pub(crate) lines: Vec<u8>,
    /// The number of the last one.
    pub(crate) last: u64,
    at: (u64, u64),
}

impl Spool {
    /// Opens what an earlier run left. `limit` is in bytes.
    pub(crate) fn open(folder: PathBuf, limit: u64) -> io::Result<(Self, Reader)> {
        fs::create_dir_all(&folder)?;
        let (acknowledged, upto) = Number::open(&folder.join(ACKNOWLEDGED))?;
        let mut inner = Inner { segments: BTreeMap::new(), open: None, last: upto };
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let first = name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
            if let Some(first) = first {
                inner.segments.insert(first, entry.metadata()?.len());
            }
        }
        let own = Self { folder, limit, inner: Mutex::new(inner), grown: Condvar::new() };
        let newest = own.lock().segments.last_key_value().map(|(first, _)| *first);
        if let Some(newest) = newest {
            let lines = BufReader::new(File::open(own.segment(newest))?).split(b'\n');
            let last = lines.map_while(Result::ok).filter_map(|line| sequence(&line)).last();
            let mut inner = own.lock();
            inner.last = inner.last.max(last.unwrap_or(0));
        }
        Ok((own, Reader { acknowledged, upto, at: None }))
    }

    /// The last record in it, or that was.
    pub(crate) fn last(&self) -> u64 {
        self.lock().last
    }

    /// How much of the disk it takes.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.lock().segments.values().sum()
    }

    /// Appends whole lines with these first and last numbers; returns when they are on the disk.
    /// `false` says that there is no room.
    pub(crate) fn append(&self, lines: &[u8], first: u64, last: u64) -> io::Result<bool> {
        let len = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let (mut file, newest) = {
            let mut inner = self.lock();
            if inner.segments.values().sum::<u64>().saturating_add(len) > self.limit {
                return Ok(false);
            }
            let newest = inner.segments.last_key_value().map(|(first, len)| (*first, *len));
            match (newest, inner.open.take()) {
                (Some((newest, used)), Some(file)) if used < SEGMENT => (file, newest),
                _ => (self.begin(first)?, first),
            }
        };
        // Nobody waits here: the reader looks at no more than the length says. After an error the
        // next record begins a new segment, and a line that was cut is passed over.
        file.write_all(lines)?;
        file.sync_data()?;
        let mut inner = self.lock();
        *inner.segments.entry(newest).or_default() += len;
        (inner.open, inner.last) = (Some(file), last);
        self.grown.notify_all();
        Ok(true)
    }

    /// The next lines; `None` when nothing came in time.
    pub(crate) fn next(&self, reader: &mut Reader, wait: Duration) -> io::Result<Option<Batch>> {
        let (segment, from, len) = loop {
            let inner = self.lock();
            if let Some(found) = reader.position(&inner.segments) {
                break found;
            }
            let (inner, waited) =
                self.grown.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner);
            let found = reader.position(&inner.segments);
            drop(inner);
            match found {
                Some(found) => break found,
                None if waited.timed_out() => return Ok(None),
                None => {}
            }
        };
        let mut file = File::open(self.segment(segment))?;
        file.seek(SeekFrom::Start(from))?;
        let mut lines = BufReader::new(io::Read::take(file, len - from));
        let mut batch = Batch { lines: Vec::new(), last: reader.upto, at: (segment, from) };
        while batch.lines.len() < BATCH {
            let mut line = Vec::new();
            let read = lines.read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            batch.at.1 += u64::try_from(read).unwrap_or(0);
            // What was taken before, or was cut by an end of power, is passed over.
            if let Some(number) = sequence(&line).filter(|number| *number > batch.last) {
                batch.last = number;
                batch.lines.append(&mut line);
            }
        }
        Ok(Some(batch))
    }

    /// Forgets what the hook took.
    pub(crate) fn acknowledge(&self, reader: &mut Reader, batch: &Batch) -> io::Result<()> {
        if batch.last > reader.upto {
            reader.acknowledged.set(batch.last)?;
            reader.upto = batch.last;
        }
        reader.at = Some(batch.at);
        let done: Vec<u64> = {
            let mut inner = self.lock();
            let (segment, taken) = batch.at;
            // One that is taken to its end and not yet full is removed as well, and begun anew.
            let is_done = inner.segments.get(&segment).is_some_and(|len| *len <= taken);
            let is_newest =
                inner.segments.last_key_value().is_some_and(|(last, _)| *last == segment);
            if is_done && is_newest && inner.open.is_none() {
                // It is being written to at this moment, or an earlier run's.
                return Ok(());
            }
            let before = segment + u64::from(is_done);
            let rest = inner.segments.split_off(&before);
            let done = std::mem::replace(&mut inner.segments, rest);
            if is_done && is_newest {
                inner.open = None;
            }
            done.into_keys().collect()
        };
        for segment in done {
            fs::remove_file(self.segment(segment))?;
        }
        Ok(())
    }

    fn begin(&self, first: u64) -> io::Result<File> {
        let path = self.segment(first);
        let mut options = OpenOptions::new();
        // A file of this name holds no whole record, or the number would be taken.
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        sync_folder(&path)?;
        Ok(file)
    }

    fn segment(&self, first: u64) -> PathBuf {
        self.folder.join(format!("{first:020}.jsonl"))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Segment, offset and length of what was not read yet.
    fn position(&self, segments: &BTreeMap<u64, u64>) -> Option<(u64, u64, u64)> {
        let (at, taken) = self.at.unwrap_or((0, 0));
        segments.range(at..).find_map(|(segment, len)| {
            let from = if *segment == at { taken } else { 0 };
            (from < *len).then_some((*segment, from, *len))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sequence: u64) -> Vec<u8> {
        format!("{{\"sequence\":{sequence}}}\n").into_bytes()
    }

    fn add(spool: &Spool, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            assert!(spool.append(&line(number), number, number).unwrap());
        }
    }

    fn next(spool: &Spool, reader: &mut Reader) -> Option<Batch> {
        spool.next(reader, Duration::from_millis(1)).unwrap()
    }

    #[test]
    fn what_was_not_taken_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, mut reader) = Spool::open(folder.path().into(), 1 << 20).unwrap();
        assert_eq!(next(&spool, &mut reader), None);
        add(&spool, 1..=3);
        let batch = next(&spool, &mut reader).unwrap();
        assert_eq!(batch.lines, [line(1), line(2), line(3)].concat());
        assert_eq!(next(&spool, &mut reader).unwrap(), batch, "not taken yet");
        add(&spool, 4..=4);
        spool.acknowledge(&mut reader, &batch).unwrap();
        drop((spool, reader));
        let (spool, mut reader) = Spool::open(folder.path().into(), 1 << 20).unwrap();
        assert_eq!(spool.last(), 4);
        add(&spool, 5..=5);
        let mut got = Vec::new();
        while let Some(batch) = next(&spool, &mut reader) {
            spool.acknowledge(&mut reader, &batch).unwrap();
            got.extend(batch.lines);
        }
        assert_eq!(got, [line(4), line(5)].concat());
        assert_eq!(spool.len_bytes(), 0);
        add(&spool, 6..=6);
        assert_eq!(next(&spool, &mut reader).unwrap().last, 6);
    }

    #[test]
    fn numbers_go_on_when_everything_was_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, mut reader) = Spool::open(folder.path().into(), 1 << 20).unwrap();
        add(&spool, 1..=9);
        let batch = next(&spool, &mut reader).unwrap();
        spool.acknowledge(&mut reader, &batch).unwrap();
        drop((spool, reader));
        assert_eq!(Spool::open(folder.path().into(), 1 << 20).unwrap().0.last(), 9);
    }

    #[test]
    fn a_full_spool_keeps_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, mut reader) = Spool::open(folder.path().into(), 40).unwrap();
        add(&spool, 1..=2);
        assert!(!spool.append(&line(3), 3, 3).unwrap());
        let batch = next(&spool, &mut reader).unwrap();
        assert_eq!(batch.lines, [line(1), line(2)].concat());
        spool.acknowledge(&mut reader, &batch).unwrap();
        add(&spool, 4..=4);
        assert_eq!(next(&spool, &mut reader).unwrap().lines, line(4), "3 is missing, visibly");
    }

    #[test]
    fn a_line_that_was_cut_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = [line(1), b"{\"sequ".to_vec()].concat();
        fs::write(folder.path().join(format!("{:020}.jsonl", 1)), bytes).unwrap();
        let (spool, mut reader) = Spool::open(folder.path().into(), 1 << 20).unwrap();
        assert_eq!(spool.last(), 1);
        add(&spool, 2..=2);
        let batch = next(&spool, &mut reader).unwrap();
        assert_eq!(batch.lines, line(1));
        spool.acknowledge(&mut reader, &batch).unwrap();
        assert_eq!(next(&spool, &mut reader).unwrap().lines, line(2));
    }

    #[test]
    fn many_segments_are_read_in_order_while_more_come() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, mut reader) = Spool::open(folder.path().into(), 64 << 20).unwrap();
        let pad = "x".repeat(60_000);
        let long = |n: u64| format!("{{\"sequence\":{n},\"pad\":\"{pad}\"}}\n").into_bytes();
        let mut wanted = 1;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=200 {
                    assert!(spool.append(&long(number), number, number).unwrap());
                }
            });
            while wanted <= 200 {
                let Some(batch) = spool.next(&mut reader, Duration::from_secs(5)).unwrap() else {
                    panic!("nothing came after {wanted}")
                };
                for line in batch.lines.split_inclusive(|byte| *byte == b'\n') {
                    assert_eq!(sequence(line), Some(wanted));
                    wanted += 1;
                }
                spool.acknowledge(&mut reader, &batch).unwrap();
            }
        });
        assert!(spool.len_bytes() < 5 << 20, "{}", spool.len_bytes());
    }
}
