//! What `status`, `history`, `receipt` and `audit` tell where no control process runs: the ledger's words, and the edge's.

use std::{collections::BTreeMap, path::Path};

use hornero_api::message::{
    ControlStatus, EdgeReport, HistoryEntry, InstanceStatus, PreviewStatus, ServiceStatus,
    StatusReport,
};
use hornero_driver::Churn;
use hornero_edge::EdgeClient;
use hornero_ledger::MAX_READ_EVENTS;
use hornero_model::{
    EdgeStatus, Event, EventBody, Health, InstanceId, Receipt, ServiceName, Timestamp,
};
use hornero_rollout::{Facts, Instance, Service, World, scaling};

use crate::{
    edge, glass, jobs,
    offline::ledger_of,
    previews::{self, Seen},
    quarantines, rehearsals,
    replay::fold,
    report, runs, schedules, steps,
};

/// What ran by the ledger's last word; what the edge finds healthy where it answers.
pub fn status_offline(home: &Path) -> anyhow::Result<StatusReport> {
    let ledger = ledger_of(home)?;
    let (mut world, mut churn, mut last) = (World::default(), Churn::default(), None);
    fold(
        &mut world,
        |next| ledger.read(next, MAX_READ_EVENTS),
        |event| {
            churn.apply(event);
            if let EventBody::ControlStarted { version, .. } = &event.body {
                last = Some((version.clone(), event.time));
            }
        },
    )?;
    let (version, started) = last.unwrap_or_default();
    let edge = EdgeClient::new(&edge::state_dir(home)).status().ok();
    let edge_seen = edge.clone();
    Ok(StatusReport {
        services: services(&world, &churn, edge.as_ref()),
        routes: Vec::new(),
        control: ControlStatus {
            pid: 0,
            version,
            started,
            journal_fault: None,
            settings_fault: None,
            witness: None,
            absent: true,
            api: Vec::new(),
            sequence: world.last_sequence,
        },
        edge: edge.map(|edge| EdgeReport {
            pid: edge.pid,
            generation: edge.generation,
            connections: edge.connections,
            ..EdgeReport::default()
        }),
        limits: Vec::new(),
        runs: world.runs.values().map(runs::status).collect(),
        jobs: jobs::shown(&world, Timestamp::now()),
        freezes: jobs::freezes(&world, Timestamp::now()),
        schedules: schedules::shown(&world, home, Timestamp::now()),
        previews: previews(&world, edge_seen.as_ref()),
        calls: Vec::new(),
        failures: Vec::new(),
        quarantined: quarantines::shown(&world, None, Timestamp::now()),
        touched: glass::touched(&world),
    })
}

/// A service's releases, newest first; none where there is no such service.
pub fn history_offline(
    home: &Path,
    service: &ServiceName,
) -> anyhow::Result<Option<Vec<HistoryEntry>>> {
    Ok(crate::offline::world(home)?.services.get(service).map(report::history))
}

/// Every receipt, newest first.
pub fn receipts_offline(home: &Path) -> anyhow::Result<Vec<Receipt>> {
    let mut receipts = Vec::new();
    events_offline(home, 1, &mut |event| {
        if let EventBody::Switched { receipt } = event.body {
            receipts.push(*receipt);
        }
        true
    })?;
    receipts.reverse();
    Ok(receipts)
}

/// Shows each event from this number on, as long as it is taken.
pub fn events_offline(
    home: &Path,
    from: u64,
    see: &mut dyn FnMut(Event) -> bool,
) -> anyhow::Result<()> {
    let ledger = ledger_of(home)?;
    let mut next = from;
    loop {
        let events = ledger.read(next, MAX_READ_EVENTS)?;
        let Some(last) = events.last() else { return Ok(()) };
        next = last.sequence + 1;
        if !events.into_iter().all(&mut *see) {
            return Ok(());
        }
    }
}

fn services(world: &World, churn: &Churn, edge: Option<&EdgeStatus>) -> Vec<ServiceStatus> {
    let mut instances: BTreeMap<&ServiceName, Vec<&Instance>> = BTreeMap::new();
    for instance in world.instances.values() {
        instances.entry(&instance.service).or_default().push(instance);
    }
    let there = world.services.values().filter(|service| world.is_there(service));
    there
        .filter(|service| service.name.preview().is_none())
        .map(|service| {
            let own = instances.remove(&service.name).unwrap_or_default();
            let stopped = crate::churn::stop_of(world, churn, &service.name);
            ServiceStatus { stopped, ..of_service(world, service, own, edge) }
        })
        .collect()
}

fn previews(world: &World, edge: Option<&EdgeStatus>) -> Vec<PreviewStatus> {
    let seen = Seen { edge, table: None, internal: &BTreeMap::new() };
    previews::shown(world, &seen, |name| {
        let own = world.instances.values().filter(|instance| instance.service == *name);
        own.map(|instance| of_instance(world, instance, edge)).collect()
    })
}

fn of_service(
    world: &World,
    service: &Service,
    mut own: Vec<&Instance>,
    edge: Option<&EdgeStatus>,
) -> ServiceStatus {
    let serving = service.serving_release();
    let made_from = service.serving.as_ref().map(|set| set.release);
    own.sort_by_key(|one| (Some(one.release) != made_from, &one.id));
    ServiceStatus {
        name: service.name.clone(),
        release: serving.map(|release| release.number),
        image: serving.map(|release| release.spec.image),
        directory: world.owner(&service.name).cloned(),
        labels: serving.map(|release| release.spec.labels.clone()).unwrap_or_default(),
        wanted: world.serving_size(&service.name),
        scale: scaling(world, &Facts::default(), &service.name)
            .and_then(|scaling| report::scale(service, scaling)),
        internal: None,
        rollout: report::rollout(world, &Facts::default(), &service.name),
        instances: own.into_iter().map(|instance| of_instance(world, instance, edge)).collect(),
        gave_up_after: None,
        stopped: None,
        proof: rehearsals::proof(world, &service.name, Timestamp::now()),
        rehearsal: rehearsals::last(world, &service.name),
        steps: steps::shown(world, &service.name),
    }
}

fn of_instance(world: &World, instance: &Instance, edge: Option<&EdgeStatus>) -> InstanceStatus {
    InstanceStatus {
        id: instance.id.clone(),
        release: instance.release,
        image: world.spec_of(&instance.id).map(|spec| spec.image),
        state: instance.state,
        address: None,
        pid: None,
        place: None,
        created: instance.created,
        recycle_due: None,
        recycling: instance.recycle.as_ref().map(|by| by.why.clone()),
        cause: instance.cause.as_ref().map(ToString::to_string),
        health: Some(health(edge, &instance.id)),
        health_error: None,
    }
}

/// Where the edge does not answer, nobody says that anything is healthy.
fn health(edge: Option<&EdgeStatus>, id: &InstanceId) -> Health {
    edge.map_or(Health::Unknown, |edge| edge.health_of(id))
}
