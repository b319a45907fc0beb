//! The name server on a home's gateway: `SERVICE.internal`, and everything else as the host
//! resolves it.
//!
//! It parses no more of a message than its header and its question: what the host's resolvers
//! answer goes on to the client as it is.

mod forward;
mod message;
mod names;
mod permits;
mod server;
mod tcp;
mod upstreams;

pub use names::{HomeNames, Names};
pub use server::Server;
pub use upstreams::{PORT, Upstreams};
