//! The edge: listeners, routing, active health, counters, drain.
//!
//! One control thread decides nothing and serves nothing: it checks backends, counts, and tells the serving threads
//! which table is in force. Each serving thread has sockets, connections, backend connections and a view of the
//! table of its own; for a request it shares nothing with any other.

mod accept;
mod admin;
mod admission;
mod backend;
mod buffer;
mod calls;
mod certificate;
mod clock;
mod control;
mod counters;
mod date;
mod edge;
mod error;
mod fault;
mod forwarding;
mod gate;
mod health;
mod http1;
mod http2;
mod leaving;
mod limits;
mod link;
mod listening;
mod local_backend;
mod memory;
mod net;
mod options;
mod origin;
mod path;
mod persist;
mod pipe;
mod pool;
mod predecessor;
mod prepare;
mod probe;
mod proxy_protocol;
mod room;
mod rules;
mod serve;
mod sets;
mod slot;
mod slots;
mod source;
mod spare;
mod start_lock;
mod status;
mod sticky;
mod stream;
mod table;
mod takeover;
mod taking;
mod thread;
mod tls;
mod to_server;
mod tunnel;
mod upkeep;
mod upstream;
mod validity;
mod view;
mod websocket;
mod worker;

pub use admin::{
    client::{EdgeClient, EdgeClientError},
    protocol::{
        ADMIN_PROTOCOL, Applied, EdgeIdentity, Greeting, RefusalCode, TAKEOVER_PROTOCOL,
        TakeoverReport, admin_socket,
    },
};
pub use certificate::{CertificateFacts, look_at_certificate};
pub use edge::{Edge, run};
pub use error::{EdgeError, TableFault};
pub use fault::HandoverStep;
pub use limits::Limits;
pub use options::EdgeOptions;
pub use tls::{CertificateFault, TlsFile};
pub use tls::{certified, der, file as certificate_file};
