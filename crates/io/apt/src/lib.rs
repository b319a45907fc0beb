//! What stands in for apt: sources, signatures, indexes, resolving, the package cache and `hornero.lock`.
//!
//! [`access::Access`] is the way in: it reads which archives the host or an image names ([`sources_list`]), loads and
//! verifies them ([`repository`], [`openpgp`]) and fetches packages ([`cache`]). What is installed is chosen by
//! [`resolve`] from a [`universe`] and kept by [`lock`].

pub mod access;
mod address;
mod architecture;
pub mod archive_state;
pub mod cache;
mod configuration;
mod error;
pub mod fetch;
pub mod files;
mod kept;
pub mod keyring;
mod limits;
pub mod lock;
pub mod openpgp;
pub mod packages;
mod pattern;
pub mod policy;
pub mod progress;
pub mod release;
pub mod repository;
pub mod resolve;
mod source_file;
pub mod sources_list;
pub mod universe;

pub use architecture::architecture;
pub use error::AptError;
pub use lock::{LOCK_NAME, Lock, LockedImage, LockedPackage};
