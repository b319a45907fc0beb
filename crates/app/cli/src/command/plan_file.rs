//! Plans that are kept in a file: what was planned, and what it was planned for.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use hornero_api::message::{ApplyRequest, Intent, PlanChange, PlanReport, PlanRequest};
use hornero_model::{
    Digest, Directory, Freeze, Job, ScheduleSpec, ServiceName, ServiceSpec, Standing,
};
use hornero_plan::differences;
use hornero_spec::FILE_NAME;
use serde::{Deserialize, Serialize};

use crate::{
    arguments::{Source, UpArguments},
    command::{
        carrying_out, declared_jobs::DirectoryJobs, following::Until, foreseen, frozen, stores,
        timings::Stopwatch, whole,
    },
    commit, daemon,
    failure::{Failure, exit},
    project,
    replace::replace,
    reports::OperationReport,
};

const KIND: &str = "hornero-plan";
const FORMAT: u32 = 1;
/// More than a thousand services take.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A plan as its file holds it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    /// [`KIND`].
    kind: String,
    /// [`FORMAT`].
    format: u32,
    /// The version that wrote it.
    written_by: String,
    /// The directory that declares the services.
    directory: Directory,
    /// Variables that were given on the command line.
    variables: Vec<(String, String)>,
    /// The services, with the images that they are to run.
    services: Vec<ServiceSpec>,
    /// The jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<Job>,
    /// The freezes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    freezes: Vec<Freeze>,
    /// The schedules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    schedules: Vec<ScheduleSpec>,
    /// Services of directories that are gone.
    adopt: Vec<ServiceName>,
    /// How services stood.
    standings: Vec<Standing>,
    /// What was shown.
    changes: Vec<PlanChange>,
}

/// Keeps a plan in a file, which only its owner may read: variables may be secrets.
pub fn write(
    file: &Path,
    source: &Source,
    request: PlanRequest,
    report: &PlanReport,
    adopt: Vec<ServiceName>,
) -> Result<(), Failure> {
    if let Some(image) = request.images.iter().find(|image| image.bake.is_some()) {
        let text = format!(
            "image `{}` is still to be baked, so it can't be said yet what would run",
            image.name
        );
        return Err(Failure::new(exit::FAILED, text).word("not_baked").hint(
            "`hornero build` bakes what the directory declares and changes nothing that runs",
        ));
    }
    if file.is_dir() || file.file_name().is_some_and(|name| name == FILE_NAME) {
        let text = format!("`{}` is no place for a plan", file.display());
        return Err(Failure::new(exit::USAGE, text));
    }
    let kept = PlanFile {
        kind: KIND.to_owned(),
        format: FORMAT,
        written_by: hornero_model::program_version().to_owned(),
        directory: request.directory.ok_or_else(|| Failure::new(exit::FAILED, "no directory"))?,
        variables: source.variables.clone(),
        services: request.services,
        jobs: request.jobs,
        freezes: request.freezes,
        schedules: request.schedules,
        adopt,
        standings: report.standings.clone(),
        changes: report.changes.clone(),
    };
    let mut text = serde_json::to_string_pretty(&kept).map_err(|error| Failure::of(&error))?;
    text.push('\n');
    replace(file, text.as_bytes(), |_| Ok(())).map_err(|error| {
        Failure::new(exit::FAILED, format!("`{}` can't be written: {error}", file.display()))
    })
}

/// `hornero up FILE`: does what a plan says, exactly, or nothing.
pub async fn apply(
    home: &Path,
    json_wanted: bool,
    arguments: &UpArguments,
    stopwatch: Stopwatch,
) -> Result<(), Failure> {
    let (source, file) = (&arguments.source, &arguments.source.dir);
    if !source.variables.is_empty()
        || source.locked
        || arguments.base.is_some()
        || arguments.no_prune
    {
        let text = "`--var`, `--locked`, `--base` and `--no-prune` are for directories: a plan says all of it";
        return Err(Failure::new(exit::USAGE, text));
    }
    let kept = read(file)?;
    let store = stores::store(home)?;
    let lease = store.lease()?;
    check_source(home, json_wanted, &kept)?;
    let client = daemon::ensure(home).await?;
    for change in &kept.changes {
        tell!("plan     {}.{}: {}: {}", change.kind, change.object, change.action, change.reason);
    }
    if let Some(service) = kept.services.iter().find(|service| service.holds_volumes()) {
        let text =
            format!("service `{}` has a volume, which a plan file does not hold", service.name);
        return Err(Failure::new(exit::REFUSED, text)
            .word("plan_with_volumes")
            .hint("nothing was changed; `hornero up DIR` rolls it out"));
    }
    let removed = kept.changes.iter().filter(|change| whole::is_removed_service(change));
    let remove = removed.filter_map(|change| change.object.parse().ok()).collect();
    let commit = commit::commit(Path::new(kept.directory.as_str()));
    let adopt: Vec<ServiceName> =
        kept.adopt.into_iter().chain(arguments.adopt.iter().cloned()).collect();
    let intent = Intent { why: arguments.reason.clone(), commit };
    let (directory, jobs) = (kept.directory.clone(), kept.jobs);
    let (freezes, schedules) = (kept.freezes, kept.schedules);
    let (override_guards, steps) = (arguments.guards(), arguments.rulings());
    frozen::check_reason(arguments.needs_reason(), &arguments.reason)?;
    let (named, why) = (&arguments.freezes(), &arguments.reason);
    let overrides = frozen::check(home, &directory, freezes.iter(), named, why).await?;
    let request = ApplyRequest {
        services: kept.services,
        directory: Some(kept.directory),
        adopt: adopt.clone(),
        remove,
        planned: kept.standings,
        retry_failed: arguments.retry_failed,
        overrides,
        override_fresh_rollback: arguments.overrides_fresh_rollback(),
        override_guards,
        steps,
        intent: intent.clone(),
    };
    let volumes = None;
    let jobs = DirectoryJobs { directory, jobs, freezes, schedules, volumes, adopt, intent };
    let (manner, report) = ((Until::of(arguments), stopwatch), OperationReport::from);
    let request = (request, jobs);
    carrying_out::carry_out(&client, json_wanted, request, manner, report, move || drop(lease))
        .await
}

fn read(file: &Path) -> Result<PlanFile, Failure> {
    let no_plan = |why: String| {
        let failure = Failure::new(exit::USAGE, format!("`{}` is no plan: {why}", file.display()));
        match file.file_name().is_some_and(|name| name == FILE_NAME) {
            true => failure.hint("name the directory that it lies in"),
            false => failure.hint("`hornero plan --out FILE` writes one; else name a directory"),
        }
    };
    let mut text = String::new();
    let opened = File::open(file);
    let read = opened.and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| no_plan(error.to_string()))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| no_plan(error.to_string()))?;
    if value["kind"] != KIND {
        return Err(no_plan("it does not say that it is one".to_owned()));
    }
    if value["format"] != FORMAT {
        let by = value["written_by"].as_str().unwrap_or("another version");
        return Err(no_plan(format!("it is one of {by}, which this version does not read")));
    }
    serde_json::from_value(value).map_err(|error| no_plan(error.to_string()))
}

/// Refuses where the directory declares something else by now. One that is not there says nothing against its plan.
fn check_source(home: &Path, json_wanted: bool, kept: &PlanFile) -> Result<(), Failure> {
    let dir = PathBuf::from(kept.directory.as_str());
    if !dir.join(FILE_NAME).is_file() {
        return Ok(());
    }
    let source = Source { dir, variables: kept.variables.clone(), locked: false };
    let project = project::read(&source, json_wanted)?;
    let now = foreseen::request(home, &project, kept.directory.clone())?;
    let mut changed = changed(&kept.services, &now.services);
    let is_as_before =
        now.jobs == kept.jobs && now.freezes == kept.freezes && now.schedules == kept.schedules;
    if !is_as_before {
        changed.push("its jobs, freezes or schedules are declared otherwise".to_owned());
    }
    if changed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        exit::REFUSED,
        format!(
            "the plan is stale: since it was made `{}` changed: {}",
            kept.directory,
            changed.join("; ")
        ),
    )
    .word("stale_plan")
    .hint("nothing was changed; `hornero plan --out FILE` makes a new one"))
}

/// What is declared otherwise than it was planned, a sentence for each service.
fn changed(planned: &[ServiceSpec], now: &[ServiceSpec]) -> Vec<String> {
    let mut told = Vec::new();
    for spec in planned {
        match now.iter().find(|other| other.name == spec.name) {
            None => told.push(format!("service `{}` is no longer declared", spec.name)),
            Some(other) if other.image == Digest::from_bytes([0; 32]) => {
                told.push(format!("image `{}` is to be baked anew", other.image_name));
            }
            Some(other) => {
                let differences = differences(spec, other);
                if !differences.is_empty() {
                    told.push(format!("service `{}`: {}", spec.name, differences.join(", ")));
                }
            }
        }
    }
    let is_new = |other: &&ServiceSpec| !planned.iter().any(|spec| spec.name == other.name);
    let new = now.iter().filter(is_new);
    told.extend(new.map(|other| format!("service `{}` is declared now", other.name)));
    told
}
