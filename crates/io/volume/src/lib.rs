//! Data with one writer: the volumes of a home, each a file with a file system of its own, attached by one holder at a time.
//!
//! `HOME/volumes/NAME/data.img` holds an ext4 of the declared size, and takes from the host only what was written to it. The
//! lock that says who has it is taken on the very description of the file that the kernel's loop device keeps: it is let go
//! when the last mount of the file system is gone, and no earlier, whatever becomes of shim, control or processes. The number
//! of a lease is looked at besides, so that who was overtaken attaches nothing any more.

mod attach;
mod change;
mod directory;
mod error;
mod lock;
mod number;
mod populate;
mod snapshots;
mod system;
mod tree;
mod volumes;

pub use attach::{PATIENCE, attach};
pub use change::LEAST_BYTES;
pub use directory::Origin;
pub use error::VolumeError;
pub use number::SnapshotNumber;
pub use populate::{DATA, Populate, populate};
pub use snapshots::{Cost, Snapshot};
pub use system::{Lacking, lacking};
pub use volumes::{VolumeFacts, Volumes};
