//! Debian package files: an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*` (deb(5)).

mod ar;
mod control;
pub mod merged_usr;
pub mod unpack;

pub use ar::{DebError, Members, read_members};
pub use control::{read_control, read_control_files};
pub use unpack::PackageFacts;
