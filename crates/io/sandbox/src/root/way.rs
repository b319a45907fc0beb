//! What a rung of the ladder does its own way, and what it is given.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use crate::error::StartError;

/// The layers of a root.
pub(crate) struct Stack<'a> {
    /// The metadata or a directory; none for an empty root.
    pub lower: Option<&'a OwnedFd>,
    /// What lies below it, to mount on.
    pub skeleton: &'a OwnedFd,
    /// The directory of objects that the metadata refers to.
    pub objects: Option<&'a OwnedFd>,
    /// A directory with `upper` and `work`; none for a read-only root.
    pub upper: Option<&'a OwnedFd>,
}

/// What a rung does its own way.
pub(crate) trait RootWay: Sync {
    /// Whether layers have to be attached somewhere before an overlay takes them.
    fn attaches_layers(&self) -> bool {
        true
    }

    /// Whether the kernel maps the ids of layers; if not, the owners on disk are the host's.
    fn maps_ids(&self) -> bool {
        true
    }

    /// Mounts a metadata image, detached; `first` is the host id of the sandbox's root.
    fn metadata(&self, image: &Path, first: u32) -> Result<OwnedFd, StartError>;

    /// Gives an overlay under construction its lower layers.
    fn lower_layers(&self, overlay: BorrowedFd<'_>, stack: &Stack<'_>) -> io::Result<()>;
}
