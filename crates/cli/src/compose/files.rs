//! The files of a check.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use cloudtaser_compose::{Source, finding::Problem, read::LARGEST_FILE};

/// What standard input is called.
pub(crate) const STDIN: &str = "-";

/// Endings of files that are looked at in a folder.
const ENDINGS: &[&str] = &["json", "yaml", "yml"];

/// A path that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub(crate) struct FileError {
    path: String,
    #[source]
    source: io::Error,
}

/// What was read: texts, and files that are none.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) sources: Vec<Source>,
    pub(crate) problems: Vec<Problem>,
}

impl Files {
    /// Reads files, folders with what is below them, and standard input where `-` is named.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, FileError> {
        let mut files = Self::default();
        for path in paths {
            if path.as_os_str() == STDIN {
                files.take(STDIN, io::stdin().lock()).map_err(|error| wrong(path, error))?;
                continue;
            }
            let facts = fs::metadata(path).map_err(|error| wrong(path, error))?;
            if facts.is_dir() {
                files.folder(path)?;
            } else {
                files.file(path)?;
            }
        }
        Ok(files)
    }

    fn folder(&mut self, folder: &Path) -> Result<(), FileError> {
        let mut entries: Vec<fs::DirEntry> = fs::read_dir(folder)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(folder, error))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            // A link to a folder could lead back; one to a file is a file.
            let kind = entry.file_type().map_err(|error| wrong(&path, error))?;
            let known =
                path.extension().is_some_and(|own| ENDINGS.iter().any(|known| own == *known));
            if kind.is_dir() && !hidden {
                self.folder(&path)?;
            } else if known && fs::metadata(&path).is_ok_and(|facts| facts.is_file()) {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), FileError> {
        let file = fs::File::open(path).map_err(|error| wrong(path, error))?;
        self.take(&path.display().to_string(), file).map_err(|error| wrong(path, error))
    }

    /// Reads a text, or says why it is none.
    fn take(&mut self, name: &str, from: impl io::Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        let most = u64::try_from(LARGEST_FILE).unwrap_or(u64::MAX);
        from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        let words = if bytes.len() > LARGEST_FILE {
            format!("more than {LARGEST_FILE} bytes: too large for a policy")
        } else {
            match String::from_utf8(bytes) {
                Ok(text) => {
                    self.sources.push(Source::new(name, text));
                    return Ok(());
                }
                Err(error) => {
                    let at = error.utf8_error().valid_up_to();
                    format!("not UTF-8: the byte at {at} belongs to no character")
                }
            }
        };
        let source = self.sources.len();
        self.sources.push(Source::new(name, ""));
        self.problems.push(Problem { source, span: 0..0, words, skipped: true });
        Ok(())
    }
}

fn wrong(path: &Path, source: io::Error) -> FileError {
    FileError { path: path.display().to_string(), source }
}
