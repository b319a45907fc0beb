//! `status`: what runs.

use std::path::Path;

use hornero_api::{
    ClientError,
    message::{
        FreezeStatus, InstanceStatus, RolloutStatus, RouteStatus, RunStatus, ServiceStatus,
        StatusReport,
    },
};
use hornero_model::{Health, InstanceState, Share, Timestamp};

use crate::{
    command::{
        absent::{self, client},
        job, preview, schedule,
        status_notes::{notes, of_witness},
    },
    failure::Failure,
    harmless::harmless,
    output::{Table, Tone, age, print_json, print_text, short},
};

/// `hornero status`. Where no control process runs it tells what is known all the same, and ends with that failure.
pub async fn status(home: &Path, json: bool) -> Result<(), Failure> {
    let (report, failure) = match client(home).get::<StatusReport>("/v1/status").await {
        Ok(report) => (report, None),
        Err(error @ ClientError::Unreachable { .. }) if absent::is_readable(home) => {
            let report = hornero_control::status_offline(home);
            (report.map_err(|error| Failure::of(&*error))?, Some(Failure::from(error)))
        }
        Err(error) => return Err(error.into()),
    };
    if !json {
        print_text(&status_text(&report, Timestamp::now(), crate::output::coloured()))?;
    }
    match failure {
        None if json => print_json(&report),
        None => Ok(()),
        Some(failure) => Err(failure.with_data(&report)),
    }
}

const fn tone(state: InstanceState) -> Tone {
    match state {
        InstanceState::Serving => Tone::Good,
        InstanceState::Created
        | InstanceState::Starting
        | InstanceState::Probing
        | InstanceState::Ready
        | InstanceState::Draining => Tone::Passing,
        InstanceState::Failed => Tone::Bad,
        InstanceState::Stopped | InstanceState::Archived => Tone::Quiet,
    }
}

/// Whether it gets requests that it can answer: what was decided is not enough, the edge must have found it healthy.
fn serves(instance: &InstanceStatus) -> bool {
    let healthy = instance.health.is_none_or(|health| health == Health::Healthy);
    instance.state == InstanceState::Serving && healthy
}

/// Where an instance is in its life, and what is wrong with it.
fn state(instance: &InstanceStatus) -> (String, Tone) {
    if let Some(cause) = &instance.cause {
        return (format!("{}: {}", instance.state, harmless(cause)), tone(instance.state));
    }
    if instance.state != InstanceState::Serving || serves(instance) {
        return (instance.state.to_string(), tone(instance.state));
    }
    let health = match instance.health {
        Some(Health::Unhealthy) => "unhealthy",
        Some(Health::Unknown | Health::Healthy) | None => "not found healthy yet",
    };
    match &instance.health_error {
        Some(error) => (format!("{health}: {}", harmless(error)), Tone::Bad),
        None => (health.to_owned(), Tone::Bad),
    }
}

/// When an instance is replaced by a new one, where it is.
fn replaced(instance: &InstanceStatus, now: Timestamp) -> String {
    match (&instance.recycling, instance.recycle_due) {
        (Some(_), _) => "under way".to_owned(),
        (None, Some(due)) => format!("in {}", age(due, now)),
        (None, None) => "-".to_owned(),
    }
}

/// A rollout under way, in a few words.
fn rollout(one: &RolloutStatus) -> String {
    let canary = one.canary.as_ref().map(|canary| canary.weight);
    let weight = canary.or_else(|| one.rolling.as_ref().map(|rolling| rolling.weight));
    let share = weight.map(Share::percent);
    let paused = if one.paused.is_some() { "paused" } else { "" };
    let parts = [one.id.to_string(), one.phase.clone(), share.unwrap_or_default(), paused.into()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The release that answers on a route, or how much each of several does.
fn answering(route: &RouteStatus) -> String {
    let percent = |share: &Share| format!("{} {}", share.release, Share::percent(share.weight));
    match &route.shares[..] {
        [] => route.release.map_or_else(|| "-".into(), |number| number.to_string()),
        shares => shares.iter().map(percent).collect::<Vec<_>>().join(", "),
    }
}

/// One-off work that has not ended, jobs, schedules, and freezes that hold.
fn work_text(report: &StatusReport, now: Timestamp, colour: bool) -> String {
    let mut text = runs_text(&report.runs, now, colour);
    if !report.previews.is_empty() {
        text.push_str(&format!("\n{}", preview::table(&report.previews, now, colour)));
    }
    if !report.jobs.is_empty() {
        text.push_str(&format!("\n{}", job::table(&report.jobs, now, colour)));
    }
    if !report.schedules.is_empty() {
        text.push_str(&format!("\n{}", schedule::table(&report.schedules, now, colour)));
    }
    for FreezeStatus { freeze, directory, .. } in report.freezes.iter().filter(|one| one.holds) {
        let whose = if freeze.home { "everything".to_owned() } else { format!("`{directory}`") };
        let (name, until) = (&freeze.name, freeze.until);
        text.push_str(&harmless(&format!("\nfrozen: {whose}, by freeze `{name}` until {until}\n")));
    }
    text
}

/// One-off work that has not ended.
fn runs_text(runs: &[RunStatus], now: Timestamp, colour: bool) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let mut table = Table::with_head(&["RUN", "OF", "AGE", "BY", "COMMAND"]);
    for run in runs {
        let of = run.release.as_ref().map_or_else(|| run.image.short(), ToString::to_string);
        table.row(vec![
            (run.id.to_string(), Tone::Plain),
            (of, Tone::Plain),
            (age(now, run.started), Tone::Quiet),
            (run.by.who.clone(), Tone::Plain),
            (run.command.join(" "), Tone::Plain),
        ]);
    }
    format!("\n{}", table.render(colour))
}

fn status_text(report: &StatusReport, now: Timestamp, colour: bool) -> String {
    if report.services.is_empty() {
        let text = "no services; `hornero up DIR` brings some\n";
        let text = format!("{text}{}", work_text(report, now, colour));
        return format!("{text}{}", of_witness(report.control.witness.as_ref()));
    }
    let tables = [services(&report.services), instances(&report.services, now), routes(report)];
    let text = tables.map(|table| table.render(colour)).join("\n");
    text + &notes(report, &work_text(report, now, colour))
}

fn services(services: &[ServiceStatus]) -> Table {
    let mut table =
        Table::with_head(&["SERVICE", "RELEASE", "IMAGE", "SERVING", "INTERNAL NAME", "ROLLOUT"]);
    for service in services {
        let serving = service.instances.iter().filter(|instance| serves(instance)).count();
        let whole = usize::try_from(service.wanted).is_ok_and(|wanted| serving >= wanted);
        let sleeps = service.scale.as_ref().is_some_and(|scale| scale.now == 0) && serving == 0;
        let serving = match (sleeps, whole) {
            (true, _) => ("idle".to_owned(), Tone::Quiet),
            (false, true) => (format!("{serving}/{}", service.wanted), Tone::Good),
            (false, false) => (format!("{serving}/{}", service.wanted), Tone::Bad),
        };
        table.row(vec![
            (service.name.to_string(), Tone::Plain),
            (service.release.map_or_else(|| "-".into(), |number| number.to_string()), Tone::Plain),
            (short(service.image.as_ref()), Tone::Quiet),
            serving,
            (
                service
                    .internal
                    .as_ref()
                    .map_or_else(|| "-".into(), |internal| internal.name.clone()),
                Tone::Plain,
            ),
            (service.rollout.as_ref().map_or_else(|| "-".into(), rollout), Tone::Passing),
        ]);
    }
    table
}

/// The instances of all services; when they are replaced only where any of them is.
fn instances(services: &[ServiceStatus], now: Timestamp) -> Table {
    let all = services.iter().flat_map(|service| &service.instances);
    let ages = all.clone().any(|one| one.recycle_due.is_some() || one.recycling.is_some());
    let heads = ["INSTANCE", "STATE", "ADDRESS", "PID", "AGE", "REPLACED"];
    let mut table = Table::with_head(&heads[..heads.len() - usize::from(!ages)]);
    for instance in all {
        let mut cells = vec![
            (instance.id.to_string(), Tone::Plain),
            state(instance),
            (
                instance.address.map_or_else(|| "-".into(), |address| address.to_string()),
                Tone::Plain,
            ),
            (instance.pid.map_or_else(|| "-".into(), |pid| pid.to_string()), Tone::Quiet),
            (age(now, instance.created), Tone::Quiet),
        ];
        cells.extend(ages.then(|| (replaced(instance, now), Tone::Quiet)));
        table.row(cells);
    }
    table
}

fn routes(report: &StatusReport) -> Table {
    let mut table = Table::with_head(&["ROUTE", "TO", "RELEASE"]);
    for route in &report.routes {
        let listening = if route.fault.is_some() { Tone::Bad } else { Tone::Plain };
        let host = route.host.as_deref().unwrap_or("");
        let path = route.path_prefix.as_deref().unwrap_or("");
        let to = match route.redirect_to {
            Some(port) => format!("redirect to {port}"),
            None => route.pool.clone(),
        };
        table.row(vec![
            (format!("{} {host}{path}", route.listen).trim_end().to_owned(), listening),
            (to, Tone::Plain),
            (answering(route), Tone::Plain),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use hornero_api::message::{ControlStatus, ServiceStatus};
    use hornero_model::{InstanceId, ReleaseNumber, ServiceName};

    use super::*;

    /// The lines of `hornero status` that tell of the service and of its one instance.
    fn shown(health: Option<Health>, error: Option<&str>, gave_up_after: Option<u32>) -> String {
        let report = StatusReport {
            services: vec![ServiceStatus {
                name: ServiceName::new("site").unwrap(),
                release: Some(ReleaseNumber(1)),
                image: None,
                directory: None,
                labels: Default::default(),
                wanted: 1,
                internal: None,
                rollout: None,
                instances: vec![InstanceStatus {
                    id: InstanceId::new("site-1-a").unwrap(),
                    release: ReleaseNumber(1),
                    image: None,
                    state: InstanceState::Serving,
                    address: None,
                    pid: None,
                    place: None,
                    created: Timestamp::default(),
                    recycle_due: None,
                    recycling: None,
                    cause: None,
                    health,
                    health_error: error.map(str::to_owned),
                }],
                scale: None,
                gave_up_after,
                stopped: None,
                proof: None,
                rehearsal: None,
                steps: Vec::new(),
            }],
            routes: Vec::new(),
            control: ControlStatus {
                pid: 1,
                version: "1".to_owned(),
                started: Timestamp::default(),
                journal_fault: None,
                settings_fault: None,
                witness: None,
                absent: false,
                api: Vec::new(),
                sequence: 0,
            },
            edge: Some(Default::default()),
            limits: Vec::new(),
            runs: Vec::new(),
            jobs: Vec::new(),
            schedules: Vec::new(),
            freezes: Vec::new(),
            previews: Vec::new(),
            calls: Vec::new(),
            failures: Vec::new(),
            quarantined: Vec::new(),
            touched: Vec::new(),
        };
        status_text(&report, Timestamp::default(), false)
    }

    #[test]
    fn what_the_edge_does_not_find_healthy_does_not_serve() {
        let healthy = shown(Some(Health::Healthy), None, None);
        assert!(healthy.contains(" 1/1 ") && healthy.contains("site-1-a  serving "), "{healthy}");
        let old = shown(None, None, None);
        assert!(old.contains(" 1/1 "), "{old}");
        assert!(!healthy.contains("REPLACED"), "{healthy}");
        let sick = shown(Some(Health::Unhealthy), Some("answered 503, expected 200"), Some(9));
        assert!(sick.contains(" 0/1 ") && !sick.contains("serving "), "{sick}");
        assert!(sick.contains("site-1-a  unhealthy: answered 503, expected 200"), "{sick}");
        assert!(sick.contains("`site` failed 9 times in a row and is replaced no more"), "{sick}");
        let unknown = shown(Some(Health::Unknown), None, None);
        assert!(
            unknown.contains(" 0/1 ") && unknown.contains("not found healthy yet"),
            "{unknown}"
        );
    }
}
