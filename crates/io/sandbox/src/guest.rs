//! What runs between the clone and the exec of a command that enters a sandbox: system calls only, nothing allocated.
//!
//! Two processes come of it beside the command. The first enters the namespaces and waits: it is in no process namespace of
//! the sandbox, so that nobody inside sees it. Its child is inside, has every process of the session below it, and ends them
//! all when the command has ended or the caller has gone.

use std::{ffi::CStr, os::fd::RawFd};

use crate::{
    capability,
    child::prepare,
    command::{self, Ends, give_up},
    init::{close_all_but, forget_signals, signal_descriptor},
    message::{self, CommandStep, Kind},
    plan::Command,
    sys::{self, Cloned, Errno, check},
};

/// What both processes are called.
const NAME: &CStr = c"hornero-guest";
/// How often what is left of a session is killed again; with a millisecond between, that is for as long as a loaded host needs.
const KILL_ROUNDS: u32 = 10_000;
/// Every namespace of a sandbox.
const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// Where a command enters.
pub(crate) struct GuestEntry {
    /// A process of the sandbox.
    pub process: RawFd,
    /// `tasks` files of its control groups of version 1.
    pub tasks: Vec<RawFd>,
    pub command: Command,
}

/// The life of the process outside: enters, starts the one inside, and ends after it.
pub(crate) fn run(entry: &GuestEntry, ends: &Ends) -> ! {
    if let Err(errno) = enter(entry, ends) {
        give_up(ends, CommandStep::Enter as u32, errno);
    }
    // SAFETY: the child only makes system calls until it executes the command or exits.
    let inside = match unsafe { sys::clone_process(0, None) } {
        Ok(Cloned::Child) => keep(entry, ends),
        Ok(Cloned::Parent { pid, pidfd }) => {
            drop(pidfd);
            pid
        }
        Err(errno) => give_up(ends, CommandStep::Clone as u32, errno),
    };
    // Whoever waits for the end of the others must not wait for this one.
    let _ = sys::close_range(0, u32::MAX);
    let mut status = 0;
    // SAFETY: the status lives across the call.
    while check(libc::c_long::from(unsafe { libc::waitpid(inside, &raw mut status, 0) }))
        == Err(Errno(libc::EINTR))
    {}
    sys::exit(0)
}

fn enter(entry: &GuestEntry, ends: &Ends) -> sys::Result<()> {
    // Invariant: from here on nobody inside can trace or read this copy of the caller's memory, nor open its program by
    // `/proc/PID/exe`.
    prepare(ends, NAME)?;
    sys::default_action(libc::SIGCHLD)?;
    sys::set_signal_mask(u64::MAX)?;
    sys::call(libc::SYS_setsid, [0; 4])?;
    for tasks in &entry.tasks {
        // SAFETY: the buffer lives across the call.
        check(unsafe { libc::write(*tasks, b"0".as_ptr().cast(), 1) } as _)?;
    }
    sys::call(libc::SYS_setns, [entry.process as u64, NAMESPACES, 0, 0]).map(drop)
}

/// The life of the process inside: starts the command, and leaves nothing of it.
fn keep(entry: &GuestEntry, ends: &Ends) -> ! {
    let signals = match become_keeper() {
        Ok(signals) => signals,
        Err(errno) => give_up(ends, CommandStep::Enter as u32, errno),
    };
    // SAFETY: the child only makes system calls until it executes the command or exits.
    let command = match unsafe { sys::clone_process(0, None) } {
        Ok(Cloned::Child) => command::become_command(&entry.command, ends),
        Ok(Cloned::Parent { pid, pidfd }) => {
            drop(pidfd);
            pid
        }
        Err(errno) => give_up(ends, CommandStep::Clone as u32, errno),
    };
    close_all_but(ends.socket, signals);
    // What is still needed takes no other right; a failure leaves it with more, and without a way for others to use it.
    let _ = capability::limit_to(capability::INIT);
    // After every change of rights, each of which would forget it.
    let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64);
    watch(command, ends.socket, signals)
}

fn become_keeper() -> sys::Result<RawFd> {
    const JOIN_SESSION_KEYRING: u64 = 1;
    match sys::call(libc::SYS_keyctl, [JOIN_SESSION_KEYRING, 0, 0, 0]) {
        Ok(_) | Err(Errno(libc::ENOSYS)) => {}
        Err(errno) => return Err(errno),
    }
    sys::call(libc::SYS_setsid, [0; 4])?;
    sys::become_user(0, 0, &[])?;
    // Whatever the command leaves behind becomes a child of this one.
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)?;
    signal_descriptor()
}

fn watch(command: i32, socket: RawFd, signals: RawFd) -> ! {
    let event = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    loop {
        let mut events = [event(socket), event(signals)];
        // SAFETY: the array lives across the call and has the length given.
        let polled = check(libc::c_long::from(unsafe { libc::poll(events.as_mut_ptr(), 2, -1) }));
        let is_broken = polled.is_err() && polled != Err(Errno(libc::EINTR));
        // The caller says nothing: it is gone, or wants the end.
        if is_broken || events[0].revents != 0 {
            // It is not reaped yet, and ends also where the kernel lists no children.
            // SAFETY: sends a signal to the own child.
            unsafe { libc::kill(command, libc::SIGKILL) };
            end_all();
            sys::exit(125);
        }
        if events[1].revents != 0 {
            forget_signals(signals);
            reap(command, socket);
        }
    }
}

/// Reaps every child that has ended; the command's own end is the end of all.
fn reap(command: i32, socket: RawFd) {
    loop {
        let mut status = 0;
        // SAFETY: the status lives across the call.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            pid if pid == command => {
                end_all();
                let _ = message::send(socket, Kind::Ended, status, None);
                sys::exit(0);
            }
            pid if pid > 0 => {}
            _ => return,
        }
    }
}

/// Kills what is below this process until nothing is: what loses its parent comes to be a child of this one.
fn end_all() {
    for _ in 0..KILL_ROUNDS {
        kill_children();
        // SAFETY: no status is asked for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        // SAFETY: as above.
        let left = check(libc::c_long::from(unsafe {
            libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG)
        }));
        if left == Err(Errno(libc::ECHILD)) {
            return;
        }
        // SAFETY: no descriptor is looked at.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 1) };
    }
}

/// Sends SIGKILL to every child that the kernel lists (proc_pid_task(5), `children`).
fn kill_children() {
    let mut text = [0_u8; 4096];
    // SAFETY: path and buffer live across the calls; the descriptor is this function's own.
    let length = unsafe {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let fd = libc::open(c"/proc/thread-self/children".as_ptr(), flags);
        let length = libc::read(fd, text.as_mut_ptr().cast(), text.len());
        libc::close(fd);
        usize::try_from(length).unwrap_or(0)
    };
    // A number that was cut off is no whole one; it is there again next time.
    let whole = text[..length].iter().rposition(|byte| *byte == b' ').unwrap_or(0);
    for number in text[..whole].split(|byte| *byte == b' ') {
        let digit = |number: i32, byte: &u8| number * 10 + i32::from(byte - b'0');
        if !number.is_empty() && number.iter().all(u8::is_ascii_digit) && number.len() < 10 {
            // SAFETY: sends a signal to a child that is not reaped yet.
            unsafe { libc::kill(number.iter().fold(0, digit), libc::SIGKILL) };
        }
    }
}
