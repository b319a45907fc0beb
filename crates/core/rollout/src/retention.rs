//! Which releases' bytes are kept, and why: what `image gc` may never take, and what only a rule keeps.

use std::collections::BTreeSet;

use hornero_model::{Digest, Keep, Millis, Release, ReleaseNumber, ReleaseRef, Timestamp};

use crate::{DeclaredJob, OpenRun, Service, World, last_proven};

/// Why the image of a release is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// The image.
    pub image: Digest,
    /// The release it belongs to.
    pub release: ReleaseRef,
    /// The reason, for people.
    pub reason: String,
    /// How strongly it is kept.
    pub hold: Hold,
}

/// How strongly an image is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It runs or is in flight: nothing takes it, and it is damage where it is not stored.
    Needed,
    /// A rollback would go to it: nothing takes it while it is stored. An earlier collection may have taken it, when
    /// nothing went back to it yet; that is no damage.
    Wanted,
    /// A keep-rule holds it; a ceiling in bytes may take it, the release made first before others.
    Rule {
        /// When the release was made.
        created: Timestamp,
    },
}

/// What stands in for the keep-rules of every service; each service's own where nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeepOverride {
    /// In place of `keep_releases`.
    pub releases: Option<u32>,
    /// In place of `keep_days`.
    pub days: Option<u32>,
}

impl KeepOverride {
    /// The rules that hold for a service with these ones.
    pub fn over(self, own: Keep) -> Keep {
        Keep {
            releases: self.releases.unwrap_or(own.releases),
            days: self.days.unwrap_or(own.days),
        }
    }
}

/// Every reason to keep the image of a release.
pub fn retained(world: &World, now: Timestamp, rules: KeepOverride) -> Vec<Retained> {
    let mut found = Vec::new();
    for service in world.services.values() {
        needed(world, service, &mut found);
        by_rule(service, now, rules, &mut found);
    }
    found
}

/// The images that servers run from or may be started from at a moment's notice: what serves, is kept warm or is under
/// way, and what a rollback goes to.
pub fn in_use(world: &World) -> BTreeSet<Digest> {
    let mut found = Vec::new();
    for service in world.services.values() {
        needed(world, service, &mut found);
    }
    // What a job needs is made ready when it comes round.
    let of_runs = world.runs.values().flat_map(OpenRun::images);
    let of_runs = of_runs.chain(world.needed_by_rehearsals()).map(|(image, _)| image);
    found.into_iter().map(|retained| retained.image).chain(of_runs).collect()
}

/// The images that one-off work needs, and why each is kept: nothing takes them.
pub fn needed_by_runs(world: &World) -> impl Iterator<Item = (Digest, String)> + '_ {
    let jobs = world.jobs.values().flat_map(DeclaredJob::images);
    let runs = world.runs.values().flat_map(OpenRun::images);
    runs.chain(world.needed_by_rehearsals()).chain(jobs)
}

fn needed(world: &World, service: &Service, found: &mut Vec<Retained>) {
    let mut hold = |number: ReleaseNumber, reason: String, hold: Hold| {
        if let Some(release) = service.releases.get(&number) {
            found.extend(of_release(release, &reason, hold));
        }
    };
    let mut keep = |number, reason| hold(number, reason, Hold::Needed);
    for instance in world.instances.of(&service.name) {
        keep(instance.release, format!("instance `{}` is made from it", instance.id));
    }
    if let Some(serving) = &service.serving {
        keep(serving.terms, "it serves".to_owned());
    }
    if let Some(warm) = &service.warm {
        keep(warm.release, "it is kept warm for a rollback".to_owned());
    }
    if let Some(rollout) = world.rollout_of(&service.name) {
        keep(rollout.to, format!("rollout {} goes to it", rollout.id));
        if let Some(from) = rollout.from {
            keep(from, format!("rollout {} may go back to it", rollout.id));
        }
    }
    let target = last_proven(world, &service.name);
    if let Some(target) = target.filter(|_| service.name.preview().is_none()) {
        hold(target, "a rollback goes to it".to_owned(), Hold::Wanted);
    }
}

/// The newest proven releases, and the young ones.
fn by_rule(service: &Service, now: Timestamp, rules: KeepOverride, found: &mut Vec<Retained>) {
    // What a preview showed is kept for nobody.
    let Some(newest) = service.newest().filter(|_| service.name.preview().is_none()) else {
        return;
    };
    let rules = rules.over(newest.spec.keep);
    let count = usize::try_from(rules.releases).unwrap_or(usize::MAX);
    let last: BTreeSet<ReleaseNumber> = service.proven.iter().rev().take(count).copied().collect();
    let days = Millis(u64::from(rules.days).saturating_mul(86_400_000));
    for release in service.releases.values() {
        let reason = if last.contains(&release.number) {
            format!("one of the last {} proven releases (`keep_releases`)", rules.releases)
        } else if now.since(release.created) < days {
            format!("made within {} days (`keep_days`)", rules.days)
        } else {
            continue;
        };
        let hold = Hold::Rule { created: release.created };
        found.extend(of_release(release, &reason, hold));
    }
}

/// What a release needs of the store: its image, and the one that keeps the files of its configuration.
fn of_release<'r>(
    release: &'r Release,
    reason: &'r str,
    hold: Hold,
) -> impl Iterator<Item = Retained> + 'r {
    let images = std::iter::once(release.spec.image).chain(release.spec.configuration);
    images.map(move |image| Retained {
        image,
        release: release.reference(),
        reason: reason.to_owned(),
        hold,
    })
}
