//! The commands that only show: `status`, `history`, `receipt`.

use std::path::Path;

use hornero_api::{
    ClientError,
    message::{
        HistoryEntry, InstanceStatus, ListenerFaultEntry, PausedStatus, RolloutStatus, RouteStatus,
        RunStatus, StatusReport, WitnessStatus,
    },
};
use hornero_model::{
    ConnectionCounters, Health, InstanceState, Receipt, RolloutId, ServiceName, Share, Timestamp,
};

use crate::{
    command::{
        absent::{self, asked_or_read, client},
        canary, churn,
        operation::summary,
    },
    failure::{Failure, exit},
    output::{Table, Tone, age, harmless, print_json, print_text, short},
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
        Some(failure) => {
            let data = serde_json::to_value(&report).map_err(|error| Failure::of(&error))?;
            Err(failure.with_data(data))
        }
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

/// That a rollout waits for somebody, and what becomes of it.
fn paused_text(service: &ServiceName, paused: &PausedStatus) -> String {
    let PausedStatus { who, why, since, until } = paused;
    format!(
        "\npaused: the rollout of `{service}` by `{who}` at {since}: {why}; at {until} it is taken back, \
         `hornero rollout resume {service}` goes on\n"
    )
}

/// The release that answers on a route, or how much each of several does.
fn answering(route: &RouteStatus) -> String {
    let percent = |share: &Share| format!("{} {}", share.release, Share::percent(share.weight));
    match &route.shares[..] {
        [] => route.release.map_or_else(|| "-".into(), |number| number.to_string()),
        shares => shares.iter().map(percent).collect::<Vec<_>>().join(", "),
    }
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
        let text = format!("{text}{}", runs_text(&report.runs, now, colour));
        return format!("{text}{}", witness_text(report.control.witness.as_ref()));
    }
    let mut services =
        Table::with_head(&["SERVICE", "RELEASE", "IMAGE", "SERVING", "INTERNAL NAME", "ROLLOUT"]);
    let all = report.services.iter().flat_map(|service| &service.instances);
    let ages = all.clone().any(|one| one.recycle_due.is_some() || one.recycling.is_some());
    let heads = ["INSTANCE", "STATE", "ADDRESS", "PID", "AGE", "REPLACED"];
    let mut instances = Table::with_head(&heads[..heads.len() - usize::from(!ages)]);
    for service in &report.services {
        let serving = service.instances.iter().filter(|instance| serves(instance)).count();
        let whole = usize::try_from(service.wanted).is_ok_and(|wanted| serving >= wanted);
        services.row(vec![
            (service.name.to_string(), Tone::Plain),
            (service.release.map_or_else(|| "-".into(), |number| number.to_string()), Tone::Plain),
            (short(service.image.as_ref()), Tone::Quiet),
            (format!("{serving}/{}", service.wanted), if whole { Tone::Good } else { Tone::Bad }),
            (
                service
                    .internal
                    .as_ref()
                    .map_or_else(|| "-".into(), |internal| internal.name.clone()),
                Tone::Plain,
            ),
            (service.rollout.as_ref().map_or_else(|| "-".into(), rollout), Tone::Passing),
        ]);
        for instance in &service.instances {
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
            instances.row(cells);
        }
    }
    let mut routes = Table::with_head(&["ROUTE", "TO", "RELEASE"]);
    for route in &report.routes {
        let listening = if route.fault.is_some() { Tone::Bad } else { Tone::Plain };
        let host = route.host.as_deref().unwrap_or("");
        let path = route.path_prefix.as_deref().unwrap_or("");
        routes.row(vec![
            (format!("{} {host}{path}", route.listen).trim_end().to_owned(), listening),
            (
                match route.redirect_to {
                    Some(port) => format!("redirect to {port}"),
                    None => route.pool.clone(),
                },
                Tone::Plain,
            ),
            (answering(route), Tone::Plain),
        ]);
    }
    let mut text = [services, instances, routes].map(|table| table.render(colour)).join("\n");
    for service in &report.services {
        if let Some(paused) = service.rollout.as_ref().and_then(|one| one.paused.as_ref()) {
            text.push_str(&harmless(&paused_text(&service.name, paused)));
        }
        if let Some(canary) = service.rollout.as_ref().and_then(|one| one.canary.as_ref()) {
            text.push_str(&harmless(&canary::under_way(&service.name, canary)));
        }
        if let Some(failures) = service.gave_up_after {
            text.push_str(&format!(
                "\nwarning: `{}` failed {failures} times in a row and is replaced no more; `hornero up` tries again\n",
                service.name
            ));
        }
    }
    text.push_str(&runs_text(&report.runs, now, colour));
    text.push_str(&churn::stopped(&report.services));
    for (route, fault) in
        report.routes.iter().filter_map(|route| Some((route, route.fault.as_ref()?)))
    {
        let state = if fault.serves { "warning" } else { "down" };
        let (listen, reason) = (route.listen, harmless(&fault.reason));
        text.push_str(&format!("\n{state}: `{}` on {listen}: {reason}\n", route.pool));
    }
    if report.edge.is_none() {
        text.push_str(match report.control.absent {
            false => "\nthe edge is down; it is being started again\n",
            true => "\nthe edge is down, and no control process is there to start it again\n",
        });
    }
    if report.control.absent {
        text.push_str(
            "\nwarning: no control process runs: this is what the ledger said last, and what the edge says; nothing that \
             ends is replaced\n",
        );
    }
    text.push_str(&witness_text(report.control.witness.as_ref()));
    if let Some(connections) = report.edge.as_ref().and_then(|edge| edge.connections.as_ref()) {
        text.push_str(&limited(&connections.outside, "from outside"));
        text.push_str(&limited(&connections.internal, "from the services themselves"));
    }
    if let Some(fault) = &report.control.journal_fault {
        text.push_str(&format!(
            "\nwarning: the ledger can't be written to ({}); nothing is decided until it can, what serves goes on\n",
            harmless(fault)
        ));
    }
    for limit in &report.limits {
        text.push_str(&format!("\nnote: {}: {}", limit.feature, limit.reason));
        for (word, what) in [("cost", &limit.cost), ("hint", &limit.remedy)] {
            if !what.is_empty() {
                text.push_str(&format!("\n      {word}: {what}"));
            }
        }
    }
    if !report.limits.is_empty() {
        text.push('\n');
    }
    text
}

/// What is wrong with the witness; nothing where it has the newest head.
fn witness_text(witness: Option<&WitnessStatus>) -> String {
    let Some(WitnessStatus { place, event, fault: Some(fault), fault_since, .. }) = witness else {
        return String::new();
    };
    let since = fault_since.map(|since| format!(" since {since}")).unwrap_or_default();
    let has = match event {
        0 => "none of this control process's heads".to_owned(),
        event => format!("the head of event {event}"),
    };
    format!(
        "\nwarning: the witness `{place}` can't be reached{since} ({}); it has {has} and gets the newest when it is back\n",
        harmless(fault)
    )
}

/// What the edge had to do about connections beyond its limits; nothing in the ordinary course.
fn limited(counted: &ConnectionCounters, whence: &str) -> String {
    let ConnectionCounters {
        open, limit, source_limit, given_up, refused, refused_by_source, ..
    } = counted;
    let mut notes = String::new();
    if counted.bad_proxy_headers > 0 {
        notes = format!(
            "\nnote: {} connections of trusted proxies refused {whence}: their PROXY header was missing, malformed or \
             late\n",
            counted.bad_proxy_headers
        );
    }
    if given_up + refused + refused_by_source == 0 {
        return notes;
    }
    let refused = refused + refused_by_source;
    format!(
        "{notes}\nnote: too many connections {whence}: {given_up} idle ones closed for newer ones, {refused} refused; {open} are \
         open, {limit} may be, {source_limit} of one source\n"
    )
}

/// `hornero history`.
pub async fn history(home: &Path, json: bool, service: &ServiceName) -> Result<(), Failure> {
    let client = client(home);
    let path = format!("/v1/services/{service}/history");
    let read = || hornero_control::history_offline(home, service);
    let asked = async { client.get::<Vec<HistoryEntry>>(&path).await.map(Some) };
    let entries = asked_or_read(home, asked, read).await?;
    let entries = entries.ok_or_else(|| {
        Failure::new(exit::NO_SUCH_OBJECT, format!("no service `{service}`"))
            .word("no_such_service")
    })?;
    if json {
        return print_json(&entries);
    }
    let now = Timestamp::now();
    let mut table = Table::with_head(&["RELEASE", "IMAGE", "BASE", "PROVEN", "AGE", "WHO", "WHY"]);
    let mut host_starts = String::new();
    for entry in entries {
        for time in entry.host_started.iter().rev() {
            host_starts.push_str(&format!(
                "host started again {} ago ({time}), and {service}@{} with it\n",
                age(now, *time),
                entry.release
            ));
        }
        for fault in entry.listener_faults.iter().rev() {
            host_starts.push_str(&listener_fault(fault, &format!("{service}@{}", entry.release)));
        }
        for step in &entry.canary {
            let line = harmless(&canary::judged(step)).into_owned();
            host_starts.push_str(&format!("canary {service}@{}: {line}\n", entry.release));
        }
        for deed in &entry.interventions {
            let line = harmless(&deed.to_string()).into_owned();
            host_starts.push_str(&format!("rollout of {service}@{} {line}\n", entry.release));
        }
        let marked = if entry.serving { " *" } else { "" };
        if let Some(failed) = &entry.failed {
            let reason = harmless(&failed.reason);
            host_starts.push_str(&format!(
                "{service}@{} failed at {} ({}: {}): {reason}\n",
                entry.release, failed.at, failed.who, failed.why
            ));
        }
        let proven = match (entry.proven, &entry.failed) {
            (_, Some(_)) => ("failed".to_owned(), Tone::Bad),
            (true, None) => ("yes".to_owned(), Tone::Good),
            (false, None) => ("no".to_owned(), Tone::Quiet),
        };
        table.row(vec![
            (format!("{service}@{}{marked}", entry.release), Tone::Plain),
            (entry.image.short(), Tone::Quiet),
            (entry.base.map_or_else(|| "-".to_owned(), |base| base.short()), Tone::Quiet),
            proven,
            (age(now, entry.created), Tone::Plain),
            (entry.who, Tone::Plain),
            (entry.why, Tone::Plain),
        ]);
    }
    table.print()?;
    print_text(&format!("\n* serves now\n{host_starts}"))
}

/// When a way in was down, and for how long, in a line.
fn listener_fault(fault: &ListenerFaultEntry, release: &str) -> String {
    let ListenerFaultEntry { listen, reason, serves, from, until } = fault;
    let state = if *serves { "was not as it should be" } else { "was down" };
    let until = match until {
        Some(until) => format!("until {until}, for {}", age(*until, *from)),
        None => "and is so still".to_owned(),
    };
    format!("`{listen}` of {release} {state} from {from} {until}: {}\n", harmless(reason))
}

/// `hornero receipt`.
pub async fn receipt(
    home: &Path,
    json: bool,
    id: Option<RolloutId>,
    service: Option<ServiceName>,
) -> Result<(), Failure> {
    let (client, read) = (client(home), || hornero_control::receipts_offline(home));
    if let Some(id) = id {
        let path = format!("/v1/receipts/{id}");
        let asked = async { client.get::<Receipt>(&path).await.map(|receipt| vec![receipt]) };
        let receipts = asked_or_read(home, asked, read).await?;
        let receipt = receipts.iter().find(|receipt| receipt.body.id == id).ok_or_else(|| {
            Failure::new(exit::NO_SUCH_OBJECT, format!("no receipt `{id}`")).word("no_such_receipt")
        })?;
        return match json {
            true => print_json(receipt),
            false => print_text(&harmless(&receipt_text(receipt))),
        };
    }
    let query = service.as_ref().map_or_else(String::new, |name| format!("?service={name}"));
    let path = format!("/v1/receipts{query}");
    let mut receipts: Vec<Receipt> = asked_or_read(home, client.get(&path), read).await?;
    receipts.retain(|receipt| service.as_ref().is_none_or(|name| receipt.body.service == *name));
    if json {
        return print_json(&receipts);
    }
    receipts.iter().try_for_each(|receipt| print_text(&format!("{}\n", summary(receipt))))
}

fn receipt_text(receipt: &Receipt) -> String {
    let body = &receipt.body;
    let from = match (body.from, body.from_image) {
        (Some(number), Some(image)) => format!("{}@{number}  {image}", body.service),
        _ => "nothing".to_owned(),
    };
    format!(
        "receipt    {}\nfrom       {from}\nto         {}@{}  {}\nwho        {}\nwhy        {}\nswitched   {} in {:.3} ms\n\
         in all     {:.0} ms\ndrained    {}\ncut off    {}\nfailed     {}\nwarm       {}\nsignature  {}\nkey        {}\n",
        body.id,
        body.service,
        body.to,
        body.to_image,
        body.by.who,
        body.by.why,
        body.switched,
        body.switch_ms,
        body.total_ms,
        body.drained,
        body.cut_off,
        body.requests_failed,
        if body.warm { "yes" } else { "no" },
        receipt.signature,
        receipt.key
    ) + &body
        .canary
        .iter()
        .map(|step| format!("canary     {}\n", canary::judged(step)))
        .collect::<String>()
        + &body.interventions.iter().map(|deed| format!("by hand    {deed}\n")).collect::<String>()
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
                gave_up_after,
                stopped: None,
            }],
            routes: Vec::new(),
            control: ControlStatus {
                pid: 1,
                version: "1".to_owned(),
                started: Timestamp::default(),
                journal_fault: None,
                witness: None,
                absent: false,
            },
            edge: Some(Default::default()),
            limits: Vec::new(),
            runs: Vec::new(),
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
