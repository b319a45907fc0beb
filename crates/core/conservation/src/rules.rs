//! The rules, one function an invariant.

use hornero_model::{Health, InstanceId, Pool, PoolName, ReleaseNumber, RouteTable, ServiceName};

use crate::{Facts, Fitness, INSTANCES_AN_HOUR, Refusal, UNREQUESTED_AN_HOUR};

const BOUNDED_CHURN: &str = "bounded-churn";
const LAST_HEALTHY: &str = "last-healthy";
const NEVER_UNPROVEN: &str = "never-unproven";
const NO_LOST_REQUEST: &str = "no-lost-request";

pub(crate) fn bounded_churn(facts: &Facts<'_>, service: &ServiceName) -> Result<(), Refusal> {
    let made = facts.made_last_hour.get(service).copied().unwrap_or_default();
    for (count, limit, how) in [
        (made.unrequested, UNREQUESTED_AN_HOUR, " without being asked"),
        (made.all, INSTANCES_AN_HOUR, ""),
    ] {
        if count > limit {
            return refuse(
                BOUNDED_CHURN,
                Some(service),
                format!(
                    "{count} instances of `{service}` were made in an hour{how}, {limit} may be"
                ),
            );
        }
    }
    Ok(())
}

/// An instance that the edge may send requests to is not touched, unless its service is taken down by force.
pub(crate) fn not_routed(facts: &Facts<'_>, instance: &InstanceId) -> Result<(), Refusal> {
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
    let mut tables = facts.in_force.into_iter().chain(facts.applying);
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
pub(crate) fn last_running(facts: &Facts<'_>, instance: &InstanceId) -> Result<(), Refusal> {
    let Some(seen) = facts.engine.get(instance) else { return Ok(()) };
    let serves = facts.serving.get(&seen.service) == Some(&seen.release);
    if !seen.running || !serves || facts.going_down.contains(&seen.service) {
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

/// A pool's traffic moves only to a release that is tested and healthy in whole, or that served before.
pub(crate) fn never_unproven(facts: &Facts<'_>, table: &RouteTable) -> Result<(), Refusal> {
    for pool in &table.pools {
        let Some(next) = pool.active else { continue };
        let service = &pool.name.service;
        let served = facts.serving.get(service) == Some(&next);
        if served || active_now(facts, &pool.name) == Some(next) {
            continue;
        }
        let Some(fitness) = facts.fit.get(&(service.clone(), next)) else {
            return refuse(
                NEVER_UNPROVEN,
                Some(service),
                format!("`{service}@{next}` is not proven and its image has not passed its tests"),
            );
        };
        let (healthy, all) = count(facts, pool, next);
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
pub(crate) fn last_healthy(facts: &Facts<'_>, table: &RouteTable) -> Result<(), Refusal> {
    let Some(in_force) = facts.in_force else { return Ok(()) };
    for before in in_force.pools.iter().filter(|of| !facts.going_down.contains(&of.name.service)) {
        let Some(active) = before.active else { continue };
        if count(facts, before, active).0 == 0 {
            continue;
        }
        let service = &before.name.service;
        let after: Vec<&Pool> =
            table.pools.iter().filter(|of| of.name.service == *service).collect();
        let answers = |pool: &&Pool| pool.active.is_some_and(|next| count(facts, pool, next).0 > 0);
        let same = after.iter().find(|of| of.name == before.name);
        // A release may have other ports than the one before it; then it answers on those.
        let moved = same.is_none_or(|of| of.active != before.active && !has_active(of));
        if same.is_some_and(answers) || (moved && after.iter().any(answers)) {
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
pub(crate) fn not_active(
    facts: &Facts<'_>,
    service: &ServiceName,
    release: ReleaseNumber,
) -> Result<(), Refusal> {
    let pools = facts.in_force.iter().flat_map(|table| &table.pools);
    match pools.into_iter().find(|of| of.name.service == *service && of.active == Some(release)) {
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

/// Whether a pool has a backend of its active release at all.
fn has_active(pool: &Pool) -> bool {
    pool.backends.iter().any(|backend| Some(backend.release) == pool.active)
}

/// The release that gets a pool's requests now: by the confirmed table, else by the ledger.
fn active_now(facts: &Facts<'_>, pool: &PoolName) -> Option<ReleaseNumber> {
    match facts.in_force {
        Some(table) => table.pools.iter().find(|of| of.name == *pool)?.active,
        None => facts.serving.get(&pool.service).copied(),
    }
}

/// How many backends of a release in a pool are healthy, and how many there are.
fn count(facts: &Facts<'_>, pool: &Pool, release: ReleaseNumber) -> (usize, usize) {
    let of_release = pool.backends.iter().filter(|backend| backend.release == release);
    let healthy = |instance: &InstanceId| {
        // What the engine saw end is not healthy, though the edge may not have noticed yet.
        facts.engine.get(instance).is_none_or(|seen| seen.running)
            && facts.edge.is_some_and(|edge| edge.health_of(instance) == Health::Healthy)
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
    Err(Refusal { invariant, service: service.cloned(), reason })
}
