//! What can be told of a home without its control process, from its ledger alone.

use std::{collections::BTreeSet, path::Path};

use hornero_api::message::{AuditReport, PlanReport, PlanRequest};
use hornero_driver::Churn;
use hornero_ledger::{AuditVerdict, MAX_READ_EVENTS, ReadOnlyLedger, VerifyingKey};
use hornero_model::{Digest, InstanceId, Job, JobName, ReleaseRef, SecretFile, Timestamp};
use hornero_rollout::{Facts, KeepOverride, Retained, World, needed_by_runs, retained};

use crate::{replay::fold, report};

/// Checks the ledger of a home.
pub fn verify_ledger(home: &Path) -> anyhow::Result<AuditReport> {
    Ok(audit_report(ledger_of(home)?.verify()?))
}

/// The time of the newest event in a home's ledger; None where there is no ledger, or nothing in it.
pub fn newest_event(home: &Path) -> anyhow::Result<Option<Timestamp>> {
    let path = home.join("ledger.db");
    if !path.exists() {
        return Ok(None);
    }
    let ledger = ledger_of(home)?;
    let newest = ledger.read(ledger.head()?.sequence, 1)?;
    Ok(newest.first().map(|event| event.time))
}

/// What an apply would change; nothing of the home is known to run.
pub fn plan_offline(home: &Path, request: &PlanRequest) -> anyhow::Result<PlanReport> {
    let (world, churn) = world_and_churn(home)?;
    let facts = Facts { now: Timestamp::now(), ..Facts::default() };
    Ok(report::plan(request, &world, &facts, &churn))
}

/// The image of a release; None where there is no such release.
pub fn image_of(home: &Path, release: &ReleaseRef) -> anyhow::Result<Option<Digest>> {
    let world = world(home)?;
    Ok(world.release(&release.service, release.number).map(|release| release.spec.image))
}

/// What a home did with an image.
#[derive(Debug, Clone, Default)]
pub struct ImageHistory {
    /// Releases that are made of it, and whether each serves.
    pub releases: Vec<(ReleaseRef, bool)>,
    /// Instances that are made from it and not archived.
    pub instances: Vec<InstanceId>,
    /// The last result of each of its tests, by name.
    pub tests: Vec<(String, bool)>,
}

/// What a home did with an image.
pub fn history_of(home: &Path, image: &Digest) -> anyhow::Result<ImageHistory> {
    let world = world(home)?;
    let mut found = ImageHistory::default();
    for service in world.services.values() {
        let serving = service.serving.as_ref().map(|set| set.terms);
        let releases = service.releases.values().filter(|release| release.spec.image == *image);
        found
            .releases
            .extend(releases.map(|release| (release.reference(), serving == Some(release.number))));
    }
    let runs = |one: &&hornero_rollout::Instance| {
        world.spec_of(&one.id).is_some_and(|spec| spec.image == *image)
    };
    found.instances = world.instances.values().filter(runs).map(|one| one.id.clone()).collect();
    let tests = world.tests.get(image).into_iter().flatten();
    found.tests = tests.map(|(name, test)| (name.clone(), test.passed)).collect();
    Ok(found)
}

/// Every reason that the ledger knows to keep an image.
#[derive(Debug, Clone)]
pub struct KeptImages {
    /// Those of releases.
    pub releases: Vec<Retained>,
    /// Those of one-off work, each with its reason: nothing takes them.
    pub runs: Vec<(Digest, String)>,
}

/// Every reason that the ledger knows to keep an image.
pub fn retained_images(home: &Path, rules: KeepOverride) -> anyhow::Result<KeptImages> {
    let world = world(home)?;
    let runs = needed_by_runs(&world).collect();
    Ok(KeptImages { releases: retained(&world, Timestamp::now(), rules), runs })
}

/// Secrets that releases name which are kept: those that serve, those that may be gone back to, and what keep-rules hold.
pub fn secrets_in_use(home: &Path) -> anyhow::Result<Vec<(ReleaseRef, SecretFile)>> {
    let world = world(home)?;
    let kept = retained(&world, Timestamp::now(), KeepOverride::default());
    let kept: BTreeSet<ReleaseRef> = kept.into_iter().map(|retained| retained.release).collect();
    let releases = kept.into_iter().filter_map(|reference| {
        let release = world.release(&reference.service, reference.number)?;
        Some((reference, release.spec.secrets.clone()))
    });
    Ok(releases
        .flat_map(|(reference, secrets)| {
            secrets.into_iter().map(move |secret| (reference.clone(), secret))
        })
        .collect())
}

/// Secrets that jobs name.
pub fn secrets_of_jobs(home: &Path) -> anyhow::Result<Vec<(JobName, SecretFile)>> {
    let world = world(home)?;
    let jobs = world.jobs.into_values().map(|declared| declared.job);
    let of_job = |job: Job| {
        let name = job.name;
        job.server.secrets.into_iter().map(move |secret| (name.clone(), secret))
    };
    Ok(jobs.flat_map(of_job).collect())
}

/// The ledger of a home, read beside whoever writes it.
pub(crate) fn ledger_of(home: &Path) -> anyhow::Result<ReadOnlyLedger> {
    let key = VerifyingKey::load(&home.join("keys"))?;
    Ok(ReadOnlyLedger::open(&home.join("ledger.db"), key)?)
}

/// The world as the ledger tells it; empty where nothing ever ran.
pub(crate) fn world(home: &Path) -> anyhow::Result<World> {
    Ok(world_and_churn(home)?.0)
}

fn world_and_churn(home: &Path) -> anyhow::Result<(World, Churn)> {
    let path = home.join("ledger.db");
    let (mut world, mut churn) = (World::default(), Churn::default());
    if path.exists() {
        let ledger = ledger_of(home)?;
        let read = |next| ledger.read(next, MAX_READ_EVENTS);
        fold(&mut world, read, |event| churn.apply(event))?;
    }
    Ok((world, churn))
}

/// A verdict on the ledger, as it is told.
pub(crate) fn audit_report(verdict: AuditVerdict) -> AuditReport {
    match verdict {
        AuditVerdict::Intact { head } => AuditReport {
            intact: true,
            events: head.sequence,
            touched: None,
            why: None,
            witness_heads: None,
        },
        AuditVerdict::Touched { sequence, reason } => {
            let events = sequence.saturating_sub(1);
            let why = Some(format!("event `{sequence}` {reason}"));
            AuditReport { intact: false, events, touched: Some(sequence), why, witness_heads: None }
        }
    }
}
