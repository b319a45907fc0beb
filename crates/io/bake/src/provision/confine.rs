//! Confines a program of the host that a bake runs: it sees the host read-only, and nothing of it outlives the bake.
//!
//! Namespaces for mounts, processes, IPC and, without a network, the network; every mount read-only but one directory;
//! `/dev` with the harmless devices, `/run` empty; no capabilities. Ansible's own plugins and lookups run on the host,
//! and a playbook must not change it by mistake.

use std::{
    ffi::CString,
    fs, io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
    ptr,
};

/// Devices that programs take for granted.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Symbolic links of `/dev`.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// More than any kernel has; what it lacks ends the loop.
const CAPABILITIES: libc::c_ulong = 64;
/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Where a confined program may write, and what it sees as `/dev`; all paths prepared, because nothing may be
/// allocated between fork and exec.
struct Confinement {
    writable: CString,
    dev: CString,
    shm: CString,
    devices: Vec<(CString, CString)>,
    run: bool,
    network: bool,
}

/// Confines `command`, which may write to `writable` alone; `place` is an empty directory for its `/dev`.
pub(crate) fn confine(
    command: &mut Command,
    writable: &Path,
    place: &Path,
    network: bool,
) -> io::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
    let shm = place.join("shm");
    fs::create_dir_all(&shm)?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    let mut devices = Vec::new();
    for name in DEVICES {
        let target = place.join(name);
        fs::write(&target, "")?;
        devices.push((text(&Path::new("/dev").join(name))?, text(&target)?));
    }
    for (name, target) in LINKS {
        symlink(target, place.join(name))?;
    }
    let confinement = Confinement {
        writable: text(writable)?,
        dev: text(place)?,
        shm: text(&shm)?,
        devices,
        run: !fs::canonicalize(writable)?.starts_with("/run"),
        network,
    };
    // SAFETY: `enter` makes system calls only and allocates nothing.
    unsafe { command.pre_exec(move || confinement.enter()) };
    Ok(())
}

impl Confinement {
    /// Called in the forked child, before exec.
    fn enter(&self) -> io::Result<()> {
        die_with_parent()?;
        let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC;
        if !self.network {
            flags |= libc::CLONE_NEWNET;
        }
        // SAFETY: a plain system call.
        check(unsafe { libc::unshare(flags) })?;
        mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None)?;
        mount(Some(&self.writable), &self.writable, None, libc::MS_BIND, None)?;
        for (device, target) in &self.devices {
            mount(Some(device), target, None, libc::MS_BIND, None)?;
        }
        let tmpfs = libc::MS_NOSUID | libc::MS_NODEV;
        mount(Some(c"tmpfs"), &self.shm, Some(c"tmpfs"), tmpfs, Some(c"mode=1777,size=64m"))?;
        set_attributes(c"/", libc::AT_RECURSIVE as libc::c_uint, libc::MOUNT_ATTR_RDONLY, 0)?;
        for place in [&self.writable, &self.shm] {
            set_attributes(place, 0, 0, libc::MOUNT_ATTR_RDONLY)?;
        }
        mount(Some(&self.dev), c"/dev", None, libc::MS_BIND | libc::MS_REC, None)?;
        if self.run {
            // The sockets of the host's daemons are there: read-only mounts do not keep anyone from them.
            mount(Some(c"tmpfs"), c"/run", Some(c"tmpfs"), tmpfs, Some(c"mode=755,size=1m"))?;
        }
        become_first_process()?;
        drop_capabilities()
    }
}

/// Goes on as the first process of a namespace of its own, which ends with it; the one left outside passes its exit
/// status on.
fn become_first_process() -> io::Result<()> {
    // SAFETY: the child of a fork of a single-threaded process.
    let child = unsafe { libc::fork() };
    check(child)?;
    if child == 0 {
        return die_with_parent();
    }
    let mut status = 0;
    // SAFETY: plain system calls. Every descriptor goes: the caller waits for the end of one of them.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
        while libc::waitpid(child, &raw mut status, 0) < 0 {
            if *libc::__errno_location() != libc::EINTR {
                libc::_exit(125);
            }
        }
        libc::_exit(if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            128 + libc::WTERMSIG(status)
        })
    }
}

fn die_with_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
}

fn drop_capabilities() -> io::Result<()> {
    for capability in 0..CAPABILITIES {
        if prctl(libc::PR_CAPBSET_DROP, capability).is_err() {
            break;
        }
    }
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    let header = Header { version: CAPABILITY_VERSION, pid: 0 };
    let none = [0_u32; 6];
    // SAFETY: both live across the call and have the size that this version says.
    let result =
        unsafe { libc::syscall(libc::SYS_capset, ptr::from_ref(&header), ptr::from_ref(&none)) };
    check(result as libc::c_int)?;
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

fn mount(
    source: Option<&std::ffi::CStr>,
    target: &std::ffi::CStr,
    kind: Option<&std::ffi::CStr>,
    flags: libc::c_ulong,
    data: Option<&std::ffi::CStr>,
) -> io::Result<()> {
    let pointer = |text: Option<&std::ffi::CStr>| text.map_or(ptr::null(), std::ffi::CStr::as_ptr);
    // SAFETY: every text lives across the call and ends in a zero byte.
    check(unsafe {
        libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, pointer(data).cast())
    })
}

/// mount_setattr(2).
fn set_attributes(
    path: &std::ffi::CStr,
    flags: libc::c_uint,
    set: u64,
    clear: u64,
) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    // SAFETY: path and attributes live across the call, whose last argument is the size of the latter.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            ptr::from_ref(&attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    check(result as libc::c_int)
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options used take one number.
    check(unsafe { libc::prctl(option, argument, 0, 0, 0) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, network: bool) -> (Option<i32>, String, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (writable, place) = (dir.path().join("writable"), dir.path().join("dev"));
        fs::create_dir_all(&writable).unwrap();
        fs::write(dir.path().join("kept"), "kept").unwrap();
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).current_dir(dir.path());
        confine(&mut command, &writable, &place, network).unwrap();
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text, dir)
    }

    #[test]
    fn nothing_but_one_directory_can_be_written() {
        let script = "echo x > writable/new; echo x > kept; rm -f kept; echo x > /tmp/hornero-confined
            mkdir /etc/hornero-confined; echo x > /dev/null && echo null; echo x > /dev/shm/x && echo shm
            ls /run | wc -l; mount -o remount,rw / && echo remounted; ls /dev | tr '\\n' ' '
            grep CapEff /proc/self/status; echo $$; exit 7";
        let (code, output, dir) = shell(script, false);
        assert_eq!(code, Some(7), "{output}");
        assert_eq!(
            output,
            "null\nshm\n0\nfd full null random shm stderr stdin stdout urandom zero \
             CapEff:\t0000000000000000\n1\n"
        );
        assert_eq!(fs::read_to_string(dir.path().join("writable/new")).unwrap(), "x\n");
        assert_eq!(fs::read_to_string(dir.path().join("kept")).unwrap(), "kept");
        assert!(!Path::new("/etc/hornero-confined").exists());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()), "{mounts}");
    }

    #[test]
    fn the_network_is_there_only_where_it_is_declared() {
        let links = |network| shell("wc -l < /proc/net/dev", network).1;
        let host = fs::read_to_string("/proc/net/dev").unwrap().lines().count();
        assert_eq!(links(false).trim(), "3", "two lines of head, and loopback");
        assert_eq!(links(true).trim(), host.to_string());
    }

    #[test]
    fn what_it_leaves_running_ends_with_it() {
        let marker = format!("{}", 3_000_000 + std::process::id());
        let (code, _, _dir) = shell(&format!("sleep {marker} & exit 0"), false);
        assert_eq!(code, Some(0));
        let left = fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
            fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| line.windows(marker.len()).any(|part| part == marker.as_bytes()))
        });
        assert!(!left);
    }
}
