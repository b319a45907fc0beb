//! The ways in by Unix sockets: the home's own, and one for members of groups.

use std::io;

use hornero_model::GroupGrant;
use tokio::net::{UnixListener, UnixStream};

use super::{
    peers::{member, own_caller},
    rates::Source,
};
use crate::server::{Door, Peer, Welcomed};

/// A Unix socket.
pub struct LocalDoor {
    listener: UnixListener,
    /// Who may use it; none for the home's own, which only its owner gets at.
    groups: Option<Vec<GroupGrant>>,
}

impl LocalDoor {
    /// The home's own.
    pub const fn own(listener: UnixListener) -> Self {
        Self { listener, groups: None }
    }

    /// One for members of groups.
    pub const fn of_groups(listener: UnixListener, groups: Vec<GroupGrant>) -> Self {
        Self { listener, groups: Some(groups) }
    }
}

impl Door for LocalDoor {
    type Knock = UnixStream;

    async fn knock(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }

    fn source(&self, stream: &UnixStream) -> Option<Source> {
        // Whoever gets at the home's own socket is root, whom nothing is to keep out.
        self.groups.as_ref()?;
        Some(Source::User(stream.peer_cred().ok()?.uid()))
    }

    async fn welcome(&self, stream: UnixStream) -> Option<Welcomed> {
        let caller = match &self.groups {
            None => own_caller(&stream),
            Some(groups) => member(&stream, groups),
        };
        Some(Welcomed { stream: Box::new(stream), peer: Peer::Local(caller) })
    }
}
