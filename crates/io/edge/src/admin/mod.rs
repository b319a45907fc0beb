//! The admin socket: its protocol, its server and its client.

pub(crate) mod change;
pub(crate) mod client;
pub(crate) mod place;
pub(crate) mod protocol;
pub(crate) mod server;
