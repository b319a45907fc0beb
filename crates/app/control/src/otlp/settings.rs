//! Where figures, logs and traces are sent to.

use std::path::PathBuf;

/// A collector, and what it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpSettings {
    /// The URL below which `/v1/metrics`, `/v1/logs` and `/v1/traces` are.
    pub endpoint: String,
    /// A file with the token that is shown to it, read at each use.
    pub token_file: Option<PathBuf>,
    /// Whether it gets figures.
    pub metrics: bool,
    /// Whether it gets what servers write.
    pub logs: bool,
    /// Whether it gets rollouts.
    pub traces: bool,
}
