//! Why an engine could not do what was asked.

use std::error::Error;

use hornero_model::{ExitCause, InstanceId, Term};

/// Why an engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The specification can't be right.
    #[error("bad specification of instance `{id}`: {reason}")]
    Invalid {
        /// The instance.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The command did not start; nothing of it is left but its record and its logs.
    #[error("instance `{id}` did not start: {reason}")]
    NotStarted {
        /// The instance.
        id: InstanceId,
        /// Which step failed, and why.
        reason: String,
    },
    /// An instance with this id has ended already; ids are not used twice.
    #[error("instance `{id}` has ended already: {cause}")]
    Ended {
        /// The instance.
        id: InstanceId,
        /// Why it ended.
        cause: ExitCause,
    },
    /// No such instance.
    #[error("no instance `{id}`")]
    NotFound {
        /// The id asked for.
        id: InstanceId,
    },
    /// The engine's hosts lack something.
    #[error("this host can't run instances: {0}")]
    Unsupported(String),
    /// What instances share could not be removed; the text names it.
    #[error("{0} are left")]
    Left(String),
    /// Another control process has taken over: whoever asked must change nothing any more.
    #[error(
        "term {given} of control is over: another control process has taken over with term {newest}"
    )]
    TermOver {
        /// The term of whoever asked.
        given: Term,
        /// The newest.
        newest: Term,
    },
    /// Something of the engine itself failed; asking again may help.
    #[error("{what}")]
    Failed {
        /// What was done, and to what.
        what: String,
        /// The system's answer.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl EngineError {
    /// Something of the engine itself failed while it did `what`.
    pub fn failed(
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
    }
}
