//! What runs between clone and exec: system calls only, nothing allocated, every failure told to the caller.

use std::{
    ffi::{CStr, CString},
    io::Write,
    ops::Range,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::{
    command::{Ends, give_up},
    init,
    message::{self, CommandStep, Kind},
    plan::{Operation, Plan, ScratchMount, inodes},
    sys::{self, Errno, check},
};

/// What the sandbox's first process is called.
const NAME: &CStr = c"hornero-init";

/// Mounts between being made and being attached.
struct Held {
    root: Option<OwnedFd>,
    proc: Option<OwnedFd>,
}

/// The life of the sandbox's first process: sets everything up, starts the command, then reaps until it ends.
pub(crate) fn run(plan: &Plan, ends: &Ends) -> ! {
    let mut held = Held { root: None, proc: None };
    if let Err(errno) = prepare(ends, NAME) {
        give_up(ends, CommandStep::Init as u32, errno);
    }
    for (index, operation) in plan.operations.iter().enumerate() {
        if let Err(errno) = perform(operation, ends, &mut held) {
            give_up(ends, index as u32, errno);
        }
    }
    drop(held);
    init::run(plan, ends)
}

/// Leaves of the caller what it has no business with: descriptors, its name, and that others may look at it.
pub(crate) fn prepare(ends: &Ends, name: &CStr) -> sys::Result<()> {
    for (first, last) in &ends.close {
        sys::close_range(*first, *last)?;
    }
    // Invariant: nobody inside can trace or read this copy of the caller's memory, nor open its program by
    // `/proc/1/exe`.
    sys::prctl(libc::PR_SET_DUMPABLE, 0)?;
    // SAFETY: the name lives across the call.
    check(libc::c_long::from(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }))?;
    rename(&ends.command_line, name);
    // SAFETY: only sets the mask, which the caller's umask no longer influences.
    unsafe { libc::umask(0o022) };
    Ok(())
}

/// Writes this process's own name over the caller's command line, which everyone inside can read in `/proc/1/cmdline`:
/// it names paths of the host.
fn rename(command_line: &Range<usize>, name: &CStr) {
    let name = name.to_bytes();
    for (index, address) in command_line.clone().enumerate() {
        let byte = name.get(index).copied().unwrap_or(0);
        // SAFETY: the kernel told that the arguments of this process are there, on its stack, which this copy of the
        // caller's memory has for itself. Nothing of it reads them any more.
        unsafe { std::ptr::without_provenance_mut::<u8>(address).write_volatile(byte) };
    }
}

const NO_DOMAIN: &[u8] = b"(none)";

fn perform(operation: &Operation, ends: &Ends, held: &mut Held) -> sys::Result<()> {
    match operation {
        Operation::EnterCgroup(tasks) => {
            // SAFETY: the buffer lives across the call.
            check(unsafe { libc::write(*tasks, b"0".as_ptr().cast(), 1) } as _).map(drop)
        }
        Operation::HideCgroups => {
            sys::call(libc::SYS_unshare, [libc::CLONE_NEWCGROUP as u64, 0, 0, 0]).map(drop)
        }
        Operation::ReceiveRoot => {
            held.root = expect(ends, Kind::Root)?;
            Ok(())
        }
        Operation::BecomeRoot => sys::become_user(0, 0, &[]),
        Operation::NewSession => sys::call(libc::SYS_setsid, [0; 4]).map(drop),
        Operation::NewKeyring => {
            const JOIN_SESSION_KEYRING: u64 = 1;
            optional(
                sys::call(libc::SYS_keyctl, [JOIN_SESSION_KEYRING, 0, 0, 0]).map(drop),
                libc::ENOSYS,
            )
        }
        Operation::HostName(name) => {
            let bytes = name.to_bytes();
            // SAFETY: the name lives across the call and has the length given.
            check(libc::c_long::from(unsafe {
                libc::sethostname(bytes.as_ptr().cast(), bytes.len())
            }))?;
            // The other name that a new namespace has from the host; this is the kernel's own for none.
            // SAFETY: as above.
            check(libc::c_long::from(unsafe {
                libc::setdomainname(NO_DOMAIN.as_ptr().cast(), NO_DOMAIN.len())
            }))
            .map(drop)
        }
        Operation::LoopbackUp => loopback_up(),
        Operation::EnterRoot => enter_root(raw(&held.root)?),
        Operation::MakeProc => {
            held.proc = Some(make_proc()?);
            Ok(())
        }
        Operation::AttachProc => sys::attach(raw(&held.proc)?, c"/proc"),
        Operation::Attach { mount, target } => sys::attach(*mount, target),
        Operation::AttachVolume { target } => {
            sys::attach(raw(&expect(ends, Kind::Volume)?)?, target)
        }
        Operation::Mount { kind, target, flags, options } => {
            sys::mount(kind, target, kind, *flags, options)
        }
        Operation::Scratch(scratch) => mount_scratch(scratch),
        Operation::Place { ancestors, target } => make_place(ancestors, target),
        Operation::Set { path, value } => optional(write_file(path, value), libc::ENOENT),
        Operation::HideFile(path) => {
            optional(sys::mount(c"/dev/null", path, c"", libc::MS_BIND, c""), libc::ENOENT)
        }
        Operation::HideDirectory(path) => {
            let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            optional(
                sys::mount(c"tmpfs", path, c"tmpfs", flags, c"size=0,nr_inodes=2"),
                libc::ENOENT,
            )
        }
        Operation::ReadOnly(path) => optional(make_read_only(path), libc::ENOENT),
        Operation::AwaitRun => expect(ends, Kind::Run).map(drop),
    }
}

fn raw(fd: &Option<OwnedFd>) -> sys::Result<RawFd> {
    fd.as_ref().map(AsRawFd::as_raw_fd).ok_or(Errno(libc::EBADF))
}

fn make_proc() -> sys::Result<OwnedFd> {
    let proc = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(proc.as_fd())?;
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(proc.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, quiet)?)
}

fn optional(result: sys::Result<()>, missing: i32) -> sys::Result<()> {
    match result {
        Err(Errno(errno)) if errno == missing => Ok(()),
        other => other,
    }
}

/// Waits for a message of one kind; a caller that is gone ends the child.
fn expect(ends: &Ends, kind: Kind) -> sys::Result<Option<OwnedFd>> {
    match message::receive(ends.socket, 0)? {
        Some(message) if message.kind == kind => Ok(message.fd),
        Some(_) => Err(Errno(libc::EPROTO)),
        None => sys::exit(125),
    }
}

fn enter_root(root: RawFd) -> sys::Result<()> {
    sys::mount(c"", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"")?;
    sys::attach(root, c"/")?;
    sys::call(libc::SYS_fchdir, [root as u64, 0, 0, 0])?;
    sys::pivot_into_working_directory()
}

fn make_read_only(path: &CStr) -> sys::Result<()> {
    sys::mount(path, path, c"", libc::MS_BIND | libc::MS_REC, c"")?;
    let flags = libc::MS_BIND
        | libc::MS_REMOUNT
        | libc::MS_RDONLY
        | libc::MS_NOSUID
        | libc::MS_NODEV
        | libc::MS_NOEXEC;
    sys::mount(c"", path, c"", flags, c"")
}

fn write_file(path: &CStr, value: &[u8]) -> sys::Result<()> {
    // SAFETY: path and value live across the calls; the descriptor is this function's own.
    unsafe {
        let fd =
            check(libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC).into())? as RawFd;
        let written = check(libc::write(fd, value.as_ptr().cast(), value.len()) as _);
        libc::close(fd);
        written.map(drop)
    }
}

fn make_place(ancestors: &[CString], target: &CStr) -> sys::Result<()> {
    for directory in ancestors {
        // SAFETY: the path lives across the call. What can't be made shows when the file is made.
        unsafe { libc::mkdir(directory.as_ptr(), 0o755) };
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    // SAFETY: the path lives across the calls; the descriptor is this function's own.
    unsafe {
        match check(libc::open(target.as_ptr(), flags, 0o644).into()) {
            Ok(fd) => check(libc::close(fd as RawFd).into()).map(drop),
            Err(Errno(libc::EEXIST)) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

fn mount_scratch(scratch: &ScratchMount) -> sys::Result<()> {
    // SAFETY: all fields of stat may be zero; path and buffer live across the call.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    let mut stat = || {
        // SAFETY: as above.
        check(libc::c_long::from(unsafe { libc::stat(scratch.target.as_ptr(), &raw mut found) }))
    };
    if stat() == Err(Errno(libc::ENOENT)) {
        for directory in &scratch.ancestors {
            // SAFETY: the path lives across the call. What can't be made shows in the stat that follows.
            unsafe { libc::mkdir(directory.as_ptr(), 0o755) };
        }
        stat()?;
    }
    let (mut uid, mut gid, mut mode) = (found.st_uid, found.st_gid, found.st_mode & 0o1777);
    // Debian's daemons write as their user to directories that the package left to root (`/run`, `/var/log/nginx`).
    if uid == 0 && scratch.uid != 0 {
        (uid, gid) = (scratch.uid, scratch.gid);
        mode |= 0o700;
    }
    let mut options = [0_u8; 160];
    let mut rest = &mut options[..];
    // Invariant: five numbers and their names are shorter than the buffer, which ends in a null byte.
    let written = write!(
        rest,
        "size={},nr_inodes={},mode={mode:o},uid={uid},gid={gid}\0",
        scratch.size_bytes,
        inodes(scratch.size_bytes)
    );
    let options = CStr::from_bytes_until_nul(&options);
    let (Ok(()), Ok(options)) = (written, options) else { return Err(Errno(libc::EINVAL)) };
    sys::mount(c"tmpfs", &scratch.target, c"tmpfs", scratch.flags, options)
}

fn loopback_up() -> sys::Result<()> {
    // SAFETY: all fields of ifreq may be zero; the request lives across the calls.
    unsafe {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        let socket = check(libc::socket(libc::AF_INET, kind, 0).into())? as RawFd;
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let up = check(libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw const request).into());
        libc::close(socket);
        up.map(drop)
    }
}
