//! The local engine: instances in sandboxes of this host, each kept by a shim that outlives control.
//!
//! [`LocalEngine`] stands behind the port. It starts a *launcher* (this program again, see [`launcher::serve`]), which
//! forks a *shim* for each instance. What an instance is, how it runs and how it ended lie in files below
//! `HOME/instances`, so that the next control process finds everything again.

mod adopt;
mod assemble;
mod attached;
mod compare;
mod configuration;
mod entering;
mod evidence;
mod examine;
mod guest;
mod ids;
pub mod launcher;
mod local;
mod logs;
mod record;
mod recorded;
mod refusals;
mod retention;
mod shim;
mod starting;
mod state;
mod watch;
mod wire;

pub use hornero_sandbox::{Rung, Support, support};
pub use launcher::LauncherCommand;
pub use local::{LocalEngine, LocalOptions};
pub use logs::{log_mark, read_log};
pub use retention::{LogLimits, TrimmedLogs, trim_logs};
