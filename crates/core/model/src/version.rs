//! The version that the running program says it has, in records, statements and to those it talks to.

use std::sync::OnceLock;

static PROGRAM_VERSION: OnceLock<&'static str> = OnceLock::new();

/// The version of the running program, such as `0.2.0`: what [`set_program_version`] was given, or the workspace's.
pub fn program_version() -> &'static str {
    PROGRAM_VERSION.get_or_init(|| env!("CARGO_PKG_VERSION"))
}

/// Lets a program say its own version; its first act, since a version that was read before stays.
pub fn set_program_version(version: &'static str) {
    // A second call in one process, as tests make, changes nothing.
    let _ = PROGRAM_VERSION.set(version);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_once_said_stays() {
        set_program_version("1.2.3");
        set_program_version("4.5.6");
        assert_eq!(program_version(), "1.2.3");
    }
}
