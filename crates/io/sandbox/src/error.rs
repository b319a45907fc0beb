//! Why a sandbox did not start: the step that failed, on what, and the kernel's answer.

use std::{fmt, io};

/// What was being done when a start failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The step in a few words, such as "mount scratch".
    pub name: &'static str,
    /// The path, file or option it was done to; may be empty.
    pub object: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.object.is_empty() {
            return f.write_str(self.name);
        }
        write!(f, "{} `{}`", self.name, self.object)
    }
}

/// Why a sandbox did not start. Whatever the cause, nothing of the sandbox is left.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The specification can't be right, whatever the kernel says.
    #[error("bad sandbox specification: {0}")]
    Invalid(String),
    /// The kernel, or the caller's rights, lack something that a sandbox can't do without.
    #[error("this host can't start sandboxes: {feature}: {reason}: {remedy}")]
    Unsupported {
        /// What is missing.
        feature: String,
        /// What was tried, and the kernel's answer.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// A step of the start failed.
    #[error("{step}")]
    Failed {
        /// Which step.
        step: Step,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The caller's network set-up failed.
    #[error("set up the network: {0}")]
    Network(String),
}

impl StartError {
    pub(crate) fn failed(
        name: &'static str,
        object: impl fmt::Display,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Failed { step: Step { name, object: object.to_string() }, source: source.into() }
    }

    /// The error and its source in one line, as an instance's exit record carries it.
    pub fn one_line(&self) -> String {
        match self {
            Self::Failed { step, source } => format!("{step}: {source}"),
            Self::Invalid(_) | Self::Unsupported { .. } | Self::Network(_) => self.to_string(),
        }
    }
}
