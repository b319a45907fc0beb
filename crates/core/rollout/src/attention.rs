//! Which services are looked at: those that are not at rest, and those of which something was seen. So what a turn costs
//! follows from what is going on, not from how much there is.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{EdgeStatus, Event, EventBody, InstanceId, RouteTable, ServiceName, Timestamp};

use crate::planted::{Bug, planted};
use crate::{Facts, World, kept_table::KeptTable, rest};

/// What has to be looked at. Whoever keeps one tells it of everything that is recorded and seen; made anew with
/// [`Attention::to_all`], it leaves nothing out.
#[derive(Debug, Clone, Default)]
pub struct Attention {
    /// Services that are looked at with every step; among them may be such as are no more.
    busy: BTreeSet<ServiceName>,
    /// When those at rest have to be looked at again, where time alone may change something of them.
    due: BTreeSet<(Timestamp, ServiceName)>,
    /// The same by service.
    due_of: BTreeMap<ServiceName, Timestamp>,
    /// Instances that the engine had, and the ledger did not know, when something of them was last seen.
    strangers: BTreeSet<InstanceId>,
    table: KeptTable,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern<'e> {
    /// A service.
    Service(&'e ServiceName),
    /// An instance of one.
    Instance(&'e InstanceId),
    /// More than one service.
    All,
    /// No service, or none but such as are never at rest while it matters to them.
    None,
}

impl Attention {
    /// To everything that is there.
    pub fn to_all(world: &World, facts: &Facts) -> Self {
        let mut attention = Self::default();
        attention.busy.extend(facts.addresses.keys().cloned());
        attention.look_at_all(world);
        let had = facts.running.keys().chain(&facts.stopped).chain(facts.exited.keys());
        let strange = had.chain(&facts.abandoned).filter(|id| !world.instances.contains_key(*id));
        attention.strangers = strange.cloned().collect();
        attention
    }

    /// Something of a service was seen, or may be so.
    pub fn look_at(&mut self, service: &ServiceName) {
        if let Some(due) = self.due_of.remove(service) {
            self.due.remove(&(due, service.clone()));
        }
        if !self.busy.contains(service) {
            self.busy.insert(service.clone());
        }
    }

    /// Something of an instance was seen.
    pub fn look_at_instance(&mut self, world: &World, instance: &InstanceId) {
        match world.instances.get(instance) {
            Some(_) if planted(Bug::OverlooksServers) => {}
            Some(known) => self.look_at(&known.service),
            None => {
                self.strangers.insert(instance.clone());
            }
        }
    }

    /// Something was seen that may be about every service.
    pub fn look_at_all(&mut self, world: &World) {
        self.busy.extend(world.services.keys().cloned());
        self.due.clear();
        self.due_of.clear();
    }

    /// Takes in an event that the world has taken in.
    pub fn took_in(&mut self, world: &World, event: &Event) {
        match concern(event) {
            Concern::Service(service) => self.look_at(service),
            Concern::Instance(instance) => self.look_at_instance(world, instance),
            Concern::All => self.look_at_all(world),
            Concern::None => {}
        }
        // One that is archived while the engine still has it is a stranger from then on.
        if let EventBody::InstanceChanged { instance, .. } = &event.body
            && !world.instances.contains_key(instance)
        {
            self.strangers.insert(instance.clone());
        }
    }

    /// Takes in that the edges say something else than before, or can't be asked any more.
    pub fn saw_edges(
        &mut self,
        world: &World,
        before: Option<&EdgeStatus>,
        after: Option<&EdgeStatus>,
    ) {
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => (before, after),
            (None, None) => return,
            (Some(_), None) | (None, Some(_)) => return self.look_at_all(world),
        };
        if before.waiting != after.waiting {
            let waiting = before.waiting.iter().chain(&after.waiting);
            waiting.for_each(|of| self.look_at(&of.pool.service));
        }
        let others = before.other_instances(after).into_iter();
        for id in others.filter(|id| world.instances.contains_key(*id)) {
            self.look_at_instance(world, id);
        }
    }

    /// Those whose time has come are looked at again.
    pub fn rouse(&mut self, now: Timestamp) {
        while let Some((due, service)) = self.due.first().cloned().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, service.clone()));
            self.due_of.remove(&service);
            self.busy.insert(service);
        }
    }

    /// Leaves to themselves the services that are at rest. To be asked once nothing is left to record, and the effects that
    /// are wanted are known: the route table has what they say by then.
    pub fn rest(&mut self, world: &World, facts: &Facts) {
        let is_at_rest = |name: &&ServiceName| rest::is_at_rest(world, facts, name);
        let resting: Vec<ServiceName> = self.busy.iter().filter(is_at_rest).cloned().collect();
        for name in resting {
            self.busy.remove(&name);
            if let Some(due) = rest::ends(world, facts, &name) {
                self.due.insert((due, name.clone()));
                self.due_of.insert(name, due);
            }
        }
        self.strangers.retain(|id| is_stranger(world, facts, id));
    }

    /// Has what those that are looked at have in the route table made anew.
    pub(crate) fn renew_table(&mut self, world: &World, facts: &Facts) {
        self.table.renew(world, facts, self.busy.iter());
    }

    /// The table that the recorded world asks for, with the number that comes next.
    pub(crate) fn table(&self, world: &World, facts: &Facts) -> RouteTable {
        self.table.table(world, facts, facts.next_generation())
    }

    /// The services that are looked at.
    pub fn busy(&self) -> &BTreeSet<ServiceName> {
        &self.busy
    }

    /// Those of them that are there.
    pub(crate) fn services<'a>(
        &'a self,
        world: &'a World,
    ) -> impl Iterator<Item = &'a ServiceName> {
        self.busy.iter().filter(|name| world.services.contains_key(*name))
    }

    /// When the first of those at rest has to be looked at again.
    pub(crate) fn first_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Instances that the engine has, or may have, and the ledger does not know.
    pub(crate) fn strangers<'a>(
        &'a self,
        world: &'a World,
        facts: &'a Facts,
    ) -> impl Iterator<Item = &'a InstanceId> {
        self.strangers.iter().filter(move |id| is_stranger(world, facts, id))
    }
}

fn is_stranger(world: &World, facts: &Facts, id: &InstanceId) -> bool {
    let has = facts.running.contains_key(id)
        || facts.stopped.contains(id)
        || facts.exited.contains_key(id)
        || facts.abandoned.contains(id);
    has && !world.instances.contains_key(id)
}

/// What an event is about; every kind stands here.
pub fn concern(event: &Event) -> Concern<'_> {
    match &event.body {
        EventBody::InstanceChanged { service, .. }
        | EventBody::ReleaseProven { service, .. }
        | EventBody::ServiceRemoved { service }
        | EventBody::ServiceOwned { service, .. }
        | EventBody::ServiceAdjusted { service, .. }
        | EventBody::RecycleSet { service, .. }
        | EventBody::Scaled { service, .. }
        | EventBody::FailureShared { service, .. }
        | EventBody::StepRuled { service, .. } => Concern::Service(service),
        EventBody::RolloutStep { entry } => Concern::Service(&entry.service),
        EventBody::ReleaseCreated { release } => Concern::Service(&release.spec.name),
        EventBody::Switched { receipt } => Concern::Service(&receipt.body.service),
        EventBody::InstanceQuarantined { instance, .. }
        | EventBody::QuarantineEnded { instance, .. } => Concern::Instance(instance),
        EventBody::GlassBroken { session } => Concern::Instance(&session.instance),
        EventBody::GlassMended { end } => Concern::Instance(&end.instance),
        EventBody::ChurnStopped { breach } => {
            breach.service.as_ref().map_or(Concern::All, Concern::Service)
        }
        EventBody::ChurnResumed { service } => {
            service.as_ref().map_or(Concern::All, Concern::Service)
        }
        EventBody::ControlStarted { .. }
        | EventBody::HostStarted { .. }
        | EventBody::FreezeDeclared { .. }
        | EventBody::FreezeRemoved { .. }
        | EventBody::PreviewDeclared { .. }
        | EventBody::PreviewRemoved { .. } => Concern::All,
        // Whoever has volumes, runs schema steps or is rolled out is never at rest, and faults of listeners, runs, jobs and
        // schedules are looked at beside the services.
        EventBody::ImageTested { .. }
        | EventBody::EffectRefused { .. }
        | EventBody::ListenerChanged { .. }
        | EventBody::RunStarted { .. }
        | EventBody::RunEnded { .. }
        | EventBody::JobDeclared { .. }
        | EventBody::JobRemoved { .. }
        | EventBody::JobSkipped { .. }
        | EventBody::FreezeOverridden { .. }
        | EventBody::ScheduleDeclared { .. }
        | EventBody::ScheduleRemoved { .. }
        | EventBody::ScheduleBegun { .. }
        | EventBody::ScheduleEnded { .. }
        | EventBody::ScheduleSkipped { .. }
        | EventBody::VolumeDeclared { .. }
        | EventBody::VolumeUndeclared { .. }
        | EventBody::VolumeChanged { .. }
        | EventBody::VolumeLeased { .. }
        | EventBody::VolumeReleased { .. }
        | EventBody::RehearsalStarted { .. }
        | EventBody::RehearsalEnded { .. }
        | EventBody::GuardOverridden { .. }
        | EventBody::DataGuardOverridden { .. }
        | EventBody::BundleSealed { .. } => Concern::None,
    }
}
