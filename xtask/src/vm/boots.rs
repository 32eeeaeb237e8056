//! Which machines are booted, and what each must say.

use super::{kernels, qemu};

/// How much is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Matrix {
    /// What an ordinary node boots with.
    Usual,
    /// And what degrades the agent, what a node is rarely asked for, and other people's programs.
    Full,
}

/// What becomes of the result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Document {
    /// It is printed.
    Leave,
    /// It also renews the document.
    Write,
}

/// What the arguments of the verb ask for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Wanted {
    pub(super) matrix: Matrix,
    pub(super) document: Document,
    /// Boots whose name holds each of these; an empty list is all.
    only: Vec<String>,
    /// A machine that was run with the same kernel, files and parameters is not run again.
    pub(super) keeps: bool,
}

impl Wanted {
    /// What CI runs.
    pub(crate) fn usual() -> Self {
        Self { matrix: Matrix::Usual, document: Document::Leave, only: Vec::new(), keeps: false }
    }

    /// Reads the arguments of the verb.
    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let (verb, mut flags) = arguments.split_first()?;
        let mut wanted = Self::usual();
        while let Some((flag, rest)) = flags.split_first() {
            flags = rest;
            match flag.as_str() {
                "--full" => wanted.matrix = Matrix::Full,
                "--keep" => wanted.keeps = true,
                "--write" => wanted.document = Document::Write,
                "--only" => {
                    let (words, rest) = flags.split_first()?;
                    wanted.only.push(words.clone());
                    flags = rest;
                }
                _ => return None,
            }
        }
        // A document of some boots would speak for all.
        let whole = wanted.only.is_empty() || wanted.document == Document::Leave;
        (verb == "test" && whole).then_some(wanted)
    }

    /// The boots that are asked for, kernel by kernel.
    pub(super) fn boots(&self) -> Vec<(&'static str, &'static Boot)> {
        let all = kernels::KERNELS.iter().chain(kernels::REAL_TIME);
        let all = all.flat_map(|meta| {
            BOOTS.iter().filter(|boot| boot.kind.has(meta)).map(move |boot| (*meta, boot))
        });
        all.filter(|(_, boot)| boot.matrix == Matrix::Usual || self.matrix == Matrix::Full)
            .filter(|(meta, boot)| {
                let name = boot.place(meta);
                self.only.iter().all(|words| name.contains(words))
            })
            .collect()
    }
}

/// The kernels that a boot is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Cloud,
    /// The newest of those.
    Newest,
    /// All the others of them.
    Older,
    RealTime,
}

impl Kind {
    fn has(self, meta: &&'static str) -> bool {
        let cloud = kernels::KERNELS.contains(meta);
        let newest = kernels::KERNELS.last() == Some(meta);
        match self {
            Self::Cloud => cloud,
            Self::Newest => newest,
            Self::Older => cloud && !newest,
            Self::RealTime => kernels::REAL_TIME.contains(meta),
        }
    }
}

/// What is done in the machine: the first word of the guest program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Work {
    /// Every road, by root and by the same user, without and with the agent; all that outlives it.
    Attacks,
    /// Ten thousand processes, bombs, numbers used again, threads; processes of odd kinds.
    Crowds,
    /// The tier that kills: what those who are killed had by then.
    Killed,
    /// Other products on the same hooks, before the agent and after it, and loaders of images.
    Beside,
    /// Debuggers and tracers as Debian has them, and what node software does all day.
    Tools,
    /// Firmware that measures, and a TPM: what is released is bound to both, and proved to others.
    Measured,
}

impl Work {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Attacks => "run",
            Self::Crowds => "crowds",
            Self::Killed => "killed",
            Self::Beside => "beside",
            Self::Tools => "tools",
            Self::Measured => "measured",
        }
    }

    /// Which takes longer than which, by some seconds more or less.
    pub(super) const fn length(self) -> u32 {
        match self {
            Self::Killed => 1,
            Self::Beside => 2,
            Self::Crowds => 3,
            Self::Attacks => 4,
            Self::Tools | Self::Measured => 5,
        }
    }

    /// MiB of memory.
    pub(super) const fn memory(self) -> u32 {
        match self {
            Self::Attacks | Self::Beside | Self::Killed => qemu::MEMORY,
            // OpenBao, beside the archive that it came in.
            Self::Crowds | Self::Measured => 2 * qemu::MEMORY,
            // Debuggers and tracers come with half a gigabyte of libraries.
            Self::Tools => 4 * qemu::MEMORY,
        }
    }
}

/// One way to boot, and what the agent must say of it.
#[derive(Debug)]
pub(super) struct Boot {
    /// The column's name: the tier, and what is unusual.
    pub(super) name: &'static str,
    pub(super) matrix: Matrix,
    kind: Kind,
    pub(super) work: Work,
    pub(super) lsm: &'static str,
    /// Further parameters of the kernel.
    pub(super) more: &'static str,
    /// How the state begins.
    pub(super) expected: &'static str,
}

impl Boot {
    /// The command line of its kernel.
    pub(super) fn parameters(&self) -> String {
        let Self { lsm, more, expected, work, .. } = self;
        format!("lsm={lsm} {more} CT_WORK={} CT_EXPECT=\"{expected}\"", work.as_str())
    }

    /// A name for its files and for `--only`.
    pub(super) fn place(&self, meta: &str) -> String {
        format!("{meta}-{}", self.name.replace(", ", "-"))
    }
}

/// The active LSMs of Debian, and all of them but the one that matters here.
pub(super) const WITH_BPF: &str = "landlock,lockdown,yama,integrity,apparmor,bpf";
const WITHOUT_BPF: &str = "landlock,lockdown,yama,integrity,apparmor";

/// KERNEL: 6.1 has no `memfd_secret` unless it is asked for.
const SEALED: &str = "secretmem.enable=1";

const fn usual(name: &'static str, lsm: &'static str, expected: &'static str) -> Boot {
    let (matrix, kind, work, more) = (Matrix::Usual, Kind::Cloud, Work::Attacks, SEALED);
    Boot { name, matrix, kind, work, lsm, more, expected }
}

pub(super) const BOOTS: &[Boot] = &[
    usual("lsm", WITH_BPF, "ENFORCING(lsm)"),
    usual("fmod_ret", WITHOUT_BPF, "ENFORCING(fmod_ret)"),
    Boot { work: Work::Beside, ..usual("lsm, beside others", WITH_BPF, "ENFORCING(lsm)") },
    Boot {
        kind: Kind::Newest,
        work: Work::Beside,
        ..usual("fmod_ret, beside others", WITHOUT_BPF, "ENFORCING(fmod_ret)")
    },
    Boot { work: Work::Killed, ..usual("kprobe", WITH_BPF, "DEGRADED(kprobe:") },
    Boot {
        kind: Kind::Newest,
        work: Work::Crowds,
        ..usual("lsm, crowds", WITH_BPF, "ENFORCING(lsm)")
    },
    Boot {
        kind: Kind::Newest,
        work: Work::Measured,
        ..usual("lsm, measured", WITH_BPF, "ENFORCING(lsm)")
    },
    Boot {
        matrix: Matrix::Full,
        kind: Kind::Older,
        work: Work::Crowds,
        ..usual("lsm, crowds", WITH_BPF, "ENFORCING(lsm)")
    },
    Boot {
        matrix: Matrix::Full,
        more: "secretmem.enable=1 preempt=full",
        ..usual("lsm, preempt=full", WITH_BPF, "ENFORCING(lsm)")
    },
    Boot {
        matrix: Matrix::Full,
        more: "secretmem.enable=1 preempt=full",
        ..usual("fmod_ret, preempt=full", WITHOUT_BPF, "DEGRADED(fmod_ret:")
    },
    Boot {
        matrix: Matrix::Full,
        more: "secretmem.enable=1 lockdown=confidentiality",
        ..usual("lsm, lockdown=confidentiality", WITH_BPF, "DEGRADED(lsm: no hook")
    },
    Boot {
        matrix: Matrix::Full,
        more: "secretmem.enable=0",
        ..usual("lsm, secretmem off", WITH_BPF, "ENFORCING(lsm)")
    },
    Boot {
        matrix: Matrix::Full,
        work: Work::Tools,
        ..usual("lsm, tools", WITH_BPF, "ENFORCING(lsm)")
    },
    Boot { matrix: Matrix::Full, kind: Kind::RealTime, ..usual("lsm", WITH_BPF, "ENFORCING(lsm)") },
    Boot {
        matrix: Matrix::Full,
        kind: Kind::RealTime,
        ..usual("fmod_ret", WITHOUT_BPF, "DEGRADED(fmod_ret:")
    },
];

/// What an ordinary node boots with, for those who measure.
pub(super) fn ordinary() -> impl Iterator<Item = &'static Boot> {
    BOOTS.iter().filter(|boot| boot.matrix == Matrix::Usual && boot.work == Work::Attacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Option<Wanted> {
        let arguments: Vec<String> = words.split(' ').map(str::to_owned).collect();
        Wanted::parse(&arguments)
    }

    #[test]
    fn a_run_can_be_narrowed_and_is_then_no_document() {
        let names = |words: &str| -> Vec<String> {
            let boots = parse(words).unwrap().boots();
            boots.iter().map(|(meta, boot)| boot.place(meta)).collect()
        };
        assert_eq!(
            names("test --only 6.12 --only fmod_ret --only beside"),
            ["linux-image-6.12-cloud-amd64-fmod_ret-beside others"]
        );
        assert!(names("test --full").len() > names("test").len());
        assert!(names("test --full").iter().any(|name| name == "linux-image-rt-amd64-lsm"));
        assert_eq!(parse("test --write --only 6.1"), None);
        assert_eq!(parse("test --only"), None);
        assert_eq!(parse("rest"), None);
    }

    #[test]
    fn no_two_boots_share_their_files() {
        let boots = parse("test --full").unwrap().boots();
        let mut names: Vec<String> = boots.iter().map(|(meta, boot)| boot.place(meta)).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
