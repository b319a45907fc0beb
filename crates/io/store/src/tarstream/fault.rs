//! What is wrong with a stream.

use std::io;

/// Everything in a tar is padded to this.
pub(super) const BLOCK: u64 = 512;

/// That it is no tar, and why.
pub(super) fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// That the stream ends too early.
pub(super) fn early(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("it ends within its {what}"))
}
