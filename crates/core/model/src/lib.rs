//! The words of Hornero as types: parsed once at a boundary, then passed around valid.
//!
//! Every other crate may depend on this one; it depends on nothing of ours and does no I/O.

mod boot;
mod check;
mod digest;
mod event;
mod host;
mod image;
mod instance;
mod key;
mod mount_field;
mod name;
mod purl;
mod receipt;
mod release;
mod route;
mod service;
mod time;
mod version;

pub use boot::BootId;
pub use check::{Check, HealthContract, HttpCheck, TcpCheck};
pub use digest::{Digest, DigestError};
pub use event::{Actor, Event, EventBody, JournalEntry, NewEvent};
pub use host::{HostFeature, HostState, install_line};
pub use image::{ImageConfig, ImageTest, Scratch, TestCheck};
pub use instance::{ExitCause, FileIdentity, InstanceState};
pub use key::{PublicKey, PublicKeyError};
pub use mount_field::mount_field;
pub use name::{
    ImageName, InstanceId, KeyName, NameError, PortName, RegionName, ReleaseNumber, RolloutId,
    ServiceName, VolumeName,
};
pub use purl::DebianPurl;
pub use receipt::{Receipt, ReceiptBody};
pub use release::{Release, ReleaseRef};
pub use route::{
    BackendStatus, ConnectionCounters, EdgeConnections, EdgeStatus, Health, Listener,
    ListenerFault, Pool, PoolBackend, PoolName, Protocol, ReleaseCounters, RouteRule, RouteTable,
};
pub use service::{
    Keep, Port, Resources, RolloutPolicy, Route, RouteTls, ServiceKind, ServiceSpec, Strategy,
    TrustedKey,
};
pub use time::{Millis, Timestamp};
pub use version::{program_version, set_program_version};
