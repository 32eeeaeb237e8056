//! Which paths to read for the path that somebody wrote.
//!
//! KV v2 puts `data/` between mount and name, people write it or leave it out, and a path itself
//! does not tell which engine is behind it. So the mount is asked for where the token may, and where
//! it may not, both forms are tried. Pure: it is fed with what came back.
//!
//! A path with a `data` segment is read as it stands first: that is right in nearly every manifest,
//! and costs one request.

use std::collections::VecDeque;

use crate::answer::Mount;

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Ask where this path is mounted.
    FindMount,
    /// Read this path.
    Read(String),
}

/// What came of reading a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Miss {
    /// 403. The token may have the right to another form of the path.
    Forbidden,
    /// 404.
    NotFound,
}

/// The search for the path that answers.
#[derive(Debug)]
pub(crate) struct Search {
    path: String,
    steps: VecDeque<Step>,
    tried: Vec<String>,
    mount_known: bool,
}

impl Search {
    /// Begins; the mount is given where it is known from before, and `askable` says whether the
    /// token has not been refused that question before.
    pub(crate) fn new(path: &str, mount: Option<&Mount>, askable: bool) -> Self {
        let mut steps = VecDeque::new();
        match mount {
            Some(mount) => steps.extend(candidates(path, mount).into_iter().map(Step::Read)),
            None if has_data(path) => {
                steps.push_back(Step::Read(path.to_owned()));
                steps.push_back(Step::FindMount);
            }
            None => steps.push_back(Step::FindMount),
        }
        let mut search =
            Self { path: path.to_owned(), steps, tried: Vec::new(), mount_known: mount.is_some() };
        if !askable && search.steps.back() == Some(&Step::FindMount) {
            search.steps.pop_back();
            search.without_mount();
        }
        search
    }

    /// The next step, or `None` when all has been tried.
    pub(crate) fn next(&mut self) -> Option<Step> {
        let step = self.steps.pop_front()?;
        if let Step::Read(path) = &step {
            self.tried.push(path.clone());
        }
        Some(step)
    }

    /// The mount was found.
    pub(crate) fn found(&mut self, mount: &Mount) {
        self.mount_known = true;
        let wanted = candidates(&self.path, mount);
        let new = wanted.into_iter().filter(|path| !self.tried.contains(path));
        self.steps = new.map(Step::Read).collect();
    }

    /// The mount cannot be found out: both forms are tried.
    pub(crate) fn without_mount(&mut self) {
        let both = [self.path.clone(), with_data(&self.path)];
        let new = both.into_iter().filter(|path| !self.tried.contains(path));
        self.steps.extend(new.map(Step::Read));
    }

    /// Whether to go on after this path gave nothing. A refusal of the form that is surely meant
    /// is final.
    pub(crate) fn goes_on(&self, miss: Miss) -> bool {
        let sure = self.mount_known || has_data(&self.path);
        !self.steps.is_empty() && (miss == Miss::NotFound || !sure)
    }

    /// The paths read so far.
    pub(crate) fn into_tried(self) -> Vec<String> {
        self.tried
    }
}

/// The paths that may be meant, likeliest first.
fn candidates(path: &str, mount: &Mount) -> Vec<String> {
    let Some(name) = path.strip_prefix(&mount.path).filter(|_| mount.versioned) else {
        return vec![path.to_owned()];
    };
    let prefixed = format!("{}data/{name}", mount.path);
    // Parts of the engine's own interface, which may also be names of secrets.
    let own = ["config", "data", "metadata", "subkeys"];
    let first = name.split('/').next().unwrap_or("");
    if own.contains(&first) { vec![path.to_owned(), prefixed] } else { vec![prefixed] }
}

/// Whether a segment after the first is `data` and another follows.
fn has_data(path: &str) -> bool {
    path.split_once('/')
        .is_some_and(|(_, rest)| rest.starts_with("data/") || rest.contains("/data/"))
}

/// The path with `data` after the first segment, where most mounts end.
fn with_data(path: &str) -> String {
    match path.split_once('/') {
        Some((mount, name)) => format!("{mount}/data/{name}"),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(path: &str, versioned: bool) -> Mount {
        Mount { path: path.to_owned(), versioned }
    }

    fn read(path: &str) -> Option<Step> {
        Some(Step::Read(path.to_owned()))
    }

    #[test]
    fn a_path_with_data_is_read_as_it_stands_first() {
        let mut search = Search::new("kv/data/app", None, true);
        assert_eq!(search.next(), read("kv/data/app"));
        assert!(search.goes_on(Miss::NotFound) && !search.goes_on(Miss::Forbidden));
        assert_eq!(search.next(), Some(Step::FindMount));
        search.found(&mount("kv/", true));
        assert_eq!(search.next(), read("kv/data/data/app"));
        assert_eq!(search.next(), None);
        assert_eq!(search.into_tried(), ["kv/data/app", "kv/data/data/app"]);
    }

    #[test]
    fn a_path_without_data_asks_for_its_mount() {
        let mut search = Search::new("team/kv/app", None, true);
        assert_eq!(search.next(), Some(Step::FindMount));
        search.found(&mount("team/kv/", true));
        assert_eq!(search.next(), read("team/kv/data/app"));
        assert_eq!(search.next(), None);
    }

    #[test]
    fn an_unversioned_mount_is_read_as_written() {
        for path in ["kv/app", "kv/data/app", "database/creds/app"] {
            let first = path.split_once('/').unwrap().0;
            let mut search = Search::new(path, Some(&mount(&format!("{first}/"), false)), true);
            assert_eq!(search.next(), read(path));
            assert_eq!(search.next(), None);
        }
    }

    #[test]
    fn where_the_mount_is_not_told_both_forms_are_tried() {
        let mut search = Search::new("kv/app", None, true);
        assert_eq!(search.next(), Some(Step::FindMount));
        search.without_mount();
        assert_eq!(search.next(), read("kv/app"));
        assert!(search.goes_on(Miss::Forbidden) && search.goes_on(Miss::NotFound));
        assert_eq!(search.next(), read("kv/data/app"));
        assert!(!search.goes_on(Miss::NotFound));
    }

    #[test]
    fn a_token_that_may_not_ask_is_not_made_to_ask_again() {
        let mut search = Search::new("kv/app", None, false);
        assert_eq!(search.next(), read("kv/app"));
        assert_eq!(search.next(), read("kv/data/app"));
        assert_eq!(search.next(), None);
    }

    #[test]
    fn the_engines_own_parts_are_read_as_written_first() {
        let versioned = mount("kv/", true);
        assert_eq!(
            candidates("kv/metadata/app", &versioned),
            ["kv/metadata/app", "kv/data/metadata/app"]
        );
        assert_eq!(candidates("kv/database", &versioned), ["kv/data/database"]);
        assert_eq!(candidates("kv/team/data/app", &versioned), ["kv/data/team/data/app"]);
    }
}
