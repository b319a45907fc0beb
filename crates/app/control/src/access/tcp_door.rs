//! The way in by TCP, with TLS or on this host alone.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{common_name::common_name, gate::AccessGate, rates::Source, tls::TlsKeeper};
use crate::{
    request::RemotePeer,
    server::{Door, Peer, Welcomed},
};

/// A listener for TCP.
pub struct TcpDoor {
    listener: TcpListener,
    local: SocketAddr,
    tls: Option<TlsKeeper>,
    gate: Arc<AccessGate>,
}

impl TcpDoor {
    /// On a listener that is bound.
    pub fn new(
        listener: std::net::TcpListener,
        tls: Option<TlsKeeper>,
        gate: Arc<AccessGate>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { listener, local, tls, gate })
    }
}

impl Door for TcpDoor {
    type Knock = (TcpStream, SocketAddr);

    async fn knock(&self) -> io::Result<Self::Knock> {
        self.listener.accept().await
    }

    fn source(&self, knock: &Self::Knock) -> Option<Source> {
        Some(knock.1.ip().into())
    }

    async fn welcome(&self, (stream, address): Self::Knock) -> Option<Welcomed> {
        // Without, an answer only comes later.
        let _ = stream.set_nodelay(true);
        let peer = RemotePeer { address, local: self.local, tls: self.tls.is_some(), client: None };
        let peer = |client| Peer::Remote(RemotePeer { client, ..peer }, Arc::clone(&self.gate));
        let Some(tls) = &self.tls else {
            return Some(Welcomed { stream: Box::new(stream), peer: peer(None) });
        };
        // What is no TLS concerns its client alone.
        let stream = TlsAcceptor::from(tls.current()).accept(stream).await.ok()?;
        let certificates = stream.get_ref().1.peer_certificates();
        let client = certificates.and_then(|chain| common_name(chain.first()?));
        Some(Welcomed { stream: Box::new(stream), peer: peer(client) })
    }
}
