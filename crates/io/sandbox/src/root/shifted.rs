//! Where an overlay can't have id-mapped layers: a copy of the metadata has the host's ids of the sandbox's users.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use super::{
    covered, overlay,
    way::{RootWay, Stack},
};
use crate::error::StartError;

pub(super) struct Shifted;

impl RootWay for Shifted {
    fn maps_ids(&self) -> bool {
        false
    }

    fn metadata(&self, image: &Path, first: u32) -> Result<OwnedFd, StartError> {
        covered::mount_copy(image, first)
    }

    fn lower_layers(&self, overlay: BorrowedFd<'_>, stack: &Stack<'_>) -> io::Result<()> {
        overlay::in_one_text(overlay, stack, ":")
    }
}
