//! What a listener is given by the routes on it: a certificate, and what it allows clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Millis;

/// Certificate and key for a route, as absolute paths on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTls {
    /// PEM file with the certificate chain.
    pub certificate: String,
    /// PEM file with the private key.
    pub key: String,
}

/// What a listener allows its clients; where it says nothing, the edge's own limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerLimits {
    /// Connections at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// The same of one source: an IPv4 address, or an IPv6 /64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_per_source: Option<u32>,
    /// How long a request head, a TLS handshake or a PROXY header may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_timeout: Option<Millis>,
    /// How long a connection may be silent between requests, or one of TCP in both directions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Millis>,
}

impl ListenerLimits {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The tighter of both in everything.
    pub fn tightened(self, other: Self) -> Self {
        fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.into_iter().chain(other).min()
        }
        Self {
            connections: least(self.connections, other.connections),
            connections_per_source: least(
                self.connections_per_source,
                other.connections_per_source,
            ),
            head_timeout: least(self.head_timeout, other.head_timeout),
            idle_timeout: least(self.idle_timeout, other.idle_timeout),
        }
    }
}
