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

    /// Counts what was appended since, up to the event `last`, after which only services were `there` that are remembered: those that
    /// came later are counted with a look that knows of them.
    pub fn look(&mut self, last: u64, there: &BTreeSet<&ServiceName>) {
        for _ in 0..PAGES {
            let events = match self.ledger.read(self.next, MAX_READ_EVENTS) {
                Ok(events) => events,
                Err(error) => {
                    tracing::warn!("the ledger can't be counted: {}", error_chain(&error));
                    break;
                }
            };
            let known = events.iter().take_while(|event| event.sequence <= last);
            let mut counted = 0;
            for event in known {
                self.tally.count(event);
                self.next = event.sequence + 1;
                counted += 1;
            }
            if counted == 0 || counted < events.len() {
                break;
            }
        }
        self.tally.services.retain(|name, _| there.contains(name));
    }
}

#[cfg(test)]
mod tests {
    use hornero_ledger::{Keys, SqliteLedger};
    use hornero_model::{Actor, NewEvent, RegionName, ReleaseNumber, Timestamp};

    use super::*;

    fn made(instance: &str) -> NewEvent {
        let body = EventBody::InstanceChanged {
            instance: instance.parse().unwrap(),
            service: "site".parse().unwrap(),
            release: ReleaseNumber(1),
            state: InstanceState::Created,
            cause: None,
            region: RegionName::default(),
        };
        NewEvent { time: Timestamp(1), by: Actor::hornero("a test"), body }
    }

    #[test]
    fn a_service_that_came_after_a_look_is_counted_by_the_next() {
        let home = tempfile::tempdir().unwrap();
        let keys = Arc::new(Keys::open_or_create(&home.path().join("keys")).unwrap());
        let ledger = SqliteLedger::open(&home.path().join("ledger.db"), keys).unwrap();
        let ledger: Arc<dyn Ledger> = Arc::new(ledger);
        let mut tally = LedgerTally::after(Arc::clone(&ledger), 0);
        ledger.append(vec![made("site-1-a"), made("site-1-b")]).unwrap();
        // What was looked at is of before both were made.
        tally.look(0, &BTreeSet::new());
        assert!(tally.tally.services.is_empty());
        let site: ServiceName = "site".parse().unwrap();
        tally.look(1, &BTreeSet::from([&site]));
        assert_eq!(tally.tally.services[&site].made, 1);
        tally.look(2, &BTreeSet::from([&site]));
        tally.look(2, &BTreeSet::from([&site]));
        assert_eq!(tally.tally.services[&site].made, 2);
        // One that is gone is told of no more.
        tally.look(2, &BTreeSet::new());
        assert!(tally.tally.services.is_empty());
    }
}
