//! A control that stops, as a process may, and goes on when a newer one has taken over: it must not change anything.

use hornero_driver::{Driver, EffectId, Observation};
use hornero_model::EdgeRef;
use hornero_rollout::Effect;

use crate::{
    Host, Simulation,
    host::{Happening, Older},
    trace,
};

/// How long the older control is let to go on, in steps.
const STEPS: u32 = 4;
/// Between two of them, in milliseconds.
const STEP_MS: u64 = 150;

impl Host {
    /// Control stops in the middle of everything: its threads do nothing, what comes to it is lost.
    pub(crate) fn pause_control(&mut self) {
        self.older = Older::default();
        let queue = std::mem::take(&mut self.queue);
        self.run += 1;
        for (key, happening) in queue {
            match happening {
                Happening::Perform { id, effect, .. } => self.older.asleep.push((id, effect)),
                Happening::Deliver { .. } | Happening::Tick { .. } => {}
                other => {
                    self.queue.insert(key, other);
                }
            }
        }
        let delay = self.random.between(1, 400);
        self.schedule(delay, Happening::StartControl);
    }

    /// Whoever is asked to do something obeys a control of this term.
    pub(crate) fn admits(&mut self, id: EffectId, effect: &Effect) -> bool {
        match effect.edge_of() {
            Some(edge) => self.edge_at_mut(&edge.edge).obey(id.term),
            None => self.engine.obey(id.term),
        }
    }

    /// Does what the older control asks for, if whoever is asked obeys it.
    pub(crate) fn perform_older(&mut self, id: EffectId, effect: &Effect) {
        let edge = effect.edge_of().map(|edge| self.edge_at(&edge.edge));
        let heard = edge.map_or(self.engine.term(), |edge| edge.status().term);
        // Whoever has not heard of the newer one yet can't tell: it hears of it by the first that is asked of it.
        if edge.is_some_and(|edge| !edge.reachable) || heard < self.ledger.current().term {
            return;
        }
        if self.admits(id, effect) {
            let text = format!("one-control: an older control may {effect}");
            self.edge.violations.push(text);
        } else {
            self.trace.note(self.now, "refused", || trace::effect(id, effect));
            self.older.refused = true;
        }
    }
}

impl Simulation {
    /// Has control stop soon, and go on later; a newer one starts in between.
    pub fn pause_control(&mut self, after_ms: u64, for_ms: u64) {
        self.host.schedule(after_ms, Happening::PauseControl);
        self.host.schedule(after_ms + for_ms, Happening::WakeControl);
    }

    /// Whether a control that had stopped and went on was refused anything.
    pub fn refused_the_older(&self) -> bool {
        self.host.older.refused
    }

    pub(crate) fn control_pauses(&mut self) {
        let Some(driver) = self.driver.take() else { return };
        self.older = Some(driver);
        self.keepers.lose();
        self.host.pause_control();
    }

    /// The older control goes on where it stopped. Until a newer one has begun nobody can tell that it did.
    pub(crate) fn control_wakes(&mut self) {
        let Some(mut driver) = self.older.take() else { return };
        if !self.host.older.is_over || self.host.crashed {
            self.older = Some(driver);
            self.host.schedule(STEP_MS, Happening::WakeControl);
            return;
        }
        for (id, effect) in std::mem::take(&mut self.host.older.asleep) {
            self.host.perform_older(id, &effect);
        }
        self.speak(&mut driver);
        self.host.older.steps += 1;
        // It ends where it was refused; where it wanted nothing it looks again.
        if !self.host.older.refused && self.host.older.steps < STEPS {
            self.older = Some(driver);
            self.host.schedule(STEP_MS, Happening::WakeControl);
        }
    }

    fn speak(&mut self, driver: &mut Driver) {
        self.host.older.speaks = true;
        let mut seen = vec![Observation::Tick];
        for (edge, own) in self.host.edges().filter(|(_, edge)| edge.reachable) {
            let edge = EdgeRef { edge, ..EdgeRef::default() };
            seen.push(Observation::EdgeStatus { edge, status: own.status() });
        }
        for observation in seen {
            // An error is that of the ledger, which took nothing.
            if driver.handle(observation, &mut self.host).is_err() {
                break;
            }
        }
        self.host.older.speaks = false;
    }
}
