//! Bakes images: Debian bases from the signed archive and layers on top of them.

pub mod archive;
pub mod deb;
mod error;
mod limits;
pub mod lock;
pub mod locking;
pub mod progress;
mod workdir;

pub use error::BakeError;
