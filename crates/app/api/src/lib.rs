//! The HTTP+JSON API over a Unix socket: its types, its table of endpoints, the OpenAPI document made from
//! that table, and its client.
//!
//! The server side lives in `hornero-control`, which dispatches on [`endpoint::ENDPOINTS`]; so a path that is
//! served is a path that is documented.

pub mod client;
pub mod endpoint;
pub mod message;
mod openapi;

pub use client::{Client, ClientError};
pub use endpoint::{Endpoint, EndpointId, matched};
pub use openapi::document;

/// Largest request body the server reads: an `apply` of 1,000 services stays well below.
pub const REQUEST_MAX_BYTES: usize = 8 << 20;
/// Largest answer the client reads whole; streams are bounded a line.
pub const ANSWER_MAX_BYTES: usize = 64 << 20;
/// Largest line of a streamed answer; a failure carries the tail of a log, which is cut far below this.
pub const LINE_MAX_BYTES: usize = 1 << 20;
