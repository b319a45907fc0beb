//! EROFS from a file and a data-only layer, where an overlay takes attached mounts only.

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

pub(super) struct Attached;

impl RootWay for Attached {
    fn metadata(&self, image: &Path, _: u32) -> Result<OwnedFd, StartError> {
        erofs::mount(image, image)
    }

    fn lower_layers(&self, overlay: BorrowedFd<'_>, stack: &Stack<'_>) -> io::Result<()> {
        overlay::one_by_one(overlay, stack)
    }
}
