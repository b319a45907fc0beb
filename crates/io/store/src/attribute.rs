//! Extended attributes of files on disk: which of them belong into an image, and what overlayfs noted.

use std::{collections::BTreeMap, path::Path};

use rustix::{
    fs::{lgetxattr, llistxattr},
    io::Errno,
};

use crate::{
    Result, StoreError,
    layer::{XATTR_VALUE_LEN_MAX, is_storable_xattr},
};

/// The kernel's own limit of a list of names, `XATTR_LIST_MAX`.
const LIST_LEN_MAX: usize = 64 * 1024;
/// `vfs_cap_data` revisions (linux/capability.h): 3 adds the user id of a user namespace's root.
const CAPABILITY_REVISION_2: [u8; 4] = [0, 0, 0, 2];
const CAPABILITY_LEN_3: usize = 24;
const CAPABILITY_LEN_2: usize = 20;

/// The attributes of one file.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// Those that belong into an image.
    pub(crate) kept: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// What overlayfs noted on a file of an upper directory.
    pub(crate) overlay: OverlayNotes,
}

/// Overlayfs's own attributes, by the kernel's Documentation/filesystems/overlayfs.rst.
#[derive(Debug, Default)]
pub(crate) struct OverlayNotes {
    pub(crate) opaque: bool,
    pub(crate) whiteout: bool,
    /// Only metadata was copied up: the content is the lower file's.
    pub(crate) metacopy: bool,
    /// Where the lower file or directory is: absolute, or a name in the same directory.
    pub(crate) redirect: Option<Box<[u8]>>,
}

/// Reads the attributes of `path`, not following a symlink.
pub(crate) fn read(path: &Path) -> Result<Attributes> {
    let failed = |errno: Errno| StoreError::io("read the attributes of", path, errno);
    let mut names = vec![0_u8; 256];
    let len = loop {
        match llistxattr(path, &mut names) {
            Ok(len) => break len,
            Err(Errno::RANGE) if names.len() < LIST_LEN_MAX => names.resize(LIST_LEN_MAX, 0),
            // The file system has none.
            Err(Errno::OPNOTSUPP) => break 0,
            Err(errno) => return Err(failed(errno)),
        }
    };
    let mut attributes = Attributes::default();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let overlay = name
            .strip_prefix(b"trusted.overlay.".as_slice())
            .or_else(|| name.strip_prefix(b"user.overlay.".as_slice()));
        if overlay.is_none() && !belongs_into_image(name) {
            continue;
        }
        let mut value = vec![0; XATTR_VALUE_LEN_MAX];
        let len = lgetxattr(path, name, &mut value).map_err(failed)?;
        value.truncate(len);
        match overlay {
            Some(name) => attributes.overlay.note(name, &value),
            None => {
                let value = canonical_value(name, value);
                attributes.kept.insert(name.into(), value.into());
            }
        }
    }
    Ok(attributes)
}

impl OverlayNotes {
    fn note(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"opaque" => self.opaque = value == b"y",
            b"whiteout" => self.whiteout = true,
            b"metacopy" => self.metacopy = true,
            b"redirect" => self.redirect = Some(value.into()),
            _ => {}
        }
    }
}

/// Labels and measurements that the host's security modules put on files are the host's, not the image's.
pub(crate) fn belongs_into_image(name: &[u8]) -> bool {
    is_storable_xattr(name) && (!name.starts_with(b"security.") || name == b"security.capability")
}

/// File capabilities set inside a user namespace name its root user on the host; in an image root is root.
fn canonical_value(name: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    if name == b"security.capability" && value.len() == CAPABILITY_LEN_3 && value[3] == 3 {
        let effective = value[0] & 1;
        value.truncate(CAPABILITY_LEN_2);
        value[..4].copy_from_slice(&CAPABILITY_REVISION_2);
        value[0] |= effective;
    }
    value
}
