//! The system call filter: an allow list; what is not on it answers as if the kernel did not have it.

use std::{collections::BTreeMap, sync::OnceLock};

use libc::c_long;

use crate::{
    filter::{self, Instruction, Verdict},
    sys::{self, check},
};

/// System calls without which ordinary programs break, and which reach nothing outside the sandbox's namespaces.
/// Absent on purpose: mount and its kin, bpf, keyctl and keys, userfaultfd, unshare, setns, ptrace and
/// process_vm_*, io_uring, perf_event_open, open_by_handle_at, kexec, modules, clocks, quotas, swap, reboot,
/// syslog, fanotify, and clone3, whose flags a filter can't see (the C library then uses clone).
#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // Files by descriptor and path.
    libc::SYS_read, libc::SYS_write, libc::SYS_close, libc::SYS_fstat, libc::SYS_lseek, libc::SYS_pread64,
    libc::SYS_pwrite64, libc::SYS_readv, libc::SYS_writev, libc::SYS_preadv, libc::SYS_pwritev,
    libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_openat, libc::SYS_openat2, libc::SYS_close_range,
    libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl, libc::SYS_flock, libc::SYS_fsync, libc::SYS_fdatasync,
    libc::SYS_sync_file_range, libc::SYS_syncfs, libc::SYS_sync, libc::SYS_truncate, libc::SYS_ftruncate,
    libc::SYS_fallocate, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir,
    libc::SYS_chroot, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_mkdirat, libc::SYS_mknodat,
    libc::SYS_linkat, libc::SYS_symlinkat, libc::SYS_unlinkat, libc::SYS_readlinkat, libc::SYS_fchmod,
    libc::SYS_fchmodat, FCHMODAT2, libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_umask, libc::SYS_statx,
    libc::SYS_newfstatat, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_utimensat, libc::SYS_statfs,
    libc::SYS_fstatfs, libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_splice, libc::SYS_tee,
    libc::SYS_vmsplice, libc::SYS_fadvise64, libc::SYS_readahead, libc::SYS_pipe2, libc::SYS_ioctl,
    libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_getxattr, libc::SYS_lgetxattr,
    libc::SYS_fgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr, libc::SYS_flistxattr,
    libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr,
    // Waiting and events.
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2, libc::SYS_eventfd2, libc::SYS_signalfd4, libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime, libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch, libc::SYS_io_setup, libc::SYS_io_destroy,
    libc::SYS_io_submit, libc::SYS_io_cancel, libc::SYS_io_getevents,
    // Memory.
    libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk,
    libc::SYS_msync, libc::SYS_mincore, libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock,
    libc::SYS_mlockall, libc::SYS_munlockall, libc::SYS_memfd_create, libc::SYS_membarrier,
    libc::SYS_pkey_alloc, libc::SYS_pkey_free, libc::SYS_pkey_mprotect, libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy, libc::SYS_mbind, libc::SYS_remap_file_pages, libc::SYS_process_madvise,
    // Processes, threads and signals.
    libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_wait4,
    libc::SYS_waitid, libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal, libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getpgid,
    libc::SYS_setpgid, libc::SYS_getsid, libc::SYS_setsid, libc::SYS_set_tid_address,
    libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_futex, libc::SYS_futex_waitv,
    libc::SYS_rseq, libc::SYS_restart_syscall, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_rt_sigreturn, libc::SYS_rt_sigsuspend, libc::SYS_rt_sigtimedwait, libc::SYS_sigaltstack,
    libc::SYS_prctl, libc::SYS_seccomp, libc::SYS_getrusage, libc::SYS_times, libc::SYS_getrlimit,
    libc::SYS_setrlimit, libc::SYS_prlimit64, libc::SYS_getpriority, libc::SYS_setpriority,
    libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam, libc::SYS_sched_setparam, libc::SYS_sched_getscheduler,
    libc::SYS_sched_setscheduler, libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval, libc::SYS_sched_getattr, libc::SYS_sched_setattr, libc::SYS_getcpu,
    libc::SYS_ioprio_get, libc::SYS_ioprio_set, libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self,
    // Identity.
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid,
    libc::SYS_getresgid, libc::SYS_getgroups, libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid,
    libc::SYS_setregid, libc::SYS_setresuid, libc::SYS_setresgid, libc::SYS_setgroups, libc::SYS_setfsuid,
    libc::SYS_setfsgid, libc::SYS_capget, libc::SYS_capset,
    // Time.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_gettimeofday,
    libc::SYS_nanosleep, libc::SYS_getitimer, libc::SYS_setitimer, libc::SYS_timer_create,
    libc::SYS_timer_settime, libc::SYS_timer_gettime, libc::SYS_timer_getoverrun, libc::SYS_timer_delete,
    // Sockets (which families: see `family_rules`).
    libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_connect,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg,
    libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg, libc::SYS_shutdown, libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    // System V and POSIX messages, semaphores and shared memory: the IPC namespace is the sandbox's own.
    libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_shmdt, libc::SYS_semget, libc::SYS_semop,
    libc::SYS_semctl, libc::SYS_semtimedop, libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv,
    libc::SYS_msgctl, libc::SYS_mq_open, libc::SYS_mq_unlink, libc::SYS_mq_timedsend,
    libc::SYS_mq_timedreceive, libc::SYS_mq_notify, libc::SYS_mq_getsetattr,
    // The rest.
    libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrandom,
];

/// The same calls under their old names.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_open, libc::SYS_creat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_poll,
    libc::SYS_select, libc::SYS_pipe, libc::SYS_dup2, libc::SYS_alarm, libc::SYS_pause, libc::SYS_fork,
    libc::SYS_vfork, libc::SYS_getdents, libc::SYS_rename, libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_link,
    libc::SYS_unlink, libc::SYS_symlink, libc::SYS_readlink, libc::SYS_chmod, libc::SYS_chown,
    libc::SYS_lchown, libc::SYS_mknod, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat,
    libc::SYS_getpgrp, libc::SYS_time, libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_eventfd,
    libc::SYS_signalfd, libc::SYS_inotify_init, libc::SYS_arch_prctl,
];

#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// `fchmodat2` (Linux 6.6), for which libc has no name on every architecture.
const FCHMODAT2: c_long = 452;

/// Socket families a program may use; VSOCK would reach a hypervisor, ALG and others the kernel's odd corners.
const FAMILIES: &[u32] =
    &[libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32, libc::AF_NETLINK as u32];

/// Execution domains that only describe an ordinary Linux process (`uname26`, no address randomisation for
/// debuggers excluded): PER_LINUX, PER_LINUX32, and asking which it is.
const PERSONALITIES: &[u32] = &[0x0, 0x8, 0xffff_ffff];

/// Flags of clone that make a namespace.
const NAMESPACE_FLAGS: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// Requests that put input into the terminal that the caller came from.
const TERMINAL_INPUT: &[u32] = &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32];

/// The compiled filter; compiled once a process, so a process that starts many sandboxes should ask for it early.
pub(crate) fn program() -> &'static [Instruction] {
    static PROGRAM: OnceLock<Vec<Instruction>> = OnceLock::new();
    PROGRAM.get_or_init(|| filter::compile(&rules()))
}

/// What becomes of each system call that does not answer ENOSYS.
fn rules() -> BTreeMap<u32, Verdict> {
    let number = |call: c_long| call as u32;
    let mut rules: BTreeMap<u32, Verdict> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (number(*call), Verdict::Allow)).collect();
    let families = Verdict::OneOf { argument: 0, values: FAMILIES };
    rules.insert(number(libc::SYS_socket), families);
    rules.insert(number(libc::SYS_socketpair), families);
    let personalities = Verdict::OneOf { argument: 0, values: PERSONALITIES };
    rules.insert(number(libc::SYS_personality), personalities);
    let no_namespace = Verdict::NoneOfBits { argument: 0, bits: NAMESPACE_FLAGS };
    rules.insert(number(libc::SYS_clone), no_namespace);
    let no_input = Verdict::NoneOf { argument: 1, values: TERMINAL_INPUT };
    rules.insert(number(libc::SYS_ioctl), no_input);
    rules
}

#[repr(C)]
struct Program {
    length: libc::c_ushort,
    instructions: *const Instruction,
}

/// Puts the calling thread under `program`, for good. `no_new_privs` must be set.
pub(crate) fn install(program: &[Instruction]) -> sys::Result<()> {
    let program =
        Program { length: program.len() as libc::c_ushort, instructions: program.as_ptr() };
    // SAFETY: the program lives across the call; the kernel copies and checks it.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0_u64, &raw const program)
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Answer, HERE, answer};

    fn ask(call: c_long, arguments: [u64; 6]) -> Answer {
        answer(program(), HERE, call as u32, arguments)
    }

    #[test]
    fn every_number_gets_the_verdict_of_the_list() {
        let rules = rules();
        for number in (0..2_000).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            let expected = match rules.get(&number) {
                Some(Verdict::OneOf { .. }) => continue,
                Some(_) => Answer::Allow,
                None => Answer::Missing,
            };
            assert_eq!(answer(program(), HERE, number, [0; 6]), expected, "{number}");
            assert_eq!(answer(program(), !HERE, number, [0; 6]), Answer::Kill, "{number}");
        }
        assert!(program().len() < 400, "{}", program().len());
    }

    #[test]
    fn arguments_are_looked_at() {
        let first = |value: u64| [value, 0, 0, 0, 0, 0];
        assert_eq!(ask(libc::SYS_socket, first(libc::AF_INET6 as u64)), Answer::Allow);
        for family in [libc::AF_VSOCK, libc::AF_ALG, libc::AF_PACKET, 0] {
            assert_eq!(ask(libc::SYS_socket, first(family as u64)), Answer::Missing);
        }
        // The kernel takes the lower half as the family: what stands in the upper must not hide it.
        let hidden = 1 << 32 | libc::AF_VSOCK as u64;
        assert_eq!(ask(libc::SYS_socket, first(hidden)), Answer::Missing);
        assert_eq!(ask(libc::SYS_clone, first(libc::CLONE_VM as u64 | 17)), Answer::Allow);
        for flag in [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET] {
            let flags = first((flag | libc::CLONE_VM) as u64);
            assert_eq!(ask(libc::SYS_clone, flags), Answer::Missing);
        }
        assert_eq!(ask(libc::SYS_ioctl, [0, libc::TCGETS, 0, 0, 0, 0]), Answer::Allow);
        assert_eq!(ask(libc::SYS_ioctl, [0, 1 << 32 | libc::TIOCSTI, 0, 0, 0, 0]), Answer::Missing);
        assert_eq!(ask(libc::SYS_personality, first(0xffff_ffff)), Answer::Allow);
        assert_eq!(ask(libc::SYS_personality, first(0x4_0000)), Answer::Missing);
    }
}
