//! Runs the production rollout loop against a seeded simulated world.
//!
//! Clock, engine, edge and ledger are simulated; the driver is the one that ships. One seed is one history, faults
//! included, and the invariants are checked as it goes. Nothing here runs in production.

mod beside;
mod checks;
mod crashing;
mod edge;
mod edges;
mod engine;
mod heeding;
mod history;
mod host;
mod idle;
mod keepers;
mod ledger;
mod older;
mod others;
mod performing;
mod pools;
mod probed;
mod random;
mod scenario;
mod simulation;
mod trace;

pub use crashing::at_every_append;
pub use edge::SimEdge;
pub use engine::{SimEngine, SimMemory};
pub use history::history;
pub use host::{CrashPoint, Faults, Host};
pub use idle::IdleGates;
pub use ledger::SimLedger;
pub use random::Random;
pub use scenario::{Behaviour, SERVER_BYTES, Scenario, Trouble, service, stateful};
pub use simulation::Simulation;
pub use trace::Trace;
