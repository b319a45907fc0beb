//! The independent watchdog that refuses effects which would break an invariant.
//!
//! It sees only what was observed and the effect about to be performed. It shares no code with what plans and rolls
//! out, so that one mistake there does not fool both.

mod account;
mod churn;
mod facts;
mod leases;
mod resting;
mod rules;

pub use account::{Account, ServiceAccount};
pub use churn::{Churn, Stopped, Use};
pub use facts::{AwayEdge, EffectFacts, Fitness, Refusal, Seen, WatchdogFacts};
pub use leases::Leases;

/// Whether an effect may be performed in the face of the facts.
pub fn check(facts: &WatchdogFacts<'_>, effect: EffectFacts<'_>) -> Result<(), Refusal> {
    match effect {
        EffectFacts::Start { service, instance, volumes } => {
            rules::one_writer(facts, service, instance, volumes)?;
            rules::bounded_churn(facts, service, instance)
        }
        EffectFacts::Stop { instance } | EffectFacts::Remove { instance } => {
            rules::stopped_churn(facts, instance)?;
            rules::not_routed(facts, instance)?;
            rules::last_running(facts, instance)
        }
        EffectFacts::Apply { table } => {
            rules::never_unproven(facts, table)?;
            rules::last_healthy(facts, table)
        }
        EffectFacts::Cut { service, release } => rules::not_receiving(facts, service, release),
    }
}

#[cfg(test)]
mod churn_tests;
#[cfg(test)]
mod rest_tests;
#[cfg(test)]
mod tests;
