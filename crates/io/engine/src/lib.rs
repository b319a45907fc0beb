//! The engine port and the local engine: instances in sandboxes, each kept by a shim that outlives control.
//!
//! [`Engine`] is the port. [`LocalEngine`] starts a *launcher* (this program again, see [`launcher::serve`]), which
//! forks a *shim* for each instance. What an instance is, how it runs and how it ended lie in files below
//! `HOME/instances`, so that the next control process finds everything again.

mod assemble;
mod ids;
pub mod launcher;
mod local;
pub mod log;
mod log_files;
mod port;
mod record;
mod retention;
mod run;
mod shim;
mod state;
mod watch;
mod wire;

pub use hornero_sandbox::{ComposedRoot, Root, Rung, Support, User, support};
pub use launcher::LauncherCommand;
pub use local::{LocalEngine, LocalOptions};
pub use port::{
    Engine, EngineError, Exit, HostEntry, Instance, InstanceSpec, InstanceStatus, Started,
    StopSignal, Usage,
};
pub use retention::{LogLimits, TrimmedLogs, trim_logs};
pub use run::Outcome;
