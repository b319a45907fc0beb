//! The system calls that rustix lacks, or that glibc would wrap in ways unfit for a cloned child: no allocation.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// An error number, as the kernel gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub i32);

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// Turns the return value of a C library call into a result.
pub(crate) fn check(value: libc::c_long) -> Result<libc::c_long> {
    if value >= 0 {
        return Ok(value);
    }
    // SAFETY: the location of errno is valid for the calling thread.
    Err(Errno(unsafe { *libc::__errno_location() }))
}

/// `struct clone_args`, as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Linux 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Who returns from [`clone_process`].
pub(crate) enum Cloned {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// Clones the calling process, memory copied, with namespace `flags`, into a cgroup2 directory where one is given.
///
/// # Safety
/// The child may only make system calls and must end by exec or `exit_group`: other threads of the caller are not
/// there, so every lock of the C library may be held for ever.
pub(crate) unsafe fn clone_process(flags: u64, cgroup: Option<RawFd>) -> Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup as u64;
    }
    // SAFETY: the arguments live across the call; without CLONE_VM the child has memory and a stack of its own.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel has just opened this descriptor for the caller.
    Ok(Cloned::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// `struct mount_attr`, as of Linux 5.12.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

pub(crate) const MOUNT_ATTR_RDONLY: u64 = 0x1;
pub(crate) const MOUNT_ATTR_NOSUID: u64 = 0x2;
pub(crate) const MOUNT_ATTR_NODEV: u64 = 0x4;
pub(crate) const MOUNT_ATTR_NOEXEC: u64 = 0x8;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// Sets attributes of a detached mount, and maps its ids through a user namespace where one is given.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    set: u64,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut attr = MountAttr { attr_set: set, ..MountAttr::default() };
    if let Some(user_namespace) = user_namespace {
        attr.attr_set |= MOUNT_ATTR_IDMAP;
        attr.userns_fd = user_namespace.as_raw_fd() as u64;
    }
    // SAFETY: path and attributes live across the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Mounts by the old call: one system call for a file system with all its options.
pub(crate) fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: libc::c_ulong,
    data: &CStr,
) -> Result<()> {
    // SAFETY: all strings live across the call and end in a null byte.
    check(libc::c_long::from(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast())
    }))
    .map(drop)
}

/// Attaches a detached mount at `target`.
pub(crate) fn attach(mount: RawFd, target: &CStr) -> Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
    // SAFETY: both paths live across the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount,
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Makes the working directory the root, and leaves nothing of the old root reachable.
pub(crate) fn pivot_into_working_directory() -> Result<()> {
    // SAFETY: constant strings; both calls only change this process's own mount namespace.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: as above. The old root lies on top of the new one at `.`.
    check(libc::c_long::from(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }))?;
    // SAFETY: as above.
    check(libc::c_long::from(unsafe { libc::chdir(c"/".as_ptr()) })).map(drop)
}

/// A system call with up to four integer arguments that can't touch memory of the caller.
pub(crate) fn call(number: libc::c_long, arguments: [u64; 4]) -> Result<libc::c_long> {
    let [first, second, third, fourth] = arguments;
    // SAFETY: callers pass integers only (checked by eye at each call; the function is private to the crate).
    check(unsafe { libc::syscall(number, first, second, third, fourth) })
}

/// Becomes `uid` and `gid` with exactly `groups`. By raw calls: glibc's would signal threads that are not there.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    // SAFETY: the slice lives across the call and has the length given.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    call(libc::SYS_setresgid, [gid.into(), gid.into(), gid.into(), 0])?;
    call(libc::SYS_setresuid, [uid.into(), uid.into(), uid.into(), 0]).map(drop)
}

/// Gives a signal its default action. By a raw call: since 2.41 glibc's takes a lock for SIGABRT (`abort` reads the action
/// under it), which another thread of the caller may have held when this process was cloned and nobody would ever release.
pub(crate) fn default_action(signal: i32) -> Result<()> {
    // `struct sigaction` of the kernel, SIG_DFL without flags and mask: all of it is zero on every architecture.
    let action = [0_u64; 4];
    const SIGNAL_SET_BYTES: u64 = 8;
    // SAFETY: the structure lives across the call and is as long as the kernel's longest; nothing is written back.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            &raw const action,
            std::ptr::null_mut::<u64>(),
            SIGNAL_SET_BYTES,
        )
    })
    .map(drop)
}

/// Closes every descriptor from `first` to `last`, both included.
pub(crate) fn close_range(first: u32, last: u32) -> Result<()> {
    call(libc::SYS_close_range, [first.into(), last.into(), 0, 0]).map(drop)
}

/// Ends the process at once, without any cleaning up of the C library.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Asks the kernel something of this process.
pub(crate) fn prctl(option: i32, value: u64) -> Result<()> {
    // SAFETY: prctl with integers only.
    check(libc::c_long::from(unsafe { libc::prctl(option, value, 0_u64, 0_u64, 0_u64) })).map(drop)
}

/// Blocks exactly the signals whose bits are set. By the raw call: glibc keeps two signals to itself.
pub(crate) fn set_signal_mask(mask: u64) -> Result<()> {
    // SAFETY: the mask lives across the call and has the kernel's size.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            std::ptr::null::<u64>(),
            size_of::<u64>(),
        )
    })
    .map(drop)
}
