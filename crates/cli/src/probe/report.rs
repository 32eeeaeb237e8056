//! What a probe found: one result type for every road, and the document that `--json` prints.
//!
//! The JSON form is an interface (`docs`: `cloudtaser probe --help`); fields are added, never
//! renamed. It holds no byte of any secret: only counts and names of places.

use serde::{Deserialize, Serialize};

use super::road::Road;

/// Version of the JSON form.
pub(crate) const SCHEMA: u32 = 1;

/// How far a road led.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Access {
    /// This machine does not have it.
    Absent,
    /// The kernel refused it.
    Closed,
    /// It could be walked, whether or not the needle was at its end.
    Open,
    /// It was not tried; the note says why.
    Skipped,
}

impl Access {
    /// The word for tables.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Skipped => "skipped",
        }
    }
}

/// Copies of the needle at one place.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Place {
    /// Name of the mapping, file or descriptor.
    pub(crate) place: String,
    /// How many.
    pub(crate) copies: u64,
}

/// What came of trying one road.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct RoadResult {
    /// Which road.
    pub(crate) road: Road,
    /// The weakest adversary of the threat model who may walk it: `T1` or `T3`.
    pub(crate) adversary: String,
    /// `passive` (reads what is there) or `active` (makes the target, or the kernel in its
    /// context, act).
    pub(crate) kind: String,
    /// How far it led.
    pub(crate) access: Access,
    /// The first refusal, such as `EACCES`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) errno: Option<String>,
    /// Copies of the needle that were read.
    pub(crate) found: u64,
    /// Where they were.
    pub(crate) places: Vec<Place>,
    /// What was done and what limits the result, in words.
    pub(crate) note: String,
}

impl RoadResult {
    /// A result with no copies and no error yet.
    pub(crate) fn new(road: Road, access: Access, note: impl Into<String>) -> Self {
        Self {
            road,
            adversary: road.adversary().to_owned(),
            kind: road.kind().as_str().to_owned(),
            access,
            errno: None,
            found: 0,
            places: Vec::new(),
            note: note.into(),
        }
    }

    /// The kernel said no.
    pub(crate) fn refused(road: Road, error: &std::io::Error, note: impl Into<String>) -> Self {
        let access = match error.raw_os_error() {
            Some(nix::libc::ENOENT | nix::libc::ENOSYS | nix::libc::ENODEV) => Access::Absent,
            _ => Access::Closed,
        };
        Self { errno: Some(errno_name(error)), ..Self::new(road, access, note) }
    }

    /// Adds copies found at a place.
    pub(crate) fn add(&mut self, place: &str, copies: u64) {
        if copies == 0 {
            return;
        }
        self.found += copies;
        match self.places.iter_mut().find(|known| known.place == place) {
            Some(known) => known.copies += copies,
            None => self.places.push(Place { place: place.to_owned(), copies }),
        }
    }

    /// Remembers the first refusal.
    pub(crate) fn remember(&mut self, error: &std::io::Error) {
        self.errno.get_or_insert_with(|| errno_name(error));
    }
}

/// `EACCES` and the like, or the text of an error that is no errno.
pub(crate) fn errno_name(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.kind().to_string(),
        |code| format!("{:?}", nix::errno::Errno::from_raw(code)),
    )
}

/// Who probed: a closed road means little before one knows who was refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Caller {
    /// Effective user.
    pub(crate) uid: u32,
    /// Effective group.
    pub(crate) gid: u32,
    /// Effective capabilities, as `/proc/self/status` shows them.
    pub(crate) capabilities: String,
}

/// One process and what each road gave.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct ProcessReport {
    /// Its number.
    pub(crate) pid: i32,
    /// Its name.
    pub(crate) name: String,
    /// One entry per road, always all of them, in a fixed order.
    pub(crate) roads: Vec<RoadResult>,
}

/// What `--json` prints.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Version of this form.
    pub(crate) schema: u32,
    /// Who probed.
    pub(crate) caller: Caller,
    /// Whether any road gave the needle.
    pub(crate) found: bool,
    /// The target first, then its descendants where they were asked for.
    pub(crate) processes: Vec<ProcessReport>,
}
