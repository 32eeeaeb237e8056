//! One line for each act, in the order of their revisions, none lost and none twice.
//!
//! The line of the last act is also in the state, which is written in one piece. So after a crash
//! between the two files the line is there to be caught up with, and a line that was cut is known by
//! the newline that it lacks.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use cloudtaser_tls::raw::PublicKey;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::state::{Act, State};

/// No line is longer; a name has 64 bytes and a key 52.
const MAX_LINE_LEN: u64 = 4096;

#[derive(Debug, Serialize)]
struct Line<'a> {
    revision: u64,
    /// Seconds since 1970.
    at: u64,
    by: &'a str,
    act: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    good_until: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_keys: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Numbered {
    revision: u64,
}

/// The line of an act that has just been done to this state.
pub(super) fn line(state: &State, act: &Act, by: &str, at: u64) -> String {
    let (word, cluster, invitation) = match act {
        Act::Approved(key) => ("approved", Some(key), None),
        Act::Believed(key, _) => ("issuer keys believed", Some(key), None),
        Act::Granted(key, ..) => ("granted", Some(key), None),
        Act::Invited(id) => ("invited", None, Some(id)),
        Act::Joined(key, id) if state.approved(key).is_some() => {
            ("joined, approved beforehand", Some(key), Some(id))
        }
        Act::Joined(key, id) => ("joined", Some(key), Some(id)),
        Act::Replayed(key, id) => ("replay refused", Some(key), Some(id)),
        Act::Revoked(key) => ("revoked", Some(key), None),
        Act::Shown(key, _) => ("issuer keys shown", Some(key), None),
    };
    let (serial, good_until) = match act {
        Act::Granted(_, serial, good_until) => (Some(HEXLOWER.encode(serial)), Some(*good_until)),
        _ => (None, None),
    };
    let issuer_keys = match act {
        Act::Believed(_, keys) | Act::Shown(_, keys) => Some(keys.to_string()),
        _ => None,
    };
    let named = cluster.and_then(|key| state.cluster(key)).map(|cluster| &*cluster.name);
    let invited = invitation.and_then(|id| state.invitations.iter().find(|one| one.id() == *id));
    let line = Line {
        revision: state.revision,
        at,
        by,
        act: word,
        cluster: cluster.map(PublicKey::to_string),
        name: named.or_else(|| invited.map(|invited| &*invited.name)),
        invitation: invitation.map(|id| HEXLOWER.encode(&id.0)),
        serial,
        good_until,
        issuer_keys,
    };
    // It has nothing that JSON could not say.
    serde_json::to_string(&line).unwrap_or_default()
}

/// Writes the line of the state's last act, unless it is there.
pub(super) fn catch_up(path: &Path, state: &State) -> io::Result<()> {
    let Some(line) = &state.last_line else { return Ok(()) };
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).mode(0o600).open(path)?;
    let last = last_revision(&mut file)?;
    if last.is_none_or(|last| last < state.revision) {
        file.seek(SeekFrom::End(0))?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()?;
    }
    Ok(())
}

/// The revision of the last whole line; what was cut by a crash is cut off.
fn last_revision(file: &mut File) -> io::Result<Option<u64>> {
    let len = file.metadata()?.len();
    let from = len.saturating_sub(MAX_LINE_LEN);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < tail.len() {
        let whole = from.saturating_add(u64::try_from(whole).unwrap_or(0));
        file.set_len(whole)?;
    }
    let lines = tail.get(..whole).unwrap_or_default().trim_ascii_end();
    let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if last.is_empty() {
        return Ok(None);
    }
    // SECURITY: a file that somebody wrote into is not written on as if nothing had been.
    let numbered: Numbered = serde_json::from_slice(last)
        .map_err(|_odd| io::Error::new(io::ErrorKind::InvalidData, "its last line is not ours"))?;
    Ok(Some(numbered.revision))
}
