//! A user namespace without anything in it, to see what the kernel can do with one.

use std::{
    fs, io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::fs::{Mode, OFlags};

use crate::{
    running::Process,
    spec::IdMap,
    sys::{self, Cloned},
};

/// A user namespace, kept by its descriptor.
pub(crate) struct UserNamespace {
    pub map: IdMap,
    descriptor: OwnedFd,
}

impl UserNamespace {
    /// Makes one with ids mapped as those of a sandbox.
    pub fn new(map: IdMap) -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // SAFETY: the child only makes system calls until it exits.
        let process = match unsafe { sys::clone_process(libc::CLONE_NEWUSER as u64, None) }? {
            Cloned::Child => wait_for_end(&read, &write),
            Cloned::Parent { pid, pidfd } => Process::new(pid, pidfd),
        };
        let proc = |name: &str| format!("/proc/{}/{name}", process.pid);
        let line = format!("0 {} {}", map.first, map.count);
        fs::write(proc("uid_map"), &line)?;
        fs::write(proc("gid_map"), &line)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(proc("ns/user"), flags, Mode::empty())?;
        // The process ends here, the namespace does not.
        Ok(Self { map, descriptor })
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.descriptor)
    }
}

/// Waits until the parent kills this process, or is gone itself.
fn wait_for_end(read: &OwnedFd, write: &OwnedFd) -> ! {
    let mut byte = 0_u8;
    // SAFETY: closes a descriptor of this process; the buffer lives across the call.
    unsafe {
        libc::close(write.as_raw_fd());
        libc::read(read.as_raw_fd(), (&raw mut byte).cast(), 1);
    }
    sys::exit(0)
}
