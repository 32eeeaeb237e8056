//! Programs that judge, and what they count.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::{Link, MapCore as _, MapFlags, MapHandle, Object, Program};

use super::{OURS, Own, handle, own};
use crate::abi::{self, Kind};

/// The program that lets go of an inode which the kernel forgets, as far as the kernel keeps names.
pub(super) const FORGETS: &str = "ct_inode_free";

/// Programs that are attached, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(super) object: Object,
    /// By the names of their programs.
    pub(super) links: Vec<(String, Link)>,
    pub(super) programs: Vec<u32>,
    /// Hooks that this kernel does not have or did not take, each with the reason.
    pub(crate) missing: Vec<String>,
}

impl Attached {
    /// Ids for the canary's attacker.
    pub(crate) fn own(&self) -> anyhow::Result<Own> {
        let (_, link) = self.links.first().context("nothing is attached")?;
        own(&self.object, link.info().map_or(0, |info| info.id))
    }

    /// Opens a second handle to a map.
    pub(crate) fn map(&self, name: &str) -> anyhow::Result<MapHandle> {
        handle(&self.object, name)
    }

    /// All maps that a later set can use.
    pub(crate) fn maps(&self) -> anyhow::Result<Vec<(String, MapHandle)>> {
        let names = self.object.maps().map(|map| map.name().to_string_lossy().into_owned());
        let ours = names.filter(|name| name.starts_with(OURS));
        ours.map(|name| Ok((name.clone(), self.map(&name)?))).collect()
    }

    /// Programs that are attached.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.links.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Links by the names of their programs.
    pub(crate) fn links_mut(&mut self) -> &mut [(String, Link)] {
        &mut self.links
    }

    /// Forgets the programs and links of earlier sets.
    pub(crate) fn unlist_others(&self) -> anyhow::Result<()> {
        let objects = self.map("ct_objects")?;
        let mut ours = BTreeSet::new();
        for map in self.object.maps() {
            ours.insert(abi::object(Kind::Map, map.info()?.info.id));
        }
        for (_, link) in &self.links {
            ours.insert(abi::object(Kind::Link, link.info()?.id));
        }
        ours.extend(self.programs.iter().map(|id| abi::object(Kind::Program, *id)));
        for key in objects.keys() {
            if !ours.iter().any(|own| own[..] == key[..]) {
                objects.delete(&key)?;
            }
        }
        Ok(())
    }

    /// Their numbers in the kernel.
    pub(crate) fn programs(&self) -> &[u32] {
        &self.programs
    }

    /// How many programs are attached.
    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// How often the kernel skipped one of our programs because it was running already, which
    /// lets what it judges through. Always 0 for security modules. The program that forgets an inode
    /// judges nothing: where it is skipped, an entry stays that no file has.
    pub(crate) fn skipped(&self) -> u64 {
        let ours = ProgInfoIter::default().filter(|info| self.programs.contains(&info.id));
        let judging = ours.filter(|info| info.name != FORGETS);
        judging.map(|info| info.recursion_misses).sum()
    }

    /// Counts of the programs, readable from any thread.
    pub(crate) fn counters(&self) -> anyhow::Result<Counters> {
        let denials = handle(&self.object, "ct_denials")?;
        Ok(Counters { denials, lost: handle(&self.object, "ct_lost")? })
    }

    /// The kernel's hashes of our programs, as they were loaded.
    pub(crate) fn tags(&self) -> Vec<[u8; 8]> {
        let ours = ProgInfoIter::default().filter(|info| self.programs.contains(&info.id));
        ours.map(|info| info.tag.0).collect()
    }

    /// What the verifier had to walk, per program: the measure of what a hook costs at load.
    pub(crate) fn verified(&self) -> Vec<(String, u32)> {
        // The kernel keeps 15 letters of a name, and would have three of ours be the same.
        let name = |id: u32| {
            let mut all = self.object.progs().filter(|program| program.autoload());
            all.find(|program| Program::id_from_fd(program.as_fd()).is_ok_and(|own| own == id))
                .map(|program| program.name().to_string_lossy().into_owned())
        };
        let ours = ProgInfoIter::default().filter(|info| self.programs.contains(&info.id));
        ours.filter_map(|info| Some((name(info.id)?, info.verified_insns))).collect()
    }
}

/// What the programs count.
#[derive(Debug)]
pub(crate) struct Counters {
    denials: MapHandle,
    lost: MapHandle,
}

impl Counters {
    /// Denials per hook since the start, the canary's included.
    pub(crate) fn denials(&self) -> anyhow::Result<Vec<(&'static str, u64)>> {
        let mut denials = Vec::new();
        for (index, hook) in (0_u32..).zip(abi::HOOKS) {
            denials.push((hook, sum(&self.denials, index)?));
        }
        Ok(denials)
    }

    /// Reports that found no room.
    pub(crate) fn lost(&self) -> anyhow::Result<u64> {
        sum(&self.lost, 0)
    }
}

fn sum(map: &MapHandle, index: u32) -> anyhow::Result<u64> {
    let each = map.lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)?.unwrap_or_default();
    let numbers = each.iter().filter_map(|value| Some(u64::from_ne_bytes(*value.first_chunk()?)));
    Ok(numbers.sum())
}
