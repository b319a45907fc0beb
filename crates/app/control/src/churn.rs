//! What keeps servers from being made, as clients read it: limits of churn, releases that failed, and letting go on.

use hornero_api::message::{PlanProblem, ServiceStop};
use hornero_driver::{Churn, DriverError, Resumed, Stopped, Use};
use hornero_model::{Actor, ChurnBreach, ChurnScope, ServiceName, ServiceSpec, Timestamp};
use hornero_plan::{Action, Change, ObjectKind};
use hornero_rollout::{SharedFailure, World, failed_before, is_adjustment};
use std::sync::mpsc::Sender;

/// The guard that keeps what failed from being tried again.
const FAILED_RELEASE: &str = "failed-release";
/// The guard that keeps what fails for another reason than its release from being replaced.
const SHARED_FAILURE: &str = "shared-failure";

/// The guard that keeps servers from being started for which there is no room.
pub(crate) const CAPACITY: &str = "capacity";

/// That somebody lets go on what a limit of churn stopped.
pub struct Resume {
    /// Who, and why.
    pub by: Actor,
    /// The service; everything that was stopped where there is none.
    pub service: Option<ServiceName>,
    /// Told what had been stopped.
    pub resumed: Sender<Result<Vec<Resumed>, DriverError>>,
}

/// A limit that was reached.
fn stop(stopped: &Stopped) -> ServiceStop {
    ServiceStop {
        service: stopped.breach.service.clone(),
        since: stopped.since,
        reason: stopped.breach.to_string(),
        breach: Some(stopped.breach.clone()),
        failed: None,
    }
}

fn shared(service: &ServiceName, shared: &SharedFailure) -> ServiceStop {
    ServiceStop {
        service: Some(service.clone()),
        since: shared.since,
        reason: shared.reason(service),
        breach: None,
        failed: Some(shared.failed),
    }
}

/// Why nothing of a service is made or removed by itself; none where that is not so.
pub fn stop_of(world: &World, churn: &Churn, service: &ServiceName) -> Option<ServiceStop> {
    let fails_alike =
        || world.services.get(service)?.shared.as_ref().map(|failure| shared(service, failure));
    churn.stopped(service).map(stop).or_else(fails_alike)
}

/// What somebody let go on.
pub fn resumed(resumed: &Resumed) -> ServiceStop {
    match resumed {
        Resumed::Stopped(stopped) => stop(stopped),
        Resumed::Shared(service, failure) => shared(service, failure),
    }
}

/// What limits of churn would keep a plan from, as far as can be told before.
pub fn problems(
    changes: &[Change],
    services: &[ServiceSpec],
    world: &World,
    churn: &Churn,
    now: Timestamp,
) -> Vec<PlanProblem> {
    let change_of = |kind: ObjectKind, name: &str| {
        changes.iter().find(|change| change.kind == kind && change.object == name)
    };
    let specs = services
        .iter()
        .filter_map(|spec| Some((spec, change_of(ObjectKind::Service, spec.name.as_str())?)));
    let mut problems = Vec::new();
    for (spec, change) in specs {
        // What a bake gives is known after it.
        let to_bake = change_of(ObjectKind::Image, spec.image_name.as_str()).is_some();
        let failed = failed(spec, world).filter(|_| !to_bake);
        let failed = failed.map(|reason| (FAILED_RELEASE, reason));
        let service = world.services.get(&spec.name).and_then(|of| of.shared.as_ref());
        let shared = service.filter(|_| change.action == Action::Repair);
        let shared = shared.map(|failure| (SHARED_FAILURE, failure.reason(&spec.name)));
        let budget = problem(spec, change.action, world, churn, now);
        let budget = budget.map(|reason| ("bounded-churn", reason));
        problems.extend(failed.into_iter().chain(shared).chain(budget).map(|(guard, reason)| {
            PlanProblem {
                kind: "service".to_owned(),
                object: spec.name.to_string(),
                reason,
                hint: hint(guard, &spec.name),
                guard: Some(guard.to_owned()),
                ..PlanProblem::default()
            }
        }));
    }
    problems
}

/// That the servers of a release that failed would be made again.
fn failed(spec: &ServiceSpec, world: &World) -> Option<String> {
    let (number, failed) = failed_before(world, spec).filter(|_| !is_adjustment(world, spec))?;
    let serving = world.services.get(&spec.name).and_then(|service| service.serving_release());
    // One that failed and serves all the same is not rolled out anew.
    if serving.is_some_and(|serving| serving.number == number) {
        return None;
    }
    let (service, reason) = (&spec.name, &failed.failure.reason);
    Some(format!(
        "`{service}@{number}` failed at {}, and this would make the same servers: {reason}",
        failed.at
    ))
}

/// What to do where a guard refused something; none where it needs no word of its own.
pub fn hint(guard: &str, service: &ServiceName) -> Option<String> {
    match guard {
        "bounded-churn" => Some(format!(
            "look at `hornero logs {service}`; then `hornero resume {service} --reason …` lets servers be made again, and a \
             larger `budget` of the service allows more"
        )),
        FAILED_RELEASE => Some(format!(
            "another image, configuration or health contract is another release; where the cause lay elsewhere, `hornero up \
             --retry-failed` tries it again, and `hornero history {service}` tells how it failed"
        )),
        SHARED_FAILURE => Some(format!(
            "look at what both releases need; then `hornero resume {service} --reason …` lets servers be replaced again"
        )),
        CAPACITY => Some(
            "fewer `instances`, a smaller `memory` in `resources`, or more memory for the host or the control group of the home; \
             `strategy = \"replace\"` ends the servers that run before the new ones start, while requests wait"
                .to_owned(),
        ),
        _ => None,
    }
}

fn problem(
    spec: &ServiceSpec,
    action: Action,
    world: &World,
    churn: &Churn,
    now: Timestamp,
) -> Option<String> {
    if let Some(Stopped { breach, .. }) = churn.stopped(&spec.name)
        && (action == Action::Repair || breach.scope == ChurnScope::Requested)
    {
        return Some(format!("it is stopped: {breach}"));
    }
    let serving = world.services.get(&spec.name).and_then(|service| service.serving.as_ref());
    let runs = serving.map_or(0, |set| u32::try_from(set.instances.len()).unwrap_or(u32::MAX));
    let needed = match action {
        Action::Create | Action::Replace => world.size_of(spec),
        Action::Scale | Action::Adjust => {
            let service = world.services.get(&spec.name);
            let size = service.map_or(spec.instances, |service| service.size_by(spec));
            size.saturating_sub(runs)
        }
        Action::Bake | Action::Repair | Action::Remove | Action::Run => return None,
    };
    let uses = |of: Option<&ServiceName>| {
        let uses = churn.uses(of, now).into_iter();
        uses.filter(|one| one.scope == ChurnScope::Requested).collect::<Vec<Use>>()
    };
    let over = |one: &Use| needed > one.left();
    let own = uses(Some(&spec.name)).into_iter().find(over);
    let (service, of) = match own {
        Some(of) => (Some(spec.name.clone()), of),
        // A home that has no services yet has no limit that says anything.
        None => (None, uses(None).into_iter().find(|one| one.limit > 0 && over(one))?),
    };
    let Use { window, scope, made, limit } = of;
    let breach = ChurnBreach { service, scope, window, made, limit };
    Some(format!("it needs {needed} more servers: {breach}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_line_to_run() {
        let service = ServiceName::new("site").unwrap();
        for (guard, line) in [
            ("bounded-churn", "`hornero resume site --reason …`"),
            ("failed-release", "`hornero up --retry-failed`"),
            ("shared-failure", "`hornero resume site --reason …`"),
            ("capacity", "`strategy = \"replace\"`"),
        ] {
            let hint = hint(guard, &service).unwrap();
            assert!(hint.contains(line), "{hint}");
        }
        assert_eq!(hint("last-healthy", &service), None);
    }
}
