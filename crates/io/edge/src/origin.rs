//! Where a connection came from and where to, with what its listener allowed when it came.

use std::{net::SocketAddr, time::Duration};

use hornero_model::{ListenerLimits, Millis};

use crate::limits::Limits;

/// Where a connection came from and where to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// The client: who connected, or whom a trusted proxy speaks for.
    pub(crate) peer: SocketAddr,
    /// The address that the client connected to.
    pub(crate) destination: SocketAddr,
    /// The listener's address in the table.
    pub(crate) listener: SocketAddr,
    /// Whether the listener is one for the home's own servers.
    pub(crate) is_internal: bool,
    /// What the listener allowed when the client came.
    pub(crate) limits: ListenerLimits,
}

impl Origin {
    /// How long a head may take, or a handshake.
    pub(crate) fn head_timeout(&self, limits: &Limits) -> Duration {
        self.limits.head_timeout.map_or(limits.head_timeout, Millis::duration)
    }

    /// How long the connection may be silent between requests.
    pub(crate) fn idle_timeout(&self, limits: &Limits) -> Duration {
        self.limits.idle_timeout.map_or(limits.idle_timeout, Millis::duration)
    }
}
