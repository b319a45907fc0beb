//! Without data-only layers: the objects are an ordinary layer, and a copy of the metadata covers their names.
//!
//! An overlay then finds the bytes of a file where the metadata redirects it to, as in a data-only layer, but would also
//! show the objects' directories in the root. So the copy has whiteouts of their names, and what the image itself has by
//! such a name is opaque. The copy lies in memory and lives as long as what is mounted from it.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::fs::MemfdFlags;

use super::{
    loop_device, overlay,
    rewrite::{self, Change},
    way::{RootWay, Stack},
};
use crate::error::StartError;

/// As much as a store makes for two million files; what is larger is none of ours.
const MAX_IMAGE_BYTES: u64 = 2 << 30;

/// The kernel takes 249 bytes.
const MAX_NAME_BYTES: usize = 240;

pub(super) struct Covered;

impl RootWay for Covered {
    fn metadata(&self, image: &Path, _: u32) -> Result<OwnedFd, StartError> {
        mount_copy(image, 0)
    }

    fn lower_layers(&self, overlay: BorrowedFd<'_>, stack: &Stack<'_>) -> io::Result<()> {
        overlay::in_one_text(overlay, stack, ":")
    }
}

/// Mounts a copy of the image that covers the objects, with all owners raised by `first`.
pub(super) fn mount_copy(image: &Path, first: u32) -> Result<OwnedFd, StartError> {
    let copied = || -> io::Result<OwnedFd> {
        let mut bytes = Vec::new();
        File::open(image)?.take(MAX_IMAGE_BYTES).read_to_end(&mut bytes)?;
        let bytes = rewrite::rewrite(bytes, &Change { owners_by: first, cover: true })
            .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
        let mut memory = File::from(memory(image)?);
        memory.write_all(&bytes)?;
        Ok(memory.into())
    };
    let copy = copied()
        .map_err(|error| StartError::failed("copy the metadata image", image.display(), error))?;
    loop_device::mount_file(&copy, image)
}

/// A file in memory that has the image's path for its name, as far as there is room: `losetup` shows whose it is.
fn memory(image: &Path) -> io::Result<OwnedFd> {
    let path = image.as_os_str().as_encoded_bytes();
    let name = &path[path.len().saturating_sub(MAX_NAME_BYTES)..];
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?)
}
