//! The simulated ledger: in memory, and the only thing besides engine and edge that survives a crash of control.

use hornero_driver::Churn;
use hornero_model::{Digest, Event, NewEvent};
use hornero_rollout::World;

/// Events in order.
#[derive(Debug, Default)]
pub struct SimLedger {
    events: Vec<Event>,
    current: World,
    /// How many appends there were.
    pub appends: u64,
}

impl SimLedger {
    /// Appends, as one write.
    pub fn append(&mut self, events: Vec<NewEvent>) -> Vec<Event> {
        self.appends += 1;
        let mut appended = Vec::new();
        for event in events {
            let zero = Digest::from_bytes([0; 32]);
            let event = Event {
                sequence: self.events.len() as u64 + 1,
                time: event.time,
                by: event.by,
                body: event.body,
                previous: zero,
                hash: zero,
            };
            self.current.apply(&event).expect("the driver writes a possible history");
            self.events.push(event.clone());
            appended.push(event);
        }
        appended
    }

    /// Every event.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The world that follows from them, kept up as they come.
    pub fn current(&self) -> &World {
        &self.current
    }

    /// What the watchdog counts by them, folded anew.
    pub fn churn(&self) -> Churn {
        let mut churn = Churn::default();
        self.events.iter().for_each(|event| churn.apply(event));
        churn
    }

    /// The world that follows from them, folded anew.
    pub fn world(&self) -> World {
        let mut world = World::default();
        for event in &self.events {
            world.apply(event).expect("the driver wrote a possible history");
        }
        world
    }
}
