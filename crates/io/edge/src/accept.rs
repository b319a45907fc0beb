//! The listening sockets of one thread, and the connections that it accepts from them.

use std::{collections::BTreeMap, io, net::SocketAddr, os::fd::OwnedFd, rc::Rc, time::Duration};

use rustix::{
    io::Errno,
    net::{SocketFlags, acceptfrom_with},
};
use tokio::{
    io::unix::AsyncFd,
    task::{AbortHandle, spawn_local},
};

use crate::{
    limits::ACCEPTED_AT_ONCE, net::watch, serve::serve_connection, slots::SlotGuard, worker::Worker,
};

/// Pause after the system ran out of files or memory for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The task that accepts from a socket, and the socket.
type Accepting = (AbortHandle, Rc<AsyncFd<OwnedFd>>);

/// The sockets that a thread accepts from.
#[derive(Debug)]
pub(crate) struct Acceptor {
    worker: Rc<Worker>,
    sockets: BTreeMap<SocketAddr, Vec<Accepting>>,
}

impl Acceptor {
    /// None yet; their connections are `worker`'s.
    pub(crate) fn new(worker: Rc<Worker>) -> Self {
        Self { worker, sockets: BTreeMap::new() }
    }

    /// Accepts from more sockets.
    pub(crate) fn listen_on(&mut self, sockets: Vec<(SocketAddr, OwnedFd)>) {
        for (address, socket) in sockets {
            if let Err(error) = self.listen(address, socket) {
                tracing::warn!("can't wait for connections on `{address}`: {error}");
            }
        }
    }

    fn listen(&mut self, address: SocketAddr, socket: OwnedFd) -> io::Result<()> {
        let socket = Rc::new(watch(socket)?);
        let task = spawn_local(accept_for_ever(self.worker.clone(), address, socket.clone()));
        self.sockets.entry(address).or_default().push((task.abort_handle(), socket));
        Ok(())
    }

    /// Accepts no more at those addresses that are not to be kept, but first what waits in their queues if `take_queued`.
    pub(crate) fn keep(&mut self, is_kept: impl Fn(&SocketAddr) -> bool, take_queued: bool) {
        let worker = &self.worker;
        self.sockets.retain(|address, sockets| {
            let kept = is_kept(address);
            if !kept {
                sockets
                    .drain(..)
                    .for_each(|accepting| end(worker, *address, accepting, take_queued));
            }
            kept
        });
    }
}

fn end(worker: &Rc<Worker>, address: SocketAddr, (task, socket): Accepting, take_queued: bool) {
    task.abort();
    if take_queued {
        // What is in the queue has been promised an answer by the handshake.
        while accept_one(worker, address, socket.get_ref()).is_ok() {}
    }
}

async fn accept_for_ever(worker: Rc<Worker>, address: SocketAddr, socket: Rc<AsyncFd<OwnedFd>>) {
    let mut accepted = 0;
    loop {
        let Ok(mut guard) = socket.readable().await else { return };
        match accept_one(&worker, address, socket.get_ref()) {
            Ok(()) | Err(Errno::INTR | Errno::CONNABORTED) => {
                accepted += 1;
                if accepted % ACCEPTED_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Err(Errno::AGAIN) => guard.clear_ready(),
            Err(error) => {
                tracing::warn!("can't accept on `{address}`: {error}");
                worker.relieve();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn accept_one(worker: &Rc<Worker>, address: SocketAddr, socket: &OwnedFd) -> Result<(), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (connection, peer) = acceptfrom_with(socket, flags)?;
    let Some(Ok(peer)) = peer.map(SocketAddr::try_from) else { return Ok(()) };
    // Counted from here, so that a draining thread does not end before it.
    let slot = SlotGuard::new(&worker.slots);
    spawn_local(serve_connection(worker.clone(), slot, peer, address, connection));
    Ok(())
}
