//! Previews as they are shown.

use std::{collections::BTreeMap, net::IpAddr};

use hornero_api::message::{InstanceStatus, InternalAddress, PlannedPreview, PreviewStatus};
use hornero_model::{
    EdgeStatus, Health, InstanceState, Preview, ReleaseNumber, RouteTable, ServiceName, ServiceSpec,
};
use hornero_rollout::{Kind, OpenPreview, World};

/// What is seen of previews from outside of the ledger.
pub struct Seen<'a> {
    /// The edge's status.
    pub edge: Option<&'a EdgeStatus>,
    /// The table in force.
    pub table: Option<&'a RouteTable>,
    /// Addresses of services.
    pub internal: &'a BTreeMap<ServiceName, IpAddr>,
}

/// The previews of a home; `instances` gives those of a service.
pub fn shown(
    world: &World,
    seen: &Seen<'_>,
    instances: impl Fn(&ServiceName) -> Vec<InstanceStatus>,
) -> Vec<PreviewStatus> {
    let mut all: Vec<PreviewStatus> = world
        .previews
        .iter()
        .map(|(runs_as, open)| preview(world, seen, (runs_as, open), instances(runs_as)))
        .collect();
    all.sort_by(|one, other| (&one.service, &one.name).cmp(&(&other.service, &other.name)));
    all
}

fn preview(
    world: &World,
    seen: &Seen<'_>,
    (runs_as, open): (&ServiceName, &OpenPreview),
    instances: Vec<InstanceStatus>,
) -> PreviewStatus {
    let Preview { name, service, share, until, .. } = &open.preview;
    let serving = world.services.get(runs_as).and_then(|of| of.serving_release());
    let serves = |of: &&InstanceStatus| {
        of.state == InstanceState::Serving && of.health == Some(Health::Healthy)
    };
    let healthy = u32::try_from(instances.iter().filter(serves).count()).unwrap_or(u32::MAX);
    let wanted = serving.map_or(0, |release| release.spec.instances);
    let rollout = world.rollout_of(runs_as);
    let state = match (rollout.map(|of| of.kind), serving) {
        (Some(Kind::Removal), _) => "ending",
        (Some(Kind::Forward | Kind::Rollback), None) => "starting",
        (None, None) => "ending",
        (_, Some(_)) if healthy < wanted => "unhealthy",
        (_, Some(_)) => "serving",
    };
    let counters = seen.edge.into_iter().flat_map(|edge| &edge.counters);
    let own = |release: &ReleaseNumber| open.shows.contains_key(release);
    let counters = counters.filter(|of| runs_as.is_of(&of.pool.service) && own(&of.release));
    let (requests, errors) = counters.fold((0, 0), |(requests, errors), of| {
        (requests + of.requests, errors + of.failed + of.server_errors)
    });
    PreviewStatus {
        name: name.clone(),
        service: service.clone(),
        release: serving.and_then(|release| open.shows.get(&release.number).copied().flatten()),
        image: serving.map(|release| release.spec.image),
        state: state.to_owned(),
        healthy,
        wanted,
        share: *share,
        hosts: hosts(seen.table, runs_as),
        header: format!("{}: {name}", Preview::HEADER),
        internal: seen.internal.get(runs_as).map(|address| InternalAddress {
            name: format!("{runs_as}.internal"),
            address: *address,
        }),
        requests,
        errors,
        instances,
        by: open.by.clone(),
        since: open.since,
        until: *until,
    }
}

/// The host names that lead to a preview.
fn hosts(table: Option<&RouteTable>, runs_as: &ServiceName) -> Vec<String> {
    let rules = table.into_iter().flat_map(|table| &table.listeners).flat_map(|of| &of.rules);
    let own = rules.filter(|rule| rule.pool.service == *runs_as);
    let mut hosts: Vec<String> = own.filter_map(|rule| rule.host.clone()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Previews beside services that are planned.
pub fn beside(world: &World, services: &[ServiceSpec]) -> Vec<PlannedPreview> {
    let open = world.previews.values().map(|open| &open.preview);
    let beside = open.filter(|preview| services.iter().any(|spec| spec.name == preview.service));
    let planned = beside.map(|preview| PlannedPreview {
        name: preview.name.clone(),
        service: preview.service.clone(),
        share: preview.share,
        until: preview.until,
    });
    planned.collect()
}
