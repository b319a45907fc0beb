//! The PROXY protocol: headers of trusted proxies taken off connections, and headers for servers.

mod header;

use std::{future::poll_fn, io, task::Poll};

use self::header::{BadHeader, HEADER_BYTES, parse};
pub(crate) use self::header::{Endpoints, Header, write, write_own};
use crate::{net::Sock, slot::Slot};

/// Why a trusted proxy's connection is refused.
#[derive(Debug)]
pub(crate) enum NoHeader {
    /// It ended without a byte, as checks of a port do, broke, or makes room for another one.
    Gone,
    /// Its header did not come in time.
    Late,
    /// It sent something else, or ended in the middle.
    Bad(BadHeader),
}

/// Takes the header off a connection; what follows it stays in the socket.
pub(crate) async fn receive(slot: &Slot, sock: &Sock) -> Result<Header, NoHeader> {
    let mut buffer = vec![0; HEADER_BYTES];
    let mut seen = 0;
    loop {
        let looked = poll_fn(|context| {
            if let Some(signal) = slot.signal() {
                return Poll::Ready(Err(signal));
            }
            sock.poll_peek(context, &mut buffer, seen).map(Ok)
        });
        let came = match looked.await {
            Err(crate::slot::Signal::Expired) => return Err(NoHeader::Late),
            Ok(Err(_)) | Err(_) => return Err(NoHeader::Gone),
            Ok(Ok(0)) => return Err(NoHeader::Gone),
            Ok(Ok(came)) if came == seen => return Err(NoHeader::Bad(BadHeader::Malformed)),
            Ok(Ok(came)) => came,
        };
        seen = came;
        match parse(&buffer[..seen]) {
            Ok(Some((header, used))) => {
                return match sock.skip(&mut buffer[..used]) {
                    Ok(()) => Ok(header),
                    Err(_) => Err(NoHeader::Gone),
                };
            }
            Ok(None) => {}
            Err(bad) => return Err(NoHeader::Bad(bad)),
        }
    }
}

/// Sends a header as the first bytes of a connection, whole: its buffer is empty.
pub(crate) fn send(sock: &Sock, header: &[u8]) -> io::Result<()> {
    match sock.send_at_once(header)? {
        sent if sent == header.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}
