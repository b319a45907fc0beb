//! Owners of a build step's files where they can't be mapped: changed to the host's before it, and back after it.
//!
//! Everything that names an owner goes along: user and group of each file, and those in access control lists. Changing an
//! owner drops set-id bits and file capabilities, so these are put back.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{XattrFlags, lgetxattr, lsetxattr},
    io::Errno,
};

use crate::spec::IdMap;

/// Beside `upper` and `work`: says that the owners in `upper` are the host's.
const MARK: &str = "owners-are-the-hosts";
/// The kernel's own limit of an attribute, `XATTR_SIZE_MAX`.
const MAX_ATTRIBUTE_BYTES: usize = 64 << 10;
const CAPABILITY: &str = "security.capability";
const LISTS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];
const ACL_USER: u16 = 0x02;
const ACL_GROUP: u16 = 0x08;

/// Gives what is in `dir/upper` the host's ids of the sandbox's users. Harmless to repeat.
pub(crate) fn to_host(dir: &Path, map: IdMap) -> io::Result<()> {
    fs::write(dir.join(MARK), "")?;
    // Ids that are the host's already are left: the range begins above all ids inside.
    each(&dir.join("upper"), &|id| if id < map.count { map.first.checked_add(id) } else { None })
}

/// Gives files that a build step wrote the ids that they have inside, where the host could not map them.
///
/// Call it when the step has ended, before its files are read; `dir` holds the directories `upper` and `work`.
pub fn settle_owners(dir: &Path, map: IdMap) -> io::Result<()> {
    let mark = dir.join(MARK);
    if !mark.exists() {
        return Ok(());
    }
    each(&dir.join("upper"), &|id| id.checked_sub(map.first).filter(|id| *id < map.count))?;
    fs::remove_file(mark)
}

/// The new id of an old one; none to leave it.
type Change<'a> = &'a dyn Fn(u32) -> Option<u32>;

fn each(top: &Path, change: Change<'_>) -> io::Result<()> {
    let mut waiting: Vec<PathBuf> = vec![top.to_owned()];
    let mut linked = HashSet::new();
    while let Some(path) = waiting.pop() {
        let found = fs::symlink_metadata(&path)?;
        // A file with several names is changed once.
        if found.is_dir() || found.nlink() == 1 || linked.insert((found.dev(), found.ino())) {
            own(&path, &found, change)?;
        }
        if found.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(())
}

fn own(path: &Path, found: &fs::Metadata, change: Change<'_>) -> io::Result<()> {
    let (user, group) = (change(found.uid()), change(found.gid()));
    if user.is_some() || group.is_some() {
        let capability = if found.is_file() { attribute(path, CAPABILITY)? } else { None };
        lchown(path, user, group)?;
        if !found.is_symlink() && found.mode() & 0o6000 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(found.mode() & 0o7777))?;
        }
        if let Some(capability) = capability {
            lsetxattr(path, CAPABILITY, &capability, XattrFlags::empty())?;
        }
    }
    if found.is_symlink() {
        return Ok(());
    }
    for list in LISTS {
        if let Some(mut value) = attribute(path, list)?
            && change_list(&mut value, change)
        {
            lsetxattr(path, list, &value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// Changes the ids in an access control list (`struct posix_acl_xattr_header` and its entries); says whether any.
fn change_list(value: &mut [u8], change: Change<'_>) -> bool {
    let mut changed = false;
    for entry in value.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        if [ACL_USER, ACL_GROUP].contains(&tag)
            && let Some(id) = change(id)
        {
            entry[4..8].copy_from_slice(&id.to_le_bytes());
            changed = true;
        }
    }
    changed
}

fn attribute(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    // Most files have none, and what there is is short.
    for size in [256, MAX_ATTRIBUTE_BYTES] {
        let mut value = vec![0; size];
        match lgetxattr(path, name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::RANGE.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: IdMap = IdMap { first: 0x6000_0000, count: 65_536 };

    #[test]
    fn owners_go_to_the_hosts_and_back_with_all_that_depends_on_them() {
        let directory = tempfile::tempdir().unwrap();
        let upper = directory.path().join("upper");
        fs::create_dir_all(upper.join("sub")).unwrap();
        let file = upper.join("sub/file");
        fs::write(&file, "x").unwrap();
        fs::hard_link(&file, upper.join("link")).unwrap();
        std::os::unix::fs::symlink("/nowhere", upper.join("symlink")).unwrap();
        lchown(&file, Some(33), Some(34)).unwrap();
        lchown(upper.join("symlink"), Some(5), Some(6)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o6755)).unwrap();
        // cap_net_raw+ep, revision 2.
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        lsetxattr(&file, CAPABILITY, &capability, XattrFlags::empty()).unwrap();
        let entry = |tag: u16, id: u32| {
            [&tag.to_le_bytes()[..], &7_u16.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let none = u32::MAX;
        let list = |user: u32| {
            let entries = [(1, none), (ACL_USER, user), (4, none), (0x10, none), (0x20, none)];
            let entries = entries.map(|(tag, id)| entry(tag, id)).concat();
            [&2_u32.to_le_bytes()[..], &entries].concat()
        };
        let has_lists = lsetxattr(&file, LISTS[0], &list(40), XattrFlags::empty()).is_ok();
        let seen = |path: &Path| {
            let found = fs::symlink_metadata(path).unwrap();
            (found.uid(), found.gid(), found.mode() & 0o7777)
        };
        let before = seen(&file);
        for _ in 0..2 {
            to_host(directory.path(), MAP).unwrap();
            assert_eq!(seen(&file), (MAP.first + 33, MAP.first + 34, before.2));
            assert_eq!(seen(&upper.join("symlink")).0, MAP.first + 5);
            assert_eq!(seen(&upper).0, MAP.first);
            assert_eq!(attribute(&file, CAPABILITY).unwrap().unwrap(), capability);
            if has_lists {
                assert_eq!(attribute(&file, LISTS[0]).unwrap().unwrap(), list(MAP.first + 40));
            }
        }
        for _ in 0..2 {
            settle_owners(directory.path(), MAP).unwrap();
            assert_eq!(seen(&file), before);
            assert_eq!(seen(&upper.join("symlink")).0, 5);
            assert_eq!(attribute(&file, CAPABILITY).unwrap().unwrap(), capability);
            if has_lists {
                assert_eq!(attribute(&file, LISTS[0]).unwrap().unwrap(), list(40));
            }
        }
        assert!(!directory.path().join(MARK).exists());
    }
}
