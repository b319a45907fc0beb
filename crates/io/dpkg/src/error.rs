//! Why packages can't be put together.

/// Why packages can't be put together.
#[derive(Debug, thiserror::Error)]
pub enum DpkgError {
    /// A package file cannot be unpacked.
    #[error("package `{package}` cannot be unpacked: {reason}")]
    Unpack {
        /// Its name.
        package: String,
        /// Why.
        reason: String,
    },
    /// Two packages have a file at the same path.
    #[error("packages `{first}` and `{second}` both have `{path}`")]
    SamePath {
        /// The one unpacked first.
        first: String,
        /// The other.
        second: String,
        /// The path.
        path: String,
    },
}
