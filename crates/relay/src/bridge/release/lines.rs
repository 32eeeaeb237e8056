//! Files of JSON lines that outlive the bridge: read and made shorter at its start, appended to and
//! synchronised before whoever waits for that is answered.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::file::replace;

/// The lines of a file, none where there is no file. What a crash left of a last line is cut off;
/// any other that is none is `odd`.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::InvalidData`] with `odd`.
pub(super) fn read<T: DeserializeOwned>(path: &Path, odd: &'static str) -> io::Result<Vec<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
    let parse = |line| {
        serde_json::from_slice(line)
            .map_err(|_quotes| io::Error::new(io::ErrorKind::InvalidData, odd))
    };
    lines.filter(|line| !line.is_empty()).map(parse).collect()
}

/// One line. Of text and numbers alone: it cannot fail.
pub(super) fn line<T: Serialize>(line: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Writes what is left to a new file in the place of the old one, to be appended to.
///
/// # Errors
/// What the kernel says.
pub(super) fn rewrite(path: &Path, text: &[u8]) -> io::Result<File> {
    let nameless = || io::Error::from(io::ErrorKind::InvalidInput);
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(nameless)?;
    let aside = Path::new(name).with_extension("new");
    let folder = path.parent().ok_or_else(nameless)?;
    replace(folder, name, &aside.to_string_lossy(), text)?;
    // Whatever is taken back from the end of it, the next line begins there.
    OpenOptions::new().append(true).open(path)
}
