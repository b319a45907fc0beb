//! Jobs, and what else a directory declares that is no service.

use std::sync::Arc;

use hornero_api::message::{DeclareJobsRequest, DeclaredJobsReport, RunJobRequest, RunStatus};
use hornero_driver::Driver;
use hornero_model::{
    Directory, EventBody, Freeze, FreezeName, Job, JobName, JobTurn, ScheduleName, ScheduleSpec,
};
use hornero_plan::{Action, Change};
use hornero_rollout::OpenRun;
use hyper::StatusCode;

use super::{
    recording::record,
    runs::{asked, too_many},
};
use crate::{
    answer::{Answer, ApiRefusal, json},
    api::{Api, not_found},
    jobs::JobBegun,
    report,
    request::Caller,
    runs,
    schedules::ScheduleKey,
    start::Starter,
};

/// What a directory declares that is no service, and what that changes.
struct Declaration {
    directory: Directory,
    jobs: (Vec<Job>, Vec<Change>),
    freezes: (Vec<Freeze>, Vec<Change>),
    schedules: (Vec<ScheduleSpec>, Vec<Change>),
}

impl Declaration {
    /// What the ledger is told of it.
    fn events(&self) -> Vec<EventBody> {
        let (jobs, frozen) = (self.jobs.1.iter(), self.freezes.1.iter());
        let of_jobs = jobs.filter_map(|change| self.of_job(change));
        let of_freezes = frozen.filter_map(|change| self.of_freeze(change));
        let scheduled = self.schedules.1.iter();
        let of_schedules = scheduled.filter_map(|change| self.of_schedule(change));
        of_jobs.chain(of_freezes).chain(of_schedules).collect()
    }

    fn of_job(&self, change: &Change) -> Option<EventBody> {
        if change.action == Action::Remove {
            return change.object.parse().ok().map(|job| EventBody::JobRemoved { job });
        }
        let job = self.jobs.0.iter().find(|job| job.name.as_str() == change.object)?;
        let (job, directory) = (Box::new(job.clone()), self.directory.clone());
        Some(EventBody::JobDeclared { job, directory })
    }

    fn of_freeze(&self, change: &Change) -> Option<EventBody> {
        let (name, directory): (FreezeName, _) =
            (change.object.parse().ok()?, self.directory.clone());
        let freeze = self.freezes.0.iter().find(|freeze| freeze.name == name).cloned();
        Some(match freeze {
            Some(freeze) => EventBody::FreezeDeclared { freeze, directory },
            None => EventBody::FreezeRemoved { freeze: name, directory },
        })
    }

    fn of_schedule(&self, change: &Change) -> Option<EventBody> {
        let (name, directory): (ScheduleName, _) =
            (change.object.parse().ok()?, self.directory.clone());
        let schedule = self.schedules.0.iter().find(|schedule| schedule.name == name).cloned();
        Some(match schedule.map(Box::new) {
            Some(schedule) => EventBody::ScheduleDeclared { schedule, directory },
            None => EventBody::ScheduleRemoved { schedule: name, directory },
        })
    }

    /// Jobs that go: a run of theirs is ended.
    fn gone_jobs(&self) -> Vec<JobName> {
        removed(&self.jobs.1).filter_map(|change| change.object.parse().ok()).collect()
    }

    /// Schedules that go: what is being done for them is ended.
    fn gone_schedules(&self) -> Vec<ScheduleKey> {
        let names = removed(&self.schedules.1).filter_map(|change| change.object.parse().ok());
        names.map(|name| (self.directory.clone(), name)).collect()
    }
}

fn removed(changes: &[Change]) -> impl Iterator<Item = &Change> {
    changes.iter().filter(|change| change.action == Action::Remove)
}

impl Api {
    /// Declares the jobs, freezes and schedules of a directory, and removes those that it declares no more.
    pub async fn declare_jobs(&self, caller: Caller, wanted: DeclareJobsRequest) -> Answer {
        let DeclareJobsRequest { directory, jobs, freezes, schedules, adopt, intent } = wanted;
        // Held until the ledger says that they need their images.
        let lease = self.lease().await?;
        self.accept(jobs.iter().map(|job| job.server.clone()).collect(), Starter::accept).await?;
        let look = move |driver: &Driver| {
            let world = driver.world();
            let (changed, foreign) = hornero_plan::job_changes(&directory, &jobs, world);
            let frozen = hornero_plan::freeze_changes(&directory, &freezes, world);
            let scheduled = hornero_plan::schedule_changes(&directory, &schedules, world);
            let (jobs, freezes) = ((jobs, changed), (freezes, frozen));
            let schedules = (schedules, scheduled);
            (Declaration { directory, jobs, freezes, schedules }, foreign)
        };
        let (declaration, foreign) = self.ask(look).await?;
        let taken = |name: &str| adopt.iter().any(|adopted| adopted.as_str() == name);
        if let Some(other) = foreign.iter().find(|foreign| !taken(&foreign.service)) {
            let text = format!("job `{}` belongs to `{}`", other.service, other.directory);
            let refusal = ApiRefusal::new(StatusCode::CONFLICT, "owned_elsewhere", text);
            return Err(refusal.hint("name it otherwise here, or take it down there"));
        }
        let own = caller.schedule.clone();
        let by = asked(caller, intent, "up");
        let bodies = declaration.events();
        let (gone_jobs, mut gone) = (declaration.gone_jobs(), declaration.gone_schedules());
        // A command that waits for this answer ends by itself.
        gone.retain(|key| Some(key) != own.as_ref());
        let (jobs, runs) = (Arc::clone(&self.jobs), Arc::clone(&self.runs));
        let (schedules, recorder) = (Arc::clone(&self.schedules), Arc::clone(&self.recorder));
        let recorded = tokio::task::spawn_blocking(move || {
            let _lease = lease;
            let recorded = bodies.into_iter().try_for_each(|body| record(&recorder, &by, body));
            jobs.changed();
            runs.end(&by, |run| run.job.as_ref().is_some_and(|turn| gone_jobs.contains(&turn.job)));
            schedules.end(&gone);
            recorded
        });
        recorded.await.map_err(ApiRefusal::internal)??;
        let Declaration { jobs, freezes, schedules, .. } = declaration;
        let changes = jobs.1.into_iter().chain(freezes.1).chain(schedules.1);
        json(&DeclaredJobsReport { changes: changes.map(report::changed).collect() })
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
