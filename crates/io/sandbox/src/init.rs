//! The sandbox's first process once the command is started: reaps, forwards signals, and dies with its caller.

use std::os::fd::RawFd;

use crate::{
    capability,
    command::{self, Ends},
    message::{self, CommandStep, Kind, StepFailure},
    plan::Plan,
    sys::{self, Cloned, Errno, check},
};

/// Starts the command and stays until it has ended, then ends itself and with it every process of the sandbox.
pub(crate) fn run(plan: &Plan, ends: &Ends) -> ! {
    let fail = |step: CommandStep, errno: Errno| -> ! {
        StepFailure { step: step as u32, errno: errno.0 }.send(ends.failure_pipe);
        sys::exit(125)
    };
    // A caller that ignores SIGCHLD would otherwise lose the command's status.
    let prepared = sys::default_action(libc::SIGCHLD).and_then(|()| sys::set_signal_mask(u64::MAX));
    let signals = match prepared.and_then(|()| signal_descriptor()) {
        Ok(signals) => signals,
        Err(errno) => fail(CommandStep::Init, errno),
    };
    // SAFETY: the child only makes system calls until it executes the command or exits.
    let command = match unsafe { sys::clone_process(0, None) } {
        Ok(Cloned::Child) => command::become_command(&plan.command, ends),
        Ok(Cloned::Parent { pid, pidfd }) => {
            drop(pidfd);
            pid
        }
        Err(errno) => fail(CommandStep::Clone, errno),
    };
    close_all_but(ends.socket, signals);
    // What init is still needed for takes no other right. A failure leaves it with more than it needs, still inside
    // its namespaces and without a way for others to make it use them.
    let _ = capability::limit_to(capability::INIT);
    watch(command, ends.socket, signals)
}

fn watch(command: i32, socket: RawFd, signals: RawFd) -> ! {
    let event = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    loop {
        let mut events = [event(socket), event(signals)];
        // SAFETY: the array lives across the call and has the length given.
        let polled = check(libc::c_long::from(unsafe { libc::poll(events.as_mut_ptr(), 2, -1) }));
        if polled.is_err() && polled != Err(Errno(libc::EINTR)) {
            sys::exit(125);
        }
        if events[0].revents != 0 {
            match message::receive(socket, libc::MSG_DONTWAIT) {
                Ok(Some(message)) if message.kind == Kind::Signal => {
                    // SAFETY: sends a signal to the own child, which is not reaped before it ends this process.
                    unsafe { libc::kill(command, message.value) };
                }
                Ok(Some(_)) | Err(Errno(libc::EAGAIN)) => {}
                // The caller is gone: so is the sandbox.
                Ok(None) | Err(_) => sys::exit(125),
            }
        }
        if events[1].revents != 0 {
            forget_signals(signals);
            reap(command, socket);
        }
    }
}

/// Reaps every ended child; the command's own end ends everything.
fn reap(command: i32, socket: RawFd) {
    loop {
        let mut status = 0;
        // SAFETY: the status lives across the call.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            pid if pid == command => {
                let _ = message::send(socket, Kind::Ended, status, None);
                sys::exit(0);
            }
            pid if pid > 0 => {}
            _ => return,
        }
    }
}

/// Takes what was told by signals off their descriptor.
pub(crate) fn forget_signals(signals: RawFd) {
    let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>() * 4];
    // SAFETY: the buffer lives across the call and has the length given; the descriptor does not block.
    while unsafe { libc::read(signals, buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
}

/// A descriptor that is readable once a child has ended.
pub(crate) fn signal_descriptor() -> sys::Result<RawFd> {
    let mask = 1_u64 << (libc::SIGCHLD - 1);
    // SAFETY: the mask lives across the call and has the kernel's size.
    check(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const mask,
            size_of::<u64>(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    })
    .map(|fd| fd as RawFd)
}

/// Closes everything but two descriptors, the standard streams too.
pub(crate) fn close_all_but(one: RawFd, other: RawFd) {
    let (low, high) = (one.min(other) as u32, one.max(other) as u32);
    // Invariant: both lie above the standard streams. What can't be closed stays open in a process that uses none.
    let _ = sys::close_range(0, low - 1);
    if low + 1 < high {
        let _ = sys::close_range(low + 1, high - 1);
    }
    let _ = sys::close_range(high + 1, u32::MAX);
}
