//! The Debian archive: sources, signatures, indexes, versions, resolving and the package cache.

pub mod access;
pub mod cache;
pub mod fetch;
pub mod openpgp;
pub mod packages;
pub mod release;
pub mod repository;
pub mod resolve;
pub mod sources_list;
pub mod universe;

pub use hornero_rebase::debian::{control, relation, version};
