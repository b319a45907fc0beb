//! Room: what the engine has is looked up while something needs it, and what is in the way of a request is waited for.

use hornero_model::Millis;
use hornero_rollout::{MakingWay, NoRoom, RolloutFailure, Target, last_proven, make_way};

use crate::{
    Driver, DriverError, OutcomeKind, Ports, Progress,
    job::{Item, ItemOutcome},
};

/// The guard, as the documents name it.
const CAPACITY: &str = "capacity";

/// How long what memory there is stays known while only edges tell something, as they do several times in the few
/// milliseconds of a switch: nobody starts or ends a server by that, and a look costs as much as deciding what follows.
const ROOM_LASTS: Millis = Millis(5);

impl Driver {
    /// Looks what memory there is, where something may be started beside what runs.
    pub(crate) fn look_for_room(&mut self, ports: &dyn Ports) {
        let busy = self.attention.busy().iter();
        let mut instances = busy.flat_map(|name| self.world.instances.of(name));
        let mut recycles = || instances.any(|of| of.recycle.is_some());
        // What is scaled may want more at any time.
        let is_scaled = || !self.facts.load.is_empty();
        if !self.jobs.is_empty() || !self.world.rollouts.is_empty() || recycles() || is_scaled() {
            self.facts.here.room = ports.room(&self.facts.region);
            self.looked_for_room = Some(self.facts.now);
        }
    }

    /// Whether what is known of the memory may be something else by now, though nothing that is known to take or leave any
    /// happened since.
    pub(crate) fn room_is_old(&self) -> bool {
        self.looked_for_room.is_none_or(|looked| self.facts.now >= looked.after(ROOM_LASTS))
    }

    /// Whether an item of a job waits until what is in its way is gone; what is only kept warm is ended for it.
    pub(crate) fn makes_way(
        &mut self,
        index: usize,
        item: &Item,
        moved: &mut bool,
        ports: &mut dyn Ports,
    ) -> Result<bool, DriverError> {
        let wanted = match item {
            Item::Apply(spec) => match Target::of(&self.world, &self.facts, spec) {
                Target::Again(number) | Target::New(number) => Some((spec.clone(), number)),
                Target::Unchanged(_) | Target::Repair(_) => None,
            },
            Item::Rollback(service, to) => {
                let number = to.or_else(|| last_proven(&self.world, service));
                let release = number.and_then(|number| self.world.release(service, number));
                release.map(|release| (Box::new(release.spec.clone()), release.number))
            }
            // What is shown beside what serves takes nobody's place.
            Item::Preview(..)
            | Item::Down(_)
            | Item::Recycle(..)
            | Item::Cancel(_)
            | Item::Steer(..) => None,
        };
        let Some((spec, number)) = wanted else { return Ok(false) };
        if matches!(item, Item::Apply(_)) && self.failed_before(index, &spec).is_some() {
            return Ok(false);
        }
        match make_way(&self.world, &self.facts, &spec, number) {
            MakingWay::Free => Ok(false),
            MakingWay::Waits => Ok(true),
            MakingWay::Ends(records) => {
                self.persist(records, ports)?;
                *moved = true;
                let service = spec.name;
                ports.progress(Progress::Step {
                    request: Some(self.jobs[index].id),
                    message: format!("what is kept warm ends to make room for `{service}`"),
                    service,
                    rollout: None,
                    phase: "preparing",
                    instance: None,
                });
                Ok(true)
            }
        }
    }

    /// That there is no room.
    pub(crate) fn crowded_out(&self, no_room: &NoRoom) -> ItemOutcome {
        let refused = Some(CAPACITY.to_owned());
        let failure = RolloutFailure { refused, ..RolloutFailure::of(no_room.to_string()) };
        let outcome = self.outcome(&no_room.service, None, None);
        ItemOutcome::Failed(OutcomeKind::Refused, outcome, failure)
    }
}
