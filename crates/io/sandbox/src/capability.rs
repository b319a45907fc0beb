//! Capability sets: which ones a profile keeps, and how a process comes down to them.

use crate::{
    spec::Profile,
    sys::{self, check},
};

const CHOWN: u32 = 0;
const DAC_OVERRIDE: u32 = 1;
const FOWNER: u32 = 3;
const FSETID: u32 = 4;
const KILL: u32 = 5;
const SETGID: u32 = 6;
const SETUID: u32 = 7;
const NET_BIND_SERVICE: u32 = 10;
const SYS_CHROOT: u32 = 18;
const SETFCAP: u32 = 31;

/// The kernel has 41 today; the numbers past its last one are refused with EINVAL, which ends the loop.
const LAST_POSSIBLE: u32 = 63;

const fn set(capabilities: &[u32]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < capabilities.len() {
        bits |= 1 << capabilities[index];
        index += 1;
    }
    bits
}

/// What a server that insists on being root keeps: owning its files and becoming its ordinary user.
const SERVICE_ROOT: u64 =
    set(&[CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE]);

/// What maintainer scripts need: any owner and mode, file capabilities (`setcap` of `ping`), chroot.
const BUILD: u64 =
    set(&[CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SYS_CHROOT, SETFCAP]);

/// What the sandbox's own init keeps: forwarding signals to a command of another user.
pub(crate) const INIT: u64 = set(&[KILL]);

/// The capabilities that a command of `profile` may ever have when it runs as `uid`.
pub(crate) fn allowed(profile: Profile, uid: u32) -> u64 {
    match (profile, uid) {
        (Profile::Service, 0) => SERVICE_ROOT,
        (Profile::Service, _) => 0,
        (Profile::Build, _) => BUILD,
    }
}

/// Drops everything outside `allowed` from the bounding set.
pub(crate) fn limit_bounding_set(allowed: u64) -> sys::Result<()> {
    for capability in 0..=LAST_POSSIBLE {
        if allowed & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: prctl with integers only.
        let dropped = check(libc::c_long::from(unsafe {
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0)
        }));
        match dropped {
            Ok(_) => {}
            Err(sys::Errno(libc::EINVAL)) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Makes every permitted capability of the calling thread effective.
pub(crate) fn raise_permitted() -> sys::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let empty = || Data { effective: 0, permitted: 0, inheritable: 0 };
    let mut data = [empty(), empty()];
    // SAFETY: header and data live across the calls and have the layout of version 3.
    unsafe {
        check(libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()))?;
        for half in &mut data {
            half.effective = half.permitted;
        }
        check(libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr())).map(drop)
    }
}

/// Sets the effective and permitted sets to `capabilities`, and empties the inheritable one.
pub(crate) fn limit_to(capabilities: u64) -> sys::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |bits: u64| Data { effective: bits as u32, permitted: bits as u32, inheritable: 0 };
    let data = [half(capabilities), half(capabilities >> 32)];
    // SAFETY: header and data live across the call and have the layout of version 3.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}
