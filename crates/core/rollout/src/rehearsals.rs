//! Whether a service could go back: rehearsals and rollbacks as the ledger tells them, and what a stale proof keeps from
//! being rolled out.

use hornero_model::{
    Actor, Digest, Millis, Rehearsal, RehearsalEnd, ReleaseRef, ServiceName, ServiceSpec, Timestamp,
};

use crate::planted::{Bug, planted};
use crate::{
    Facts, Kind, Proof, RehearsalRun, Rehearsed, Target, World, is_adjustment, last_proven,
    no_return,
};

/// Why a release is not rolled out: nobody knows any more whether the service could go back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaleRollback {
    /// It was never seen.
    #[error(
        "`{service}` wants a rollback that was seen to work within {wanted}, and none was ever"
    )]
    Never {
        /// The service.
        service: ServiceName,
        /// How old a proof may be.
        wanted: Millis,
    },
    /// It was tried since, and did not work.
    #[error(
        "`{service}` wants a rollback that was seen to work, and the last rehearsal failed: {failure}"
    )]
    Failed {
        /// The service.
        service: ServiceName,
        /// Why.
        failure: String,
    },
    /// It was seen too long ago.
    #[error(
        "`{service}` wants a rollback that was seen to work within {wanted}, and the last was {age} ago"
    )]
    Old {
        /// The service.
        service: ServiceName,
        /// How old a proof may be.
        wanted: Millis,
        /// How old it is.
        age: Millis,
    },
}

impl StaleRollback {
    /// The service.
    pub const fn service(&self) -> &ServiceName {
        match self {
            Self::Never { service, .. }
            | Self::Failed { service, .. }
            | Self::Old { service, .. } => service,
        }
    }
}

impl RehearsalRun {
    /// What of the store it needs, and why that is kept.
    fn images<'w>(&'w self, world: &'w World) -> impl Iterator<Item = (Digest, String)> + 'w {
        let ReleaseRef { service, number } = &self.rehearsal.release;
        let specs = world.release(service, *number).map(|release| &release.spec).into_iter();
        let images = specs.flat_map(|spec| std::iter::once(spec.image).chain(spec.configuration));
        images.map(|image| (image, format!("rehearsal `{}` is made from it", self.rehearsal.id)))
    }
}

impl World {
    /// Rehearsals that have not ended.
    pub fn open_rehearsals(&self) -> impl Iterator<Item = &RehearsalRun> {
        let last = self.rehearsals.values().filter_map(|rehearsed| rehearsed.last.as_ref());
        last.filter(|run| run.end.is_none())
    }

    /// The images that rehearsals under way need, and why each is kept.
    pub(crate) fn needed_by_rehearsals(&self) -> impl Iterator<Item = (Digest, String)> + '_ {
        self.open_rehearsals().flat_map(|run| run.images(self))
    }

    /// The last proof that a service could go back.
    pub fn proof(&self, service: &ServiceName) -> Option<Proof> {
        self.rehearsals.get(service)?.proof
    }
}

/// Why `spec` is not rolled out, where it asks for a fresh proof and there is none. What makes no new servers, and what
/// leaves nothing to go back to, needs none.
pub fn stale_rollback(world: &World, facts: &Facts, spec: &ServiceSpec) -> Option<StaleRollback> {
    let wanted = spec.require_fresh_rollback?;
    let service = spec.name.clone();
    let is_new = matches!(Target::of(world, facts, spec), Target::New(_) | Target::Again(_));
    let back = last_proven(world, &service).filter(|to| no_return(world, &service, *to).is_none());
    let nowhere = back.is_none();
    if !is_new || is_adjustment(world, spec) || nowhere {
        return None;
    }
    let rehearsed = world.rehearsals.get(&service);
    let proof = rehearsed.and_then(|rehearsed| rehearsed.proof);
    let failed = rehearsed.and_then(Rehearsed::failed_since);
    if let Some(failure) = failed.filter(|_| !planted(Bug::ForgetsFailedRehearsals)) {
        let failure = failure.to_owned();
        return Some(StaleRollback::Failed { service, failure });
    }
    match proof.map(|proof| facts.now.since(proof.at)) {
        None => Some(StaleRollback::Never { service, wanted }),
        Some(age) if age > wanted => Some(StaleRollback::Old { service, wanted, age }),
        Some(_) => None,
    }
}

pub(crate) fn started(
    world: &mut World,
    rehearsal: &Rehearsal,
    by: &Actor,
    at: Timestamp,
) -> Result<(), String> {
    let name = &rehearsal.release.service;
    if world.release(name, rehearsal.release.number).is_none() {
        return Err(format!("there is no release `{}`", rehearsal.release));
    }
    if world.open_rehearsals().any(|run| run.rehearsal.release.service == *name) {
        return Err(format!("a rehearsal of `{name}` goes on"));
    }
    let (rehearsal, by) = (rehearsal.clone(), by.clone());
    let run = RehearsalRun { rehearsal, by, started: at, end: None };
    world.rehearsals.entry(name.clone()).or_default().last = Some(run);
    Ok(())
}

pub(crate) fn ended(world: &mut World, end: &RehearsalEnd, at: Timestamp) -> Result<(), String> {
    let is_it = |run: &RehearsalRun| run.rehearsal.id == end.id && run.end.is_none();
    let found = world.rehearsals.values_mut().find(|of| of.last.as_ref().is_some_and(is_it));
    let known = found.ok_or_else(|| format!("there is no rehearsal `{}`", end.id))?;
    let Some(run) = &mut known.last else { return Ok(()) };
    run.end = Some((end.clone(), at));
    if !end.failure.is_empty() {
        known.failed = Some((end.failure.clone(), at));
    } else if let Some(took) = end.healthy_after {
        known.proof = Some(Proof { release: run.rehearsal.release.number, at, took });
    }
    Ok(())
}

/// A rollback that has switched proves more than any rehearsal.
pub(crate) fn switched(world: &mut World, body: &hornero_model::ReceiptBody, at: Timestamp) {
    let rollout = world.rollouts.get(&body.id);
    let is_rollback = rollout.is_some_and(|rollout| rollout.kind == Kind::Rollback);
    // A release that was proven before may come back by going forward, too.
    if !is_rollback || body.from.is_none_or(|from| from <= body.to) {
        return;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds")]
    let took = Millis(body.total_ms.max(0.0).ceil() as u64);
    let proof = Proof { release: body.to, at, took };
    world.rehearsals.entry(body.service.clone()).or_default().proof = Some(proof);
}

#[cfg(test)]
mod tests {
    use hornero_model::{EventBody, InstanceId, ReleaseNumber};

    use super::*;
    use crate::tests::{Bench, root, site, spec};

    const DAY: Millis = Millis(86_400_000);

    /// `site@2` serves over `site@1`, which was proven.
    fn second() -> Bench {
        let mut bench = Bench::serving(1);
        bench.forward(&spec("two", 1));
        for _ in 0..6 {
            bench.comply();
            bench.pass(Millis(61_000));
        }
        assert_eq!(bench.world.services[&site()].serving.as_ref().unwrap().release.0, 2);
        bench
    }

    fn third() -> ServiceSpec {
        ServiceSpec { require_fresh_rollback: Some(DAY), ..spec("three", 1) }
    }

    fn stale(bench: &Bench) -> Option<String> {
        stale_rollback(&bench.world, &bench.facts, &third()).map(|stale| stale.to_string())
    }

    fn begin(bench: &mut Bench, id: &str) -> Result<(), WorldError> {
        let release = ReleaseRef { service: site(), number: ReleaseNumber(1) };
        let rehearsal = Rehearsal { id: InstanceId::new(id).unwrap(), release };
        bench.append(root(), EventBody::RehearsalStarted { rehearsal })
    }

    fn end(
        bench: &mut Bench,
        id: &str,
        took: Option<u64>,
        failure: &str,
    ) -> Result<(), WorldError> {
        let (id, failure) = (InstanceId::new(id).unwrap(), failure.to_owned());
        let end = RehearsalEnd { id, healthy_after: took.map(Millis), failure };
        bench.append(root(), EventBody::RehearsalEnded { end })
    }

    use crate::WorldError;

    #[test]
    fn what_has_nothing_to_go_back_to_needs_no_proof() {
        let bench = Bench::new();
        assert_eq!(stale(&bench), None, "the first release");
        let bench = Bench::serving(1);
        assert_eq!(stale(&bench), None, "there is one release, and none before it");
    }

    #[test]
    fn a_new_release_waits_for_a_proof_that_is_fresh() {
        let mut bench = second();
        assert!(stale(&bench).unwrap().ends_with("and none was ever"));
        let spec = ServiceSpec { require_fresh_rollback: Some(DAY), ..spec("two", 3) };
        let adjusted = stale_rollback(&bench.world, &bench.facts, &spec);
        assert_eq!(adjusted, None, "what makes the same servers is no new release");
        begin(&mut bench, "rehearse-site-a").unwrap();
        assert!(begin(&mut bench, "rehearse-site-b").is_err(), "one at a time");
        assert_eq!(bench.world.open_rehearsals().count(), 1);
        end(&mut bench, "rehearse-site-a", None, "it did not become healthy").unwrap();
        assert!(stale(&bench).is_some(), "one that failed proves nothing");
        assert!(end(&mut bench, "rehearse-site-a", Some(5), "").is_err(), "it ended once");
        begin(&mut bench, "rehearse-site-c").unwrap();
        end(&mut bench, "rehearse-site-c", Some(700), "").unwrap();
        assert_eq!(stale(&bench), None);
        let proof = bench.world.proof(&site()).unwrap();
        assert_eq!((proof.release, proof.took), (ReleaseNumber(1), Millis(700)));
        bench.pass(DAY);
        assert_eq!(stale(&bench), None, "just as old as it may be");
        bench.pass(Millis(1));
        assert!(stale(&bench).unwrap().contains("the last was"));
        // A failed one leaves the proof from before as it is, and counts for more.
        begin(&mut bench, "rehearse-site-d").unwrap();
        end(&mut bench, "rehearse-site-d", Some(5), "").unwrap();
        let proof = bench.world.proof(&site());
        bench.pass(Millis(1));
        begin(&mut bench, "rehearse-site-e").unwrap();
        assert_eq!(stale(&bench), None);
        end(&mut bench, "rehearse-site-e", None, "its server ended").unwrap();
        assert_eq!(bench.world.proof(&site()), proof);
        let failed = "the last rehearsal failed: its server ended";
        assert!(stale(&bench).unwrap().ends_with(failed));
        begin(&mut bench, "rehearse-site-f").unwrap();
        assert!(stale(&bench).unwrap().ends_with(failed), "the next one proves nothing yet");
        bench.pass(Millis(1));
        end(&mut bench, "rehearse-site-f", Some(5), "").unwrap();
        assert_eq!(stale(&bench), None);
    }

    #[test]
    fn a_rollback_that_switched_is_a_proof() {
        let mut bench = second();
        begin(&mut bench, "rehearse-site-a").unwrap();
        end(&mut bench, "rehearse-site-a", None, "no").unwrap();
        bench.pass(Millis(1));
        let tail = &mut || "back".to_owned();
        let step = crate::start_rollback(&bench.world, &bench.facts, &site(), None, &root(), tail);
        bench.record(step.unwrap().records);
        for _ in 0..6 {
            bench.comply();
            bench.pass(Millis(5_000));
        }
        let proof = bench.world.proof(&site()).unwrap();
        assert_eq!(proof.release, ReleaseNumber(1), "{:?}", bench.log);
        assert_eq!(bench.world.rehearsals[&site()].failed_since(), None, "it was shown to work");
    }
}
