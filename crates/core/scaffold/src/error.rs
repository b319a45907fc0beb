//! Why nothing could be written.

/// Why nothing could be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScaffoldError {
    /// A file can't be understood.
    #[error("`{file}` can't be understood: line {line}: {reason}")]
    Syntax {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A file says nothing that could be run.
    #[error("`{file}` {reason}")]
    Empty {
        /// The file.
        file: String,
        /// What it lacks.
        reason: String,
    },
}
