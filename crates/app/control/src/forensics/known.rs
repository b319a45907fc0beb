//! What the thread that owns the driver knows of a server that failed, and of others of its service.

use std::sync::mpsc::Sender;

use hornero_autopsy::ServerRelation;
use hornero_driver::Driver;
use hornero_model::{
    Digest, InstanceId, ReleaseCounters, ReleaseNumber, SecretFile, ServiceName, Timestamp,
};

use crate::input::{self, Input};

/// Others of each kind that a failed server is compared with.
const OTHERS_MAX: usize = 3;

/// What is known of a server.
#[derive(Debug, Default)]
pub struct KnownServer {
    /// Its image.
    pub image: Option<Digest>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The ports that it should listen on.
    pub ports: Vec<u16>,
    /// Its secrets; none where its release is not known, which means that nobody knows them.
    pub secrets: Option<Vec<SecretFile>>,
    /// Failures of its service in a row.
    pub failures: u32,
    /// Others of its service that are healthy.
    pub others: Vec<(InstanceId, ReleaseNumber, ServerRelation)>,
    /// What the edges counted of its release.
    pub counters: Vec<ReleaseCounters>,
}

/// Asks the thread that owns the driver; none where the control process ends.
pub fn ask(
    inputs: &Sender<Input>,
    instance: &InstanceId,
    (service, release): (&ServiceName, ReleaseNumber),
) -> Option<KnownServer> {
    let (instance, service) = (instance.clone(), service.clone());
    input::ask(inputs, move |driver| look(driver, &instance, &service, release))
}

fn look(
    driver: &Driver,
    instance: &InstanceId,
    service: &ServiceName,
    release: ReleaseNumber,
) -> KnownServer {
    let (world, facts) = (driver.world(), driver.facts());
    let spec = world.release(service, release).map(|release| &release.spec);
    let others = |relation: ServerRelation| {
        let is = move |other: ReleaseNumber| match relation {
            ServerRelation::Sibling => other == release,
            ServerRelation::Before => other < release,
        };
        let of_service = world.instances.of(service).filter(move |of| of.id != *instance);
        let well = of_service.filter(move |of| is(of.release) && facts.healthy(world, &of.id));
        well.take(OTHERS_MAX).map(move |of| (of.id.clone(), of.release, relation))
    };
    let counters = facts.edge.iter().flat_map(|edge| &edge.counters);
    let own = counters.filter(|of| of.pool.service == *service && of.release == release);
    KnownServer {
        image: spec.map(|spec| spec.image),
        created: world.instances.get(instance).map(|of| of.created),
        ports: spec.iter().flat_map(|spec| &spec.ports).map(|port| port.container).collect(),
        secrets: spec.map(|spec| spec.secrets.clone()),
        failures: world.services.get(service).map_or(0, |of| of.failures),
        others: others(ServerRelation::Sibling).chain(others(ServerRelation::Before)).collect(),
        counters: own.cloned().collect(),
    }
}
