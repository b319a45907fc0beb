//! The system calls that programs in a sandbox may make, with their numbers on each architecture.
//!
//! A filter for one architecture is data that can be made and tested on any other.

/// An architecture whose system calls are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// amd64 in Debian's words.
    #[cfg_attr(
        not(any(test, target_arch = "x86_64")),
        expect(dead_code, reason = "known, not here")
    )]
    X86_64,
    /// arm64 in Debian's words.
    #[cfg_attr(
        not(any(test, target_arch = "aarch64")),
        expect(dead_code, reason = "known, not here")
    )]
    Aarch64,
}

impl Architecture {
    /// The one that this program is built for.
    #[cfg(target_arch = "x86_64")]
    pub(crate) const HERE: Self = Self::X86_64;
    /// The one that this program is built for.
    #[cfg(target_arch = "aarch64")]
    pub(crate) const HERE: Self = Self::Aarch64;

    /// What the kernel calls it in front of a filter: `AUDIT_ARCH_*` of `linux/audit.h`.
    pub(crate) const fn audit(self) -> u32 {
        // The ELF machine, with the bits for 64-bit and little endian.
        const LITTLE_64: u32 = 0xc000_0000;
        match self {
            Self::X86_64 => LITTLE_64 | 62,
            Self::Aarch64 => LITTLE_64 | 183,
        }
    }

    /// The number of a call here.
    pub(crate) const fn number(self, call: &Call) -> u32 {
        match self {
            Self::X86_64 => call.1,
            Self::Aarch64 => call.2,
        }
    }

    /// The numbers of all calls that are allowed whatever their arguments are.
    pub(crate) fn allowed(self) -> impl Iterator<Item = u32> {
        let old = match self {
            Self::X86_64 => ALLOWED_X86_64,
            Self::Aarch64 => &[],
        };
        let everywhere = ALLOWED.iter().map(move |call| self.number(call));
        everywhere.chain(old.iter().map(|(_, number)| *number))
    }
}

/// A system call: its name, its number on x86-64, and that on aarch64.
pub(crate) type Call = (&'static str, u32, u32);

// Calls whose arguments decide.
pub(crate) const SOCKET: Call = ("socket", 41, 198);
pub(crate) const SOCKETPAIR: Call = ("socketpair", 53, 199);
pub(crate) const PERSONALITY: Call = ("personality", 135, 92);
pub(crate) const CLONE: Call = ("clone", 56, 220);
pub(crate) const IOCTL: Call = ("ioctl", 16, 29);

/// System calls without which ordinary programs break, and which reach nothing outside the sandbox's namespaces.
/// Absent on purpose: mount and its kin, bpf, keyctl and keys, userfaultfd, unshare, setns, ptrace and
/// process_vm_*, io_uring, perf_event_open, open_by_handle_at, kexec, modules, clocks, quotas, swap, reboot,
/// syslog, fanotify, and clone3, whose flags a filter can't see (the C library then uses clone).
#[rustfmt::skip]
const ALLOWED: &[Call] = &[
    // Files by descriptor and path.
    ("read", 0, 63), ("write", 1, 64), ("close", 3, 57), ("fstat", 5, 80), ("lseek", 8, 62), ("pread64", 17, 67),
    ("pwrite64", 18, 68), ("readv", 19, 65), ("writev", 20, 66), ("preadv", 295, 69), ("pwritev", 296, 70),
    ("preadv2", 327, 286), ("pwritev2", 328, 287), ("openat", 257, 56), ("openat2", 437, 437),
    ("close_range", 436, 436), ("dup", 32, 23), ("dup3", 292, 24), ("fcntl", 72, 25), ("flock", 73, 32),
    ("fsync", 74, 82), ("fdatasync", 75, 83), ("sync_file_range", 277, 84), ("syncfs", 306, 267), ("sync", 162, 81),
    ("truncate", 76, 45), ("ftruncate", 77, 46), ("fallocate", 285, 47), ("getdents64", 217, 61),
    ("getcwd", 79, 17), ("chdir", 80, 49), ("fchdir", 81, 50), ("chroot", 161, 51), ("renameat", 264, 38),
    ("renameat2", 316, 276), ("mkdirat", 258, 34), ("mknodat", 259, 33), ("linkat", 265, 37),
    ("symlinkat", 266, 36), ("unlinkat", 263, 35), ("readlinkat", 267, 78), ("fchmod", 91, 52),
    ("fchmodat", 268, 53), ("fchmodat2", 452, 452), ("fchown", 93, 55), ("fchownat", 260, 54), ("umask", 95, 166),
    ("statx", 332, 291), ("newfstatat", 262, 79), ("faccessat", 269, 48), ("faccessat2", 439, 439),
    ("utimensat", 280, 88), ("statfs", 137, 43), ("fstatfs", 138, 44), ("copy_file_range", 326, 285),
    ("sendfile", 40, 71), ("splice", 275, 76), ("tee", 276, 77), ("vmsplice", 278, 75), ("fadvise64", 221, 223),
    ("readahead", 187, 213), ("pipe2", 293, 59), ("setxattr", 188, 5), ("lsetxattr", 189, 6), ("fsetxattr", 190, 7),
    ("getxattr", 191, 8), ("lgetxattr", 192, 9), ("fgetxattr", 193, 10), ("listxattr", 194, 11),
    ("llistxattr", 195, 12), ("flistxattr", 196, 13), ("removexattr", 197, 14), ("lremovexattr", 198, 15),
    ("fremovexattr", 199, 16),
    // Waiting and events.
    ("ppoll", 271, 73), ("pselect6", 270, 72), ("epoll_create1", 291, 20), ("epoll_ctl", 233, 21),
    ("epoll_pwait", 281, 22), ("epoll_pwait2", 441, 441), ("eventfd2", 290, 19), ("signalfd4", 289, 74),
    ("timerfd_create", 283, 85), ("timerfd_settime", 286, 86), ("timerfd_gettime", 287, 87),
    ("inotify_init1", 294, 26), ("inotify_add_watch", 254, 27), ("inotify_rm_watch", 255, 28), ("io_setup", 206, 0),
    ("io_destroy", 207, 1), ("io_submit", 209, 2), ("io_cancel", 210, 3), ("io_getevents", 208, 4),
    // Memory.
    ("mmap", 9, 222), ("munmap", 11, 215), ("mprotect", 10, 226), ("mremap", 25, 216), ("madvise", 28, 233),
    ("brk", 12, 214), ("msync", 26, 227), ("mincore", 27, 232), ("mlock", 149, 228), ("mlock2", 325, 284),
    ("munlock", 150, 229), ("mlockall", 151, 230), ("munlockall", 152, 231), ("memfd_create", 319, 279),
    ("membarrier", 324, 283), ("pkey_alloc", 330, 289), ("pkey_free", 331, 290), ("pkey_mprotect", 329, 288),
    ("get_mempolicy", 239, 236), ("set_mempolicy", 238, 237), ("mbind", 237, 235), ("remap_file_pages", 216, 234),
    ("process_madvise", 440, 440),
    // Processes, threads and signals.
    ("execve", 59, 221), ("execveat", 322, 281), ("exit", 60, 93), ("exit_group", 231, 94), ("wait4", 61, 260),
    ("waitid", 247, 95), ("kill", 62, 129), ("tkill", 200, 130), ("tgkill", 234, 131), ("pidfd_open", 434, 434),
    ("pidfd_send_signal", 424, 424), ("getpid", 39, 172), ("getppid", 110, 173), ("gettid", 186, 178),
    ("getpgid", 121, 155), ("setpgid", 109, 154), ("getsid", 124, 156), ("setsid", 112, 157),
    ("set_tid_address", 218, 96), ("set_robust_list", 273, 99), ("get_robust_list", 274, 100), ("futex", 202, 98),
    ("futex_waitv", 449, 449), ("rseq", 334, 293), ("restart_syscall", 219, 128), ("rt_sigaction", 13, 134),
    ("rt_sigprocmask", 14, 135), ("rt_sigpending", 127, 136), ("rt_sigqueueinfo", 129, 138),
    ("rt_tgsigqueueinfo", 297, 240), ("rt_sigreturn", 15, 139), ("rt_sigsuspend", 130, 133),
    ("rt_sigtimedwait", 128, 137), ("sigaltstack", 131, 132), ("prctl", 157, 167), ("seccomp", 317, 277),
    ("getrusage", 98, 165), ("times", 100, 153), ("getrlimit", 97, 163), ("setrlimit", 160, 164),
    ("prlimit64", 302, 261), ("getpriority", 140, 141), ("setpriority", 141, 140), ("sched_yield", 24, 124),
    ("sched_getaffinity", 204, 123), ("sched_setaffinity", 203, 122), ("sched_getparam", 143, 121),
    ("sched_setparam", 142, 118), ("sched_getscheduler", 145, 120), ("sched_setscheduler", 144, 119),
    ("sched_get_priority_max", 146, 125), ("sched_get_priority_min", 147, 126), ("sched_rr_get_interval", 148, 127),
    ("sched_getattr", 315, 275), ("sched_setattr", 314, 274), ("getcpu", 309, 168), ("ioprio_get", 252, 31),
    ("ioprio_set", 251, 30), ("landlock_create_ruleset", 444, 444), ("landlock_add_rule", 445, 445),
    ("landlock_restrict_self", 446, 446),
    // Identity.
    ("getuid", 102, 174), ("geteuid", 107, 175), ("getgid", 104, 176), ("getegid", 108, 177),
    ("getresuid", 118, 148), ("getresgid", 120, 150), ("getgroups", 115, 158), ("setuid", 105, 146),
    ("setgid", 106, 144), ("setreuid", 113, 145), ("setregid", 114, 143), ("setresuid", 117, 147),
    ("setresgid", 119, 149), ("setgroups", 116, 159), ("setfsuid", 122, 151), ("setfsgid", 123, 152),
    ("capget", 125, 90), ("capset", 126, 91),
    // Time.
    ("clock_gettime", 228, 113), ("clock_getres", 229, 114), ("clock_nanosleep", 230, 115),
    ("gettimeofday", 96, 169), ("nanosleep", 35, 101), ("getitimer", 36, 102), ("setitimer", 38, 103),
    ("timer_create", 222, 107), ("timer_settime", 223, 110), ("timer_gettime", 224, 108),
    ("timer_getoverrun", 225, 109), ("timer_delete", 226, 111),
    // Sockets.
    ("bind", 49, 200), ("listen", 50, 201), ("accept", 43, 202), ("accept4", 288, 242), ("connect", 42, 203),
    ("getsockname", 51, 204), ("getpeername", 52, 205), ("sendto", 44, 206), ("recvfrom", 45, 207),
    ("sendmsg", 46, 211), ("recvmsg", 47, 212), ("sendmmsg", 307, 269), ("recvmmsg", 299, 243),
    ("shutdown", 48, 210), ("setsockopt", 54, 208), ("getsockopt", 55, 209),
    // System V and POSIX messages, semaphores and shared memory: the IPC namespace is the sandbox's own.
    ("shmget", 29, 194), ("shmat", 30, 196), ("shmctl", 31, 195), ("shmdt", 67, 197), ("semget", 64, 190),
    ("semop", 65, 193), ("semctl", 66, 191), ("semtimedop", 220, 192), ("msgget", 68, 186), ("msgsnd", 69, 189),
    ("msgrcv", 70, 188), ("msgctl", 71, 187), ("mq_open", 240, 180), ("mq_unlink", 241, 181),
    ("mq_timedsend", 242, 182), ("mq_timedreceive", 243, 183), ("mq_notify", 244, 184), ("mq_getsetattr", 245, 185),
    // The rest.
    ("uname", 63, 160), ("sysinfo", 99, 179), ("getrandom", 318, 278),
];

/// The same calls under their old names, which younger architectures never had.
#[rustfmt::skip]
const ALLOWED_X86_64: &[(&str, u32)] = &[
    ("open", 2), ("creat", 85), ("stat", 4), ("lstat", 6), ("access", 21), ("poll", 7), ("select", 23),
    ("pipe", 22), ("dup2", 33), ("alarm", 37), ("pause", 34), ("fork", 57), ("vfork", 58), ("getdents", 78),
    ("rename", 82), ("mkdir", 83), ("rmdir", 84), ("link", 86), ("unlink", 87), ("symlink", 88), ("readlink", 89),
    ("chmod", 90), ("chown", 92), ("lchown", 94), ("mknod", 133), ("utime", 132), ("utimes", 235),
    ("futimesat", 261), ("getpgrp", 111), ("time", 201), ("epoll_create", 213), ("epoll_wait", 232),
    ("eventfd", 284), ("signalfd", 282), ("inotify_init", 253), ("arch_prctl", 158),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    /// What the kernel's headers call and number: they come with the C library that programs are linked with.
    fn defined(path: &str) -> BTreeMap<String, u32> {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("`{path}`: {error}"));
        let mut numbers = BTreeMap::new();
        let mut aliases = Vec::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            if words.next() != Some("#define") {
                continue;
            }
            let (Some(name), Some(value)) = (words.next(), words.next()) else { continue };
            match value.parse() {
                Ok(number) => drop(numbers.insert(name.to_owned(), number)),
                Err(_) => aliases.push((name.to_owned(), value.to_owned())),
            }
        }
        // Calls with a 32-bit form have another name first, in the table that all younger architectures share.
        for (name, of) in aliases {
            if let Some(number) = numbers.get(&of) {
                numbers.insert(name, *number);
            }
        }
        numbers
    }

    /// Calls from this number on have the same one everywhere; headers that are older than a call lack it.
    const SAME_EVERYWHERE: u32 = 424;

    fn check(numbers: &BTreeMap<String, u32>, name: &str, number: u32) {
        match numbers.get(&format!("__NR_{name}")) {
            Some(defined) => assert_eq!(*defined, number, "{name}"),
            None => assert!(number >= SAME_EVERYWHERE, "the headers have no `{name}`"),
        }
    }

    fn calls() -> impl Iterator<Item = &'static Call> {
        ALLOWED.iter().chain(&[SOCKET, SOCKETPAIR, PERSONALITY, CLONE, IOCTL])
    }

    #[test]
    fn numbers_on_aarch64_are_those_that_younger_architectures_share() {
        let numbers = defined("/usr/include/asm-generic/unistd.h");
        for (name, x86_64, aarch64) in calls() {
            check(&numbers, name, *aarch64);
            let (x86_64, aarch64) = (*x86_64, *aarch64);
            assert!(x86_64.max(aarch64) < SAME_EVERYWHERE || x86_64 == aarch64, "{name}");
        }
        for (name, number) in ALLOWED_X86_64 {
            assert!(*number < SAME_EVERYWHERE, "{name}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn numbers_on_x86_64_are_the_kernels() {
        let numbers = defined("/usr/include/x86_64-linux-gnu/asm/unistd_64.h");
        calls().for_each(|(name, number, _)| check(&numbers, name, *number));
        ALLOWED_X86_64.iter().for_each(|(name, number)| check(&numbers, name, *number));
    }

    #[test]
    fn no_call_is_named_twice() {
        let mut names: Vec<&str> = calls().map(|call| call.0).collect();
        names.extend(ALLOWED_X86_64.iter().map(|(name, _)| *name));
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }

    #[test]
    fn architectures_are_what_the_kernel_calls_them() {
        // AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64 of linux/audit.h.
        assert_eq!(Architecture::X86_64.audit(), 0xc000_003e);
        assert_eq!(Architecture::Aarch64.audit(), 0xc000_00b7);
    }
}
