//! `from-node`: runs the agent from a file of the node, for an agent that comes in a container image.
//!
//! Only the file that pinned the programs may take over from itself, and each container has a file
//! of its own, even of the same image. So the image's file is copied to the node once, by digest,
//! and that copy is executed. While something is pinned, the copy that pinned it is executed,
//! whatever the image holds: a new version takes effect at the node's next boot.

mod known;

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use cloudtaser_core::names::ENV_AGENT_ARGUMENTS;
use cloudtaser_sys::beginning;
use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use self::known::Known;
use crate::events;
use crate::pins::Pins;

/// What the copy is called by who lists processes.
const PROGRAM: &str = "cloudtaser-agent";
/// Names the copy that runs.
const RECORD: &str = "in-force";

/// Arguments of the verb.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FromNodeArgs {
    /// A folder of the node, on a file system that survives the container.
    #[arg(long, value_name = "PATH")]
    folder: PathBuf,
    /// What to run, such as `run --metrics 0.0.0.0:9464`.
    #[arg(last = true, required = true)]
    arguments: Vec<String>,
}

/// The verb; returns only when it fails.
pub(crate) fn run(args: &FromNodeArgs, socket: &Path) -> anyhow::Result<()> {
    let folder = &args.folder;
    let image = fs::read("/proc/self/exe").context("this program cannot read itself")?;
    let own = HEXLOWER.encode(&Sha256::digest(&image));
    let pinned = Pins::find().is_ok_and(|pins| pins.has_sets());
    let chosen = choose(pinned, recorded(folder)?.as_deref(), &own).to_owned();
    let file = folder.join(&chosen);
    let mut arguments = [&args.arguments[..], &more()?].concat();
    if chosen == own {
        place(folder, &own, &image)?;
    } else {
        arguments = as_far_as_known(&file, &arguments);
        let why = "an earlier version is pinned until this node boots";
        events::write(&json!({"event": "from-node", "runs": chosen, "image": own, "why": why}));
    }
    drop(image);
    let mut command = Command::new(&file);
    // A process that is called by a digest is one that nobody knows.
    command.arg0(PROGRAM).arg("--socket").arg(socket).args(&arguments);
    command.env_remove(ENV_AGENT_ARGUMENTS);
    Err(beginning::exec(&mut command)).with_context(|| format!("cannot run {}", file.display()))
}

/// The arguments that an earlier version takes; the others wait until it is not pinned any more.
fn as_far_as_known(file: &Path, arguments: &[String]) -> Vec<String> {
    let Known { kept, dropped } = known::of_program(file, arguments);
    if !dropped.is_empty() {
        let why =
            "the version that is pinned does not know these: they count from the node's next boot";
        events::write(&json!({"event": "from-node", "left_out": dropped, "why": why}));
    }
    kept
}

/// What the environment adds: a manifest that is a template has lists as one string only.
fn more() -> anyhow::Result<Vec<String>> {
    match env::var(ENV_AGENT_ARGUMENTS) {
        Ok(text) if !text.is_empty() => serde_json::from_str(&text)
            .with_context(|| format!("{ENV_AGENT_ARGUMENTS} is no JSON array of strings")),
        _ => Ok(Vec::new()),
    }
}

/// The copy to run.
fn choose<'a>(pinned: bool, recorded: Option<&'a str>, own: &'a str) -> &'a str {
    // Without a record somebody else's agent pinned: ours is refused, and says so better.
    recorded.filter(|_| pinned).unwrap_or(own)
}

fn recorded(folder: &Path) -> anyhow::Result<Option<String>> {
    let path = folder.join(RECORD);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let digest = text.trim();
            // SECURITY: it becomes a path.
            let fits = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            ensure!(fits, "{} holds no digest: remove it, and reboot", path.display());
            Ok(Some(digest.to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Puts the copy there, unless it is, and records that it is the one.
fn place(folder: &Path, digest: &str, image: &[u8]) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let path = folder.join(digest);
    if !is(&path, image) {
        write(folder, digest, image, 0o500)?;
    }
    if recorded(folder).ok().flatten().as_deref() != Some(digest) {
        write(folder, RECORD, digest.as_bytes(), 0o400)?;
    }
    Ok(())
}

/// Whether a file holds just this; a copy that was cut by a crash does not.
fn is(path: &Path, image: &[u8]) -> bool {
    let mut held = Vec::new();
    let limit = u64::try_from(image.len()).unwrap_or(u64::MAX).saturating_add(1);
    let read = fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut held));
    read.is_ok() && held == image
}

/// All of it, or nothing.
fn write(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let (new, path) = (folder.join(format!(".{name}.new")), folder.join(name));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| new.display().to_string());
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)
        .with_context(|| new.display().to_string())?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // Open for writing, it could not be executed.
    drop(file);
    fs::rename(&new, &path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn what_is_pinned_goes_on_until_the_node_boots() {
        assert_eq!(choose(true, Some("old"), "new"), "old");
        assert_eq!(choose(false, Some("old"), "new"), "new");
        assert_eq!(choose(true, None, "new"), "new");
    }

    #[test]
    fn a_copy_is_made_once_and_keeps_its_inode() {
        let folder = tempfile::tempdir().unwrap();
        let digest = "a".repeat(64);
        place(folder.path(), &digest, b"program").unwrap();
        let inode = || fs::metadata(folder.path().join(&digest)).unwrap().ino();
        let first = inode();
        place(folder.path(), &digest, b"program").unwrap();
        assert_eq!(inode(), first);
        assert_eq!(recorded(folder.path()).unwrap(), Some(digest));
    }

    #[test]
    fn a_copy_that_was_cut_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let digest = "b".repeat(64);
        fs::write(folder.path().join(&digest), b"prog").unwrap();
        place(folder.path(), &digest, b"program").unwrap();
        assert_eq!(fs::read(folder.path().join(&digest)).unwrap(), b"program");
    }

    #[test]
    fn a_record_that_leads_elsewhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["", "../../bin/sh", &"g".repeat(64)] {
            fs::write(folder.path().join(RECORD), bad).unwrap();
            assert!(recorded(folder.path()).is_err(), "{bad}");
        }
    }
}
