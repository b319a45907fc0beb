//! Images in and out as OCI layouts, registry references, tar files and directories.
//!
//! Out: [`export_layout`] and [`push`] make an OCI image that Docker and Podman run. Its layers are tars of
//! compressed members that can be read alone; hidden at the end of each are the layers of ours that it stands
//! for, and a last layer without files hides which image it is. So an image comes back with the digest it went
//! with, wherever it was copied, and only contents that the store lacks move (decision 0015).
//!
//! [`export_layout_with_erofs`] writes one layer that is a file system instead, for runtimes that mount it.
//!
//! In: [`pull`], [`pull_layout`] and [`pull_from_store`] for images of ours, [`import`] for whatever others made.
//! Nothing is seen in the store before all its bytes were checked; what arrived before a break stays.
//!
//! Everything blocks; nothing here knows of tokio.

mod carried;
mod codec;
mod copy;
mod delta;
mod digest;
mod document;
mod erofs_layer;
mod error;
mod foreign;
mod heal;
mod import;
mod layout;
mod members;
mod opened;
mod options;
mod pack;
mod parallel;
mod progress;
mod pull;
mod pulled;
mod reference;
mod registry;
mod source;
mod tails;
mod tarball;

pub use codec::Compression;
pub use copy::pull_from_store;
pub use erofs_layer::export_layout_with_erofs;
pub use error::{OciError, Result};
pub use foreign::record::{IMPORT_ATTACHMENT, ImportRecord};
pub use heal::RegistrySource;
pub use import::{Imported, import};
pub use layout::{LayoutWritten, PackOptions, export_layout};
pub use options::ImportOptions;
pub use progress::{Quiet, TransferEvent, TransferProgress};
pub use pull::{pull, pull_layout, pull_with};
pub use pulled::Pulled;
pub use reference::{Reference, ReferenceError};
pub use registry::{Access, Credentials, Patience, Pushed, push};
