//! Why a pod is refused: what the person who created it reads.
//!
//! The text ends in an event of the ReplicaSet or Job, or behind `kubectl apply`, so it names the
//! place in the pod and what to write instead. It never holds a value.

/// Why a pod cannot be taken in hand.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// An annotation that cannot be followed.
    #[error("annotation {name}: {problem}")]
    Annotation {
        /// Its full name.
        name: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A container that cannot be wrapped as it is.
    #[error("container {container}: {problem}")]
    Container {
        /// Its name.
        container: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The document is no pod.
    #[error("this is no pod that can be read: {0}")]
    Malformed(&'static str),
    /// Something of the pod itself is in the way.
    #[error("{0}")]
    Pod(String),
    /// The pod is opted in and was not taken in hand, or was changed afterwards.
    #[error(
        "the pod is opted in by its label, and is not as the injector leaves it: {0}. Another \
         admission webhook changed it afterwards, or the injector did not see it: `kubectl get \
         mutatingwebhookconfigurations` lists them, cloudtaser-operator has to be among them \
         (`cloudtaser status`)"
    )]
    NotWrapped(String),
}

impl Refusal {
    pub(crate) fn annotation(name: &str, problem: impl Into<String>) -> Self {
        Self::Annotation { name: name.to_owned(), problem: problem.into() }
    }

    pub(crate) fn container(container: &str, problem: impl Into<String>) -> Self {
        Self::Container { container: container.to_owned(), problem: problem.into() }
    }

    /// One word for metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Annotation { .. } => "annotation",
            Self::Container { .. } => "container",
            Self::Malformed(_) => "malformed",
            Self::Pod(_) => "pod",
            Self::NotWrapped(_) => "not_wrapped",
        }
    }
}
