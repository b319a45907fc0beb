//! What the settings of a home say of its API: where it listens, and who may what.

use std::net::SocketAddr;

use crate::{Digest, Role, RouteTls};

/// Who may use the API, and where beside the Unix socket it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiSettings {
    /// Where it listens; on the Unix socket alone where absent.
    pub listener: Option<ApiListener>,
    /// A second Unix socket, outside of the home, for members of groups; none where absent.
    pub socket: Option<String>,
    /// Who may use that socket beside root: members of Unix groups.
    pub groups: Vec<GroupGrant>,
}

/// Where the API listens for TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiListener {
    /// The address. One that is not of this host alone has TLS.
    pub address: SocketAddr,
    /// Its certificate and key; cleartext where absent.
    pub tls: Option<RouteTls>,
    /// The file of certificates that sign those of clients.
    pub client_ca: Option<String>,
    /// Names by which it may be called, beside addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Who may use it by a token.
    pub tokens: Vec<TokenGrant>,
    /// Who may use it by a certificate.
    pub clients: Vec<ClientGrant>,
}

/// What whoever has a token may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenGrant {
    /// Its name, which stands in the ledger.
    pub name: String,
    /// What it may.
    pub role: Role,
    /// The hash of the token.
    pub sha256: Digest,
}

/// What whoever has a certificate may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientGrant {
    /// The common name of its subject.
    pub name: String,
    /// What it may.
    pub role: Role,
}

/// What members of a Unix group may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupGrant {
    /// The group's name.
    pub name: String,
    /// What they may.
    pub role: Role,
}
