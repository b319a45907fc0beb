//! What a directory declares beside services: as control is told of them, and taken away again.

use hornero_api::{
    Client,
    message::{DeclareJobsRequest, DeclaredJobsReport, Intent, StatusReport},
};
use hornero_model::{Digest, Directory, Freeze, ImageName, Job, ScheduleSpec, ServiceName, Volume};
use hornero_spec::{JobDefinition, Spec};

use crate::{
    command::configuration::{self, Kept},
    failure::Failure,
};

/// The jobs of a directory, and who declares them.
pub struct DirectoryJobs {
    /// The directory.
    pub directory: Directory,
    /// What it declares.
    pub jobs: Vec<Job>,
    /// Its freezes.
    pub freezes: Vec<Freeze>,
    /// Its schedules.
    pub schedules: Vec<ScheduleSpec>,
    /// Its volumes; none where nothing is said of them.
    pub volumes: Option<Vec<Volume>>,
    /// What it takes over, by name.
    pub adopt: Vec<ServiceName>,
    /// Why.
    pub intent: Intent,
}

/// The jobs of a directory, those without a digest of their image left out; `kept` as for services.
pub fn jobs(
    kept: Option<Kept<'_>>,
    spec: &Spec,
    digest_of: impl Fn(&ImageName) -> Option<Digest>,
) -> Result<Vec<Job>, Failure> {
    let known = spec.jobs.values();
    let known = known.filter_map(|job| Some((job, digest_of(&job.server.image)?)));
    known.map(|(job, image)| complete(kept, job, image)).collect()
}

fn complete(kept: Option<Kept<'_>>, job: &JobDefinition, image: Digest) -> Result<Job, Failure> {
    let made = job.clone().into_job(image);
    let server = configuration::complete(kept, &job.server, made.server.clone())?;
    Ok(Job { server, ..made })
}

/// Has control know the jobs of a directory as they are declared, and tells what that changed.
pub async fn declare(client: &Client, declared: DirectoryJobs) -> Result<(), Failure> {
    let DirectoryJobs { directory, jobs, freezes, schedules, volumes: _, adopt, intent } = declared;
    let status: StatusReport = client.get("/v1/status").await?;
    let has_jobs = status.jobs.iter().any(|job| job.directory == directory);
    let has_freezes = status.freezes.iter().any(|freeze| freeze.directory == directory);
    let has_schedules = status.schedules.iter().any(|one| one.directory == directory);
    let declares = !(jobs.is_empty() && freezes.is_empty() && schedules.is_empty());
    if !declares && !has_jobs && !has_freezes && !has_schedules {
        return Ok(());
    }
    let adopt = adopt.iter().filter_map(|name| name.as_str().parse().ok()).collect();
    let request = DeclareJobsRequest { directory, jobs, freezes, schedules, adopt, intent };
    let report: DeclaredJobsReport = client.post("/v1/jobs", &request).await?;
    for change in report.changes {
        tell!("{:>12}  {:<9} {}", change.object, change.action, change.reason);
    }
    Ok(())
}

/// Has control know no jobs of a directory any more, or of any.
pub async fn remove(
    client: &Client,
    directory: Option<&Directory>,
    why: &str,
) -> Result<(), Failure> {
    let status: StatusReport = client.get("/v1/status").await?;
    let of_freezes = status.freezes.into_iter().map(|freeze| freeze.directory);
    let of_jobs = status.jobs.into_iter().map(|job| job.directory);
    let of_schedules = status.schedules.into_iter().map(|schedule| schedule.directory);
    let mut directories: Vec<Directory> = of_jobs.chain(of_freezes).chain(of_schedules).collect();
    directories.sort();
    directories.dedup();
    directories.retain(|known| directory.is_none_or(|only| only == known));
    for directory in directories {
        let intent = Intent { why: why.to_owned(), commit: None };
        let none = DirectoryJobs {
            directory,
            jobs: Vec::new(),
            freezes: Vec::new(),
            schedules: Vec::new(),
            volumes: None,
            adopt: Vec::new(),
            intent,
        };
        declare(client, none).await?;
    }
    Ok(())
}
