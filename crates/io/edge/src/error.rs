//! Why the edge could not start or put a table in force.

use std::{io, net::SocketAddr, path::PathBuf};

use hornero_home::TermError;
use hornero_model::PoolName;

/// Why the edge could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// A file or directory of the edge's own state.
    #[error("can't {action} `{}`", path.display())]
    State {
        /// What was tried, such as `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A listening socket.
    #[error("can't listen on `{address}`")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread, runtime or signal handler could not be set up.
    #[error("can't start the edge's threads")]
    Runtime(#[source] io::Error),
    /// The table contradicts itself or a limit.
    #[error("route table {generation} is invalid: {fault}")]
    InvalidTable {
        /// Its generation.
        generation: u64,
        /// What is wrong.
        fault: TableFault,
    },
    /// The generation is not larger than the one in force.
    #[error("route table {given} is not newer than table {current} in force")]
    StaleGeneration {
        /// The one given.
        given: u64,
        /// The one in force.
        current: u64,
    },
    /// Requests were to be cut off by another table than the one in force.
    #[error("table {current} is in force, not table {given}, by which requests were to be cut off")]
    OtherTable {
        /// The one given.
        given: u64,
        /// The one in force.
        current: u64,
    },
    /// A change was told of a table that is not in force, or came from another control.
    #[error(
        "the table in force is not table {given} of the control that asks, of which a change was told"
    )]
    UnknownTable {
        /// The one given.
        given: u64,
    },
    /// A table was to be put in force that was not prepared.
    #[error("route table {given} is not prepared")]
    NotPrepared {
        /// Its generation.
        given: u64,
    },
    /// Another control process has taken over from the one that asked.
    #[error(transparent)]
    TermOver(TermError),
    /// Which control is obeyed can't be told or kept.
    #[error("can't tell which control is obeyed")]
    Term(#[source] TermError),
    /// The running edge speaks another take-over protocol.
    #[error(
        "the running edge is hornero {version} and hands over by protocol {protocol}; this is hornero {own}, which takes \
         over by protocol {own_protocol}: upgrade by way of a version that speaks both, or stop with `hornero down` and \
         start again"
    )]
    OtherProtocol {
        /// Its version.
        version: String,
        /// Its protocol.
        protocol: u32,
        /// Our version.
        own: String,
        /// Our protocol.
        own_protocol: u32,
    },
    /// The running edge did not hand over.
    #[error("the running edge did not hand over: {0}")]
    Takeover(String),
}

/// What is wrong with a route table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableFault {
    /// More of something than the edge takes.
    #[error("{count} {what}, the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Two listeners on one address.
    #[error("two listeners on `{0}`")]
    DuplicateListener(SocketAddr),
    /// A listener needs a port.
    #[error("listener `{0}` has port 0")]
    NoPort(SocketAddr),
    /// A rule names a pool that the table lacks.
    #[error("listener `{listener}` routes to `{pool}`, which the table does not have")]
    UnknownPool {
        /// The listener.
        listener: SocketAddr,
        /// The pool.
        pool: PoolName,
    },
    /// Two rules with the same host and path prefix.
    #[error("listener `{0}` has two rules for the same host and path prefix")]
    DuplicateRule(SocketAddr),
    /// Certificates of hosts that contradict each other.
    #[error("listener `{0}` has two certificates for one host, or none for the rest")]
    Certificates(SocketAddr),
    /// A network of trusted proxies that is none.
    #[error("`{0}` is no network: expected an IP address, or one with `/` and a number of bits")]
    BadNetwork(String),
    /// A TCP listener with other than one unconditional rule, or with TLS.
    #[error("TCP listener `{0}` needs exactly one rule, without host, path prefix or TLS")]
    TcpRules(SocketAddr),
    /// An HTTP listener in front of a pool that speaks bytes.
    #[error("HTTP listener `{listener}` routes to `{pool}`, which speaks TCP")]
    ProtocolMismatch {
        /// The listener.
        listener: SocketAddr,
        /// The pool.
        pool: PoolName,
    },
    /// A host that no request can match.
    #[error(
        "listener `{listener}` has the host `{host}`: expected a lower-case name without port, or `*.` and one"
    )]
    BadHost {
        /// The listener.
        listener: SocketAddr,
        /// The host.
        host: String,
    },
    /// A prefix or check path that is none.
    #[error("`{0}` is no path: expected `/` first and only visible ASCII characters")]
    BadPath(String),
    /// Two pools of one name.
    #[error("two pools named `{0}`")]
    DuplicatePool(PoolName),
    /// One instance twice in one pool.
    #[error("pool `{pool}` has the instance `{instance}` twice")]
    DuplicateBackend {
        /// The pool.
        pool: PoolName,
        /// The instance.
        instance: String,
    },
    /// Shares that are not the whole.
    #[error("the shares of pool `{0}` are not the whole, or name a release twice")]
    BadTraffic(PoolName),
    /// A health contract that can't be kept.
    #[error("pool `{pool}` has a health contract whose {field} is out of range")]
    BadContract {
        /// The pool.
        pool: PoolName,
        /// The field.
        field: &'static str,
    },
}

/// An error with what lies behind it, on one line.
pub(crate) fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
