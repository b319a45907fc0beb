//! The HTTP+JSON API over a Unix socket and TCP: its types, its table of endpoints, the OpenAPI document made from
//! that table, and its client.
//!
//! The server side lives in `hornero-control`, which dispatches on [`endpoint::ENDPOINTS`]; so a path that is
//! served is a path that is documented.

pub mod client;
pub mod endpoint;
pub mod message;
mod openapi;
mod protocol;
mod remote;
mod spare;
mod wire;

pub use client::{Client, ClientError, on_other_version};
pub use endpoint::{ENDPOINTS, Endpoint, EndpointId, matched};
pub use openapi::document;
pub use protocol::{
    ANSWER_MAX_BYTES, LINE_MAX_BYTES, PROTOCOL, PROTOCOL_HEADER, REQUEST_MAX_BYTES, VERSION_HEADER,
};
pub use remote::{RemoteApi, RemoteApiError, TRUSTED};
pub use wire::Wire;
