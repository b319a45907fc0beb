//! Rehearsals of rollbacks: one server of the release before is started, has to become healthy, and is removed.

mod carry;
mod register;
mod shown;

pub use register::{RehearsalBegun, Rehearsals, Wanted};
pub use shown::{last, proof, status};

/// The guard that wants a fresh proof.
pub const FRESH_ROLLBACK: &str = "fresh_rollback";
