//! The node's own key, by which the agent signs what it is worth.
//!
//! Made at the first start and kept in a file of root's. That is a key in software: whoever is root
//! before the agent enforces, or reads the disk, can take a copy and sign anything with it. It tells
//! nodes apart and keeps everybody else from speaking for one; it proves nothing about the machine.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use cloudtaser_core::node::{Hash, signed_bytes};
use data_encoding::HEXLOWER;
use ed25519_dalek::{Signer as _, SigningKey};
use nix::libc;
use zeroize::Zeroizing;

use crate::host;

/// 64 digits and the end of the line.
const FILE_LEN: usize = 65;

/// What `node-key` is asked.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NodeKeyArgs {
    /// Where the key is kept.
    #[arg(long, value_name = "FILE", default_value = cloudtaser_core::names::AGENT_NODE_KEY)]
    node_key: PathBuf,
    /// Make the key where there is none; otherwise the agent does at its start.
    #[arg(long)]
    make: bool,
}

/// The key.
pub(crate) struct NodeKey(SigningKey);

impl NodeKey {
    /// Reads the key, or makes it where there is none; whether it was made.
    pub(crate) fn open_or_make(path: &Path) -> anyhow::Result<(Self, bool)> {
        let made = match make(path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", path.display()));
            }
        };
        Ok((Self::open(path)?, made))
    }

    /// Reads the key.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(path).with_context(|| format!("cannot read {shown}"))?;
        let data = file.metadata()?;
        let is_mine = data.is_file() && data.uid() == nix::unistd::geteuid().as_raw();
        // SECURITY: what another could read is another's key as well.
        ensure!(
            is_mine && data.mode() & 0o077 == 0,
            "{shown} is not a file of root's alone: remove it, and name the new key in the policy"
        );
        let mut text = Zeroizing::new([0; FILE_LEN]);
        file.read_exact(&mut *text).with_context(|| format!("{shown} holds no key"))?;
        let mut seed = Zeroizing::new([0; 32]);
        match text.split_last() {
            Some((b'\n', digits)) if HEXLOWER.decode_mut(digits, &mut *seed).is_ok() => {}
            _ => bail!("{shown} holds no key"),
        }
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The public half.
    pub(crate) fn public(&self) -> Hash {
        Hash::new(self.0.verifying_key().to_bytes())
    }

    /// Signs a statement; the signature in hexadecimal.
    pub(crate) fn sign(&self, text: &str) -> String {
        HEXLOWER.encode(&self.0.sign(&signed_bytes(text)).to_bytes())
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeKey").field(&self.public()).finish()
    }
}

/// Prints what a release policy needs to know of this node.
pub(crate) fn print(args: &NodeKeyArgs) -> anyhow::Result<()> {
    let key = if args.make {
        NodeKey::open_or_make(&args.node_key)?.0
    } else {
        NodeKey::open(&args.node_key)?
    };
    let name = host::name();
    let text = format!("[[node]]\nname = {name:?}\nkey = \"{}\"\n", key.public());
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// Whole or not at all: a key that was cut by a crash would be another one for ever.
fn make(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut seed = Zeroizing::new([0; 32]);
    File::open("/dev/urandom")?.read_exact(&mut *seed)?;
    let text = Zeroizing::new(HEXLOWER.encode(&*seed));
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    // A link to a name that is there fails: of two that start at once, one key stays.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    linked?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use ed25519_dalek::{Signature, VerifyingKey};

    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/node.key");
        assert!(NodeKey::open(&path).is_err());
        let (key, made) = NodeKey::open_or_make(&path).unwrap();
        assert!(made);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let (again, made) = NodeKey::open_or_make(&path).unwrap();
        assert_eq!((again.public(), made), (key.public(), false));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(!format!("{key:?}").contains(fs::read_to_string(&path).unwrap().trim()));
        let text = "a statement";
        let signature: [u8; 64] =
            HEXLOWER.decode(key.sign(text).as_bytes()).unwrap().try_into().unwrap();
        let public = VerifyingKey::from_bytes(key.public().as_bytes()).unwrap();
        let signature = Signature::from_bytes(&signature);
        assert!(public.verify_strict(&signed_bytes(text), &signature).is_ok());
    }

    #[test]
    fn a_key_that_others_can_read_a_link_and_half_a_key_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        drop(NodeKey::open_or_make(&path).unwrap());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(NodeKey::open_or_make(&link).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(NodeKey::open(&path).unwrap_err().to_string().contains("root's alone"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let whole = fs::read(&path).unwrap();
        for bad in [&whole[..64], &[&whole[1..64], b"z\n"].concat(), b"", &[b'0'; 65]] {
            fs::write(&path, bad).unwrap();
            assert!(NodeKey::open(&path).unwrap_err().to_string().contains("holds no key"));
        }
    }
}
