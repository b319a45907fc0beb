//! `up` and `down`: the commands that join a directory with what runs.

use std::path::{Path, PathBuf};

use hornero_api::{
    Client,
    message::{ApplyRequest, Intent, PlanChange, PlanReport, PlanRequest, StatusReport},
};
use hornero_bake::BakedImage;
use hornero_doctor::Need;
use hornero_model::{Directory, Freeze, GuardName, Job, ScheduleSpec, ServiceName, ServiceSpec};
use hornero_spec::FILE_NAME;
use serde::Serialize;

use crate::{
    arguments::{Source, UpArguments},
    command::{
        bake,
        carrying_out::{self, CarriedOut},
        configuration::{self, Kept},
        declared_jobs::{self, DirectoryJobs},
        desired, doctor,
        following::Until,
        frozen, named, names, operation, plan_file, preview, problems, state_lint, stores,
        timings::Stopwatch,
        whole::{self, Agreed, Consent},
    },
    commit, daemon,
    failure::Failure,
    project::{self, Project},
    reports::OperationReport,
};

/// `hornero up`: bake, test, release, roll out, wait, read back.
pub async fn up(home: &Path, json_wanted: bool, arguments: UpArguments) -> Result<(), Failure> {
    let mut stopwatch = Stopwatch::begin(arguments.timings);
    doctor::before(home, Need::Run, true)?;
    stopwatch.lap("check");
    if let Some(name) = arguments.preview.name.clone() {
        return preview::up(home, json_wanted, name, arguments).await;
    }
    if arguments.source.dir.is_file() {
        return plan_file::apply(home, json_wanted, &arguments, stopwatch).await;
    }
    let consent = Consent::of(&arguments, json_wanted);
    let manner = (Until::of(&arguments), stopwatch);
    let UpArguments { source, reason, base, .. } = arguments;
    let store = stores::store(home)?;
    let base = base.map(|base| named::image_in(home, &store, &source.dir, &base)).transpose()?;
    let how = bake::How { base, ..bake::How::default() };
    roll_out(home, json_wanted, (&source, how), (consent, reason), manner, OperationReport::from)
        .await
}

/// Bakes and rolls out; `report` is what a script is told of the services.
pub async fn roll_out<R: Serialize>(
    home: &Path,
    json_wanted: bool,
    (source, how): (&Source, bake::How),
    (consent, reason): (Consent, String),
    (until, mut stopwatch): (Until, Stopwatch),
    report: impl FnOnce(CarriedOut) -> R,
) -> Result<(), Failure> {
    let project = project::read(source, json_wanted)?;
    configuration::check_secrets(home, &project.spec)?;
    let Consent { only, guards: override_guards, steps, .. } = consent.clone();
    let override_fresh_rollback = consent.fresh_rollback;
    consent.check_reason(&reason)?;
    let agreed = whole::agree(home, &project, consent, &reason).await?;
    // Nothing of it is collected before control holds it: a long drain keeps no collection waiting.
    let store = stores::store(home)?;
    let lease = store.lease()?;
    stopwatch.lap("read");
    let mut baked = bake::bake(home, source, &project, None, how)?;
    stopwatch.baked(&baked);
    let client = daemon::ensure(home).await?;
    stopwatch.lap("connect");
    let kept = Some(Kept { home, store: &store });
    let wanted = |services: Vec<ServiceSpec>| limited(services, &only);
    let mut services = wanted(desired::specs(kept, &project.spec, bake::digests(&baked))?);
    warn_of_others(home, &client, &project, &services).await?;
    let freezes: Vec<Freeze> = project.spec.freezes.values().cloned().collect();
    let mut jobs = declared_jobs::jobs(kept, &project.spec, bake::digests(&baked))?;
    let schedules: Vec<ScheduleSpec> = project.spec.schedules.values().cloned().collect();
    let timed = (&freezes[..], &schedules[..]);
    let mut plan = changes(&client, &agreed.directory, &services, (&jobs, timed)).await?;
    if !plan.changes.is_empty() && !bake::are_whole(home, &baked)? {
        let how = bake::How { verify: true, ..how };
        baked = bake::bake(home, source, &project, None, how)?;
        services = wanted(desired::specs(kept, &project.spec, bake::digests(&baked))?);
        jobs = declared_jobs::jobs(kept, &project.spec, bake::digests(&baked))?;
        plan = changes(&client, &agreed.directory, &services, (&jobs, timed)).await?;
    }
    tell_changes((home, &project, &baked), &plan, &agreed);
    stopwatch.lap("plan");
    let Agreed { directory, adopt, remove, retry_failed, overrides } = agreed;
    let intent = Intent { why: reason, commit: commit::commit(&project.dir) };
    let jobs = DirectoryJobs {
        directory: directory.clone(),
        jobs,
        freezes,
        schedules,
        volumes: Some(project.spec.volumes.values().cloned().map(Into::into).collect()),
        adopt: adopt.clone(),
        intent: intent.clone(),
    };
    let request = ApplyRequest {
        services,
        directory: Some(directory),
        adopt,
        remove,
        planned: Vec::new(),
        retry_failed,
        overrides,
        override_fresh_rollback,
        override_guards,
        steps,
        intent,
    };
    let (request, manner) = ((request, jobs), (until, stopwatch));
    carrying_out::carry_out(&client, json_wanted, request, manner, report, move || drop(lease))
        .await
}

/// Warns of services that another directory has under the same name.
async fn warn_of_others(
    home: &Path,
    client: &Client,
    project: &Project,
    services: &[ServiceSpec],
) -> Result<(), Failure> {
    let known = names::all(home).unwrap_or_default();
    let serving = client.get::<StatusReport>("/v1/status").await?.services;
    for taken in problems::taken_over(&known, &project.dir, services, &serving) {
        tell!("warning: {taken}");
    }
    Ok(())
}

/// Tells what is about to change, and what of it has data without a volume; what is no longer declared and stays is none of it.
fn tell_changes(
    (home, project, baked): (&Path, &Project, &[BakedImage]),
    plan: &PlanReport,
    agreed: &Agreed,
) {
    let is_left = |change: &&PlanChange| {
        whole::is_removed_service(change)
            && !agreed.remove.iter().any(|name| name.as_str() == change.object)
    };
    for change in plan.changes.iter().filter(|change| !is_left(change)) {
        tell!("plan     {}.{}: {}: {}", change.kind, change.object, change.action, change.reason);
    }
    if !plan.changes.is_empty() {
        state_lint::warn(home, project, bake::digests(baked));
    }
}

/// What rolling out `services` and declaring `jobs` would change.
async fn changes(
    client: &Client,
    directory: &Directory,
    services: &[ServiceSpec],
    (jobs, (freezes, schedules)): (&[Job], (&[Freeze], &[ScheduleSpec])),
) -> Result<PlanReport, Failure> {
    let directory = Some(directory.clone());
    let (services, jobs) = (services.to_vec(), jobs.to_vec());
    let (freezes, schedules) = (freezes.to_vec(), schedules.to_vec());
    let images = Vec::new();
    let request = PlanRequest { images, services, directory, jobs, freezes, schedules };
    Ok(client.post("/v1/plan", &request).await?)
}

/// The services that it is about, of those that are declared.
fn limited(services: Vec<ServiceSpec>, only: &[ServiceName]) -> Vec<ServiceSpec> {
    let is_meant = |spec: &ServiceSpec| only.is_empty() || only.contains(&spec.name);
    services.into_iter().filter(is_meant).collect()
}

/// What to take down.
pub enum Which {
    /// What this directory declares; everything, where it declares nothing.
    Here,
    /// What a directory declares.
    Declared(PathBuf),
    /// Everything in the home.
    Everything,
}

/// `hornero down`.
pub async fn down(
    home: &Path,
    json_wanted: bool,
    which: Which,
    (override_guards, reason): (Vec<GuardName>, String),
) -> Result<(), Failure> {
    frozen::check_reason(!override_guards.is_empty(), &reason)?;
    // Where nothing ever ran there is nothing to find out.
    let here = Path::new(FILE_NAME).is_file() && home.join("ledger.db").exists();
    let (dir, is_named) = match which {
        Which::Declared(dir) => (Some(dir), true),
        Which::Here => (here.then(|| PathBuf::from(".")), false),
        Which::Everything => (None, true),
    };
    let services = match dir {
        None => None,
        Some(dir) => {
            let services = project::services(&dir, json_wanted).inspect_err(|_| {
                if !is_named {
                    tell!("hint: `hornero down --all` takes down everything in this home");
                }
            })?;
            Some((whole::directory(&dir)?, services))
        }
    };
    operation::down(home, json_wanted, services, (override_guards, reason)).await
}
