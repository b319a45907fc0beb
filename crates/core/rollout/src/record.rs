//! What a step records: events, receipts, and the instances that they are about.

use std::collections::BTreeSet;

use hornero_model::{
    Actor, EventBody, ExitCause, InstanceId, InstanceState, ReceiptBody, RegionName, ReleaseNumber,
    ServiceName,
};

use crate::{Instance, World};

/// What to append before anything else is done; all of it in one write.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// The records in order; none when there is nothing to decide.
    pub records: Vec<Record>,
}

/// One thing to append.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// An event, and by whom.
    Event(Actor, EventBody),
    /// A receipt to be signed; it becomes a `Switched` event.
    Receipt(Box<ReceiptBody>),
}

impl Step {
    /// Whether it begins a rollout.
    pub fn begins_rollout(&self) -> bool {
        let is_step =
            |record: &Record| matches!(record, Record::Event(_, EventBody::RolloutStep { .. }));
        self.records.iter().any(is_step)
    }
}

pub(crate) fn changed(
    by: &Actor,
    instance: &Instance,
    state: InstanceState,
    cause: Option<ExitCause>,
) -> Record {
    let body = EventBody::InstanceChanged {
        instance: instance.id.clone(),
        service: instance.service.clone(),
        release: instance.release,
        state,
        cause,
        region: instance.region.clone(),
    };
    Record::Event(by.clone(), body)
}

/// That an instance of a release is to be made.
pub(crate) fn created(
    by: &Actor,
    service: &ServiceName,
    release: ReleaseNumber,
    instance: InstanceId,
) -> Record {
    let body = EventBody::InstanceChanged {
        instance,
        service: service.clone(),
        release,
        state: InstanceState::Created,
        cause: None,
        region: RegionName::default(),
    };
    Record::Event(by.clone(), body)
}

/// The ids of so many new instances, in the order in which they were drawn.
pub(crate) fn new_ids(
    world: &World,
    service: &ServiceName,
    release: ReleaseNumber,
    count: usize,
    tail: &mut dyn FnMut() -> String,
) -> Vec<InstanceId> {
    let mut taken = BTreeSet::new();
    let draw = || {
        let id = new_id(world, service, release, &taken, tail);
        taken.insert(id.clone());
        id
    };
    std::iter::repeat_with(draw).take(count).collect()
}

/// The id of a new instance; `tail` is drawn again where it happens to be taken.
fn new_id(
    world: &World,
    service: &ServiceName,
    release: ReleaseNumber,
    taken: &BTreeSet<InstanceId>,
    tail: &mut dyn FnMut() -> String,
) -> InstanceId {
    /// A tail of a few random characters repeats at most by accident; a source that repeats itself is broken.
    const ATTEMPTS: usize = 1000;
    for _ in 0..ATTEMPTS {
        if let Ok(id) = InstanceId::compose(service, release, &tail())
            && !world.instances.contains_key(&id)
            && !taken.contains(&id)
        {
            return id;
        }
    }
    panic!("the source of random tails gave no fresh one in {ATTEMPTS} attempts");
}
