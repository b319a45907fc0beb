//! Putting layers together to a root.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::way::{RootWay, Stack};

/// Makes the overlay, detached.
pub(crate) fn assemble(way: &dyn RootWay, stack: &Stack<'_>) -> io::Result<OwnedFd> {
    let overlay = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let overlay = overlay.as_fd();
    way.lower_layers(overlay, stack)?;
    if stack.objects.is_some() {
        fsconfig_set_string(overlay, c"metacopy", c"on")?;
        fsconfig_set_string(overlay, c"redirect_dir", c"on")?;
    }
    let mut flags = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    match stack.upper {
        Some(upper) => {
            fsconfig_set_string(overlay, c"upperdir", by_descriptor(upper, "/upper"))?;
            fsconfig_set_string(overlay, c"workdir", by_descriptor(upper, "/work"))?;
            // The kernel then neither syncs nor keeps an index: what counts is captured after the step has ended.
            fsconfig_set_flag(overlay, c"volatile")?;
        }
        None => flags |= MountAttrFlags::MOUNT_ATTR_RDONLY,
    }
    fsconfig_create(overlay)?;
    Ok(fsmount(overlay, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// Layers as options of their own, the objects as a data-only one.
pub(super) fn one_by_one(overlay: BorrowedFd<'_>, stack: &Stack<'_>) -> io::Result<()> {
    for layer in stack.lower.into_iter().chain([stack.skeleton]) {
        fsconfig_set_string(overlay, c"lowerdir+", by_descriptor(layer, ""))?;
    }
    if let Some(objects) = stack.objects {
        fsconfig_set_string(overlay, c"datadir+", by_descriptor(objects, ""))?;
    }
    Ok(())
}

/// Layers in one option, as all kernels take them; `before_objects` is `::` to have these as a data-only layer, or `:`.
pub(super) fn in_one_text(
    overlay: BorrowedFd<'_>,
    stack: &Stack<'_>,
    before_objects: &str,
) -> io::Result<()> {
    let layers = stack.lower.into_iter().chain([stack.skeleton]);
    let mut text = layers.map(|layer| by_descriptor(layer, "")).collect::<Vec<_>>().join(":");
    if let Some(objects) = stack.objects {
        text.push_str(before_objects);
        text.push_str(&by_descriptor(objects, ""));
    }
    Ok(fsconfig_set_string(overlay, c"lowerdir", text)?)
}

fn by_descriptor(fd: &OwnedFd, tail: &str) -> String {
    format!("/proc/self/fd/{}{tail}", fd.as_raw_fd())
}
