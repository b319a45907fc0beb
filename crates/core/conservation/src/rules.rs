//! The rules, one function an invariant.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{
    Admission, CopyOnWrite, Health, InstanceId, Pool, PoolName, ReleaseNumber, RouteTable,
    ServiceName, Share, VolumeName,
};

use crate::{Churn, Fitness, Refusal, WatchdogFacts};

const BOUNDED_CHURN: &str = "bounded-churn";
const LAST_HEALTHY: &str = "last-healthy";
const NEVER_UNPROVEN: &str = "never-unproven";
const NO_LOST_REQUEST: &str = "no-lost-request";
const ONE_WRITER: &str = "one-writer";

/// Nothing starts on a volume but what has its newest lease, and not while anyone runs, or may, who had it before.
pub(crate) fn one_writer(
    facts: &WatchdogFacts<'_>,
    service: &ServiceName,
    instance: &InstanceId,
    volumes: &[VolumeName],
) -> Result<(), Refusal> {
    for volume in volumes {
        let Some(leases) =
            facts.churn.map(Churn::leases).filter(|leases| leases.has(volume, instance))
        else {
            let reason = format!("`{instance}` has not the newest lease of volume `{volume}`");
            return refuse(ONE_WRITER, Some(service), reason);
        };
        if let Some(other) = leases.others(volume, instance).find(|of| facts.alive.contains(*of)) {
            let reason = format!("`{other}` had volume `{volume}`, and is not gone");
            return refuse(ONE_WRITER, Some(service), reason);
        }
    }
    Ok(())
}

/// No server is made beyond what may be, nor after a limit was reached until somebody lets it.
pub(crate) fn bounded_churn(
    facts: &WatchdogFacts<'_>,
    service: &ServiceName,
    instance: &InstanceId,
) -> Result<(), Refusal> {
    let Some(churn) = facts.churn else { return Ok(()) };
    if let Some(stopped) = churn.holds(service, instance) {
        return refuse(BOUNDED_CHURN, Some(service), stopped.breach.to_string());
    }
    let Some(breach) = churn.breach(service, instance, facts.now) else { return Ok(()) };
    Err(Refusal {
        invariant: BOUNDED_CHURN,
        service: Some(service.clone()),
        reason: breach.to_string(),
        breach: Some(breach),
    })
}

/// What runs is kept once a limit was reached, but for what somebody asks for.
pub(crate) fn stopped_churn(
    facts: &WatchdogFacts<'_>,
    instance: &InstanceId,
) -> Result<(), Refusal> {
    let Some((seen, churn)) = facts.engine.get(instance).zip(facts.churn) else { return Ok(()) };
    let service = &seen.service;
    let is_asked = facts.requested.contains(service) || facts.going_down.contains(service);
    match churn.stopped(service) {
        Some(stopped) if seen.running && !is_asked => {
            refuse(BOUNDED_CHURN, Some(service), stopped.breach.to_string())
        }
        Some(_) | None => Ok(()),
    }
}

/// An instance that the edge may send requests to is not touched, unless its service is taken down by force.
pub(crate) fn not_routed(facts: &WatchdogFacts<'_>, instance: &InstanceId) -> Result<(), Refusal> {
    if facts.engine.get(instance).is_some_and(|seen| facts.forced.contains(&seen.service)) {
        return Ok(());
    }
    let Some(edge) = facts.edge else {
        return refuse(
            NO_LOST_REQUEST,
            None,
            format!("the edge can't be asked whether it routes to `{instance}`"),
        );
    };
    let reported = edge.backends.iter().find(|backend| backend.instance == *instance);
    if let Some(unknown) = facts.left_out.iter().find(|of| of.tables.is_none()) {
        return refuse(
            NO_LOST_REQUEST,
            None,
            format!("edge `{}` can't be asked whether it routes to `{instance}`", unknown.edge),
        );
    }
    let left_out = facts.left_out.iter().flat_map(|of| of.tables.iter().flatten().copied());
    let tables = facts.in_force.into_iter().chain(facts.unsettled.iter().copied());
    let mut tables = tables.chain(left_out);
    let confirmed = tables.find_map(|table| {
        table.pools.iter().find(|pool| pool.backends.iter().any(|of| of.instance == *instance))
    });
    if let Some(pool) = reported.map(|of| &of.pool).or(confirmed.map(|pool| &pool.name)) {
        return refuse(
            NO_LOST_REQUEST,
            Some(&pool.service),
            format!("`{instance}` is in pool `{pool}` of a route table that is or may be in force"),
        );
    }
    Ok(())
}

/// The last running instance of the release that serves is not touched unless the service goes down.
pub(crate) fn last_running(
    facts: &WatchdogFacts<'_>,
    instance: &InstanceId,
) -> Result<(), Refusal> {
    let Some(seen) = facts.engine.get(instance) else { return Ok(()) };
    let serves = facts.serving.get(&seen.service) == Some(&seen.release);
    if !seen.running
        || !serves
        || facts.going_down.contains(&seen.service)
        // No other one can be there before it is gone; that it gets no requests was looked at before.
        || seen.holds_volumes
        || holds_requests(facts, &seen.service)
    {
        return Ok(());
    }
    let another = facts.engine.iter().any(|(id, of)| {
        id != instance && of.running && of.service == seen.service && of.release == seen.release
    });
    if another {
        return Ok(());
    }
    refuse(
        LAST_HEALTHY,
        Some(&seen.service),
        format!("`{instance}` is the last running instance of `{}@{}`", seen.service, seen.release),
    )
}

/// More of a pool's traffic goes only to a release that is tested and healthy in whole, or that served before; so does what a
/// preview gets of it. A pool that stays as it is gives nobody more.
pub(crate) fn never_unproven(facts: &WatchdogFacts<'_>, table: &RouteTable) -> Result<(), Refusal> {
    let others = facts.in_force.map(|in_force| table.other_pools(in_force));
    let is_other = |pool: &&CopyOnWrite<Pool>| {
        others.as_ref().is_none_or(|others| others.contains(&pool.name))
    };
    let changed: Vec<&Pool> = table.pools.iter().filter(is_other).map(|pool| &**pool).collect();
    let healths = healths(facts, &changed);
    let in_force = facts.in_force.iter().flat_map(|table| &table.pools).filter(is_other);
    let now: BTreeMap<&PoolName, &Pool> = in_force.map(|pool| (&pool.name, &**pool)).collect();
    let shares = changed
        .iter()
        .flat_map(|pool| pool.traffic.iter().chain(&pool.previews).map(move |share| (pool, share)));
    for (pool, share) in shares {
        let (service, next) = (&pool.name.service, share.release);
        let served = facts.serving.get(service) == Some(&next);
        if served || weight_now(facts, &now, &pool.name, next) >= share.weight {
            continue;
        }
        let Some(fitness) = facts.fit.get(&(service.clone(), next)) else {
            return refuse(
                NEVER_UNPROVEN,
                Some(service),
                format!("`{service}@{next}` is not proven and its image has not passed its tests"),
            );
        };
        let (healthy, all) = count(facts, &healths, pool, next);
        let enough = match fitness {
            Fitness::Tested => healthy == all && all > 0,
            // Where none of it is healthy no request reaches it; whether that is a loss is not this rule's.
            Fitness::Proven => true,
        };
        if !enough {
            return refuse(
                NEVER_UNPROVEN,
                Some(service),
                format!(
                    "{healthy} of {all} instances of `{service}@{next}` in `{}` are healthy",
                    pool.name
                ),
            );
        }
    }
    Ok(())
}

/// A pool that answers now still does under the next table, unless its service goes down.
pub(crate) fn last_healthy(facts: &WatchdogFacts<'_>, table: &RouteTable) -> Result<(), Refusal> {
    let Some(in_force) = facts.in_force else { return Ok(()) };
    let others = table.other_pools(in_force);
    let services: BTreeSet<&ServiceName> = others.iter().map(|name| &name.service).collect();
    let mut pools: BTreeMap<&ServiceName, Vec<&Pool>> = BTreeMap::new();
    for pool in table.pools.iter().filter(|of| services.contains(&of.name.service)) {
        pools.entry(&pool.name.service).or_default().push(pool);
    }
    // One that stays as it is answers as it did.
    let changed = in_force.pools.iter().filter(|of| others.contains(&of.name));
    let changed: Vec<&Pool> = changed.map(|pool| &**pool).collect();
    let concerned = pools.values().flatten().chain(&changed).copied();
    let healths = healths(facts, &concerned.collect::<Vec<_>>());
    let stays = |of: &&&Pool| !facts.going_down.contains(&of.name.service);
    for before in changed.iter().filter(stays) {
        if !answers(facts, &healths, before) {
            continue;
        }
        let service = &before.name.service;
        let after = pools.get(service).map(Vec::as_slice).unwrap_or_default();
        let same = after.iter().find(|of| of.name == before.name);
        // A release may have other ports than the one before it; then it answers on those.
        let moved = same.is_none_or(|of| of.traffic != before.traffic && !has_receiver(of));
        let answers = |pool: &Pool| answers(facts, &healths, pool);
        if same.is_some_and(|of| is_held(facts, of)) {
            continue;
        }
        if same.is_some_and(|of| answers(of)) || (moved && after.iter().any(|of| answers(of))) {
            continue;
        }
        return refuse(
            LAST_HEALTHY,
            Some(service),
            format!("pool `{}` would be left without a healthy instance", before.name),
        );
    }
    Ok(())
}

/// Requests are cut off only on a release that gets no new ones.
pub(crate) fn not_receiving(
    facts: &WatchdogFacts<'_>,
    service: &ServiceName,
    release: ReleaseNumber,
) -> Result<(), Refusal> {
    let tables = facts.in_force.iter().chain(&facts.unsettled);
    let receives = |of: &&CopyOnWrite<Pool>| {
        let is_own = of.name.service == *service && of.receives(release);
        let lets_in = match of.admission {
            Admission::Open => true,
            Admission::Held { .. } => false,
            Admission::Idle { .. } => of.backends.iter().any(|own| own.release == release),
        };
        is_own && lets_in
    };
    match tables.flat_map(|table| &table.pools).find(receives) {
        Some(pool) => refuse(
            NO_LOST_REQUEST,
            Some(service),
            format!("`{service}@{release}` gets the requests of `{}`", pool.name),
        ),
        None if facts.in_force.is_none() => refuse(
            NO_LOST_REQUEST,
            Some(service),
            format!("it is not known whether `{service}@{release}` gets requests"),
        ),
        None => Ok(()),
    }
}

/// Whether no server of a service has to be there, because by the table in force all its requests wait.
fn holds_requests(facts: &WatchdogFacts<'_>, service: &ServiceName) -> bool {
    let pools = facts.in_force.iter().flat_map(|table| &table.pools);
    let mut own = pools.filter(|pool| pool.name.service == *service).peekable();
    match own.peek() {
        Some(_) => own.all(|pool| is_held(facts, pool)),
        // Without ports nothing comes to it.
        None => facts.in_force.is_some() && facts.replaced.contains(service),
    }
}

/// Whether a pool keeps requests waiting for a reason that the ledger has: its servers are replaced in their place, or
/// nothing of it has to run.
fn is_held(facts: &WatchdogFacts<'_>, pool: &Pool) -> bool {
    let service = &pool.name.service;
    match pool.admission {
        Admission::Open => false,
        Admission::Held { .. } => facts.replaced.contains(service),
        Admission::Idle { .. } => facts.churn.is_some_and(|churn| churn.resting().has(service)),
    }
}

/// Whether a pool has a backend of a release that gets its requests at all.
fn has_receiver(pool: &Pool) -> bool {
    pool.backends.iter().any(|backend| pool.receives(backend.release))
}

/// Whether a healthy instance gets a pool's requests: the edge sends them there whichever release they fall on.
fn answers(facts: &WatchdogFacts<'_>, healths: &Healths, pool: &Pool) -> bool {
    pool.traffic.iter().any(|share| count(facts, healths, pool, share.release).0 > 0)
}

/// How much of a pool's requests a release gets now: by the confirmed table, else by the ledger.
fn weight_now(
    facts: &WatchdogFacts<'_>,
    now: &BTreeMap<&PoolName, &Pool>,
    pool: &PoolName,
    release: ReleaseNumber,
) -> u32 {
    match facts.in_force {
        Some(_) => {
            now.get(pool).map_or(0, |pool| pool.weight(release).max(pool.preview_weight(release)))
        }
        None if facts.serving.get(&pool.service) == Some(&release) => Share::WHOLE,
        None => facts.shared.get(&(pool.service.clone(), release)).copied().unwrap_or(0),
    }
}

/// What the edges say of instances.
type Healths = BTreeMap<InstanceId, Health>;

/// What they say of those in some pools.
fn healths(facts: &WatchdogFacts<'_>, pools: &[&Pool]) -> Healths {
    let backends = pools.iter().flat_map(|pool| &pool.backends);
    let instances: BTreeSet<&InstanceId> = backends.map(|backend| &backend.instance).collect();
    let edge = facts.edge.filter(|_| !instances.is_empty());
    edge.map(|edge| edge.healths_where(|id| instances.contains(id))).unwrap_or_default()
}

/// How many backends of a release in a pool are healthy, and how many there are.
fn count(
    facts: &WatchdogFacts<'_>,
    healths: &Healths,
    pool: &Pool,
    release: ReleaseNumber,
) -> (usize, usize) {
    let of_release = pool.backends.iter().filter(|backend| backend.release == release);
    let healthy = |instance: &InstanceId| {
        // What the engine saw end is not healthy, though the edge may not have noticed yet.
        facts.engine.get(instance).is_none_or(|seen| seen.running)
            && healths.get(instance) == Some(&Health::Healthy)
    };
    of_release.fold((0, 0), |(good, all), backend| {
        (good + usize::from(healthy(&backend.instance)), all + 1)
    })
}

fn refuse(
    invariant: &'static str,
    service: Option<&ServiceName>,
    reason: String,
) -> Result<(), Refusal> {
    Err(Refusal { invariant, service: service.cloned(), reason, breach: None })
}
