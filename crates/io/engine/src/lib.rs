//! The engine port and the local engine: instances in sandboxes, each kept by a shim that outlives control.

pub mod log;
mod port;

pub use hornero_sandbox::{ComposedRoot, Root, User};
pub use port::{
    Engine, EngineError, Exit, Feature, HostEntry, Instance, InstanceSpec, InstanceStatus, Started,
    StopSignal, Usage,
};
