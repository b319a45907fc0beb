//! Counts of what the ledger tells, from the start of this control process on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hornero_ledger::{Ledger, MAX_READ_EVENTS};
use hornero_model::{Event, EventBody, InstanceState, ServiceName, error_chain};

/// Pages of events that one look reads: a look that finds more goes on with the next one.
const PAGES: usize = 64;

/// How rollouts may end, by the phase of the last entry of their journal.
pub const OUTCOMES: [&str; 4] = ["finished", "failed", "rolled_back", "removed"];

/// What happened to a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceTally {
    pub releases: u64,
    pub made: u64,
    pub failed: u64,
}

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HomeTally {
    pub rollouts: BTreeMap<String, u64>,
    pub services: BTreeMap<ServiceName, ServiceTally>,
    pub refused: u64,
}

impl HomeTally {
    fn count(&mut self, event: &Event) {
        match &event.body {
            EventBody::RolloutStep { entry } if entry.finished => {
                *self.rollouts.entry(entry.phase.clone()).or_default() += 1;
            }
            EventBody::ReleaseCreated { release } => {
                self.services.entry(release.spec.name.clone()).or_default().releases += 1;
            }
            EventBody::InstanceChanged { service, state: InstanceState::Created, .. } => {
                self.services.entry(service.clone()).or_default().made += 1;
            }
            EventBody::InstanceChanged { service, state: InstanceState::Failed, .. } => {
                self.services.entry(service.clone()).or_default().failed += 1;
            }
            EventBody::EffectRefused { .. } => self.refused += 1,
            _ => {}
        }
    }
}

/// Counts what is appended to a ledger.
pub struct LedgerTally {
    ledger: Arc<dyn Ledger>,
    next: u64,
    pub tally: HomeTally,
}

impl LedgerTally {
    /// From the event after `last` on.
    pub fn after(ledger: Arc<dyn Ledger>, last: u64) -> Self {
        Self { ledger, next: last + 1, tally: HomeTally::default() }
    }

    /// Counts what was appended since. Only services that are `there` are remembered.
    pub fn look(&mut self, there: &BTreeSet<&ServiceName>) {
        for _ in 0..PAGES {
            let events = match self.ledger.read(self.next, MAX_READ_EVENTS) {
                Ok(events) => events,
                Err(error) => {
                    tracing::warn!("the ledger can't be counted: {}", error_chain(&error));
                    break;
                }
            };
            let Some(last) = events.last() else { break };
            self.next = last.sequence + 1;
            events.iter().for_each(|event| self.tally.count(event));
        }
        self.tally.services.retain(|name, _| there.contains(name));
    }
}
