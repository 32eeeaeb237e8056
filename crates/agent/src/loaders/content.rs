//! A loader by its content: a program of an image, whose device and inode are others at each start.
//!
//! SECURITY: the content says what runs only where the program brings all of its code itself. A
//! dynamic one executes whatever its image calls `ld.so`, and whoever is root makes images.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use cloudtaser_core::agent::content::{Content, ContentError};
use cloudtaser_core::exit::Code;
use cloudtaser_sys::elf::{Image, Linkage};
use sha2::{Digest as _, Sha256};

/// A loader on the command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Allowed {
    /// A file of the node.
    File(PathBuf),
    /// A program of an image.
    Content(Content),
}

/// Files to print.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LoaderArgs {
    /// Static programs, as those of the images of Cilium, KubeArmor and Tetragon.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// The verb: prints what `--allow-loader` takes for each file.
pub(crate) fn print(args: &LoaderArgs) -> anyhow::Result<Code> {
    use std::io::Write as _;
    let lines = args.files.iter().map(|file| Ok(format!("{}\n", of(file)?)));
    let lines: anyhow::Result<String> = lines.collect();
    io::stdout().write_all(lines?.as_bytes())?;
    Ok(Code::Ok)
}

/// Reads a program.
///
/// # Errors
/// Where it cannot be read, or brings not all of its code itself.
fn of(path: &Path) -> anyhow::Result<Content> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("loader {shown}"))?;
    let image = Image::parse(|at, buffer| file.read_exact_at(buffer, at))
        .with_context(|| format!("loader {shown}"))?;
    ensure!(
        image.linkage == Linkage::Static,
        "loader {shown} is linked dynamically, so that its content does not say what it runs: list \
         it as a file of the node"
    );
    read(file).with_context(|| format!("loader {shown}"))
}

/// The agent's own program.
pub(super) fn own() -> io::Result<Content> {
    read(File::open("/proc/self/exe")?)
}

/// Reads any file.
pub(super) fn read(mut file: File) -> io::Result<Content> {
    let (mut hasher, mut size) = (Sha256::new(), 0);
    let mut piece = vec![0; 64 * 1024];
    loop {
        let len = file.read(&mut piece)?;
        if len == 0 {
            return Ok(Content { sha256: hasher.finalize().into(), size });
        }
        hasher.update(piece.get(..len).unwrap_or_default());
        size += u64::try_from(len).unwrap_or_default();
    }
}

impl FromStr for Allowed {
    type Err = ContentError;

    fn from_str(text: &str) -> Result<Self, ContentError> {
        if Content::is_meant(text) {
            text.parse().map(Self::Content)
        } else {
            Ok(Self::File(text.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loader_is_a_file_or_a_content_with_its_size() {
        let parse = |text: &str| text.parse::<Allowed>();
        assert_eq!(parse("/usr/bin/t"), Ok(Allowed::File("/usr/bin/t".into())));
        let text = format!("sha256:{}:42", "ab".repeat(32));
        assert_eq!(parse(&text), Ok(Allowed::Content(text.parse().unwrap())));
        assert_eq!(parse("sha256:ab"), Err(ContentError));
    }

    #[test]
    fn what_others_complete_is_no_content() {
        let error = of(Path::new("/bin/sh")).unwrap_err().to_string();
        assert!(error.contains("linked dynamically"), "{error}");
        assert!(of(Path::new("/etc/passwd")).is_err());
        assert!(of(Path::new("/nowhere")).is_err());
    }
}
