//! What caller, init and command say to each other over a socket and a pipe; fixed size, no allocation.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::{self, Errno, check};

/// A step of the command's own process, numbered after the plan's operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum CommandStep {
    Init = 1_000_000,
    Clone,
    Limits,
    WorkingDirectory,
    Identity,
    Capabilities,
    Filter,
    Streams,
    Ready,
    Exec,
    Enter,
}

impl CommandStep {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Init, "prepare the init process"),
        (Self::Clone, "clone the command's process"),
        (Self::Limits, "set resource limits"),
        (Self::WorkingDirectory, "enter the working directory"),
        (Self::Identity, "become the user"),
        (Self::Capabilities, "drop capabilities"),
        (Self::Filter, "install the system call filter"),
        (Self::Streams, "set up standard streams"),
        (Self::Ready, "report to the caller"),
        (Self::Exec, "execute"),
        (Self::Enter, "enter the sandbox"),
    ];

    /// The name of the step with this number.
    pub fn name(number: u32) -> Option<(Self, &'static str)> {
        Self::ALL.into_iter().find(|(step, _)| *step as u32 == number)
    }

    /// What the step is about, of a command that is to run there as that user; nothing where its name says all.
    pub fn object(self, command: &[String], workdir: &str, user: u32) -> String {
        match self {
            Self::Exec => command.first().cloned().unwrap_or_default(),
            Self::WorkingDirectory => workdir.to_owned(),
            Self::Identity => user.to_string(),
            Self::Init
            | Self::Clone
            | Self::Limits
            | Self::Capabilities
            | Self::Filter
            | Self::Streams
            | Self::Ready
            | Self::Enter => String::new(),
        }
    }
}

/// Why the child gave up: the number of an operation or of a [`CommandStep`], and the kernel's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepFailure {
    pub step: u32,
    pub errno: i32,
}

impl StepFailure {
    pub fn send(self, pipe: RawFd) {
        let words = [self.step.to_ne_bytes(), self.errno.to_ne_bytes()];
        // SAFETY: the buffer lives across the call. Eight bytes are written to a pipe whole or not at all.
        let _ = unsafe { libc::write(pipe, words.as_ptr().cast(), 8) };
    }

    /// The failure that has been told already, if any.
    pub fn receive_now(pipe: &OwnedFd) -> Option<Self> {
        let mut ready = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the structure lives across the call.
        let polled = unsafe { libc::poll(&raw mut ready, 1, 0) };
        if polled == 1 { Self::receive(pipe) } else { None }
    }

    /// Waits for a failure; none means that the command was executed (the pipe closed by exec) or its process is gone.
    pub fn receive(pipe: &OwnedFd) -> Option<Self> {
        let mut words = [[0_u8; 4]; 2];
        loop {
            // SAFETY: the buffer lives across the call and has the length given.
            match check(unsafe { libc::read(pipe.as_raw_fd(), words.as_mut_ptr().cast(), 8) } as _)
            {
                Ok(8) => {
                    let [step, errno] = words;
                    let (step, errno) = (u32::from_ne_bytes(step), i32::from_ne_bytes(errno));
                    return Some(Self { step, errno });
                }
                Err(Errno(libc::EINTR)) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }
}

/// What goes over the socket. From the caller: `Root` and each `Volume` (with a descriptor), `Run`, `Signal`. Back: `Ready` (with the
/// sender's process id by credentials), `Ended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    Root = 1,
    Run,
    Signal,
    Ready,
    Ended,
    Volume,
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        [Self::Root, Self::Run, Self::Signal, Self::Ready, Self::Ended, Self::Volume]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}

/// A received message.
#[derive(Debug)]
pub(crate) struct Message {
    pub kind: Kind,
    pub value: i32,
    pub fd: Option<OwnedFd>,
    /// The sender's process id, translated by the kernel; 0 where the socket does not pass credentials.
    pub pid: i32,
}

/// Room for a descriptor and credentials, with headers.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Sends a message, with a descriptor where one is given.
pub(crate) fn send(socket: RawFd, kind: Kind, value: i32, fd: Option<RawFd>) -> sys::Result<()> {
    let mut words = [(kind as u32).to_ne_bytes(), value.to_ne_bytes()];
    let mut part = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: 8 };
    let mut control = Control([0; 128]);
    // SAFETY: all fields of msghdr may be zero.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if let Some(fd) = fd {
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: the control buffer is aligned and larger than one header with one descriptor.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(4) as _;
            let item = libc::CMSG_FIRSTHDR(&raw const header);
            (*item).cmsg_level = libc::SOL_SOCKET;
            (*item).cmsg_type = libc::SCM_RIGHTS;
            (*item).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(item).cast::<RawFd>().write_unaligned(fd);
        }
    }
    // SAFETY: header, parts and control live across the call.
    check(unsafe { libc::sendmsg(socket, &raw const header, libc::MSG_NOSIGNAL) } as _).map(drop)
}

/// Receives a message; none when the other side is gone. `flags` may be `MSG_DONTWAIT`.
pub(crate) fn receive(socket: RawFd, flags: i32) -> sys::Result<Option<Message>> {
    let mut words = [[0_u8; 4]; 2];
    let mut part = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: 8 };
    let mut control = Control([0; 128]);
    // SAFETY: all fields of msghdr may be zero.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    let length = loop {
        // SAFETY: header, parts and control live across the call.
        let received =
            unsafe { libc::recvmsg(socket, &raw mut header, libc::MSG_CMSG_CLOEXEC | flags) };
        match check(received as _) {
            Err(Errno(libc::EINTR)) => {}
            Err(Errno(libc::ECONNRESET)) => break 0,
            other => break other?,
        }
    };
    let (mut fd, mut pid) = (None, 0);
    // SAFETY: the kernel filled the control buffer with whole items, which the macros walk within its length.
    unsafe {
        let mut item = libc::CMSG_FIRSTHDR(&raw const header);
        while !item.is_null() {
            let data = libc::CMSG_DATA(item);
            match ((*item).cmsg_level, (*item).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    fd = Some(OwnedFd::from_raw_fd(data.cast::<RawFd>().read_unaligned()));
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                    pid = data.cast::<libc::ucred>().read_unaligned().pid;
                }
                _ => {}
            }
            item = libc::CMSG_NXTHDR(&raw const header, item);
        }
    }
    let [kind, value] = words;
    let kind = Kind::from_number(u32::from_ne_bytes(kind));
    match (length, kind) {
        (0, _) => Ok(None),
        (8, Some(kind)) => Ok(Some(Message { kind, value: i32::from_ne_bytes(value), fd, pid })),
        _ => Err(Errno(libc::EPROTO)),
    }
}
