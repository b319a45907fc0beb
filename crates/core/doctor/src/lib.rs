//! What a host can and can't do for Hornero, decided from collected facts.
//!
//! [`HostFacts`] is what was read of a host. [`CHECKS`] is the table of checks; each is a pure function over the facts,
//! so that every kind of host can be tried in a test. [`examine`] runs them all, and [`first_missing`] answers what
//! commands ask before they begin.

mod answer;
mod check;
mod checks;
mod facts;
mod finding;
pub mod firewall;
mod reference;
mod report;

pub use check::{CHECKS, HostCheck, Need};
pub use facts::{
    ArchiveFacts, ClockFacts, ControlFacts, ControlGroupFacts, Distribution, FirewallFacts,
    HomeFacts, HostFacts, LimitFacts, ModuleState, NamespaceFacts, NetworkFacts, PathFault,
    RightsFacts, SecurityFacts, SystemFacts, SystemdFacts, WitnessFacts,
};
pub use finding::{Area, HostFinding};
pub use reference::reference;
pub use report::{DoctorReport, examine, first_missing, told_before};
