//! Previews: servers beside those of a service, of a set of their own, which get the requests that ask for them by name,
//! and a share of all where one was given. They are the servers of a service that nobody declares, so that they are kept
//! whole, replaced and taken down as all others are.

use std::collections::BTreeMap;

use hornero_model::{
    Actor, Preview, PreviewName, Release, ReleaseCounters, ReleaseNumber, ServiceName, Share,
    Timestamp,
};

use crate::{Facts, OpenPreview, World};

impl World {
    /// The number that the next release of a service, or of what a preview runs as, gets.
    pub fn next_release(&self, name: &ServiceName) -> ReleaseNumber {
        if name.preview().is_some() {
            return ReleaseNumber(ReleaseNumber::FIRST_OF_PREVIEWS.0 + self.previews_made);
        }
        self.services.get(name).map_or(ReleaseNumber(1), crate::Service::next_release)
    }

    /// What the previews of a name run as, by service.
    pub fn previews_named(&self, name: &PreviewName) -> Vec<ServiceName> {
        let named = self.previews.iter().filter(|(_, open)| open.preview.name == *name);
        named.map(|(runs_as, _)| runs_as.clone()).collect()
    }

    /// Whether what is counted is of a service: for a preview also what its servers get of the requests for what it shows.
    pub(crate) fn counts(&self, service: &ServiceName, counters: &ReleaseCounters) -> bool {
        let of = &counters.pool.service;
        let shown = || self.previews.get(service).is_some_and(|open| open.preview.service == *of);
        of == service || shown() && self.release(service, counters.release).is_some()
    }

    /// Whether nothing of a service is there and nothing comes: it was taken down, or is a preview that never served.
    pub(crate) fn is_over(&self, name: &ServiceName) -> bool {
        let Some(service) = self.services.get(name) else { return true };
        let never_served = self.previews.contains_key(name) && service.serving.is_none();
        (service.removed || never_served) && self.rollout_of(name).is_none()
    }
}

/// What a preview gets of the requests for its service: from its switch on, and as long as it is there; the edge gives back
/// what its servers can't answer.
pub(crate) fn share_of(world: &World, facts: &Facts, runs_as: &ServiceName) -> Option<Share> {
    let open = world.previews.get(runs_as).filter(|open| open.preview.share > 0)?;
    let share = Share { release: world.foremost(runs_as)?, weight: open.preview.share };
    let has = facts.in_force.as_ref().is_none_or(|in_force| {
        let pools = in_force.table.pools.iter();
        let mut pools = pools.filter(|pool| pool.name.service == open.preview.service);
        pools.any(|pool| pool.preview_weight(share.release) >= share.weight)
    });
    (has || is_whole(world, facts, runs_as, share.release)).then_some(share)
}

/// Whether all servers of a release of a preview are healthy.
fn is_whole(world: &World, facts: &Facts, runs_as: &ServiceName, release: ReleaseNumber) -> bool {
    let kept = world.kept(runs_as).into_iter();
    let mut own = kept.filter(|id| world.instances[*id].release == release).peekable();
    own.peek().is_some() && own.all(|id| facts.healthy(world, id))
}

/// When the times of previews are up.
pub(crate) fn times(world: &World) -> impl Iterator<Item = Timestamp> + '_ {
    world.previews.values().map(|open| open.preview.until)
}

pub(crate) fn declared(
    world: &mut World,
    preview: &Preview,
    by: &Actor,
    time: Timestamp,
) -> Result<(), String> {
    let runs_as = preview.runs_as().map_err(|error| error.to_string())?;
    if !world.services.contains_key(&preview.service) {
        return Err(format!("there is no service `{}`", preview.service));
    }
    let open = world.previews.entry(runs_as).or_insert_with(|| OpenPreview {
        preview: preview.clone(),
        by: by.clone(),
        since: time,
        shows: BTreeMap::new(),
    });
    open.preview = preview.clone();
    open.by = by.clone();
    Ok(())
}

/// A release was made; it may be what a preview shows from now on.
pub(crate) fn released(world: &mut World, release: &Release) -> Result<(), String> {
    let name = &release.spec.name;
    if name.preview().is_none() {
        return Ok(());
    }
    let open =
        world.previews.get_mut(name).ok_or_else(|| format!("there is no preview `{name}`"))?;
    open.shows.insert(release.number, open.preview.release);
    world.previews_made += 1;
    Ok(())
}

pub(crate) fn removed(
    world: &mut World,
    name: &PreviewName,
    service: &ServiceName,
) -> Result<(), String> {
    let runs_as = ServiceName::of_preview(name, service).map_err(|error| error.to_string())?;
    if !world.previews.contains_key(&runs_as) || !world.is_over(&runs_as) {
        return Err(format!("preview `{runs_as}` is not over"));
    }
    if let Some(instance) = world.instances.of(&runs_as).next() {
        return Err(format!("instance `{}` of it is still there", instance.id));
    }
    world.previews.remove(&runs_as);
    world.services.remove(&runs_as);
    Ok(())
}
