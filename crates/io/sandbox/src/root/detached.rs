//! The best way: EROFS from a file, a data-only layer, and detached mounts as layers.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use super::{
    erofs, overlay,
    way::{RootWay, Stack},
};
use crate::error::StartError;

pub(super) struct Detached;

impl RootWay for Detached {
    fn attaches_layers(&self) -> bool {
        false
    }

    fn metadata(&self, image: &Path, _: u32) -> Result<OwnedFd, StartError> {
        erofs::mount(image, image)
    }

    fn lower_layers(&self, overlay: BorrowedFd<'_>, stack: &Stack<'_>) -> io::Result<()> {
        overlay::one_by_one(overlay, stack)
    }
}
