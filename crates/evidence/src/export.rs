//! Making a bundle from a log's folder. The log may be open: only what it published is read.

use std::{fs, path::Path};

use crate::{
    bundle::{Bundle, Earlier, Item},
    checkpoint::SignedCheckpoint,
    hash::Digest,
    names::Opening,
    notice::Leaf,
    tiles::{Tiles, WIDTH},
    tree,
    verify::{Refusal, published},
};

/// Folder of documents inside a log's folder.
pub(crate) const DOCUMENTS: &str = "documents";
/// Longest document.
pub const DOCUMENT_MAX: usize = 4 << 20;

/// Which receipts a bundle gets.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// From this position on.
    pub from: Option<u64>,
    /// Up to this position, which is in.
    pub to: Option<u64>,
    /// Of this cluster only.
    pub cluster: Option<String>,
    /// Of this pod only.
    pub pod: Option<String>,
    /// With one of these names only.
    pub names: Vec<Digest>,
}

impl Selection {
    fn takes(&self, entry: &Leaf) -> bool {
        // A notice is in every bundle: it is there to be heard.
        let Some(receipt) = entry.receipt() else { return true };
        let draft = &receipt.draft;
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
        is(&self.cluster, draft.cluster.as_str())
            && is(&self.pod, draft.workload.pod.as_str())
            && (self.names.is_empty()
                || draft.secrets.iter().any(|secret| self.names.contains(&secret.name)))
    }
}

/// Takes receipts, their proofs, the documents that they name, and openings of names.
///
/// # Errors
/// [`Refusal`] where the log's folder cannot be read.
pub fn export(
    folder: &Path,
    selection: &Selection,
    openings: Vec<Opening>,
    earlier: &[SignedCheckpoint],
) -> Result<Bundle, Refusal> {
    let signed = published(folder)?;
    let size = signed.checkpoint().size;
    let tiles = Tiles::new(folder, size);
    let mut bundle = Bundle {
        checkpoint: signed.to_string(),
        receipts: Vec::new(),
        openings,
        documents: Vec::new(),
        earlier: Vec::new(),
    };
    let from = selection.from.unwrap_or(0).min(size);
    let after = selection.to.map_or(size, |to| to.saturating_add(1)).min(size);
    for number in from / WIDTH..after.div_ceil(WIDTH) {
        for (index, leaf) in (number * WIDTH..).zip(tiles.entries(number)?) {
            if index < from || index >= after {
                continue;
            }
            let entry = Leaf::parse(&leaf).map_err(|source| Refusal::Receipt { index, source })?;
            if !selection.takes(&entry) {
                continue;
            }
            let path = tree::inclusion(&tiles, index, size)?;
            bundle.receipts.push(Item { index, leaf: leaf.into(), path });
            bundle.documents.extend(entry.documents().filter_map(|hash| {
                let path = folder.join(DOCUMENTS).join(hash.to_string());
                // Evidence that was not kept is not there; verification counts what is.
                fs::read(path).ok().map(Into::into)
            }));
        }
    }
    for older in earlier {
        let then = older.checkpoint();
        if then.size > size {
            return Err(Refusal::Forked { size: then.size });
        }
        let path = tree::consistency(&tiles, then.size, size)?;
        bundle.earlier.push(Earlier { checkpoint: older.to_string(), path });
    }
    bundle.sort();
    Ok(bundle)
}
