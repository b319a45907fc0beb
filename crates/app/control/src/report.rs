//! What the API shows, read off the driver.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hornero_api::message::{
    CanaryStatus, EdgeReport, HistoryEntry, InstanceStatus, InternalAddress, Judgement,
    ListenerFaultEntry, PausedStatus, PlanChange, PlanProblem, PlanReport, PlanRequest,
    PreviewStatus, ReleaseFailure, RollingStatus, RolloutStatus, RouteFault, RouteStatus,
    ScaleStatus, ServiceStatus,
};
use hornero_driver::{Churn, Driver, InstanceView};
use hornero_engine_port::Engine;
use hornero_model::{
    Listener, ListenerFault, Receipt, ReleaseNumber, RouteRule, ServiceName, ServiceSpec, Strategy,
};
use hornero_plan::{About, Action, Change, DesiredImage, Foreign, ObjectKind};
use hornero_rollout::{
    Facts, ListenerSpell, Phase, RepairState, Rollout, Scaling, Service, StaleRollback, Target,
    World, foresee_in_time, stale_rollback,
};

use crate::{
    churn::{self, CAPACITY},
    previews::{self, Seen},
    rehearsals, steps,
};

/// Services that are up or on their way, by name.
pub fn services(
    driver: &Driver,
    internal: &BTreeMap<ServiceName, IpAddr>,
    engine: &dyn Engine,
) -> Vec<ServiceStatus> {
    let views = driver.instances();
    let world = driver.world();
    let there = world.services.values().filter(|service| world.is_there(service));
    let there = there.filter(|service| service.name.preview().is_none());
    there.map(|one| service(driver, one, &views, internal, engine)).collect()
}

/// The previews, by service.
pub fn previews(
    driver: &Driver,
    internal: &BTreeMap<ServiceName, IpAddr>,
    engine: &dyn Engine,
) -> Vec<PreviewStatus> {
    let views = driver.instances();
    let seen = Seen { edge: driver.edge(), table: driver.table_in_force(), internal };
    previews::shown(driver.world(), &seen, |name| {
        let own = views.iter().filter(|view| view.service == *name);
        own.map(|view| instance(view, engine)).collect()
    })
}

/// The rollout of a service that is under way.
pub fn rollout(world: &World, facts: &Facts, service: &ServiceName) -> Option<RolloutStatus> {
    let rollout = world.rollout_of(service)?;
    let phase = rollout.phase.name().to_owned();
    let paused = rollout.paused.as_ref().map(|paused| PausedStatus {
        who: paused.by.who.clone(),
        why: paused.by.why.clone(),
        since: paused.since,
        until: paused.until,
    });
    Some(RolloutStatus {
        id: rollout.id,
        phase,
        canary: canary(world, facts, rollout),
        rolling: rolling(world, rollout),
        batched: rollout.batched.clone(),
        paused,
        interventions: rollout.interventions.clone(),
    })
}

/// How far a rollout is batch by batch.
fn rolling(world: &World, rollout: &Rollout) -> Option<RollingStatus> {
    let rolling = rollout.rolling.as_ref().filter(|_| rollout.phase == Phase::Rolling)?;
    let release = world.release(&rollout.service, rollout.to_terms())?;
    Some(RollingStatus {
        release: rollout.to,
        batch: rolling.batch + 1,
        instances: u32::try_from(rollout.set.len()).unwrap_or(u32::MAX),
        wanted: world.size_of(&release.spec),
        weight: rolling.weight,
    })
}

/// How far a rollout is as a canary.
fn canary(world: &World, facts: &Facts, rollout: &Rollout) -> Option<CanaryStatus> {
    let canary = rollout.canary.as_ref().filter(|_| rollout.phase == Phase::Canary)?;
    let release = world.release(&rollout.service, rollout.to)?;
    let Strategy::Canary(policy) = &release.spec.rollout.strategy else { return None };
    let judgement = hornero_rollout::judgement(world, facts, rollout);
    Some(CanaryStatus {
        release: rollout.to,
        step: canary.step + 1,
        steps: u32::try_from(policy.steps.len()).unwrap_or(u32::MAX),
        weight: canary.weight,
        judgement: judgement
            .map(|(verdict, reasons)| Judgement { verdict: verdict.to_owned(), reasons }),
        judged: canary.judged.clone(),
    })
}

fn service(
    driver: &Driver,
    service: &Service,
    views: &[InstanceView],
    internal: &BTreeMap<ServiceName, IpAddr>,
    engine: &dyn Engine,
) -> ServiceStatus {
    let serving = service.serving_release();
    let mut own: Vec<&InstanceView> =
        views.iter().filter(|view| view.service == service.name).collect();
    let made_from = service.serving.as_ref().map(|set| set.release);
    own.sort_by_key(|view| (Some(view.release) != made_from, &view.id));
    ServiceStatus {
        name: service.name.clone(),
        release: serving.map(|release| release.number),
        image: serving.map(|release| release.spec.image),
        directory: driver.world().owner(&service.name).cloned(),
        labels: serving.map(|release| release.spec.labels.clone()).unwrap_or_default(),
        wanted: driver.world().serving_size(&service.name),
        scale: driver.scaling(&service.name).and_then(|scaling| scale(service, scaling)),
        internal: internal.get(&service.name).map(|address| InternalAddress {
            name: format!("{}.internal", service.name),
            address: *address,
        }),
        rollout: rollout(driver.world(), driver.facts(), &service.name),
        instances: own.into_iter().map(|view| instance(view, engine)).collect(),
        gave_up_after: match driver.repair_state(&service.name) {
            Some(RepairState::GaveUp { failures }) => Some(failures),
            Some(RepairState::Whole | RepairState::Repairing { .. } | RepairState::Held) | None => {
                None
            }
        },
        stopped: churn::stop_of(driver.world(), driver.churn(), &service.name),
        proof: rehearsals::proof(driver.world(), &service.name, driver.facts().now),
        rehearsal: rehearsals::last(driver.world(), &service.name),
        steps: steps::shown(driver.world(), &service.name),
    }
}

/// How a service is scaled.
pub fn scale(service: &Service, scaling: Scaling) -> Option<ScaleStatus> {
    let bounds = service.serving_release()?.spec.scale.as_ref()?;
    let last = scaling.last.filter(|last| last.why.is_some());
    Some(ScaleStatus {
        now: scaling.now,
        minimum: bounds.minimum,
        maximum: bounds.maximum,
        since: last.as_ref().map(|last| last.since),
        why: last.and_then(|last| last.why),
        held_back: scaling.held_back,
    })
}

fn instance(view: &InstanceView, engine: &dyn Engine) -> InstanceStatus {
    let location = view.location.as_ref();
    InstanceStatus {
        id: view.id.clone(),
        release: view.release,
        image: view.image,
        state: view.state,
        address: location.map(|location| location.address),
        pid: location.and_then(|location| engine.host_process(&location.handle)),
        place: location.map(|location| location.place.clone()),
        created: view.created,
        recycle_due: view.recycle_due,
        recycling: view.recycling.clone(),
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
            let traffic = |rule: &RouteRule| {
                let pool = table.pools.iter().find(|pool| pool.name == rule.pool);
                let mut shares = pool.map_or_else(Vec::new, |pool| pool.traffic.clone());
                for share in &mut shares {
                    share.release = driver.world().terms(&rule.pool.service, share.release);
                }
                shares
            };
            // Those of previews are told with them.
            let own = listener.rules.iter().filter(|rule| rule.pool.service.preview().is_none());
            own.map(move |rule| RouteStatus {
                listen: listener.address,
                protocol: listener.protocol,
                host: rule.host.clone(),
                path_prefix: rule.path_prefix.clone(),
                pool: rule.pool.to_string(),
                redirect_to: rule.redirect_to,
                release: traffic(rule).first().map(|share| share.release),
                shares: Some(traffic(rule)).filter(|shares| shares.len() > 1).unwrap_or_default(),
                fault: faults
                    .iter()
                    .find(|fault| is_down(listener, rule.host.as_deref(), fault))
                    .map(|fault| RouteFault { reason: fault.reason.clone(), serves: fault.serves }),
            })
        })
        .collect()
}

/// Whether a fault keeps requests for `host` from being served: another host's certificate does not.
fn is_down(listener: &Listener, host: Option<&str>, fault: &ListenerFault) -> bool {
    let own = listener.certificate_of(host).map(|tls| &tls.certificate);
    fault.address == listener.address
        && (fault.certificate.is_none() || fault.certificate.as_ref() == own)
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
    let serving = service.serving.as_ref().map(|set| set.terms);
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
        listener_faults: listener_faults(service, release.number),
        canary: service.canaries.get(&release.number).cloned().unwrap_or_default(),
        failed: service.failed.get(&release.number).map(|failed| ReleaseFailure {
            at: failed.at,
            who: failed.by.who.clone(),
            why: failed.by.why.clone(),
            reason: failed.failure.reason.clone(),
        }),
        interventions: service.interventions.get(&release.number).cloned().unwrap_or_default(),
    });
    entries.collect()
}

/// When a way in was at fault while a release served; a route without an address listens twice, and is told once.
fn listener_faults(service: &Service, release: ReleaseNumber) -> Vec<ListenerFaultEntry> {
    let spells = || service.listener_spells.iter().filter(|spell| spell.release == release);
    let is_twin = |spell: &ListenerSpell| {
        let every = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), spell.address.port());
        let same = |other: &ListenerSpell| {
            other.address == every && other.from == spell.from && other.trouble == spell.trouble
        };
        spell.address.ip() == Ipv6Addr::UNSPECIFIED && spells().any(same)
    };
    let told = spells().filter(|spell| !is_twin(spell));
    told.map(|spell| ListenerFaultEntry {
        listen: spell.address,
        reason: spell.trouble.reason.clone(),
        serves: spell.trouble.serves,
        from: spell.from,
        until: spell.until,
    })
    .collect()
}

/// Whether a receipt is asked for: of this service, or of any.
pub fn concerns(receipt: &Receipt, service: Option<&str>) -> bool {
    service.is_none_or(|name| receipt.body.service.as_str() == name)
}

/// A change, as it is told.
pub fn changed(change: Change) -> PlanChange {
    PlanChange {
        kind: change.kind.as_str().to_owned(),
        object: change.object,
        action: change.action.as_str().to_owned(),
        reason: change.reason,
        renamed: change.renamed,
    }
}

/// What there would be no room for.
fn crowded_out(
    changes: &[Change],
    services: &[ServiceSpec],
    world: &World,
    facts: &Facts,
) -> Vec<PlanProblem> {
    let changes_it = |spec: &&ServiceSpec| {
        changes.iter().any(|change| {
            change.object == spec.name.as_str()
                && change.kind == ObjectKind::Service
                && !matches!(change.action, Action::Repair | Action::Remove)
        })
    };
    let no_room = |spec: &ServiceSpec| {
        let number = match Target::of(world, facts, spec) {
            Target::Again(number) | Target::New(number) => number,
            // Its image is to be baked.
            Target::Unchanged(_) | Target::Repair(_) => return None,
        };
        let no_room = foresee_in_time(world, facts, spec, number).err()?;
        Some(PlanProblem {
            kind: "service".to_owned(),
            object: spec.name.to_string(),
            reason: no_room.to_string(),
            hint: churn::hint(CAPACITY, &spec.name),
            guard: Some(CAPACITY.to_owned()),
            ..PlanProblem::default()
        })
    };
    services.iter().filter(changes_it).filter_map(no_room).collect()
}

/// What another directory declares.
fn owned_elsewhere(kind: &str, foreign: Foreign) -> PlanProblem {
    PlanProblem {
        kind: kind.to_owned(),
        object: foreign.service,
        reason: foreign.reason,
        guard: Some("belonging".to_owned()),
        directory: Some(foreign.directory),
        ..PlanProblem::default()
    }
}

/// That nobody knows any more whether a service could go back.
fn unproven(stale: &StaleRollback) -> PlanProblem {
    PlanProblem {
        kind: "service".to_owned(),
        object: stale.service().to_string(),
        reason: stale.to_string(),
        hint: Some(format!("`hornero rehearse {}` proves it anew", stale.service())),
        guard: Some(rehearsals::FRESH_ROLLBACK.to_owned()),
        ..PlanProblem::default()
    }
}

/// What an apply would change in the world as it is known.
pub fn plan(request: &PlanRequest, world: &World, facts: &Facts, churn: &Churn) -> PlanReport {
    let images: Vec<DesiredImage> = request
        .images
        .iter()
        .map(|image| DesiredImage { name: image.name.clone(), bake: image.bake.clone() })
        .collect();
    let directory = request.directory.as_ref();
    let plan = hornero_plan::plan(directory, &images, &request.services, world, facts);
    let budgets = churn::problems(&plan.changes, &request.services, world, churn, facts.now);
    let crowded = crowded_out(&plan.changes, &request.services, world, facts);
    let stale = request.services.iter().filter_map(|spec| stale_rollback(world, facts, spec));
    let stale = stale.map(|stale| unproven(&stale));
    let changes = plan.changes.into_iter().map(changed);
    let gone = directory.map(|directory| world.undeclared(directory, &request.services));
    let gone = gone.unwrap_or_default();
    let clashes = hornero_plan::clashes(&request.services, &gone, world).into_iter().map(|clash| {
        let route = match clash.about {
            About::Route { index, .. } => Some(index),
            About::Package(_) => None,
        };
        PlanProblem {
            kind: clash.kind.as_str().to_owned(),
            object: clash.object,
            reason: clash.reason,
            hint: Some(clash.remedy),
            route,
            ..PlanProblem::default()
        }
    });
    let foreign = plan.foreign.into_iter().map(|foreign| owned_elsewhere("service", foreign));
    let (job_changes, foreign_jobs) = match directory {
        Some(directory) => hornero_plan::job_changes(directory, &request.jobs, world),
        None => (Vec::new(), Vec::new()),
    };
    let freezes =
        directory.map(|directory| hornero_plan::freeze_changes(directory, &request.freezes, world));
    let schedules = directory
        .map(|directory| hornero_plan::schedule_changes(directory, &request.schedules, world));
    let others = job_changes.into_iter().chain(freezes.into_iter().flatten());
    let others = others.chain(schedules.into_iter().flatten());
    let foreign_jobs = foreign_jobs.into_iter().map(|foreign| owned_elsewhere("job", foreign));
    let standings = directory.map(|directory| world.standings(directory, &request.services));
    PlanReport {
        changes: changes.chain(others.map(changed)).collect(),
        problems: foreign
            .chain(foreign_jobs)
            .chain(budgets)
            .chain(crowded)
            .chain(stale)
            .chain(clashes)
            .collect(),
        not_checked: Vec::new(),
        standings: standings.unwrap_or_default(),
        previews: previews::beside(world, &request.services),
        undeclared_calls: Vec::new(),
    }
}
