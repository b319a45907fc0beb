//! The mount table (proc_pid_mountinfo(5)).

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use hornero_model::mount_field;

use crate::files::Files;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub target: PathBuf,
    pub kind: String,
    /// Those of the mount and of its file system.
    pub options: Vec<String>,
}

impl Mount {
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|has| has == option)
    }
}

/// The mounts that the command sees, in order.
pub(crate) fn read(files: &Files) -> Vec<Mount> {
    parse(&files.text("proc/self/mountinfo").unwrap_or_default())
}

fn parse(text: &str) -> Vec<Mount> {
    let mounts = text.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(4);
        let (target, own) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, of_system) = (right.next()?, right.nth(1).unwrap_or_default());
        let options = own.split(',').chain(of_system.split(','));
        Some(Mount {
            target: OsString::from_vec(mount_field(target.as_bytes())).into(),
            kind: kind.to_owned(),
            options: options.filter(|option| !option.is_empty()).map(str::to_owned).collect(),
        })
    });
    mounts.collect()
}

/// The mount that a path is on: the deepest one above it, and of several at one place the last.
pub(crate) fn of_path<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.target));
    above.max_by_key(|mount| mount.target.components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_and_last_mount_counts() {
        let text = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n\
                    30 22 0:5 / /srv/my\\040data rw,nosuid,nodev - tmpfs tmpfs rw,size=1k\n\
                    31 30 0:6 / /srv/my\\040data ro - xfs /dev/sdb1 rw\n\
                    broken\n1 2 - \n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 3);
        let kind = |path: &str| of_path(&mounts, Path::new(path)).unwrap().kind.as_str();
        assert_eq!(kind("/var/lib/hornero"), "ext4");
        assert_eq!(kind("/srv/my data/home"), "xfs");
        assert_eq!(kind("/srv/my data2"), "ext4");
        assert!(mounts[2].has("ro") && !mounts[0].has("ro"));
        assert_eq!(of_path(&[], Path::new("/")), None);
    }
}
