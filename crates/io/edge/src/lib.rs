//! The edge: listeners, routing, active health, counters, drain.
//!
//! One control thread decides nothing and serves nothing: it checks backends, counts, and tells the serving threads
//! which table is in force. Each serving thread has sockets, connections, backend connections and a view of the
//! table of its own; for a request it shares nothing with any other.

mod admin;
mod admission;
mod buffer;
mod control;
mod counters;
mod date;
mod edge;
mod error;
mod fault;
mod health;
mod http1;
mod http2;
mod leaving;
mod limits;
mod memory;
mod net;
mod path;
mod persist;
mod serve;
mod sets;
mod slot;
mod spare;
mod stream;
mod table;
mod takeover;
mod tls;
mod tunnel;
mod upstream;
mod worker;

pub use admin::{
    client::{EdgeClient, EdgeClientError},
    protocol::{
        ADMIN_PROTOCOL, Applied, EdgeIdentity, Greeting, RefusalCode, TAKEOVER_PROTOCOL,
        TakeoverReport, admin_socket,
    },
};
pub use edge::{Edge, EdgeOptions, run};
pub use error::{EdgeError, TableFault};
pub use fault::HandoverStep;
pub use limits::Limits;
