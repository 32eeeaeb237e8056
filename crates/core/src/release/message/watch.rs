//! How a bridge tells of new values without being asked for them again and again.

use serde::{Deserialize, Serialize};

/// Notice is wanted of every new version of what this login was given.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// As in [`super::Read`].
    pub id: u32,
}

/// Of which paths notice will be given.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Watching {
    /// Of which request.
    pub id: u32,
    /// Paths, as they were asked for. What is not among them has to be looked for.
    pub paths: Vec<String>,
}

/// Something else may be there now. It holds no value: that is read as ever, with its receipt.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// Paths, as they were asked for. None at all: no notice will be given any more.
    pub paths: Vec<String>,
}
