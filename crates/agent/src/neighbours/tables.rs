//! Programs that are called by other programs: nobody holds them open, but a table does.
//!
//! Tetragon closes them once they are in the table, and its programs call them from there.

use std::collections::BTreeSet;

use libbpf_rs::query::{MapInfoIter, ProgInfoIter, ProgInfoQueryOptions};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapType};

/// Longer tables are read so far.
const LEN: u32 = 1024;

/// A table of the kernel.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Table {
    /// What is in it.
    pub(super) called: BTreeSet<u32>,
    /// Programs that may call that: those which the kernel says use the table.
    pub(super) users: BTreeSet<u32>,
}

impl Table {
    /// All that have something in them.
    pub(super) fn all() -> Vec<Self> {
        let maps = MapInfoIter::default().filter(|map| map.ty == MapType::ProgArray);
        let mut tables: Vec<(u32, Self)> = maps
            .filter_map(|map| {
                let called = called(map.id, map.max_entries.min(LEN));
                (!called.is_empty()).then(|| (map.id, Self { called, ..Self::default() }))
            })
            .collect();
        if tables.is_empty() {
            return Vec::new();
        }
        let options = ProgInfoQueryOptions::default().include_map_ids(true);
        for program in ProgInfoIter::with_query_opts(options) {
            for (map, table) in &mut tables {
                if program.map_ids.contains(map) {
                    table.users.insert(program.id);
                }
            }
        }
        tables.into_iter().map(|(_, table)| table).collect()
    }
}

fn called(map: u32, len: u32) -> BTreeSet<u32> {
    let Ok(map) = MapHandle::from_map_id(map) else { return BTreeSet::new() };
    let each = (0..len).filter_map(|index| {
        let value = map.lookup(&index.to_ne_bytes(), MapFlags::ANY).ok().flatten()?;
        value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    });
    each.collect()
}
