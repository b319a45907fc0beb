//! The system calls that the standard library has no function for.

use std::{
    ffi::{CString, c_char, c_int, c_long, c_ulong, c_void},
    io::{Error, Result},
    os::fd::{AsRawFd, BorrowedFd},
    sync::atomic::{AtomicI32, Ordering},
};

pub const MS_RDONLY: c_ulong = 1;
pub const MS_NOSUID: c_ulong = 2;
pub const MS_NODEV: c_ulong = 4;
pub const MS_NOEXEC: c_ulong = 8;
pub const MS_BIND: c_ulong = 4096;
pub const MS_MOVE: c_ulong = 8192;

const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;
const SIGCHLD: c_int = 17;
const SIGPWR: c_int = 30;
const EINTR: i32 = 4;
const ECHILD: i32 = 10;
const PR_SET_NO_NEW_PRIVS: c_int = 38;
const RB_POWER_OFF: c_int = 0x4321_fedc;
const SYS_FINIT_MODULE: c_long = if cfg!(target_arch = "x86_64") { 313 } else { 273 };

unsafe extern "C" {
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_char,
    ) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn sethostname(name: *const c_char, len: usize) -> c_int;
    fn setuid(uid: u32) -> c_int;
    fn setgroups(count: usize, groups: *const u32) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
    fn sigaddset(set: *mut SignalSet, signal: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn sigwait(set: *const SignalSet, got: *mut c_int) -> c_int;
    fn reboot(how: c_int) -> c_int;
    fn sync();
    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: u32) -> c_int;
}

/// `sigset_t` of glibc: 1,024 bits; none is set at first.
#[repr(C)]
#[derive(Default)]
struct SignalSet([u64; 16]);

fn check(result: c_int) -> Result<()> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn text(text: &str) -> Result<CString> {
    CString::new(text).map_err(Error::from)
}

/// mount(2).
pub fn mount_at(source: &str, target: &str, kind: &str, flags: c_ulong, data: &str) -> Result<()> {
    let [source, target, kind, data] = [text(source)?, text(target)?, text(kind)?, text(data)?];
    // SAFETY: all four are strings that end with NUL and outlive the call.
    check(unsafe { mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr()) })
}

/// finit_module(2), without parameters.
pub fn load_module(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the descriptor is open and the parameters are an empty string.
    check(unsafe { syscall(SYS_FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), 0) } as c_int)
}

/// sethostname(2).
pub fn set_host_name(name: &str) -> Result<()> {
    // SAFETY: the pointer is valid for the length.
    check(unsafe { sethostname(name.as_ptr().cast(), name.len()) })
}

/// setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the pointer is valid for the count.
    check(unsafe { setgroups(groups.len(), groups.as_ptr()) })
}

/// setuid(2): real, effective and saved.
pub fn set_user(uid: u32) -> Result<()> {
    // SAFETY: takes a plain number only.
    check(unsafe { setuid(uid) })
}

/// No program that the caller starts gains privileges by set-id bits or file capabilities.
pub fn set_no_new_privileges() -> Result<()> {
    // SAFETY: takes plain numbers only.
    check(unsafe { prctl(PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) })
}

/// An interface request: ioctl(2) on a socket with a structure of plain bytes, long enough for `request`.
pub fn interface_request(socket: BorrowedFd<'_>, request: c_ulong, bytes: &mut [u8]) -> Result<()> {
    assert!(bytes.len() >= 40, "every structure of these requests has 40 bytes or more");
    // SAFETY: the kernel reads and writes at most the structure, which the bytes hold.
    check(unsafe { ioctl(socket.as_raw_fd(), request, bytes.as_mut_ptr().cast()) })
}

/// Ties a socket to one interface (`SO_BINDTODEVICE`).
pub fn bind_to_interface(socket: BorrowedFd<'_>, name: &str) -> Result<()> {
    const SOL_SOCKET: c_int = 1;
    const SO_BINDTODEVICE: c_int = 25;
    let len = name.len() as u32;
    // SAFETY: the pointer is valid for the length.
    check(unsafe {
        setsockopt(socket.as_raw_fd(), SOL_SOCKET, SO_BINDTODEVICE, name.as_ptr().cast(), len)
    })
}

/// The command's process, or 0 while there is none; -1 once the init was told to end before there was one.
static COMMAND: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_on(_: c_int) {
    let command = COMMAND.load(Ordering::SeqCst);
    if command > 0 {
        // SAFETY: kill(2) may be called in a signal handler; the process is a child that was not waited for.
        unsafe { kill(command, SIGTERM) };
    } else {
        COMMAND.store(-1, Ordering::SeqCst);
    }
}

/// From now on being told to end (by SIGTERM, SIGINT, or SIGPWR as container managers do) tells the command.
pub fn pass_on_signals() {
    for number in [SIGINT, SIGTERM, SIGPWR] {
        let handler: extern "C" fn(c_int) = pass_on;
        // SAFETY: the handler only calls what is allowed in one.
        unsafe { signal(number, handler as usize) };
    }
}

/// Names the command's process to the signal handler.
pub fn set_command(pid: u32) {
    if COMMAND.swap(pid as i32, Ordering::SeqCst) == -1 {
        pass_on(SIGTERM);
    }
}

/// Waits until the init is told to end, and for orphans that end meanwhile; there is no command.
pub fn idle() {
    const SIG_BLOCK: c_int = 0;
    let mut set = SignalSet::default();
    for number in [SIGINT, SIGTERM, SIGPWR, SIGCHLD] {
        // SAFETY: the set is a whole one.
        unsafe { sigaddset(&raw mut set, number) };
    }
    // What comes from here on waits for `sigwait`; what came before is in the flag.
    // SAFETY: the set is valid, and the old one is not asked for.
    unsafe { sigprocmask(SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    while COMMAND.load(Ordering::SeqCst) != -1 {
        reap_ended();
        let mut got = 0;
        // SAFETY: both are valid places.
        let failed = unsafe { sigwait(&raw const set, &raw mut got) };
        if failed != 0 || got != SIGCHLD {
            return;
        }
    }
}

/// Waits for processes of the whole tree, as the first one has to, until `command` ends; gives its wait status.
pub fn reap_until(command: u32) -> Result<i32> {
    loop {
        let mut status = 0;
        // SAFETY: the status is a valid place to write to.
        let ended = unsafe { waitpid(-1, &raw mut status, 0) };
        if ended == command as i32 {
            COMMAND.store(0, Ordering::SeqCst);
            return Ok(status);
        }
        let error = Error::last_os_error().raw_os_error();
        if ended < 0 && error != Some(EINTR) {
            return Err(Error::last_os_error());
        }
    }
}

/// Waits for orphans that have ended, without waiting for any that runs.
fn reap_ended() {
    const WNOHANG: c_int = 1;
    loop {
        let mut status = 0;
        // SAFETY: the status is a valid place to write to.
        let ended = unsafe { waitpid(-1, &raw mut status, WNOHANG) };
        let error = Error::last_os_error().raw_os_error();
        if ended == 0 || ended < 0 && error == Some(ECHILD) {
            return;
        }
    }
}

/// Writes everything to disk and turns the machine off.
pub fn power_off_machine() -> Error {
    // SAFETY: neither takes memory.
    unsafe {
        sync();
        reboot(RB_POWER_OFF);
    }
    Error::last_os_error()
}
