//! Debian's control data, versions and relations between packages.

pub mod control;
pub mod relation;
pub mod version;
