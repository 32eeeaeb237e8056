//! What a launch may claim, per adversary, and why.
//!
//! A program measures [`Facets`]; the verdict on each adversary row (T1–T6 of the threat model)
//! follows from them by [`ProtectionLevel::from_facets`], so that no program can claim a row that
//! its facets do not carry. A [`Requirement`] names a facet or a row and the least it must reach.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

mod rows;
#[cfg(test)]
mod tests;

/// Declares a facet: its values from weakest to strongest, each with the word used for it.
macro_rules! facet {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All values, weakest first.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word used for it in requirements, logs and evidence.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }
    };
}

facet! {
    /// Where the delivered values live in the app.
    Memory {
        /// On the ordinary stack, as any environment.
        Plain = "plain",
        /// Those of files in ordinary pages while a process has the file open, all others sealed.
        Transient = "transient",
        /// In pages that the kernel removed from its own map (`memfd_secret`).
        Sealed = "sealed",
    }
}

facet! {
    /// In which images `/proc/PID/environ` shows no value.
    Environ {
        /// In none.
        Plain = "plain",
        /// In the first one only.
        FirstImage = "first-image",
        /// In every image of the process tree.
        Hidden = "hidden",
    }
}

facet! {
    /// The supervisor's own memory.
    Supervisor {
        /// Some of the heap is ordinary memory, wiped when freed.
        Wiped = "wiped",
        /// The whole heap is sealed memory.
        Sealed = "sealed",
    }
}

facet! {
    /// Whether another process of the app's own uid may attach to it.
    Attach {
        /// It may.
        Open = "open",
        /// Yama lets only ancestors attach.
        Ancestors = "ancestors",
        /// The kernel refuses it: the app is not dumpable.
        Refused = "refused",
    }
}

facet! {
    /// The way between the wrapper and OpenBao.
    Transport {
        /// Not encrypted.
        Plaintext = "plaintext",
        /// Encrypted, towards a server that was not verified.
        Unverified = "unverified",
        /// TLS 1.3 to a verified server.
        Tls = "tls",
        /// TLS 1.3 with a hybrid post-quantum key exchange to a verified server.
        Hybrid = "hybrid",
    }
}

facet! {
    /// Who decides on each value that is released.
    Release {
        /// OpenBao alone: whoever has the credential gets what the role may read.
        Direct = "direct",
        /// A bridge in the EU, by its policy, to one launch of a pod, with a receipt.
        Bridge = "bridge",
    }
}

facet! {
    /// The node agent.
    Agent {
        /// Not there.
        Off = "off",
        /// There, with roads that it cannot close.
        Degraded = "degraded",
        /// It denied an attack on its own canary on every road.
        Enforcing = "enforcing",
    }
}

facet! {
    /// How much of an adversary's reach is closed.
    Verdict {
        /// Nothing stops this adversary.
        Open = "open",
        /// Some roads are closed; the reasons name the others.
        Partial = "partial",
        /// Every road of this row is closed.
        Closed = "closed",
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Facets {
    /// Where the delivered values live.
    pub memory: Memory,
    /// Which images hide them from `/proc/PID/environ`.
    pub environ: Environ,
    /// The supervisor's own memory.
    pub supervisor: Supervisor,
    /// Whether the app's uid may attach.
    pub attach: Attach,
    /// The way to OpenBao.
    pub transport: Transport,
    /// Who decides on each release.
    pub release: Release,
    /// The node agent.
    pub agent: Agent,
}

impl Facets {
    /// The least of everything.
    pub const WEAKEST: Self = Self {
        memory: Memory::Plain,
        environ: Environ::Plain,
        supervisor: Supervisor::Wiped,
        attach: Attach::Open,
        transport: Transport::Plaintext,
        release: Release::Direct,
        agent: Agent::Off,
    };
}

/// One adversary's row.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Row {
    /// `T1` to `T6`.
    pub id: &'static str,
    /// Who.
    pub adversary: &'static str,
    /// How much of their reach is closed.
    pub verdict: Verdict,
    /// Why, and what remains.
    pub because: Vec<&'static str>,
}

/// Facets, the rows that follow from them, and what weakened them.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ProtectionLevel {
    /// What was measured.
    pub facets: Facets,
    /// What follows, T1 first.
    pub rows: Vec<Row>,
    /// Why a facet is weaker than it could be, in the words of the platform.
    pub reasons: Vec<String>,
}

/// A facet or row, and the least it must reach: `memory=sealed`, `T3=partial`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Requirement {
    /// The node agent.
    Agent(Agent),
    /// Attaching by the app's uid.
    Attach(Attach),
    /// `/proc/PID/environ`.
    Environ(Environ),
    /// The app's pages.
    Memory(Memory),
    /// Who decides on each release.
    Release(Release),
    /// An adversary row, 1 to 6.
    Row(u8, Verdict),
    /// The supervisor's heap.
    Supervisor(Supervisor),
    /// The way to OpenBao.
    Transport(Transport),
}

/// A requirement that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{text:?} is no requirement; write one of memory=plain|transient|sealed, \
     environ=plain|first-image|hidden, supervisor=wiped|sealed, attach=open|ancestors|refused, \
     transport=plaintext|unverified|tls|hybrid, release=direct|bridge, \
     agent=off|degraded|enforcing, \
     T1 to T6=open|partial|closed"
)]
pub struct RequirementError {
    text: String,
}

/// A requirement that was not met.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{required} is required, {reached} is what this place gives")]
pub struct Unmet {
    /// What was asked for.
    pub required: Requirement,
    /// What there is.
    pub reached: Requirement,
}

impl ProtectionLevel {
    /// Draws the rows from what was measured.
    #[must_use]
    pub fn from_facets(facets: Facets, reasons: Vec<String>) -> Self {
        Self { facets, rows: rows::rows(facets), reasons }
    }

    /// Tells which of the requirements are not met.
    #[must_use]
    pub fn unmet(&self, required: &[Requirement]) -> Vec<Unmet> {
        required
            .iter()
            .filter_map(|&required| {
                let reached = self.reached(required);
                (!required.met_by(reached)).then_some(Unmet { required, reached })
            })
            .collect()
    }

    /// What there is of the thing that a requirement is about.
    fn reached(&self, required: Requirement) -> Requirement {
        match required {
            Requirement::Agent(_) => Requirement::Agent(self.facets.agent),
            Requirement::Attach(_) => Requirement::Attach(self.facets.attach),
            Requirement::Environ(_) => Requirement::Environ(self.facets.environ),
            Requirement::Memory(_) => Requirement::Memory(self.facets.memory),
            Requirement::Release(_) => Requirement::Release(self.facets.release),
            Requirement::Supervisor(_) => Requirement::Supervisor(self.facets.supervisor),
            Requirement::Transport(_) => Requirement::Transport(self.facets.transport),
            Requirement::Row(number, _) => {
                let row = self.rows.get(usize::from(number).saturating_sub(1));
                Requirement::Row(number, row.map_or(Verdict::Open, |row| row.verdict))
            }
        }
    }
}

impl Requirement {
    /// Reads a comma-separated list.
    ///
    /// # Errors
    /// [`RequirementError`] for the first that cannot be read.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, RequirementError> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect()
    }

    fn met_by(self, reached: Self) -> bool {
        match (self, reached) {
            (Self::Agent(least), Self::Agent(is)) => is >= least,
            (Self::Attach(least), Self::Attach(is)) => is >= least,
            (Self::Environ(least), Self::Environ(is)) => is >= least,
            (Self::Memory(least), Self::Memory(is)) => is >= least,
            (Self::Release(least), Self::Release(is)) => is >= least,
            (Self::Row(number, least), Self::Row(of, is)) => number == of && is >= least,
            (Self::Supervisor(least), Self::Supervisor(is)) => is >= least,
            (Self::Transport(least), Self::Transport(is)) => is >= least,
            _ => false,
        }
    }

    fn key_and_word(self) -> (&'static str, &'static str) {
        const ROWS: [&str; 6] = ["T1", "T2", "T3", "T4", "T5", "T6"];
        match self {
            Self::Agent(value) => ("agent", value.as_str()),
            Self::Attach(value) => ("attach", value.as_str()),
            Self::Environ(value) => ("environ", value.as_str()),
            Self::Memory(value) => ("memory", value.as_str()),
            Self::Release(value) => ("release", value.as_str()),
            Self::Row(number, value) => {
                let row = ROWS.get(usize::from(number).saturating_sub(1));
                (row.copied().unwrap_or("T?"), value.as_str())
            }
            Self::Supervisor(value) => ("supervisor", value.as_str()),
            Self::Transport(value) => ("transport", value.as_str()),
        }
    }
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let parsed = text.split_once('=').and_then(|(key, word)| match key.trim() {
            "agent" => Agent::parse(word).map(Self::Agent),
            "attach" => Attach::parse(word).map(Self::Attach),
            "environ" => Environ::parse(word).map(Self::Environ),
            "memory" => Memory::parse(word).map(Self::Memory),
            "release" => Release::parse(word).map(Self::Release),
            "supervisor" => Supervisor::parse(word).map(Self::Supervisor),
            "transport" => Transport::parse(word).map(Self::Transport),
            key => {
                let number = key.strip_prefix('T')?.parse().ok().filter(|n| (1..=6).contains(n))?;
                Verdict::parse(word).map(|verdict| Self::Row(number, verdict))
            }
        });
        parsed.ok_or_else(|| RequirementError { text: text.chars().take(40).collect() })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, word) = self.key_and_word();
        write!(f, "{key}={word}")
    }
}

impl TryFrom<String> for Requirement {
    type Error = RequirementError;

    fn try_from(text: String) -> Result<Self, RequirementError> {
        text.parse()
    }
}

impl From<Requirement> for String {
    fn from(requirement: Requirement) -> Self {
        requirement.to_string()
    }
}
