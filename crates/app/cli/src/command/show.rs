//! The commands that only show: `status`, `history`, `receipt`, `logs`, `audit`.

use std::{io::Read as _, path::Path};

use hornero_api::{
    Client, ClientError,
    message::{AuditReport, HistoryEntry, InstanceStatus, LogLine, Nothing, StatusReport},
};
use hornero_model::{
    ConnectionCounters, Event, Health, InstanceState, Receipt, RolloutId, ServiceName, Timestamp,
};
use hyper::Method;

use crate::{
    command::operation::summary,
    daemon,
    failure::{Failure, exit},
    output::{Table, Tone, age, harmless, print_json, print_text, short},
};

fn client(home: &Path) -> Client {
    Client::new(daemon::socket(home))
}

/// `hornero status`.
pub async fn status(home: &Path, json: bool) -> Result<(), Failure> {
    let report: StatusReport = client(home).get("/v1/status").await?;
    if json {
        return print_json(&report);
    }
    print_text(&status_text(&report, Timestamp::now(), crate::output::coloured()))
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

fn status_text(report: &StatusReport, now: Timestamp, colour: bool) -> String {
    if report.services.is_empty() {
        return "no services; `hornero up DIR` brings some\n".to_owned();
    }
    let mut services =
        Table::with_head(&["SERVICE", "RELEASE", "IMAGE", "SERVING", "INTERNAL NAME", "ROLLOUT"]);
    let mut instances = Table::with_head(&["INSTANCE", "STATE", "ADDRESS", "PID", "AGE"]);
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
            (
                service
                    .rollout
                    .as_ref()
                    .map_or_else(|| "-".into(), |one| format!("{} {}", one.id, one.phase)),
                Tone::Passing,
            ),
        ]);
        for instance in &service.instances {
            instances.row(vec![
                (instance.id.to_string(), Tone::Plain),
                state(instance),
                (
                    instance.address.map_or_else(|| "-".into(), |address| address.to_string()),
                    Tone::Plain,
                ),
                (instance.pid.map_or_else(|| "-".into(), |pid| pid.to_string()), Tone::Quiet),
                (age(now, instance.created), Tone::Quiet),
            ]);
        }
    }
    let mut routes = Table::with_head(&["ROUTE", "TO", "RELEASE"]);
    for route in &report.routes {
        let listening = if route.fault.is_some() { Tone::Bad } else { Tone::Plain };
        let host = route.host.as_deref().unwrap_or("");
        let path = route.path_prefix.as_deref().unwrap_or("");
        routes.row(vec![
            (format!("{} {host}{path}", route.listen).trim_end().to_owned(), listening),
            (route.pool.clone(), Tone::Plain),
            (route.release.map_or_else(|| "-".into(), |number| number.to_string()), Tone::Plain),
        ]);
    }
    let mut text = [services, instances, routes].map(|table| table.render(colour)).join("\n");
    for service in &report.services {
        if let Some(failures) = service.gave_up_after {
            text.push_str(&format!(
                "\nwarning: `{}` failed {failures} times in a row and is replaced no more; `hornero up` tries again\n",
                service.name
            ));
        }
    }
    for (route, fault) in
        report.routes.iter().filter_map(|route| Some((route, route.fault.as_ref()?)))
    {
        let state = if fault.serves { "warning" } else { "down" };
        let (listen, reason) = (route.listen, harmless(&fault.reason));
        text.push_str(&format!("\n{state}: `{}` on {listen}: {reason}\n", route.pool));
    }
    if report.edge.is_none() {
        text.push_str("\nthe edge is down; it is being started again\n");
    }
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

/// What the edge had to do about connections beyond its limits; nothing in the ordinary course.
fn limited(counted: &ConnectionCounters, whence: &str) -> String {
    let ConnectionCounters {
        open, limit, source_limit, given_up, refused, refused_by_source, ..
    } = counted;
    if given_up + refused + refused_by_source == 0 {
        return String::new();
    }
    let refused = refused + refused_by_source;
    format!(
        "\nnote: too many connections {whence}: {given_up} idle ones closed for newer ones, {refused} refused; {open} are \
         open, {limit} may be, {source_limit} of one source\n"
    )
}

/// `hornero history`.
pub async fn history(home: &Path, json: bool, service: &ServiceName) -> Result<(), Failure> {
    let entries: Vec<HistoryEntry> =
        client(home).get(&format!("/v1/services/{service}/history")).await?;
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
        let marked = if entry.serving { " *" } else { "" };
        let proven = if entry.proven {
            ("yes".to_owned(), Tone::Good)
        } else {
            ("no".to_owned(), Tone::Quiet)
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

/// `hornero receipt`.
pub async fn receipt(
    home: &Path,
    json: bool,
    id: Option<RolloutId>,
    service: Option<ServiceName>,
) -> Result<(), Failure> {
    let client = client(home);
    if let Some(id) = id {
        let receipt: Receipt = client.get(&format!("/v1/receipts/{id}")).await?;
        return match json {
            true => print_json(&receipt),
            false => print_text(&harmless(&receipt_text(&receipt))),
        };
    }
    let query = service.map_or_else(String::new, |service| format!("?service={service}"));
    let receipts: Vec<Receipt> = client.get(&format!("/v1/receipts{query}")).await?;
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
    )
}

/// `hornero logs`.
pub async fn logs(
    home: &Path,
    json: bool,
    object: &str,
    since: Option<String>,
    follow: bool,
) -> Result<(), Failure> {
    if !object.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Failure::new(
            exit::USAGE,
            format!("`{object}` is neither a service nor an instance"),
        ));
    }
    let mut path = format!("/v1/logs/{object}?follow={follow}");
    if let Some(since) = since {
        path.push_str(&format!("&since={}", since_time(&since)?));
    }
    let mut lines = client(home).stream::<LogLine>(Method::GET, &path, None::<&Nothing>).await?;
    while let Some(line) = lines.next().await? {
        if json {
            print_json(&line)?;
        } else {
            let text = harmless(&line.text);
            print_text(&format!("{} {} {text}\n", line.time, line.instance))?;
        }
    }
    Ok(())
}

/// An RFC 3339 time, or a span before now.
fn since_time(text: &str) -> Result<Timestamp, Failure> {
    if let Ok(span) = humantime::parse_duration(text) {
        let now = Timestamp::now();
        return Ok(Timestamp(
            now.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        ));
    }
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|_| {
        Failure::new(exit::USAGE, format!("`{text}` is neither a time nor a span"))
            .hint("write `2026-05-01T12:00:00Z` or `10m`")
    })
}

/// `hornero audit`.
pub async fn audit(home: &Path, json: bool, from: u64) -> Result<(), Failure> {
    let path = format!("/v1/audit?from={from}");
    let mut events = client(home).stream::<Event>(Method::GET, &path, None::<&Nothing>).await?;
    while let Some(event) = events.next().await? {
        if json {
            print_json(&event)?;
            continue;
        }
        let body = serde_json::to_value(&event.body).map_err(|error| Failure::of(&error))?;
        let kind = body["kind"].as_str().unwrap_or("event").to_owned();
        let detail: String = body.to_string().chars().take(160).collect();
        let line = format!(
            "{:>6} {} {:<16} {:<10} {detail}\n",
            event.sequence, event.time, kind, event.by.who
        );
        print_text(&harmless(&line))?;
    }
    Ok(())
}

/// `hornero audit verify`; reads the ledger through the control process where one runs, else from disk.
pub async fn audit_verify(home: &Path, json: bool, against: Option<&Path>) -> Result<(), Failure> {
    // Read first: what can't be read is a mistake of whoever asks, and no word on the ledger.
    let witness = against.map(witness).transpose()?;
    let asked: Result<AuditReport, ClientError> =
        client(home).post("/v1/audit/verify", &serde_json::json!({})).await;
    let mut report = match asked {
        Ok(report) => report,
        // A home where nothing ever ran has no ledger; one that lost only a part of it has been touched.
        Err(error @ ClientError::Unreachable { .. }) if is_absent(home) => return Err(error.into()),
        Err(ClientError::Unreachable { .. }) => {
            hornero_control::verify_ledger(home).map_err(|error| Failure::of(&*error))?
        }
        Err(error) => return Err(error.into()),
    };
    if let (true, Some(witness)) = (report.intact, &witness) {
        let held = hornero_control::ledger_holds(home, witness);
        if let Err(why) = held.map_err(|error| Failure::of(&*error))? {
            report = AuditReport { intact: false, why: Some(why), ..report };
        }
    }
    if report.intact {
        return match json {
            true => print_json(&report),
            false => print_text(&format!("intact: {} events\n", report.events)),
        };
    }
    let event = report.touched.map_or_else(String::new, |event| format!(" from event {event} on"));
    let why = report.why.as_deref().unwrap_or_default();
    let failure = Failure::new(exit::FAILED, format!("the ledger was touched{event}: {why}"));
    let data = serde_json::to_value(&report).map_err(|error| Failure::of(&error))?;
    Err(failure.with_data(data))
}

/// What the ledger is compared with.
fn witness(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let limit = hornero_control::WITNESS_BYTES_MAX;
    let read =
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::new(exit::USAGE, format!("`{}` can't be read: {error}", path.display()))
            .hint("name a file with a receipt as JSON, or a copy of a home's `ledger.head`")
    })?;
    Ok(text)
}

/// Whether a home surely has nothing of a ledger; one that may not be looked into might.
fn is_absent(home: &Path) -> bool {
    ["ledger.db", "ledger.head"]
        .iter()
        .all(|part| matches!(home.join(part).try_exists(), Ok(false)))
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
                    created: Timestamp::default(),
                    cause: None,
                    health,
                    health_error: error.map(str::to_owned),
                }],
                gave_up_after,
            }],
            routes: Vec::new(),
            control: ControlStatus {
                pid: 1,
                version: "1".to_owned(),
                started: Timestamp::default(),
                journal_fault: None,
            },
            edge: Some(Default::default()),
            limits: Vec::new(),
        };
        status_text(&report, Timestamp::default(), false)
    }

    #[test]
    fn what_the_edge_does_not_find_healthy_does_not_serve() {
        let healthy = shown(Some(Health::Healthy), None, None);
        assert!(healthy.contains(" 1/1 ") && healthy.contains("site-1-a  serving "), "{healthy}");
        let old = shown(None, None, None);
        assert!(old.contains(" 1/1 "), "{old}");
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
