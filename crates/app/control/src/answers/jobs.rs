//! Jobs.

use std::sync::Arc;

use hornero_api::message::{DeclareJobsRequest, DeclaredJobsReport, RunJobRequest, RunStatus};
use hornero_driver::Driver;
use hornero_model::{Directory, EventBody, Freeze, FreezeName, Job, JobName, JobTurn, error_chain};
use hornero_plan::{Action, Change};
use hornero_rollout::OpenRun;
use hyper::StatusCode;

use super::runs::{asked, too_many};
use crate::{
    answer::{Answer, ApiRefusal, json},
    api::{Api, not_found},
    jobs::JobBegun,
    report,
    request::Caller,
    runs,
    start::Starter,
};

/// What the ledger is told of changed jobs and freezes of a directory.
fn events(
    directory: &Directory,
    (changes, jobs): (&[Change], &[Job]),
    (frozen, freezes): (&[Change], &[Freeze]),
) -> Vec<EventBody> {
    let of_job = |change: &Change| match change.action {
        Action::Remove => change.object.parse().ok().map(|job| EventBody::JobRemoved { job }),
        _ => {
            let job = jobs.iter().find(|job| job.name.as_str() == change.object)?;
            let (job, directory) = (Box::new(job.clone()), directory.clone());
            Some(EventBody::JobDeclared { job, directory })
        }
    };
    let of_freeze = |change: &Change| {
        let name: FreezeName = change.object.parse().ok()?;
        let freeze = freezes.iter().find(|freeze| freeze.name == name).cloned();
        let directory = directory.clone();
        Some(match freeze {
            Some(freeze) => EventBody::FreezeDeclared { freeze, directory },
            None => EventBody::FreezeRemoved { freeze: name, directory },
        })
    };
    changes.iter().filter_map(of_job).chain(frozen.iter().filter_map(of_freeze)).collect()
}

impl Api {
    /// Declares the jobs of a directory, and removes those that it declares no more.
    pub async fn declare_jobs(&self, caller: Caller, wanted: DeclareJobsRequest) -> Answer {
        let DeclareJobsRequest { directory, jobs, freezes, adopt, intent } = wanted;
        // Held until the ledger says that they need their images.
        let lease = self.lease().await?;
        self.accept(jobs.iter().map(|job| job.server.clone()).collect(), Starter::accept).await?;
        let (by, declaring, froze) = (directory.clone(), jobs.clone(), freezes.clone());
        let look = move |driver: &Driver| {
            let world = driver.world();
            let frozen = hornero_plan::freeze_changes(&by, &froze, world);
            (hornero_plan::job_changes(&by, &declaring, world), frozen)
        };
        let ((mut changes, foreign), frozen) = self.ask(look).await?;
        let taken = |name: &str| adopt.iter().any(|adopted| adopted.as_str() == name);
        if let Some(other) = foreign.iter().find(|foreign| !taken(&foreign.service)) {
            let text = format!("job `{}` belongs to `{}`", other.service, other.directory);
            let refusal = ApiRefusal::new(StatusCode::CONFLICT, "owned_elsewhere", text);
            return Err(refusal.hint("name it otherwise here, or take it down there"));
        }
        let by = asked(caller, intent, "up");
        let bodies = events(&directory, (&changes, &jobs), (&frozen, &freezes));
        let gone: Vec<JobName> = changes
            .iter()
            .filter(|change| change.action == Action::Remove)
            .filter_map(|change| change.object.parse().ok())
            .collect();
        let (jobs, runs) = (Arc::clone(&self.jobs), Arc::clone(&self.runs));
        let recorded = tokio::task::spawn_blocking(move || {
            let _lease = lease;
            let recorded = bodies.into_iter().try_for_each(|body| jobs.record(by.clone(), body));
            jobs.changed();
            runs.end(&by, |run| run.job.as_ref().is_some_and(|turn| gone.contains(&turn.job)));
            recorded
        });
        recorded
            .await
            .map_err(ApiRefusal::internal)?
            .map_err(|error| ApiRefusal::internal(error_chain(&error)))?;
        changes.extend(frozen);
        let changes = changes.into_iter().map(report::changed).collect();
        json(&DeclaredJobsReport { changes })
    }

    /// Runs a job because somebody asks for it.
    pub async fn run_job(&self, caller: Caller, name: &str, wanted: RunJobRequest) -> Answer {
        let job: JobName = name.parse().map_err(|_| not_found("job", name))?;
        let by = asked(caller, wanted.intent, "job run");
        let turn = JobTurn { job: job.clone(), planned: None, attempt: 1, missed: 0 };
        let (jobs, actor) = (Arc::clone(&self.jobs), by.clone());
        let begun = tokio::task::spawn_blocking(move || jobs.begin(actor, turn));
        match begun.await.map_err(ApiRefusal::internal)? {
            JobBegun::Yes { run, since } => {
                let status: RunStatus = runs::status(&OpenRun { run: *run, by, since });
                json(&status)
            }
            JobBegun::Unknown => Err(not_found("job", name)),
            JobBegun::Running(run) => {
                let text = format!("a run of job `{job}` goes on: `{run}`");
                let refusal = ApiRefusal::new(StatusCode::CONFLICT, "job_running", text);
                Err(refusal.hint(format!(
                    "`hornero logs {run} -f` shows what it writes, `hornero cancel {run}` ends it"
                )))
            }
            JobBegun::TooMany(open) => Err(too_many(open)),
            JobBegun::Not(why) => Err(ApiRefusal::internal(why)),
        }
    }
}
