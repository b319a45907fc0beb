//! A directory that brings up all that it declares: what it may, in which order, and whose the services are.

use std::collections::VecDeque;

use hornero_model::{EventBody, ServiceName, ServiceSpec};
use hornero_rollout::{Declared, Record, RolloutFailure, check_belonging, down_order, go_first};

use crate::{
    Driver, DriverError, OutcomeKind, Ports,
    job::{End, Item},
};

impl Driver {
    /// What is done for a directory: what has a way in that is wanted goes first, the rest of what goes last.
    pub(crate) fn bring(&self, declared: &Declared, services: Vec<ServiceSpec>) -> VecDeque<Item> {
        let first = go_first(&self.world, &declared.remove, &services);
        let remove: Vec<ServiceName> = declared.remove.iter().cloned().collect();
        let order = if remove.is_empty() { Vec::new() } else { down_order(&self.world, remove) };
        let (first, last): (Vec<_>, Vec<_>) =
            order.into_iter().partition(|name| first.contains(name));
        let services = services.into_iter().map(|spec| Item::Apply(Box::new(spec)));
        let downs = |names: Vec<ServiceName>| names.into_iter().map(Item::Down);
        downs(first).chain(services).chain(downs(last)).collect()
    }

    /// Why nothing of a job may be done, looked at once, when its turn comes: others may have changed what it is about.
    pub(crate) fn refused_whole(&mut self, index: usize) -> Option<End> {
        let job = &mut self.jobs[index];
        if !std::mem::take(&mut job.unchecked) {
            return None;
        }
        let services: Vec<ServiceSpec> = job.items.iter().filter_map(Item::spec).cloned().collect();
        let declared = job.declared.as_ref()?;
        let error = check_belonging(&self.world, declared, &services).err()?;
        let failure = RolloutFailure::of(error.to_string());
        Some((OutcomeKind::Refused, Some((error.service().clone(), failure))))
    }

    /// Records that a service is the directory's that brings it up; nothing where it is already.
    pub(crate) fn own(
        &mut self,
        index: usize,
        service: &ServiceName,
        ports: &mut dyn Ports,
    ) -> Result<(), DriverError> {
        match self.owned(index, service) {
            Some(record) => self.persist(vec![record], ports),
            None => Ok(()),
        }
    }

    /// The event by which a service is the directory's that brings it up; none where it is already.
    pub(crate) fn owned(&self, index: usize, service: &ServiceName) -> Option<Record> {
        let job = &self.jobs[index];
        let directory = &job.declared.as_ref()?.directory;
        let body =
            EventBody::ServiceOwned { service: service.clone(), directory: directory.clone() };
        let is_known = self.world.services.get(service).and_then(|of| of.directory.as_ref());
        (is_known != Some(directory)).then(|| Record::Event(job.by.clone(), body))
    }
}
