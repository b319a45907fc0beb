//! What runs, for status: the recorded world refined by what was observed since.

use hornero_model::{
    Digest, EdgeStatus, ExitCause, Health, InstanceId, InstanceState, Location, ReleaseNumber,
    RouteTable, ServiceName, Timestamp,
};
use hornero_rollout::{Facts, Instance, RepairState, Scaling, World, recycle_due};

use crate::Driver;

/// An instance as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// Its image.
    pub image: Option<Digest>,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Where it is, while it runs.
    pub location: Option<Location>,
    /// When it was made.
    pub created: Timestamp,
    /// When it is due to be replaced for its age; none where its service has no `max_age`, or it does not serve.
    pub recycle_due: Option<Timestamp>,
    /// Why it is to be replaced by a new one, where somebody wants that.
    pub recycling: Option<String>,
    /// Why it ended, where it did.
    pub cause: Option<ExitCause>,
    /// What the edge last found it to be.
    pub health: Health,
    /// Why its last check failed, where it is not healthy.
    pub health_error: Option<String>,
}

impl Driver {
    /// What is recorded.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What was last observed.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The edge's last status.
    pub fn edge(&self) -> Option<&EdgeStatus> {
        self.facts.edge.as_deref()
    }

    /// The route table that the edge confirmed to this process.
    pub fn table_in_force(&self) -> Option<&RouteTable> {
        self.facts.in_force.as_ref().map(|in_force| &in_force.table)
    }

    /// How the serving set of a service is; none where nothing serves.
    pub fn repair_state(&self, service: &ServiceName) -> Option<RepairState> {
        hornero_rollout::repair_state(&self.world, &self.facts, service)
    }

    /// How a service is scaled; none where its number of servers is declared.
    pub fn scaling(&self, service: &ServiceName) -> Option<Scaling> {
        hornero_rollout::scaling(&self.world, &self.facts, service)
    }

    /// What is under way, for logs and tests: rollouts, requests, effects and services that are not whole.
    pub fn under_way(&self) -> String {
        let mut parts: Vec<String> = self
            .world
            .rollouts
            .values()
            .map(|of| format!("rollout {} of `{}` is {}", of.id, of.service, of.phase.name()))
            .collect();
        parts.push(format!("{} requests", self.jobs.len()));
        parts.extend(self.pending.values().map(|pending| {
            let waits = if pending.not_before.is_some() { ", waits for its next try" } else { "" };
            format!("{}{waits}", pending.effect)
        }));
        for name in self.world.services.keys() {
            if let Some(state) = self.repair_state(name).filter(|of| *of != RepairState::Whole) {
                parts.push(format!("`{name}` is {state:?}"));
            }
        }
        let away = self.facts.edges.iter().filter(|(_, edge)| edge.status.is_none());
        parts.extend(away.map(|(name, edge)| {
            let waits = self.facts.is_left_out(edge, self.facts.now);
            let waits = if waits { "is left out" } else { "is waited for" };
            format!("edge `{name}` can't be reached and {waits}")
        }));
        parts.join("; ")
    }

    /// Every instance that is not archived, by service, then id.
    pub fn instances(&self) -> Vec<InstanceView> {
        let mut views: Vec<InstanceView> = self
            .world
            .instances
            .values()
            .map(|instance| {
                let running = self.facts.running.get(&instance.id);
                let exit = self.facts.exited.get(&instance.id);
                InstanceView {
                    id: instance.id.clone(),
                    service: instance.service.clone(),
                    release: instance.release,
                    image: self.world.spec_of(&instance.id).map(|spec| spec.image),
                    state: self.state_of(&instance.id, instance.state),
                    location: running.map(|running| running.location.clone()),
                    created: instance.created,
                    recycle_due: self.recycle_due(instance),
                    recycling: instance.recycle.as_ref().map(|by| by.why.clone()),
                    cause: instance.cause.clone().or_else(|| exit.map(|exit| exit.cause.clone())),
                    health: self.facts.health(&self.world, &instance.id),
                    health_error: self.health_error(&instance.id),
                }
            })
            .collect();
        views.sort_by(|a, b| (&a.service, &a.id).cmp(&(&b.service, &b.id)));
        views
    }

    fn recycle_due(&self, instance: &Instance) -> Option<Timestamp> {
        let service = self.world.services.get(&instance.service)?;
        let serves = service.serving.as_ref()?.instances.contains(&instance.id);
        let max_age = service.serving_release()?.spec.max_age.filter(|_| serves)?;
        Some(recycle_due(instance, max_age))
    }

    pub(crate) fn health_error(&self, id: &InstanceId) -> Option<String> {
        let backends = self.facts.edge.as_ref()?.backends.iter();
        backends
            .filter(|backend| backend.instance == *id && backend.health != Health::Healthy)
            .find_map(|backend| backend.last_error.clone())
    }

    /// The way up to the first health is not recorded; it is told from what was observed.
    fn state_of(&self, id: &InstanceId, recorded: InstanceState) -> InstanceState {
        if self.facts.exited.contains_key(id) {
            return InstanceState::Failed;
        }
        if recorded != InstanceState::Created {
            return recorded;
        }
        match (self.facts.running.contains_key(id), self.facts.health(&self.world, id)) {
            (true, Health::Healthy) => InstanceState::Ready,
            (true, Health::Unknown | Health::Unhealthy) => InstanceState::Probing,
            (false, _) if self.is_starting(id) => InstanceState::Starting,
            (false, _) => InstanceState::Created,
        }
    }
}
