//! What the API shows, read off the driver.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hornero_api::message::{
    EdgeReport, HistoryEntry, InstanceStatus, InternalAddress, PlanChange, PlanReport, PlanRequest,
    RolloutStatus, RouteFault, RouteStatus, ServiceStatus,
};
use hornero_driver::{Driver, InstanceView};
use hornero_model::{Listener, Receipt, ServiceName};
use hornero_plan::DesiredImage;
use hornero_rollout::{Facts, RepairState, Service, World};

/// Services that are up or on their way, by name.
pub fn services(driver: &Driver, internal: &BTreeMap<ServiceName, IpAddr>) -> Vec<ServiceStatus> {
    let views = driver.instances();
    let world = driver.world();
    let there = world
        .services
        .values()
        .filter(|service| !service.removed || world.rollout_of(&service.name).is_some());
    there.map(|one| service(driver, one, &views, internal)).collect()
}

fn service(
    driver: &Driver,
    service: &Service,
    views: &[InstanceView],
    internal: &BTreeMap<ServiceName, IpAddr>,
) -> ServiceStatus {
    let serving = service.serving_release();
    let mut own: Vec<&InstanceView> =
        views.iter().filter(|view| view.service == service.name).collect();
    own.sort_by_key(|view| (Some(view.release) != serving.map(|release| release.number), &view.id));
    ServiceStatus {
        name: service.name.clone(),
        release: serving.map(|release| release.number),
        image: serving.map(|release| release.spec.image),
        wanted: serving.map_or(0, |release| release.spec.instances),
        internal: internal.get(&service.name).map(|address| InternalAddress {
            name: format!("{}.internal", service.name),
            address: *address,
        }),
        rollout: driver.world().rollout_of(&service.name).map(|rollout| RolloutStatus {
            id: rollout.id,
            phase: rollout.phase.name().to_owned(),
        }),
        instances: own.into_iter().map(instance).collect(),
        gave_up_after: match driver.repair_state(&service.name) {
            Some(RepairState::GaveUp { failures }) => Some(failures),
            Some(RepairState::Whole | RepairState::Repairing { .. }) | None => None,
        },
    }
}

fn instance(view: &InstanceView) -> InstanceStatus {
    InstanceStatus {
        id: view.id.clone(),
        release: view.release,
        image: view.image,
        state: view.state,
        address: view.address,
        pid: view.pid,
        created: view.created,
        cause: view.cause.as_ref().map(ToString::to_string),
        health: Some(view.health),
        health_error: view.health_error.clone(),
    }
}

/// The ways in from outside: every listener but those on the services' own addresses.
pub fn routes(driver: &Driver, internal: &BTreeMap<ServiceName, IpAddr>) -> Vec<RouteStatus> {
    let Some(table) = driver.table_in_force() else { return Vec::new() };
    let faults = driver.edge().map(|edge| edge.faults.as_slice()).unwrap_or_default();
    let outside = table
        .listeners
        .iter()
        .filter(|listener| !internal.values().any(|address| *address == listener.address.ip()));
    // A route without an address listens by IPv4 and by IPv6: one line for both.
    let twin = |listener: &Listener| {
        let every = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listener.address.port());
        listener.address.ip() == Ipv6Addr::UNSPECIFIED
            && table
                .listeners
                .iter()
                .any(|other| other.address == every && other.rules == listener.rules)
    };
    outside
        .filter(|listener| !twin(listener))
        .flat_map(|listener| {
            listener.rules.iter().map(|rule| RouteStatus {
                listen: listener.address,
                protocol: listener.protocol,
                host: rule.host.clone(),
                path_prefix: rule.path_prefix.clone(),
                pool: rule.pool.to_string(),
                release: table
                    .pools
                    .iter()
                    .find(|pool| pool.name == rule.pool)
                    .and_then(|pool| pool.active),
                fault: faults
                    .iter()
                    .find(|fault| fault.address == listener.address)
                    .map(|fault| RouteFault { reason: fault.reason.clone(), serves: fault.serves }),
            })
        })
        .collect()
}

/// The edge.
pub fn edge(driver: &Driver) -> Option<EdgeReport> {
    driver.edge().map(|edge| EdgeReport {
        pid: edge.pid,
        generation: edge.generation,
        connections: edge.connections.clone(),
        ..EdgeReport::default()
    })
}

/// A service's releases, newest first.
pub fn history(service: &Service) -> Vec<HistoryEntry> {
    let serving = service.serving.as_ref().map(|set| set.release);
    let entries = service.releases.values().rev().map(|release| HistoryEntry {
        release: release.number,
        image: release.spec.image,
        base: release.spec.base,
        proven: service.proven.contains(&release.number),
        serving: serving == Some(release.number),
        created: release.created,
        who: release.by.who.clone(),
        why: release.by.why.clone(),
        commit: release.by.commit.clone(),
        host_started: service
            .host_starts
            .iter()
            .filter(|(_, serving)| *serving == release.number)
            .map(|(time, _)| *time)
            .collect(),
    });
    entries.collect()
}

/// Whether a receipt is asked for: of this service, or of any.
pub fn concerns(receipt: &Receipt, service: Option<&str>) -> bool {
    service.is_none_or(|name| receipt.body.service.as_str() == name)
}

/// What an apply would change in the world as it is known.
pub fn plan(request: &PlanRequest, world: &World, facts: &Facts) -> PlanReport {
    let images: Vec<DesiredImage> = request
        .images
        .iter()
        .map(|image| DesiredImage { name: image.name.clone(), bake: image.bake.clone() })
        .collect();
    let plan = hornero_plan::plan(&images, &request.services, world, facts);
    let changes = plan.changes.into_iter().map(|change| PlanChange {
        kind: change.kind.as_str().to_owned(),
        object: change.object,
        action: change.action.as_str().to_owned(),
        reason: change.reason,
    });
    PlanReport { changes: changes.collect() }
}
