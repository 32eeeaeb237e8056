//! What an enrolled cluster keeps: its key, which never leaves, and what the bridge gave it.
//!
//! The key is on the disk before the invitation is shown, so that a crash between the two leaves a
//! cluster that can show it again. What the bridge gave is replaced in one step.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use cloudtaser_core::Secret;
use cloudtaser_road::admission::{Admission, AdmissionError, BeaconAddress, ClientFile};
use cloudtaser_tls::{
    Digest, TlsError,
    raw::{KeyPair, PublicKey},
};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    file::replace,
    proto::{
        credential::Certificate,
        enrol::{DayBytes, Grant},
        invitation::{Invitation, NoInvitation},
        ticket::ClientTag,
    },
};

const KEY: &str = "cluster.pem";
const ENDPOINT: &str = "endpoint.pem";
const GIVEN: &str = "cluster.json";
const NEXT: &str = "cluster.json.next";

/// The folder of an enrolled cluster.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    key: KeyPair,
}

/// What the bridge gave.
#[derive(Debug)]
pub struct Given {
    /// Where the bridge is, and with which tickets.
    pub admission: Admission,
    /// By which it lets this cluster in; none before somebody has approved it.
    pub certificate: Option<Certificate>,
}

/// Why there is no enrolled cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The disk.
    #[error("cannot read or write {}", path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has joined another bridge already.
    #[error("{} is of a cluster that joined another bridge: take another folder", .0.display())]
    Another(PathBuf),
    /// A file is not as it was written.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// The invitation.
    #[error("the invitation cannot be used")]
    Invitation(#[from] NoInvitation),
    /// What the bridge gave is not in form.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// What was kept of it is not as it was written.
    #[error("what the bridge gave is damaged")]
    Papers,
    /// The cryptography.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
}

/// What a bridge gave, in the form in which it is kept: on a disk, or wherever a cluster has place.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Papers {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    client: ClientFile,
}

impl Papers {
    /// What an invitation gives: a chance to knock.
    #[must_use]
    pub fn invited(invitation: &Invitation) -> Self {
        let beacon = |(address, domain): &(String, String)| BeaconAddress {
            address: address.clone(),
            domain: Some(domain.clone()),
            key: None,
            clients: None,
        };
        let client = ClientFile {
            bridge: invitation.bridge.to_string(),
            tag: ClientTag::to_string(&invitation.tag),
            max_tunnels: invitation.max_tunnels,
            beacon: invitation.beacons.iter().map(beacon).collect(),
            days: days(&invitation.days),
        };
        Self { certificate: None, client }
    }

    /// Takes over what the bridge gives.
    pub fn take(&mut self, grant: &Grant) {
        self.certificate = Some(HEXLOWER.encode(&grant.certificate.encode()));
        self.client.tag = grant.tag.to_string();
        self.client.max_tunnels = grant.max_tunnels;
        self.client.days = days(&grant.days);
    }

    /// Gives the certificate up, where the bridge takes it no longer.
    pub fn strike(&mut self) {
        self.certificate = None;
    }

    /// What they say.
    ///
    /// # Errors
    /// [`HomeError::Papers`], [`HomeError::Admission`].
    pub fn into_given(self) -> Result<Given, HomeError> {
        let certificate = self.certificate.map(|text| {
            let bytes = HEXLOWER.decode(text.as_bytes()).ok();
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            bytes.and_then(|bytes| Certificate::decode(&bytes)).ok_or(HomeError::Papers)
        });
        let certificate = certificate.transpose()?;
        Ok(Given { admission: Admission::new(self.client)?, certificate })
    }

    /// As they are kept.
    ///
    /// # Errors
    /// [`HomeError::Papers`], which cannot be.
    pub fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, HomeError> {
        serde_json::to_vec(self).map(Zeroizing::new).map_err(|_never| HomeError::Papers)
    }

    /// As they were kept.
    ///
    /// # Errors
    /// [`HomeError::Papers`].
    pub fn from_json(text: &[u8]) -> Result<Self, HomeError> {
        serde_json::from_slice(text).map_err(|_quotes| HomeError::Papers)
    }
}

impl Home {
    /// Opens the folder of a cluster that has joined.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn open(folder: &Path) -> Result<Self, HomeError> {
        let path = folder.join(KEY);
        let text = fs::read(&path).map_err(|source| HomeError::Disk { path, source })?;
        let key = KeyPair::from_pem(&Secret::new(text))?;
        Ok(Self { folder: folder.to_owned(), key })
    }

    /// Makes a key, where there is none, and keeps where the invitation leads.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn prepare(folder: &Path, invitation: &Invitation) -> Result<Self, HomeError> {
        let failed = |path: &Path, source| HomeError::Disk { path: path.to_owned(), source };
        let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(folder);
        made.map_err(|source| failed(folder, source))?;
        let home = Self { folder: folder.to_owned(), key: Self::key_in(folder, KEY)? };
        match home.given() {
            Ok(given) if given.admission.bridge() != invitation.bridge => {
                return Err(HomeError::Another(folder.to_owned()));
            }
            // It was let in already: what it has is more than the invitation gives.
            Ok(given) if given.certificate.is_some() => return Ok(home),
            Ok(_) => {}
            Err(HomeError::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        home.keep(&Papers::invited(invitation))?;
        Ok(home)
    }

    /// The key by which a bridge knows the address that it dials in reverse mode; made where there is
    /// none, also before the cluster has joined.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn endpoint(folder: &Path) -> Result<KeyPair, HomeError> {
        let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(folder);
        made.map_err(|source| HomeError::Disk { path: folder.to_owned(), source })?;
        Self::key_in(folder, ENDPOINT)
    }

    /// Reads a key, or makes it.
    fn key_in(folder: &Path, name: &str) -> Result<KeyPair, HomeError> {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(text) => Ok(KeyPair::from_pem(&Secret::new(text))?),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                let (key, pem) = KeyPair::generate()?;
                let written = replace(folder, name, &format!("{name}.next"), pem.expose());
                written.map_err(|source| HomeError::Disk { path, source })?;
                Ok(key)
            }
            Err(source) => Err(HomeError::Disk { path, source }),
        }
    }

    /// The cluster's key.
    #[must_use]
    pub const fn key(&self) -> &KeyPair {
        &self.key
    }

    /// What the bridge gave last.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn given(&self) -> Result<Given, HomeError> {
        self.read()?.into_given().map_err(|error| self.placed(error))
    }

    /// Keeps what the bridge gave, and says what it is.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn take(&self, grant: &Grant) -> Result<Given, HomeError> {
        let mut papers = self.read()?;
        papers.take(grant);
        self.keep(&papers)?;
        self.given()
    }

    fn read(&self) -> Result<Papers, HomeError> {
        let path = self.folder.join(GIVEN);
        let text = fs::read(&path).map(Zeroizing::new);
        let text = text.map_err(|source| HomeError::Disk { path, source })?;
        Papers::from_json(&text).map_err(|error| self.placed(error))
    }

    fn keep(&self, papers: &Papers) -> Result<(), HomeError> {
        let path = self.folder.join(GIVEN);
        let text = papers.to_json()?;
        replace(&self.folder, GIVEN, NEXT, &text).map_err(|source| HomeError::Disk { path, source })
    }

    /// Says which file it is that is damaged.
    fn placed(&self, error: HomeError) -> HomeError {
        match error {
            HomeError::Papers => HomeError::Damaged(self.folder.join(GIVEN)),
            other => other,
        }
    }
}

fn days(days: &[(u32, DayBytes)]) -> BTreeMap<String, String> {
    let day = |(day, key): &(u32, DayBytes)| (day.to_string(), HEXLOWER.encode(key.expose()));
    days.iter().map(day).collect()
}

/// Reads an invitation.
///
/// # Errors
/// [`HomeError`].
pub fn invitation(text: &str) -> Result<Invitation, HomeError> {
    Ok(Invitation::parse(Digest::new()?, text)?)
}

/// Whether the bridge that wrote a certificate is the one that was expected, and it is this key's.
#[must_use]
pub fn fits(grant: &Grant, bridge: &PublicKey, key: &PublicKey, now: u64) -> bool {
    grant.certificate.cluster == *key && grant.certificate.check(bridge, now).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::enrol::{InvitationId, InvitationSecret};

    fn invitation(bridge: PublicKey) -> Invitation {
        Invitation {
            bridge,
            id: InvitationId([1; 16]),
            secret: InvitationSecret::new([2; 32]),
            not_after: 3,
            tag: ClientTag([4; 8]),
            max_tunnels: 2,
            beacons: vec![("127.0.0.1:1".to_owned(), "a.example".to_owned())],
            days: vec![(5, DayBytes::new([6; 32]))],
        }
    }

    #[test]
    fn a_key_is_made_once_and_the_grant_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("cluster");
        let (bridge, _) = KeyPair::generate().unwrap();
        let invitation = invitation(bridge.public());
        let home = Home::prepare(&folder, &invitation).unwrap();
        let again = Home::prepare(&folder, &invitation).unwrap();
        assert_eq!(home.key().public(), again.key().public());
        assert!(home.given().unwrap().certificate.is_none());
        let key = home.key().public();
        let certificate = Certificate::issue(&bridge, key, [7; 16], (0, 100)).unwrap();
        let days = vec![(8, DayBytes::new([9; 32]))];
        let grant = Grant { certificate, tag: ClientTag([1; 8]), max_tunnels: 9, days };
        assert!(fits(&grant, &bridge.public(), &key, 50));
        assert!(!fits(&grant, &key, &key, 50));
        home.take(&grant).unwrap();
        let given = Home::open(&folder).unwrap().given().unwrap();
        assert_eq!(given.certificate, Some(certificate));
        // A half-written file beside it changes nothing; the invitation takes nothing back.
        fs::write(folder.join(NEXT), "{").unwrap();
        let given = Home::prepare(&folder, &invitation).unwrap().given().unwrap();
        assert_eq!(given.certificate, Some(certificate));
    }

    #[test]
    fn a_folder_is_of_one_bridge() {
        let folder = tempfile::tempdir().unwrap();
        let bridge = || KeyPair::generate().unwrap().0.public();
        Home::prepare(folder.path(), &invitation(bridge())).unwrap();
        let other = Home::prepare(folder.path(), &invitation(bridge()));
        assert!(matches!(other, Err(HomeError::Another(_))));
    }
}
