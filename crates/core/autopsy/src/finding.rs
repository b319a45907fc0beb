//! What an autopsy finds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lines::shown;

/// What kind of cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LikelyCause {
    /// The kernel killed it for want of memory.
    KilledForMemory,
    /// A signal ended it for what it did itself.
    Crashed,
    /// It could not have an address that it wanted.
    NotBound,
    /// It wrote where nothing can be written.
    ReadOnly,
    /// What it needs did not answer.
    DependencyRefused,
    /// Its health check timed out.
    Unresponsive,
    /// Nothing in it listens on its port.
    NotListening,
    /// Its health check failed.
    Unhealthy,
    /// It exited by itself.
    Exited,
    /// Somebody ended it by a signal.
    Killed,
    /// Its command could not be started.
    NotStarted,
    /// Nobody can tell.
    Unknown,
}

/// The likely cause, and what speaks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutopsyFinding {
    /// The kind.
    pub cause: LikelyCause,
    /// In one line.
    pub summary: String,
    /// What speaks for it, and what tells it from other servers.
    pub evidence: Vec<String>,
}

impl AutopsyFinding {
    pub(crate) fn new(cause: LikelyCause, summary: String) -> Self {
        Self { cause, summary, evidence: Vec::new() }
    }

    /// With a line more, where there is one.
    pub(crate) fn with(mut self, line: &str) -> Self {
        if !line.trim().is_empty() {
            self.evidence.push(shown(line));
        }
        self
    }
}
