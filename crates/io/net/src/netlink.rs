//! Netlink messages and the socket they go over: batches out, answers back.
//!
//! Source: the kernel's `Documentation/userspace-api/netlink/intro.rst` and
//! `include/uapi/linux/netlink.h`.

use std::{
    borrow::Cow,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::SocketAddrNetlink, recv, sendto, socket_with,
    },
};

use crate::{Error, Result};

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER_BYTES: usize = 16;
/// Dumps come in parts of at most 32 KiB (`netlink_dump` in the kernel).
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// Each acknowledgement holds about 1 kB of the socket's receive buffer; this is enough for the
/// longest batch, some hundred messages, several times over.
const RECEIVE_BUFFER_BYTES: libc::c_int = 1 << 20;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
/// The request asks for all objects.
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_REPLACE: u16 = 0x100;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Messages that go to the kernel in one system call, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// What each message asks for, for errors; the index is its sequence number.
    actions: Vec<Cow<'static, str>>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a request that the kernel acknowledges; `action` completes "can't …".
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        action: impl Into<Cow<'static, str>>,
        body: impl FnOnce(&mut Body<'_>),
    ) {
        self.message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, action.into(), body);
    }

    /// Adds a message that the kernel does not acknowledge.
    pub fn marker(&mut self, kind: u16, body: impl FnOnce(&mut Body<'_>)) {
        self.message(kind, NLM_F_REQUEST, Cow::Borrowed("change the packet filter"), body);
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        action: Cow<'static, str>,
        body: impl FnOnce(&mut Body<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&(self.actions.len() as u32).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        body(&mut Body { bytes: &mut self.bytes });
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.actions.push(action);
    }

    fn action(&self, sequence: u32) -> Cow<'static, str> {
        self.actions.get(sequence as usize).cloned().unwrap_or(Cow::Borrowed("talk to the kernel"))
    }
}

/// The content of a message under construction: a fixed header, then attributes.
pub(crate) struct Body<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Body<'_> {
    /// The fixed header; its length is a multiple of 4.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.align();
    }

    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value);
    }

    /// A text with the zero byte the kernel wants behind it.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.bytes.extend_from_slice(&(value.len() as u16 + 5).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.align();
    }

    /// A number in the machine's byte order, as rtnetlink has them.
    pub fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// A number in network byte order, as nf_tables has them.
    pub fn number_be(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    pub fn nested(&mut self, kind: u16, content: impl FnOnce(&mut Body<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        content(&mut Body { bytes: self.bytes });
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The attributes in `bytes`, as (type, value); ends at the first malformed one.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// A message the kernel sent: its type, and what follows the header.
#[derive(Debug)]
pub(crate) struct Answer {
    pub kind: u16,
    pub body: Vec<u8>,
}

/// A netlink socket; it stays in the network namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: OwnedFd,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Socket {
    /// A socket for links, addresses and routes.
    pub fn route() -> Result<Self> {
        // NETLINK_ROUTE is protocol 0, which is what none stands for.
        Self::open(None, "CONFIG_NET")
    }

    /// A socket for the packet filter.
    pub fn netfilter() -> Result<Self> {
        let protocol = rustix::net::netlink::NETFILTER;
        Self::open(Some(protocol), "CONFIG_NETFILTER_NETLINK and CONFIG_NF_TABLES")
    }

    fn open(protocol: Option<Protocol>, option: &'static str) -> Result<Self> {
        let open = || -> io::Result<OwnedFd> {
            let socket = socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                protocol,
            )?;
            // Old kernels lack the first two, which only improve messages; the third needs
            // privilege, and without it nothing here succeeds anyway.
            for (level, option, value) in [
                (libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1),
                (libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1),
                (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES),
            ] {
                set_option(&socket, level, option, value);
            }
            Ok(socket)
        };
        let action = "open a netlink socket".to_owned();
        match open() {
            Ok(socket) => Ok(Self { socket }),
            Err(source) if source.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
                Err(Error::MissingKernelFeature { action, option, source })
            }
            Err(source) => Err(Error::Kernel { action, detail: String::new(), source }),
        }
    }

    /// Sends the batch and waits until the kernel has done it; the first refusal is the error.
    pub fn change(&self, batch: &Batch) -> Result<()> {
        self.exchange(batch).map(drop)
    }

    /// Sends the batch and returns what the kernel answers.
    pub fn exchange(&self, batch: &Batch) -> Result<Vec<Answer>> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let fail = |source: Errno| Error::Kernel {
            action: batch.action(0).into_owned(),
            detail: String::new(),
            source: source.into(),
        };
        let sent = rustix::io::retry_on_intr(|| {
            sendto(&self.socket, &batch.bytes, SendFlags::empty(), &kernel)
        })
        .map_err(fail)?;
        assert_eq!(sent, batch.bytes.len(), "netlink sends whole messages");
        let mut answers = Vec::new();
        let mut refusal = None;
        let mut buffer = vec![0; ANSWER_MAX_BYTES];
        // The kernel works within `sendto`, so that everything is there when it returns; a dump
        // goes on within `recv`.
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((read, _)) => {
                    read_answers(&buffer[..read], batch, &mut answers, &mut refusal);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(fail(errno)),
            }
        }
        refusal.map_or(Ok(answers), Err)
    }
}

fn read_answers(
    mut bytes: &[u8],
    batch: &Batch,
    answers: &mut Vec<Answer>,
    refusal: &mut Option<Error>,
) {
    while let Some(header) = bytes.get(..HEADER_BYTES) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let flags = u16::from_ne_bytes([header[6], header[7]]);
        let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        let Some(body) = bytes.get(HEADER_BYTES..length) else { return };
        match kind {
            NLMSG_ERROR | NLMSG_DONE => {
                if let Some(errno) = error_number(body) {
                    // A batch of the packet filter reports what the batch as a whole met under
                    // the number of its first message, after the messages' own errors.
                    refusal.get_or_insert_with(|| {
                        let action = batch.action(sequence).into_owned();
                        let source = io::Error::from_raw_os_error(errno);
                        if errno == libc::EPERM {
                            return Error::NotPermitted { action, source };
                        }
                        let detail = detail(body, flags).unwrap_or_default();
                        Error::Kernel { action, detail, source }
                    });
                }
            }
            _ => answers.push(Answer { kind, body: body.to_vec() }),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
}

fn error_number(body: &[u8]) -> Option<i32> {
    let code = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
    (code < 0).then_some(-code)
}

/// The kernel's words behind an error, where it has any.
fn detail(body: &[u8], flags: u16) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let echoed = if flags & NLM_F_CAPPED != 0 {
        HEADER_BYTES
    } else {
        u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?) as usize
    };
    let text = attributes(body.get(4 + echoed..)?).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)?.1;
    Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}

fn set_option(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    // SAFETY: the descriptor is open, and the value is a c_int of the length given.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_written() {
        let mut batch = Batch::new();
        batch.request(7, NLM_F_CREATE, "test", |body| {
            body.raw(&[1, 2, 3, 4]);
            body.text(1, "abc");
            body.nested(2, |body| body.number(3, 9));
            body.attribute(4, &[5]);
        });
        assert_eq!(batch.bytes.len(), 16 + 4 + 8 + 12 + 8);
        let found: Vec<_> = attributes(&batch.bytes[20..]).collect();
        assert_eq!(found[0], (1, &b"abc\0"[..]));
        assert_eq!(attributes(found[1].1).collect::<Vec<_>>(), [(3, &9u32.to_ne_bytes()[..])]);
        assert_eq!(found[2], (4, &[5][..]));
        assert_eq!(found.len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn any_answer_is_read_without_panic(bytes: Vec<u8>) {
            let (mut answers, mut refusal) = (Vec::new(), None);
            read_answers(&bytes, &Batch::new(), &mut answers, &mut refusal);
            for answer in &answers {
                assert!(attributes(&answer.body).count() <= bytes.len());
            }
        }
    }
}
