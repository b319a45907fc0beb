//! The blue/green rollout as a pure, journalled state machine.
//!
//! Everything follows from two values: the [`World`], folded from the ledger's events and therefore durable, and the
//! [`Facts`], what the engine and the edge were last seen doing and therefore volatile. [`step`] says which events
//! come next, [`wanted`] which effects the world as recorded asks for, [`table`] what the edge should have in force.
//! None of them does I/O, reads a clock or draws a random number.

mod effect;
mod facts;
mod failing;
mod fold;
mod machine;
mod repair;
mod retention;
mod routes;
mod start;
mod step;
mod transition;
mod view;
mod wanted;
mod world;

pub use effect::{Effect, EffectKey};
pub use facts::{Exit, Facts, InForce, Running, TestOutcome, TestRun};
pub use fold::WorldError;
pub use machine::{Baseline, Failure, Kind, Phase, Rollout, Switch};
pub use repair::{MAX_REPAIRS, RepairState, repair_state};
pub use retention::{Hold, KeepOverride, Retained, retained};
pub use routes::{RouteClash, brings, clash, table};
pub use start::{StartError, Target, last_proven, start_down, start_forward, start_rollback};
pub use step::{Record, Step, step};
pub use wanted::{wake, wanted};
pub use world::{Instance, Service, ServingSet, TestRecord, WarmSet, World};

#[cfg(test)]
mod tests;
