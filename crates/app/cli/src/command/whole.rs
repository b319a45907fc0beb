//! A directory as a whole: whose its services are, and what goes with what it no longer declares. Agreed to before anything
//! is baked or changed.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, stderr, stdin},
    path::Path,
};

use hornero_api::message::{PlanChange, PlanReport, PlanRequest, StatusReport};
use hornero_model::{Digest, Directory, FreezeName, GuardName, ServiceName, StepName, StepRuling};

use crate::{
    arguments::UpArguments,
    command::{declared_jobs, desired, foreseen, frozen, names},
    failure::{Failure, exit},
    harmless::harmless,
    project::Project,
};

/// What somebody agrees to beyond what is declared.
#[derive(Debug, Clone, Default)]
pub struct Consent {
    /// What becomes of services that are no longer declared.
    pub prune: Prune,
    /// Services that are taken over.
    pub adopt: Vec<ServiceName>,
    /// Whether releases that failed are tried again.
    pub retry_failed: bool,
    /// Freezes that are overridden.
    pub overrides: Vec<FreezeName>,
    /// Whether services are rolled out that have no fresh proof that they could go back.
    pub fresh_rollback: bool,
    /// Data guards that are overridden.
    pub guards: Vec<GuardName>,
    /// What is decided about schema steps.
    pub steps: BTreeMap<StepName, StepRuling>,
    /// The services that it is about; all that are declared where none is named.
    pub only: Vec<ServiceName>,
}

/// What becomes of services that are no longer declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Prune {
    /// They are taken down.
    Yes,
    /// They stay, and that is said.
    #[default]
    No,
    /// Somebody is asked.
    Ask,
    /// Nobody can be asked: it is refused.
    Refuse,
}

/// What `up` may do.
pub struct Agreed {
    /// Who brings the services up.
    pub directory: Directory,
    /// Services that are taken over.
    pub adopt: Vec<ServiceName>,
    /// Services that are taken down.
    pub remove: Vec<ServiceName>,
    /// Whether releases that failed are tried again.
    pub retry_failed: bool,
    /// Freezes that hold and are overridden.
    pub overrides: Vec<FreezeName>,
}

impl Consent {
    /// What is agreed to on the command line.
    pub fn of(arguments: &UpArguments, json_wanted: bool) -> Self {
        let can_ask = !json_wanted && stdin().is_terminal() && stderr().is_terminal();
        let prune = match (arguments.prune, arguments.no_prune) {
            (true, _) => Prune::Yes,
            (false, true) => Prune::No,
            (false, false) if can_ask => Prune::Ask,
            (false, false) => Prune::Refuse,
        };
        Self {
            prune,
            adopt: arguments.adopt.clone(),
            retry_failed: arguments.retry_failed,
            overrides: arguments.freezes(),
            fresh_rollback: arguments.overrides_fresh_rollback(),
            guards: arguments.guards(),
            steps: arguments.rulings(),
            only: Vec::new(),
        }
    }
}

impl Consent {
    /// What is overridden needs a reason.
    pub fn check_reason(&self, reason: &str) -> Result<(), Failure> {
        let counts_as_done = self.steps.values().any(|ruling| *ruling == StepRuling::Done);
        let overrides = self.fresh_rollback || !self.guards.is_empty() || counts_as_done;
        frozen::check_reason(overrides, reason)
    }
}

/// The directory as the ledger knows it.
pub fn directory(dir: &Path) -> Result<Directory, Failure> {
    let path = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    Directory::new(path.to_string_lossy()).map_err(|error| {
        Failure::new(exit::USAGE, error).hint("services belong to their directory by its path")
    })
}

/// What may be done for a directory, or why nothing is.
pub async fn agree(
    home: &Path,
    project: &Project,
    consent: Consent,
    reason: &str,
) -> Result<Agreed, Failure> {
    let directory = directory(&project.dir)?;
    let declared = project.spec.freezes.values();
    let overrides = frozen::check(home, &directory, declared, &consent.overrides, reason).await?;
    let nothing = |_: &_| Some(Digest::from_bytes([0; 32]));
    let services = desired::specs(None, &project.spec, nothing)?;
    let jobs = declared_jobs::jobs(None, &project.spec, nothing)?;
    let request = PlanRequest {
        images: Vec::new(),
        services,
        directory: Some(directory.clone()),
        jobs,
        freezes: project.spec.freezes.values().cloned().collect(),
        schedules: project.spec.schedules.values().cloned().collect(),
    };
    let mut report = foreseen::ask(home, &request).await?;
    let adopt = adopted(&mut report, &directory, consent.adopt)?;
    let gone: Vec<&PlanChange> =
        report.changes.iter().filter(|change| is_removed_service(change)).collect();
    let remove = match gone.is_empty() {
        true => Vec::new(),
        false => removed(&gone, &directory, consent.prune)?,
    };
    Ok(Agreed { directory, adopt, remove, retry_failed: consent.retry_failed, overrides })
}

/// Whether a change takes a service down.
pub fn is_removed_service(change: &PlanChange) -> bool {
    change.kind == "service" && change.action == "remove"
}

/// The services that are taken over: those that were named, and those whose directory declares nothing any more. What is
/// said of them is taken out of the report.
pub fn adopted(
    report: &mut PlanReport,
    directory: &Directory,
    named: Vec<ServiceName>,
) -> Result<Vec<ServiceName>, Failure> {
    let mut adopt = named;
    release_dead(report, &mut adopt);
    let is_foreign = |problem: &&_| is_of_another(problem, &adopt);
    let Some(foreign) = report.problems.iter().find(is_foreign) else { return Ok(adopt) };
    let owner = foreign.directory.as_ref().map_or("", Directory::as_str);
    let service = &foreign.object;
    Err(Failure::new(
        exit::REFUSED,
        format!(
            "`{service}` belongs to `{owner}`, which declared it first; `{directory}` declares one of that name, too"
        ),
    )
    .word("owned_elsewhere")
    .hint(format!(
        "nothing was changed; name it otherwise here, take it down there with `hornero down {owner}`, or take it over \
         with `hornero up --adopt {service}`"
    )))
}

/// Lets services go whose directory is gone, and says so.
pub fn release_dead(report: &mut PlanReport, adopt: &mut Vec<ServiceName>) {
    report.problems.retain(|problem| {
        let Some(owner) = problem.directory.as_ref().filter(|_| is_of_another(problem, adopt))
        else {
            return true;
        };
        let (Ok(name), false) = (problem.object.parse(), names::is_live(Path::new(owner.as_str())))
        else {
            return true;
        };
        tell!(
            "note     service.{name}: `{}` declares nothing any more: this directory takes it over",
            harmless(owner.as_str())
        );
        adopt.push(name);
        false
    });
}

fn is_of_another(problem: &hornero_api::message::PlanProblem, adopt: &[ServiceName]) -> bool {
    problem.guard.as_deref() == Some("belonging")
        && !adopt.iter().any(|name| name.as_str() == problem.object)
}

/// The services that are taken down of those that are no longer declared.
fn removed(
    gone: &[&PlanChange],
    directory: &Directory,
    prune: Prune,
) -> Result<Vec<ServiceName>, Failure> {
    let names: Vec<&str> = gone.iter().map(|change| change.object.as_str()).collect();
    let all = || gone.iter().filter_map(|change| change.object.parse().ok()).collect();
    let refused = |text: String| {
        Err(Failure::new(exit::REFUSED, text).word("would_remove").hint(
            "nothing was changed; `--prune` takes them down, `--no-prune` leaves them as they are; `hornero plan` shows all",
        ))
    };
    match prune {
        Prune::Yes => Ok(all()),
        Prune::No => {
            for name in names {
                tell!("note     service.{name}: no longer declared, and left as it is");
            }
            Ok(Vec::new())
        }
        Prune::Refuse => refused(format!(
            "`{directory}` no longer declares `{}`, and nobody said what becomes of what runs",
            names.join("`, `")
        )),
        Prune::Ask => {
            for change in gone {
                tell!("remove   service.{}: {}", change.object, harmless(&change.reason));
            }
            match asked("Take down what is no longer declared? [y/N] ")? {
                true => Ok(all()),
                false => refused(format!("`{}` would have been taken down", names.join("`, `"))),
            }
        }
    }
}

/// Asks on the terminal; anything but yes is no.
fn asked(question: &str) -> Result<bool, Failure> {
    crate::output::write_stderr(question);
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What `down` in a directory takes down: what it declares and what belongs to it; what belongs to another one that
/// declares it still stays, and that is said.
pub fn own(
    status: &StatusReport,
    directory: &Directory,
    declared: Vec<ServiceName>,
) -> Vec<ServiceName> {
    let owner = |name: &ServiceName| {
        let service = status.services.iter().find(|service| service.name == *name);
        service.and_then(|service| service.directory.as_ref())
    };
    let mut services: Vec<ServiceName> = Vec::new();
    for name in declared {
        match owner(&name).filter(|owner| *owner != directory) {
            Some(owner) if names::is_live(Path::new(owner.as_str())) => tell!(
                "note     service.{name}: it belongs to `{}`, and stays",
                harmless(owner.as_str())
            ),
            Some(_) | None => services.push(name),
        }
    }
    for service in &status.services {
        if service.directory.as_ref() == Some(directory) && !services.contains(&service.name) {
            services.push(service.name.clone());
        }
    }
    services
}
