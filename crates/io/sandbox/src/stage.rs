//! Lets kernels before 6.15, which take only attached mounts as overlay layers, assemble a root all the same.
//!
//! There the layers are attached in a mount namespace that one short-lived thread has for itself.

use std::{io, os::fd::OwnedFd, thread};

use rustix::{
    fs::CWD,
    mount::{MoveMountFlags, move_mount},
};

use crate::{error::StartError, sys};

/// Makes a detached mount fit for use as a layer.
pub(crate) type Hold<'a> = &'a dyn Fn(&OwnedFd) -> io::Result<()>;

/// Runs `work` where it may make layers: right here when the kernel takes detached ones, else on a stage.
pub(crate) fn with<T: Send>(
    detached_layers: bool,
    work: impl FnOnce(Hold<'_>) -> Result<T, StartError> + Send,
) -> Result<T, StartError> {
    if detached_layers {
        return work(&|_| Ok(()));
    }
    let staged = || {
        own_mount_namespace().map_err(|error| {
            StartError::failed("make a mount namespace for the layers", "", error)
        })?;
        work(&attach_aside)
    };
    thread::scope(|scope| {
        let stage = thread::Builder::new().name("stage".to_owned()).spawn_scoped(scope, staged);
        let stage = stage.map_err(|error| StartError::failed("start a thread", "stage", error))?;
        match stage.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Gives the calling thread a mount namespace of its own, from which nothing spreads to the host's.
fn own_mount_namespace() -> sys::Result<()> {
    sys::call(libc::SYS_unshare, [libc::CLONE_NEWNS as u64, 0, 0, 0])?;
    sys::mount(c"", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"")
}

/// Attaches a mount where nothing of the host is needed, in the caller's own mount namespace. Not at `/`: a process
/// below a mount at its root may make no user namespace.
fn attach_aside(mount: &OwnedFd) -> io::Result<()> {
    let attach =
        |target: &str| move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    attach("/mnt").or_else(|_| attach("/media")).map_err(io::Error::from)
}
