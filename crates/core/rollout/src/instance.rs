//! Instances that are not archived, found by their ids and by their services.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

use hornero_model::{
    Actor, ExitCause, GlassId, InstanceId, InstanceState, RegionName, ReleaseNumber, ServiceName,
    Timestamp,
};

/// That somebody is in a server, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlassMark {
    /// The last session.
    pub session: GlassId,
    /// Who, and why.
    pub by: Actor,
    /// When its time is up.
    pub until: Timestamp,
    /// Whether it goes on.
    pub is_open: bool,
    /// Whether the server is to be replaced at once.
    pub leaves: bool,
    /// Whether somebody was in it before the last session, or may have been beside it.
    pub was_in: bool,
}

/// That a server is kept for somebody to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// Who asked for it, and why.
    pub by: Actor,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Who wants it replaced whether it is kept or not, where somebody does.
    pub recycle: Option<Actor>,
}

/// An instance that is not archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// Where it is in its life, as far as it was recorded.
    pub state: InstanceState,
    /// Why it ended, where it did.
    pub cause: Option<ExitCause>,
    /// When it was made.
    pub created: Timestamp,
    /// When it entered its state.
    pub since: Timestamp,
    /// Who wants it replaced by a new one, and why, where somebody does.
    pub recycle: Option<Actor>,
    /// Until when it is kept for somebody to look at, where it is.
    pub quarantine: Option<Quarantine>,
    /// That somebody is in it, or was.
    pub touched: Option<GlassMark>,
    /// The region whose engine has it.
    pub region: RegionName,
}

/// Every instance by its id; those of one service are found without looking at any other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instances {
    by_id: BTreeMap<InstanceId, Instance>,
    by_service: BTreeMap<ServiceName, BTreeSet<InstanceId>>,
}

impl Deref for Instances {
    type Target = BTreeMap<InstanceId, Instance>;

    fn deref(&self) -> &Self::Target {
        &self.by_id
    }
}

impl Instances {
    /// The instances of a service, by their ids.
    pub fn of(&self, service: &ServiceName) -> impl Iterator<Item = &Instance> {
        let ids = self.by_service.get(service).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id))
    }

    /// Adds an instance, or takes the place of one with its id.
    pub fn insert(&mut self, instance: Instance) {
        let (id, service) = (instance.id.clone(), instance.service.clone());
        self.by_service.entry(service).or_default().insert(id.clone());
        self.by_id.insert(id, instance);
    }

    pub(crate) fn remove(&mut self, id: &InstanceId) {
        let Some(instance) = self.by_id.remove(id) else { return };
        let Some(ids) = self.by_service.get_mut(&instance.service) else { return };
        ids.remove(id);
        if ids.is_empty() {
            self.by_service.remove(&instance.service);
        }
    }

    /// Has an instance changed in anything but whose it is.
    pub(crate) fn get_mut(&mut self, id: &InstanceId) -> Option<&mut Instance> {
        self.by_id.get_mut(id)
    }
}
