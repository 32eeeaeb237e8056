//! Whether a rule by path is about a path.

/// What a rule names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pattern<'a> {
    /// One file.
    Exactly(&'a str),
    /// What lies in a folder.
    Folder { path: &'a str, recursive: bool },
    /// A glob.
    Glob(&'a str),
    /// A program, wherever it lies.
    Name(&'a str),
}

impl Pattern<'_> {
    /// Whether it is about a path. A path that ends with `/` is a folder, all of which is meant.
    pub(crate) fn covers(&self, path: &str) -> bool {
        match self {
            Self::Exactly(own) => *own == path,
            Self::Folder { path: own, recursive } => {
                let own = own.trim_end_matches('/');
                let Some(rest) = path.strip_prefix(own).and_then(|rest| rest.strip_prefix('/'))
                else {
                    return false;
                };
                *recursive || (!rest.contains('/') && !path.ends_with('/'))
            }
            Self::Glob(glob) => glob_matches(glob.as_bytes(), path.as_bytes()),
            Self::Name(name) => path.rsplit('/').next() == Some(*name),
        }
    }

    /// Whether it is about everything in a folder, and not about a file or two of it.
    pub(crate) fn covers_all(&self, folder: &str) -> bool {
        match self {
            Self::Folder { .. } => self.covers(folder),
            Self::Glob(_) => {
                ["x", "1/x", "y/z/x"].iter().all(|name| self.covers(&format!("{folder}{name}")))
            }
            Self::Exactly(_) | Self::Name(_) => false,
        }
    }
}

/// A glob as AppArmor has it: `*` stays in its folder, `**` does not.
pub(crate) fn glob_matches(glob: &[u8], path: &[u8]) -> bool {
    // Positions to go back to: behind a star, and where it stopped. One for each kind is enough.
    let (mut at, mut on) = (0, 0);
    let mut back: [Option<(usize, usize)>; 2] = [None, None];
    loop {
        match (glob.get(at), path.get(on)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                let deep = glob.get(at + 1) == Some(&b'*');
                at += if deep { 2 } else { 1 };
                if deep {
                    back = [Some((at, on)), None];
                } else {
                    back[1] = Some((at, on));
                }
                continue;
            }
            (Some(b'?'), Some(letter)) if *letter != b'/' => {
                (at, on) = (at + 1, on + 1);
                continue;
            }
            (Some(own), Some(letter)) if own == letter => {
                (at, on) = (at + 1, on + 1);
                continue;
            }
            _ => {}
        }
        match back {
            [_, Some((behind, stopped))] if path.get(stopped).is_some_and(|byte| *byte != b'/') => {
                back[1] = Some((behind, stopped + 1));
                (at, on) = (behind, stopped + 1);
            }
            [Some((behind, stopped)), _] if stopped < path.len() => {
                back = [Some((behind, stopped + 1)), None];
                (at, on) = (behind, stopped + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: &str = "/cloudtaser/bin/cloudtaser-wrapper";

    #[test]
    fn a_folder_covers_its_files_and_deeper_ones_only_recursively() {
        let folder = |path, recursive| Pattern::Folder { path, recursive };
        assert!(folder("/cloudtaser/bin/", false).covers(W));
        assert!(!folder("/cloudtaser/", false).covers(W));
        assert!(folder("/cloudtaser/", true).covers(W));
        assert!(folder("/", true).covers(W));
        assert!(!folder("/cloud", true).covers(W), "a folder is no prefix of letters");
        assert!(folder("/proc/", true).covers("/proc/self/"));
        assert!(!folder("/proc/", false).covers("/proc/self/"));
    }

    #[test]
    fn globs_stay_in_their_folder_unless_doubled() {
        for (glob, path, matches) in [
            ("/cloudtaser/*/cloudtaser-*", W, true),
            ("/cloudtaser/*", W, false),
            ("/cloudtaser/**", W, true),
            ("/**/cloudtaser-wrapper", W, true),
            ("/*/bin/?loudtaser-wrapper", W, true),
            ("/tmp/*", W, false),
            ("**", W, true),
            ("", W, false),
            ("/a*b*c", "/axxbyyc", true),
            ("/a*b*c", "/axx/byyc", false),
            ("/**b/*c", "/a/b/xb/c", true),
        ] {
            assert_eq!(glob_matches(glob.as_bytes(), path.as_bytes()), matches, "{glob} {path}");
        }
    }

    #[test]
    fn a_program_is_known_by_its_name_alone() {
        assert!(Pattern::Name("cloudtaser-wrapper").covers(W));
        assert!(!Pattern::Name("wrapper").covers(W));
    }
}
