//! The keys of an issuer, as its file has them at the moment: Kubernetes replaces them now and then,
//! and nobody restarts a bridge for that.
//!
//! SECURITY: the file is all that is believed. A cluster that could tell the bridge its new keys by
//! the road itself could give them for any keys (docs/adr/0051): what it shows by the road waits for a
//! person, whose verb writes the file (docs/adr/0059).
//!
//! Invariant: a file that cannot be used changes nothing; a key that is no longer in it is of no use
//! to a login that comes after that was seen.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use cloudtaser_road::{issuer::KeySet, jwks::Jwks};
use tracing::{info, warn};

use super::{Releaser, config::Issuer};
use crate::{file::ConfigError, log::chain, proto::enrol::Belief};

/// A set of a hundred RSA keys has 60 KiB.
const MAX_LEN: u64 = 1 << 20;

/// The keys of one issuer.
#[derive(Debug)]
pub struct IssuerKeys {
    path: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    keys: Arc<Jwks>,
    /// What was looked at last, also where it could not be used.
    stamp: Option<Stamp>,
}

/// What is another after each change of a file: device, number, size, and both times.
type Stamp = [i128; 5];

/// Whether a file that looks as before is read as well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Look {
    /// It is.
    Anew,
    /// It is not.
    IfChanged,
}

/// What is different now.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// Keys that are believed from now on.
    pub added: Vec<String>,
    /// Keys that are not believed any more.
    pub gone: Vec<String>,
}

impl Change {
    /// The way from one set to another; `None` where both have the same keys.
    #[must_use]
    pub fn between(old: &Jwks, new: &Jwks) -> Option<Self> {
        let names = |keys: Vec<_>| keys.into_iter().map(ToString::to_string).collect();
        let change = Self { added: names(new.beyond(old)), gone: names(old.beyond(new)) };
        (change != Self::default()).then_some(change)
    }
}

impl IssuerKeys {
    /// Reads a file for the first time.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let held = Held { keys: Arc::default(), stamp: None };
        let keys = Self { path: path.to_owned(), held: Mutex::new(held) };
        keys.look(Look::Anew)?;
        Ok(keys)
    }

    /// Reads a file that may not be there yet: nobody's tokens are believed by it until it is.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read_or_await(path: &Path) -> Result<Self, ConfigError> {
        match Self::read(path) {
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let held = Held { keys: Arc::default(), stamp: None };
                Ok(Self { path: path.to_owned(), held: Mutex::new(held) })
            }
            read => read,
        }
    }

    /// Keys of no file, which stay as they are.
    #[cfg(any(test, fuzzing))]
    pub(super) fn fixed(keys: Jwks) -> Self {
        let held = Held { keys: Arc::new(keys), stamp: None };
        Self { path: PathBuf::new(), held: Mutex::new(held) }
    }

    /// As they are now.
    #[must_use]
    pub fn now(&self) -> Arc<Jwks> {
        Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner).keys)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file; what has changed in it, if anything has.
    ///
    /// # Errors
    /// [`ConfigError`], once for each state of the file that cannot be used.
    pub fn look(&self, look: Look) -> Result<Option<Change>, ConfigError> {
        let failed = |source| ConfigError::Read { path: self.path.clone(), source };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it is read: what is written meanwhile is another state.
        let stamp = stamp(&self.path);
        if look == Look::IfChanged && stamp.as_ref().ok() == held.stamp.as_ref() {
            return Ok(None);
        }
        held.stamp = stamp.as_ref().ok().copied();
        stamp.map_err(failed)?;
        let new = parse(&content(&self.path).map_err(failed)?)?;
        let change = Change::between(&held.keys, &new);
        held.keys = Arc::new(new);
        Ok(change)
    }
}

/// Puts another set in the place of an issuer's, in one step. Whoever may read the old one may read
/// the new one: it is not a bridge's own user who does this.
///
/// # Errors
/// [`ConfigError`].
pub fn replace_file(path: &Path, text: &[u8]) -> Result<(), ConfigError> {
    parse(text)?;
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut aside = path.as_os_str().to_owned();
    aside.push(".next");
    let written = || {
        // Where there is none yet, whoever has the folder has the file.
        let (old, mode) = match fs::metadata(path) {
            Err(none) if none.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                (
                    fs::metadata(folder.unwrap_or_else(|| Path::new(".")))?,
                    Permissions::from_mode(0o600),
                )
            }
            old => old.map(|old| (old.clone(), old.permissions()))?,
        };
        let mut file = File::create(&aside)?;
        file.write_all(text)?;
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(mode)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    written().map_err(failed)
}

/// Reads the text of a set.
///
/// # Errors
/// [`ConfigError::Missing`] where no key of it can be used.
pub fn parse(text: &[u8]) -> Result<Jwks, ConfigError> {
    Jwks::parse(text).ok_or(ConfigError::Missing(
        "the jwks_file of an issuer has no key for signatures of RS256 or ES256: it is to be what \
         `kubectl get --raw /openid/v1/jwks` prints",
    ))
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_LEN).read_to_end(&mut text)?;
    Ok(text)
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = fs::metadata(path)?;
    let time = |seconds: i64, nanoseconds: i64| {
        i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
    };
    Ok([
        found.dev().into(),
        found.ino().into(),
        found.size().into(),
        time(found.mtime(), found.mtime_nsec()),
        time(found.ctime(), found.ctime_nsec()),
    ])
}

/// Of the issuers that are a cluster's, those of this name: their keys may be others.
pub fn issuers_of<'a>(
    issuers: &'a [Issuer],
    client: &str,
    shown: &KeySet,
) -> impl Iterator<Item = &'a Issuer> {
    let (client, name) = (client.to_owned(), shown.issuer().to_owned());
    issuers.iter().filter(move |issuer| issuer.client == client && issuer.issuer == name)
}

/// Whether what a cluster shows is what is believed.
#[must_use]
pub fn belief(issuers: &[Issuer], client: &str, shown: &KeySet) -> Belief {
    let mut belief = Belief::NoIssuer;
    for issuer in issuers_of(issuers, client, shown) {
        if KeySet::new(shown.issuer(), &issuer.keys.now()).as_ref() != Ok(shown) {
            return Belief::Waits;
        }
        belief = Belief::Believed;
    }
    belief
}

impl Releaser {
    /// Whether what a cluster shows of its issuer is what is believed at this moment. Reads files.
    #[must_use]
    pub fn belief(&self, client: &str, shown: &KeySet) -> Belief {
        self.look_at_keys(Look::IfChanged);
        belief(&self.config.issuers, client, shown)
    }

    /// Looks at the keys of all issuers, and says what came of it.
    pub fn look_at_keys(&self, look: Look) {
        for issuer in &self.config.issuers {
            match issuer.keys.look(look) {
                Ok(None) => {}
                Ok(Some(Change { added, gone })) => {
                    let (added, gone) = (added.join(", "), gone.join(", "));
                    info!(
                        issuer = issuer.name,
                        added, gone, "the keys of an issuer were read anew"
                    );
                }
                Err(error) => {
                    let error = chain(&error);
                    warn!(issuer = issuer.name, error, "the keys of an issuer stay as they were");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA: &str = r#"{"kty":"RSA","kid":"old","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"new","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    fn set(keys: &[&str]) -> String {
        format!("{{\"keys\":[{}]}}", keys.join(","))
    }

    fn names(keys: &IssuerKeys) -> Vec<String> {
        keys.now().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_put_into_the_file_is_believed_and_what_is_taken_out_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        fs::write(&path, set(&[RSA])).unwrap();
        let keys = IssuerKeys::read(&path).unwrap();
        assert_eq!(keys.look(Look::IfChanged).unwrap(), None);
        replace_file(&path, set(&[RSA, EC]).as_bytes()).unwrap();
        let change = keys.look(Look::IfChanged).unwrap().unwrap();
        assert_eq!((change.added, change.gone), (vec!["new (ES256)".to_owned()], vec![]));
        replace_file(&path, set(&[EC]).as_bytes()).unwrap();
        let change = keys.look(Look::IfChanged).unwrap().unwrap();
        assert_eq!((change.added, change.gone), (vec![], vec!["old (RS256)".to_owned()]));
        assert_eq!(names(&keys), ["new (ES256)"]);
    }

    #[test]
    fn who_may_read_the_file_may_read_its_successor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        fs::write(&path, set(&[RSA])).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        replace_file(&path, set(&[EC]).as_bytes()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left over");
    }

    #[test]
    fn a_file_that_cannot_be_used_changes_nothing_and_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        fs::write(&path, set(&[RSA])).unwrap();
        let keys = IssuerKeys::read(&path).unwrap();
        let whole = set(&[RSA, EC]);
        let (half, _) = whole.split_at(whole.len() / 2);
        for broken in ["", half, "{\"keys\":[]}"] {
            fs::remove_file(&path).unwrap();
            assert!(keys.look(Look::IfChanged).is_err(), "it is not there");
            assert_eq!(keys.look(Look::IfChanged).unwrap(), None, "told once");
            fs::write(&path, broken).unwrap();
            assert!(keys.look(Look::IfChanged).is_err(), "{broken}");
            assert_eq!(keys.look(Look::IfChanged).unwrap(), None, "told once");
            assert!(keys.look(Look::Anew).is_err(), "and to whom asks");
            assert_eq!(names(&keys), ["old (RS256)"]);
            assert!(replace_file(&path, broken.as_bytes()).is_err());
        }
        assert!(IssuerKeys::read(&path).is_err(), "at the start it has to be there");
    }

    #[test]
    fn a_file_that_nobody_wrote_yet_is_waited_for_where_it_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jwks.json");
        let keys = IssuerKeys::read_or_await(&path).unwrap();
        assert_eq!(keys.look(Look::IfChanged).unwrap(), None, "that is no news");
        assert!(names(&keys).is_empty());
        replace_file(&path, set(&[EC]).as_bytes()).unwrap();
        let change = keys.look(Look::IfChanged).unwrap().unwrap();
        assert_eq!(change.added, ["new (ES256)"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "{").unwrap();
        assert!(IssuerKeys::read_or_await(&path).is_err(), "one that is broken is not waited for");
    }

    #[test]
    fn the_name_of_a_key_is_shown_without_what_a_terminal_would_obey() {
        let odd = EC.replace("\"new\"", "\"a\\u001b[2Jb\"");
        let keys = IssuerKeys::fixed(parse(set(&[&odd]).as_bytes()).unwrap());
        assert_eq!(names(&keys), ["a\\u{1b}[2Jb (ES256)"]);
    }
}
