//! Extended attributes as an image has them.
//!
//! What belongs into an image is the store's rule for capturing a directory: all that can be stored,
//! without the labels that the host's own security modules put on files.

use std::{collections::BTreeMap, os::fd::BorrowedFd, path::PathBuf};

use hornero_store::{XATTR_VALUE_LEN_MAX, is_storable_xattr};
use rustix::{
    fs::{fgetxattr, flistxattr, lgetxattr, llistxattr},
    io::Errno,
};

/// The kernel's own limit of a list of names, `XATTR_LIST_MAX`.
const LIST_LEN_MAX: usize = 64 * 1024;
/// `vfs_cap_data` revisions (linux/capability.h): 3 adds the user id of a user namespace's root.
const CAPABILITY_REVISION_2: [u8; 4] = [0, 0, 0, 2];
const CAPABILITY_LEN_3: usize = 24;
const CAPABILITY_LEN_2: usize = 20;

pub(crate) type Attributes = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Those of an open file.
pub(crate) fn of_open(file: BorrowedFd<'_>) -> rustix::io::Result<Attributes> {
    read(|names| flistxattr(file, names), |name, value| fgetxattr(file, name, value))
}

/// Those of `name` in an open directory; a symbolic link's own.
pub(crate) fn of_named(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Attributes> {
    use std::{
        ffi::OsStr,
        os::{fd::AsRawFd, unix::ffi::OsStrExt},
    };
    // There is no such call relative to a descriptor before Linux 6.13.
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    path.push(OsStr::from_bytes(name));
    read(|names| llistxattr(&path, names), |name, value| lgetxattr(&path, name, value))
}

fn read(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Attributes> {
    let mut small = [0_u8; 256];
    let mut large = Vec::new();
    let names = match list(&mut small) {
        Ok(len) => &small[..len],
        // The file system has none.
        Err(Errno::OPNOTSUPP) => return Ok(Attributes::new()),
        Err(Errno::RANGE) => {
            large.resize(LIST_LEN_MAX, 0);
            let len = list(&mut large)?;
            &large[..len]
        }
        Err(errno) => return Err(errno),
    };
    let mut kept = Attributes::new();
    for name in names.split(|byte| *byte == 0).filter(|name| belongs_into_image(name)) {
        let mut value = vec![0; XATTR_VALUE_LEN_MAX];
        match get(name, &mut value) {
            Ok(len) => value.truncate(len),
            // Gone since it was listed.
            Err(Errno::NODATA) => continue,
            // Larger than any that an image has.
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
        kept.insert(name.into(), canonical_value(name, value).into());
    }
    Ok(kept)
}

fn belongs_into_image(name: &[u8]) -> bool {
    is_storable_xattr(name)
        && !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
        && (!name.starts_with(b"security.") || name == b"security.capability")
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

/// The names, for people.
pub(crate) fn shown(attributes: &Attributes) -> String {
    // Enough to tell two values apart at a glance; an access list has 44 bytes.
    const SHOWN_BYTES: usize = 48;
    let value = |bytes: &[u8]| hex::encode(&bytes[..bytes.len().min(SHOWN_BYTES)]);
    let all = attributes
        .iter()
        .map(|(name, bytes)| format!("{}={}", String::from_utf8_lossy(name), value(bytes)));
    match attributes.is_empty() {
        true => "none".to_owned(),
        false => all.collect::<Vec<_>>().join(" "),
    }
}
