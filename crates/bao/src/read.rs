//! Reading secrets: one answer for one source, however its path is spelled.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::PoisonError,
};

use cloudtaser_core::{Secret, reference::Source};

use crate::{
    answer::{self, Answer, Lease, Mount, Session},
    client::Client,
    deadline::Deadline,
    error::{BaoError, Failure, Operation},
    kv::{Miss, Search, Step},
    request::Request,
};

/// What is known about mounts: those found, and the first segments that may not be asked about.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    found: Vec<Mount>,
    refused: BTreeSet<String>,
}

impl Client {
    /// Reads a path, or writes to it where the source says so, and gives what came back.
    ///
    /// # Errors
    /// [`BaoError`].
    pub fn read(
        &self,
        session: &Session,
        source: &Source,
        deadline: &Deadline,
    ) -> Result<Answer, BaoError> {
        let path = source.path.as_str();
        match &source.write {
            Some(body) => {
                let body = Secret::new(body.as_bytes().to_vec());
                let request = Request::post(Operation::Write, path.to_owned(), body);
                self.answer(&request, session, deadline)
            }
            None => self.search(session, path, source.version, deadline),
        }
    }

    fn search(
        &self,
        session: &Session,
        path: &str,
        version: Option<u32>,
        deadline: &Deadline,
    ) -> Result<Answer, BaoError> {
        let mut search = {
            let mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
            let known = mounts.found.iter().filter(|mount| path.starts_with(&mount.path));
            let known = known.max_by_key(|mount| mount.path.len());
            Search::new(path, known, !mounts.refused.contains(first_segment(path)))
        };
        let mut last: Option<BaoError> = None;
        while let Some(step) = search.next() {
            let candidate = match step {
                Step::FindMount => {
                    match self.find_mount(session, path, deadline)? {
                        Some(mount) => search.found(&mount),
                        None => search.without_mount(),
                    }
                    continue;
                }
                Step::Read(candidate) => candidate,
            };
            let request = Request::get(Operation::Read, candidate).version(version);
            let error = match self.answer(&request, session, deadline) {
                Ok(answer) if version.is_some() && answer.version.is_none() => {
                    let failure = Failure::Shape("a version is asked for where there are none");
                    return Err(BaoError::new(Operation::Read, Some(request.place()), failure));
                }
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let miss = match (&*error.failure, error.status()) {
                (Failure::NotFound { .. }, _) => Miss::NotFound,
                (_, Some(403)) => Miss::Forbidden,
                _ => return Err(error),
            };
            // A refusal tells more than an absence: the token may not even see whether it is there.
            let goes_on = search.goes_on(miss);
            let keeps = last.as_ref().is_some_and(|last| last.status() == Some(403));
            if !keeps || miss == Miss::Forbidden {
                last = Some(error);
            }
            if !goes_on {
                break;
            }
        }
        Err(last.map_or_else(
            || BaoError::new(Operation::Read, None, Failure::Shape("there was nothing to try")),
            |error| nowhere(error, path, search.into_tried()),
        ))
    }

    /// Where a path is mounted, or `None` where the token may not know.
    fn find_mount(
        &self,
        session: &Session,
        path: &str,
        deadline: &Deadline,
    ) -> Result<Option<Mount>, BaoError> {
        let request = Request::get(Operation::Read, format!("sys/internal/ui/mounts/{path}"));
        match self.ask(&request, Some(session.token()), deadline, answer::mount) {
            Ok(mount) => {
                let mut mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
                mounts.found.push(mount.clone());
                Ok(Some(mount))
            }
            Err(error) if error.status().is_some_and(|status| status < 500) => {
                let mut mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
                mounts.refused.insert(first_segment(path).to_owned());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn answer(
        &self,
        request: &Request,
        session: &Session,
        deadline: &Deadline,
    ) -> Result<Answer, BaoError> {
        let path = request.place().path;
        self.ask(request, Some(session.token()), deadline, |text| answer::parse(text, path))
    }
}

/// Names the likeliest path first where nothing was found, and then the others.
fn nowhere(mut error: BaoError, path: &str, paths: Vec<String>) -> BaoError {
    if let Failure::NotFound { tried, written, .. } = &mut *error.failure {
        if let (Some(place), Some(likeliest)) = (&mut error.place, paths.first()) {
            place.path.clone_from(likeliest);
        }
        *written = (!paths.iter().any(|tried| tried == path)).then(|| path.to_owned());
        *tried = paths;
    }
    error
}

fn first_segment(path: &str) -> &str {
    path.split('/').next().unwrap_or("")
}

/// Answers that were read once, so that whatever is taken from one source is of one moment: a user
/// name and its password, a certificate and its key.
#[derive(Debug, Default)]
pub struct ReadSet {
    answers: BTreeMap<Source, Answer>,
}

impl ReadSet {
    /// An empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { answers: BTreeMap::new() }
    }

    /// The answer of a source, which is asked only the first time.
    ///
    /// # Errors
    /// [`BaoError`]; a failure is not kept.
    pub fn read(
        &mut self,
        client: &Client,
        session: &Session,
        source: &Source,
        deadline: &Deadline,
    ) -> Result<&Answer, BaoError> {
        match self.answers.entry(source.clone()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => Ok(new.insert(client.read(session, source, deadline)?)),
        }
    }

    /// The answer of a source that was read before.
    #[must_use]
    pub fn get(&self, source: &Source) -> Option<&Answer> {
        self.answers.get(source)
    }

    /// All answers.
    pub fn answers(&self) -> impl Iterator<Item = (&Source, &Answer)> {
        self.answers.iter()
    }

    /// All leases.
    pub fn leases(&self) -> impl Iterator<Item = (&Source, &Lease)> {
        self.answers.iter().filter_map(|(source, answer)| Some((source, answer.lease.as_ref()?)))
    }
}
