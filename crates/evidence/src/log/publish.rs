//! From the journal to the files that others read: tiles, the checkpoint, and a shorter journal.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use super::{
    error::LogError,
    journal::{self, Kind, MAGIC},
    state::{State, sync_folder},
};
use crate::{
    hash::Digest,
    tiles::{self, Kind as TileKind, WIDTH},
    tree::Nodes as _,
};

/// The journal begins anew beyond this size: some ten thousand receipts.
const JOURNAL_MAX: u64 = 4 << 20;
/// Nodes that are kept at each height; more than a group of receipts adds.
const KEPT: usize = 4096;

impl State {
    /// Writes each tile that became full.
    pub(super) fn write_full_tiles(&mut self) -> Result<(), LogError> {
        let size = self.edge.size();
        while size - self.tiled >= WIDTH {
            let (first, after) = (self.tiled, self.tiled + WIDTH);
            self.write_entries(first / WIDTH, WIDTH)?;
            // A tile fills up with the leaf that fills up all below it.
            for level in (0..7).take_while(|level| after.is_multiple_of(WIDTH << (8 * level))) {
                let nodes = tiles::nodes_at(level, after);
                self.write_hashes(level, nodes / WIDTH - 1, WIDTH)?;
            }
            self.tiled = after;
        }
        self.edge.drop_all_but(KEPT);
        Ok(())
    }

    /// Shows others what there is: narrow tiles, then the checkpoint that needs them.
    pub(super) fn publish(&mut self) -> Result<(), LogError> {
        self.write_full_tiles()?;
        let size = self.edge.size();
        for level in 0.. {
            let nodes = tiles::nodes_at(level, size);
            if nodes == 0 {
                break;
            }
            let width = nodes % WIDTH;
            if width > 0 {
                self.write_hashes(level, nodes / WIDTH, width)?;
                if level == 0 {
                    self.write_entries(nodes / WIDTH, width)?;
                }
            }
        }
        replace(&self.folder.join("checkpoint"), self.latest.to_string().as_bytes())?;
        self.published = Some(size);
        Ok(())
    }

    /// Begins the journal anew where it grew long, once its tiles are known to be on the disk.
    pub(super) fn shorten(&mut self) -> Result<(), LogError> {
        if self.end < JOURNAL_MAX {
            return Ok(());
        }
        self.write_full_tiles()?;
        let base = self.edge.size() / WIDTH * WIDTH;
        self.sync_tiles(base)?;
        self.begin_journal(base)?;
        let done = usize::try_from(base - self.base).unwrap_or(usize::MAX);
        self.entries.drain(..done.min(self.entries.len()));
        self.base = base;
        Ok(())
    }

    /// Writes a journal with all from `base` on, and puts it in the place of the old one.
    pub(super) fn begin_journal(&mut self, base: u64) -> Result<(), LogError> {
        let head = minicbor::to_vec(self.head(base)?);
        let head = head.map_err(|error| LogError::Stopped(error.to_string()))?;
        let mut bytes = MAGIC.to_vec();
        journal::write(&mut bytes, Kind::Head, &head);
        let skipped = usize::try_from(base - self.base).unwrap_or(usize::MAX);
        for entry in self.entries.iter().skip(skipped) {
            journal::write(&mut bytes, Kind::Entry, entry);
        }
        journal::write(&mut bytes, Kind::Commit, self.latest.to_string().as_bytes());
        let path = self.journal_path();
        replace(&path, &bytes)?;
        sync_folder(&self.folder)?;
        let opened = File::options().read(true).write(true).open(&path);
        self.journal = opened.map_err(LogError::io("open", path))?;
        self.end = u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    /// Makes sure of the tiles between the journal's base and a new one.
    fn sync_tiles(&self, base: u64) -> Result<(), LogError> {
        let mut folders = Vec::new();
        let mut sync = |kind, from: u64, to: u64| {
            for index in from / WIDTH..to / WIDTH {
                let path = self.folder.join(tiles::path(kind, index, WIDTH));
                let synced = File::open(&path).and_then(|file| file.sync_all());
                synced.map_err(LogError::io("make sure of", &path))?;
                let above = path.ancestors().skip(1).take_while(|above| *above != self.folder);
                folders.extend(above.map(Path::to_owned));
            }
            Ok::<(), LogError>(())
        };
        sync(TileKind::Entries, self.base, base)?;
        for level in 0..8 {
            let nodes = |size| tiles::nodes_at(level, size);
            sync(TileKind::Hashes(level), nodes(self.base), nodes(base))?;
        }
        folders.sort();
        folders.dedup();
        folders.iter().try_for_each(|folder| sync_folder(folder))?;
        sync_folder(&self.folder)
    }

    fn write_entries(&self, index: u64, width: u64) -> Result<(), LogError> {
        let from = index.saturating_mul(WIDTH).checked_sub(self.base);
        let from = from.and_then(|from| usize::try_from(from).ok()).unwrap_or(usize::MAX);
        let width_entries = usize::try_from(width).unwrap_or(usize::MAX);
        let entries = self.entries.iter().skip(from).take(width_entries).map(|entry| &**entry);
        let bundle = tiles::encode_entries(entries);
        write_new(&self.folder, TileKind::Entries, index, width, &bundle)
    }

    fn write_hashes(&self, level: u32, index: u64, width: u64) -> Result<(), LogError> {
        let mut tile = Vec::new();
        for at in 0..width {
            let node = self.edge.node(8 * level, index * WIDTH + at);
            tile.extend_from_slice(node.map_err(|error| self.lost_node(error))?.as_bytes());
        }
        write_new(&self.folder, TileKind::Hashes(level), index, width, &tile)
    }
}

/// Writes a tile; narrow ones that it makes needless go.
fn write_new(
    folder: &Path,
    kind: TileKind,
    index: u64,
    width: u64,
    bytes: &[u8],
) -> Result<(), LogError> {
    let path = folder.join(tiles::path(kind, index, width));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(LogError::io("make", parent))?;
    }
    fs::write(&path, bytes).map_err(LogError::io("write", &path))?;
    if width == WIDTH {
        let mut narrow = path.into_os_string();
        narrow.push(".p");
        // They may be kept; most have never been there.
        let _gone = fs::remove_dir_all(PathBuf::from(narrow));
    }
    Ok(())
}

/// Keeps a document under its hash.
pub(super) fn keep(folder: &Path, document: &[u8]) -> Result<Digest, LogError> {
    let hash = Digest::of(document);
    let path = folder.join(hash.to_string());
    if path.exists() {
        return Ok(hash);
    }
    fs::create_dir_all(folder).map_err(LogError::io("make", folder))?;
    // Somebody else may have kept the same at the same time.
    replace(&path, document).or_else(|error| if path.exists() { Ok(()) } else { Err(error) })?;
    sync_folder(folder)?;
    Ok(hash)
}

/// Puts a file in the place of another so that at any time one of them is there, whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), LogError> {
    let new = path.with_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(LogError::io("write", &new))?;
    fs::rename(&new, path).map_err(LogError::io("replace", path))
}
