//! Opening: what the disk has is believed only as far as it proves itself.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{ErrorKind, Read as _},
    path::Path,
    sync::Arc,
};

use super::{
    error::LogError,
    journal::{self, Head, Kind, MAGIC},
    state::{State, name_of, sync_folder},
};
use crate::{
    checkpoint::{Checkpoint, SignedCheckpoint},
    hash::Digest,
    note::Signer,
    notice::Leaf,
    tiles::{self, Tiles, WIDTH, pairs},
    tree::{self, Edge, Nodes as _},
};

/// Opens a log or begins one; tells how many bytes of an unfinished write were cut off.
pub(super) fn open(folder: &Path, signer: Signer) -> Result<(State, u64), LogError> {
    fs::create_dir_all(folder).map_err(LogError::io("make", folder))?;
    let lock = lock(folder)?;
    let path = folder.join("journal");
    let opened = File::options().read(true).write(true).open(&path);
    let journal = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return begin(folder, signer, lock),
        opened => opened.map_err(LogError::io("open", &path))?,
    };
    let mut bytes = Vec::new();
    (&journal).read_to_end(&mut bytes).map_err(LogError::io("read", &path))?;
    let damaged = |why| LogError::Damaged { path: path.clone(), why };
    let records = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("this is no journal"))?;
    let Some((Kind::Head, head, length)) = journal::read(records) else {
        return Err(damaged("its first record is wrong"));
    };
    let head: Head = minicbor::decode(head).map_err(|_bad| damaged("its head cannot be read"))?;
    if head.key != signer.verifier().to_string() {
        return Err(LogError::OtherKey { path: folder.to_owned(), owner: head.key });
    }
    let edge = edge_at(folder, head.base)?;
    let root = tree::root(&edge, head.base);
    if root != Ok(head.root) {
        return Err(LogError::Damaged { path: folder.join("tile"), why: "its hashes changed" });
    }
    let mut state = new_state(folder, signer, lock, journal, edge);
    state.base = head.base;
    state.tiled = head.base;
    state.time_ms = head.time_ms;
    state.streams = head.streams;
    let start = MAGIC.len() + length;
    let replayed = replay(&mut state, bytes.get(start..).unwrap_or_default())?;
    let end = start + replayed;
    let rest = bytes.get(end..).unwrap_or_default();
    if journal::has_commit(rest) {
        return Err(damaged("receipts that were committed cannot be read"));
    }
    state.end = u64::try_from(end).unwrap_or(0);
    if !rest.is_empty() {
        state.journal.set_len(state.end).map_err(LogError::io("cut", &path))?;
        state.journal.sync_all().map_err(LogError::io("make sure of", &path))?;
    }
    compare_with_published(&mut state)?;
    Ok((state, u64::try_from(rest.len()).unwrap_or(0)))
}

fn lock(folder: &Path) -> Result<File, LogError> {
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(LogError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(LogError::io("lock", path)(error)),
    }
}

/// A log without a receipt.
fn begin(folder: &Path, signer: Signer, lock: File) -> Result<(State, u64), LogError> {
    for there in ["checkpoint", "tile"] {
        if folder.join(there).exists() {
            let path = folder.join("journal");
            return Err(LogError::Damaged { path, why: "it is gone, and the log is not empty" });
        }
    }
    let journal = lock.try_clone().map_err(LogError::io("use", folder))?;
    let mut state = new_state(folder, signer, lock, journal, Edge::default());
    state.latest = state.sign()?;
    state.begin_journal(0)?;
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent)?;
    }
    Ok((state, 0))
}

fn new_state(folder: &Path, signer: Signer, lock: File, journal: File, edge: Edge) -> State {
    let nothing = Checkpoint { origin: signer.name().to_owned(), size: 0, root: Digest::of(b"") };
    State {
        folder: folder.to_owned(),
        latest: nothing.sign(&signer),
        signer,
        _lock: lock,
        journal,
        end: 0,
        base: 0,
        entries: Vec::new(),
        edge,
        time_ms: 0,
        streams: BTreeMap::new(),
        tiled: 0,
        published: None,
        stopped: None,
    }
}

/// The edge of the first `base` leaves, from full tiles.
fn edge_at(folder: &Path, base: u64) -> Result<Edge, LogError> {
    let damaged = |why| LogError::Damaged { path: folder.join("tile"), why };
    let mut edge = Edge::default();
    edge.seed_size(base);
    if !base.is_multiple_of(WIDTH) {
        return Err(damaged("the journal begins inside a tile"));
    }
    let tiles = Tiles::new(folder, base);
    for level in 1..8 {
        let nodes = tiles::nodes_at(level, base);
        if nodes == 0 {
            break;
        }
        let first = nodes / WIDTH * WIDTH;
        let row: Result<Vec<_>, _> = (first..nodes).map(|at| tiles.node(8 * level, at)).collect();
        let mut row = row.or_else(|_narrow| {
            // A node is the root of the full tile below it; narrow tiles need not be there.
            (first..nodes).map(|at| below(folder, level, at)).collect::<Result<_, LogError>>()
        })?;
        for within in 0..8 {
            edge.seed(8 * level + within, first >> within, row.clone());
            row = pairs(&row);
        }
    }
    Ok(edge)
}

fn below(folder: &Path, level: u32, at: u64) -> Result<Digest, LogError> {
    let path = folder.join(tiles::path(tiles::Kind::Hashes(level - 1), at, WIDTH));
    let tile = fs::read(&path).map_err(LogError::io("read", &path))?;
    let hashes = tiles::decode_hashes(&tile, WIDTH);
    let node = hashes.and_then(|hashes| tiles::fold(&hashes));
    node.ok_or(LogError::Damaged { path, why: "this is no full tile" })
}

/// Takes each committed group; tells how many bytes they have.
fn replay(state: &mut State, records: &[u8]) -> Result<usize, LogError> {
    let path = state.journal_path();
    let damaged = |why| LogError::Damaged { path: path.clone(), why };
    let key = state.signer.verifier();
    let mut group: Vec<Arc<[u8]>> = Vec::new();
    let (mut at, mut committed) = (0, 0);
    while let Some((kind, body, length)) = records.get(at..).and_then(journal::read) {
        at += length;
        match kind {
            Kind::Head => return Err(damaged("it has a second head")),
            Kind::Entry => group.push(body.into()),
            Kind::Commit => {
                let text = str::from_utf8(body).map_err(|_bad| damaged("a commit is no text"))?;
                let signed = SignedCheckpoint::parse_of(text, &key)
                    .map_err(|_bad| damaged("a checkpoint in it is not by this key"))?;
                for leaf in group.drain(..) {
                    let entry = Leaf::parse(&leaf)
                        .map_err(|_bad| damaged("a receipt in it cannot be read"))?;
                    state.take(name_of(entry.stream())?, &entry, &leaf);
                }
                if state.sign()?.checkpoint() != signed.checkpoint() {
                    return Err(damaged("its receipts are not those that were signed"));
                }
                state.latest = signed;
                committed = at;
            }
        }
    }
    Ok(committed)
}

/// What others have read must still be here.
fn compare_with_published(state: &mut State) -> Result<(), LogError> {
    let path = state.folder.join("checkpoint");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LogError::io("read", path)(error)),
    };
    let damaged = |why| LogError::Damaged { path: path.clone(), why };
    let published = SignedCheckpoint::parse_of(&text, &state.signer.verifier())
        .map_err(|_bad| damaged("it is not by this key"))?;
    let then = published.checkpoint();
    let found = state.edge.size();
    if then.size > found {
        return Err(LogError::RolledBack { published: then.size, found });
    }
    if then.size >= state.base && tree::root(&state.edge, then.size) != Ok(then.root) {
        return Err(damaged("it is of another log with the same key"));
    }
    if then.size == found {
        // It may have the signatures of witnesses.
        state.latest = published;
    }
    Ok(())
}
