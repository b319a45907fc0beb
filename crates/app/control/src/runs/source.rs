//! What a run is made from, and how a run under way is shown.

use hornero_api::message::RunStatus;
use hornero_model::{
    InstanceId, JobTurn, Millis, NameError, ReleaseNumber, ReleaseRef, Run, ServiceName,
    ServiceSpec,
};
use hornero_rollout::{OpenRun, World};

/// What the server of a run is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The release, where it is one.
    pub release: Option<ReleaseRef>,
    /// The job, where it is one's turn.
    pub job: Option<JobTurn>,
    /// The server, as that of a service is described.
    pub server: ServiceSpec,
}

impl Source {
    /// The run of a command; `tail` makes its id unique.
    pub fn run(&self, command: Vec<String>, timeout: Millis, tail: &str) -> Result<Run, NameError> {
        let Self { release, job, server } = self;
        let kind = if job.is_some() { "job" } else { "run" };
        Ok(Run {
            id: InstanceId::new(format!("{kind}-{}-{tail}", server.name))?,
            release: release.clone(),
            job: job.clone(),
            step: None,
            image_name: server.image_name.clone(),
            image: server.image,
            configuration: server.configuration,
            command,
            timeout,
            stop_grace: server.stop_grace(),
        })
    }
}

/// A release of a service: the one that serves, or else the newest, where no number is given.
pub fn source(
    world: &World,
    service: &ServiceName,
    number: Option<ReleaseNumber>,
) -> Option<Source> {
    let of = world.services.get(service)?;
    let release = match number {
        Some(number) => of.releases.get(&number)?,
        None => of.serving_release().or_else(|| of.newest())?,
    };
    Some(Source { release: Some(release.reference()), job: None, server: release.spec.clone() })
}

/// A run under way, as it is shown.
pub fn status(open: &OpenRun) -> RunStatus {
    let OpenRun { run, by, since } = open;
    RunStatus {
        id: run.id.clone(),
        release: run.release.clone(),
        job: run.job.as_ref().map(|turn| turn.job.clone()),
        image_name: run.image_name.clone(),
        image: run.image,
        command: run.command.clone(),
        by: by.clone(),
        started: *since,
        deadline: since.after(run.timeout),
    }
}

/// Whether a run is of one of these services.
pub fn by_name(run: &Run, services: &[ServiceName]) -> bool {
    run.release.as_ref().is_some_and(|release| services.contains(&release.service))
}
