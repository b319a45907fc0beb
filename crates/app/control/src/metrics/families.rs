//! Everything that `/metrics` tells, family by family.
//!
//! Series are bounded by what runs: releases and instances that are gone leave, and what happened is counted by service.

use std::collections::BTreeMap;

use hornero_driver::Use;
use hornero_model::{
    ChurnScope, ChurnWindow, Health, InstanceUsage, LatencyBucket, Millis, ReleaseCounters,
    Timestamp, program_version,
};
use rustix::fs::StatVfs;

use super::{
    exposition::{
        Exposition, FamilyKind,
        FamilyKind::{Counter, Gauge, Histogram},
        Label, seconds,
    },
    seen::{Seen, SeenInstance, SeenService},
    tally::{HomeTally, OUTCOMES, ServiceTally},
};

/// The upper bounds of the histogram's buckets as powers of two, in microseconds: from half a millisecond to 16 seconds. At
/// these the edge's own buckets end, so that what is told is counted and not guessed.
const BOUNDS_LOG2: std::ops::RangeInclusive<u32> = 9..=24;

/// What is told beside what runs.
pub struct OwnFigures<'a> {
    pub started: Timestamp,
    pub tally: &'a HomeTally,
    /// Why the ledger takes nothing.
    pub journal_fault: bool,
    pub ledger_bytes: u64,
    pub figures_bytes: u64,
    pub disk: Option<StatVfs>,
}

/// The text of one scrape.
pub fn exposition(seen: &Seen, own: &OwnFigures<'_>) -> String {
    let mut text = Exposition::default();
    process(&mut text, seen, own);
    rollouts(&mut text, seen, own.tally);
    edge(&mut text, seen);
    services(&mut text, seen, own.tally);
    requests(&mut text, seen);
    instances(&mut text, seen);
    text.into_text()
}

fn process(text: &mut Exposition, seen: &Seen, own: &OwnFigures<'_>) {
    text.family("hornero_build_info", Gauge, "The version of the control process.")
        .sample(&[("version", program_version())], 1);
    text.family("hornero_control_start_time_seconds", Gauge, "When the control process started.")
        .sample(&[], time(own.started));
    text.family("hornero_ledger_last_sequence", Gauge, "The number of the ledger's last event.")
        .sample(&[], seen.last_sequence);
    text.family("hornero_ledger_size_bytes", Gauge, "The size of the ledger's file.")
        .sample(&[], own.ledger_bytes);
    text.family("hornero_ledger_writable", Gauge, "Whether the ledger takes what is decided.")
        .sample(&[], u8::from(!own.journal_fault));
    text.family("hornero_figures_size_bytes", Gauge, "What the figures kept on this host take.")
        .sample(&[], own.figures_bytes);
    if let Some(disk) = &own.disk {
        text.family("hornero_home_size_bytes", Gauge, "The size of the home's file system.")
            .sample(&[], disk.f_blocks.saturating_mul(disk.f_frsize));
        text.family("hornero_home_free_bytes", Gauge, "What is free of it.")
            .sample(&[], disk.f_bavail.saturating_mul(disk.f_frsize));
    }
}

fn rollouts(text: &mut Exposition, seen: &Seen, tally: &HomeTally) {
    text.family("hornero_rollouts_running", Gauge, "Rollouts under way.")
        .sample(&[], seen.rollouts);
    text.family("hornero_rollouts_total", Counter, "Rollouts that ended, by how.");
    let others = tally.rollouts.keys().map(String::as_str);
    let others = others.filter(|outcome| !OUTCOMES.contains(outcome));
    for outcome in OUTCOMES.into_iter().chain(others) {
        let count = tally.rollouts.get(outcome).copied().unwrap_or(0);
        text.sample(&[("outcome", outcome)], count);
    }
    text.family("hornero_effects_refused_total", Counter, "What the watchdog refused.")
        .sample(&[], tally.refused);
}

fn edge(text: &mut Exposition, seen: &Seen) {
    let edge = seen.edge.as_ref();
    text.family("hornero_edge_up", Gauge, "Whether the edge answers.")
        .sample(&[], u8::from(edge.is_some()));
    let Some(edge) = edge else { return };
    text.family("hornero_edge_table_generation", Gauge, "The route table in force.")
        .sample(&[], edge.generation);
    text.family(
        "hornero_edge_listeners_at_fault",
        Gauge,
        "Listeners that can't serve as they should.",
    )
    .sample(&[], edge.faults);
    let Some(connections) = &edge.connections else { return };
    let sides = [("outside", &connections.outside), ("internal", &connections.internal)];
    text.family("hornero_edge_connections", Gauge, "Client connections that are open.");
    for (side, counters) in sides {
        text.sample(&[("side", side)], counters.open);
    }
    text.family("hornero_edge_connections_refused_total", Counter, "Client connections refused.");
    for (side, counters) in sides {
        text.sample(&[("side", side)], counters.refused + counters.refused_by_source);
    }
}

fn services(text: &mut Exposition, seen: &Seen, tally: &HomeTally) {
    text.family("hornero_service_info", Gauge, "What serves of a service.");
    for service in &seen.services {
        let release = service.release.map(|number| number.to_string()).unwrap_or_default();
        let image = service.image.as_deref().unwrap_or_default();
        let name = service.name.as_str();
        text.sample(&[("service", name), ("release", &release), ("image", image)], 1);
    }
    if seen.services.iter().any(|service| !service.labels.is_empty()) {
        text.family("hornero_service_labels", Gauge, "What people say of a service.");
        for service in seen.services.iter().filter(|service| !service.labels.is_empty()) {
            let named = service.labels.iter();
            let named: Vec<_> =
                named.map(|(name, value)| (format!("label_{name}"), value)).collect();
            let labels = named.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let own = [("service", service.name.as_str())];
            text.sample(&own.into_iter().chain(labels).collect::<Vec<_>>(), 1);
        }
    }
    let states: [Told<SeenService, u64>; 4] = [
        ("hornero_service_instances_wanted", "Instances that a service wants.", |of| {
            of.wanted.into()
        }),
        ("hornero_service_rollout_running", "Whether a rollout is under way.", |of| {
            of.rollout.into()
        }),
        ("hornero_service_stopped", "Whether a limit of churn stopped it.", |of| of.stopped.into()),
        ("hornero_service_gave_up", "Whether nothing more is replaced by itself.", |of| {
            of.gave_up.into()
        }),
    ];
    for (name, help, value) in states {
        text.family(name, Gauge, help);
        for service in &seen.services {
            text.sample(&[("service", service.name.as_str())], value(service));
        }
    }
    text.family("hornero_service_instances", Gauge, "Instances of a service by state and health.");
    for ((service, state, health), count) in by_state(seen) {
        text.sample(&[("service", service), ("state", &state), ("health", health)], count);
    }
    text.family(
        "hornero_rollback_proof_age_seconds",
        Gauge,
        "The age of the last proof that it could go back.",
    );
    for service in &seen.services {
        if let Some(age) = service.proof_age {
            text.sample(&[("service", service.name.as_str())], age);
        }
    }
    tallied(text, seen, tally);
    budgets(text, seen);
}

/// How many instances of each service are in a state, and how healthy.
fn by_state(seen: &Seen) -> BTreeMap<(&str, String, &'static str), u64> {
    let mut counts = BTreeMap::new();
    for one in &seen.instances {
        let key = (one.view.service.as_str(), one.view.state.to_string(), health(one.view.health));
        *counts.entry(key).or_default() += 1;
    }
    counts
}

const fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
        Health::Unknown => "unknown",
    }
}

/// A family's name, what it is, and its value of a thing.
type Told<T, V> = (&'static str, &'static str, fn(&T) -> V);

fn tallied(text: &mut Exposition, seen: &Seen, tally: &HomeTally) {
    let families: [Told<ServiceTally, u64>; 3] = [
        ("hornero_releases_created_total", "Releases that were made.", |of| of.releases),
        ("hornero_instances_created_total", "Instances that were made.", |of| of.made),
        (
            "hornero_instances_failed_total",
            "Instances that ended by themselves or broke their health contract.",
            |of| of.failed,
        ),
    ];
    for (name, help, value) in families {
        text.family(name, Counter, help);
        for service in &seen.services {
            let of = tally.services.get(&service.name).copied().unwrap_or_default();
            text.sample(&[("service", service.name.as_str())], value(&of));
        }
    }
}

/// What was made against what may be; the home's own without a service.
fn budgets(text: &mut Exposition, seen: &Seen) {
    let families: [Told<Use, u32>; 2] = [
        (
            "hornero_churn_used",
            "Servers that were made within a time and count against a limit.",
            |of| of.made,
        ),
        ("hornero_churn_limit", "How many may be.", |of| of.limit),
    ];
    for (name, help, value) in families {
        text.family(name, Gauge, help);
        let home = seen.home_budget.iter().map(|of| ("", of));
        let own = |service: &'_ SeenService| service.name.to_string();
        let services = seen
            .services
            .iter()
            .flat_map(|service| service.budget.iter().map(move |of| (own(service), of)));
        for (service, of) in home.map(|(name, of)| (name.to_owned(), of)).chain(services) {
            let window = match of.window {
                ChurnWindow::Hour => "hour",
                ChurnWindow::Day => "day",
            };
            let scope = match of.scope {
                ChurnScope::Unrequested => "unrequested",
                ChurnScope::Requested => "requested",
                ChurnScope::Load => "load",
            };
            text.sample(&[("service", &service), ("scope", scope), ("window", window)], value(of));
        }
    }
}

fn requests(text: &mut Exposition, seen: &Seen) {
    let counters = seen.counters();
    if counters.is_empty() {
        return;
    }
    for (name, kind, help, value) in OF_RELEASES {
        text.family(name, *kind, help);
        for of in counters {
            with_pool(of, |labels| {
                text.sample(labels, value(of));
            });
        }
    }
    text.family(
        "hornero_responses_total",
        Counter,
        "Answers of instances by the class of their status.",
    );
    for of in counters {
        let classes = [
            ("1xx", of.answers.upgraded),
            ("2xx", of.answers.success),
            ("3xx", of.answers.redirect),
            ("4xx", of.answers.client_error),
            ("5xx", of.server_errors),
        ];
        for (class, count) in classes {
            with_pool(of, |labels| {
                let labels = [labels[0], labels[1], labels[2], ("class", class)];
                text.sample(&labels, count);
            });
        }
    }
    text.family("hornero_request_duration_seconds", Histogram, "How long answers took to begin.");
    for of in counters.iter().filter(|of| of.latency.count() > 0) {
        with_pool(of, |labels| histogram(text, of, labels));
    }
    let waiting = seen.edge.iter().flat_map(|edge| &edge.waiting);
    text.family("hornero_requests_waiting", Gauge, "Requests that wait to be let in.");
    for of in waiting {
        let labels = [("service", of.pool.service.as_str()), ("port", of.pool.port.as_str())];
        text.sample(&labels, of.requests);
    }
}

type OfRelease = (&'static str, FamilyKind, &'static str, fn(&ReleaseCounters) -> u64);

/// What is counted of each release behind each port.
const OF_RELEASES: &[OfRelease] = &[
    ("hornero_requests_total", Counter, "Requests, or TCP connections, begun.", |of| of.requests),
    ("hornero_requests_in_flight", Gauge, "Requests in flight.", |of| of.in_flight),
    ("hornero_requests_failed_total", Counter, "Requests that failed at the edge.", |of| of.failed),
    (
        "hornero_requests_held_total",
        Counter,
        "Requests that waited before they were let in.",
        |of| of.held,
    ),
    ("hornero_request_retries_total", Counter, "Attempts beyond the first.", |of| of.retries),
    ("hornero_request_bytes_total", Counter, "Bytes that went to instances.", |of| {
        of.bytes_in.unwrap_or(0)
    }),
    ("hornero_response_bytes_total", Counter, "Bytes that came from instances.", |of| {
        of.bytes_out.unwrap_or(0)
    }),
];

fn with_pool(of: &ReleaseCounters, tell: impl FnOnce(&[Label<'_>; 3])) {
    let release = of.release.to_string();
    let (service, port) = (of.pool.service.as_str(), of.pool.port.as_str());
    tell(&[("service", service), ("port", port), ("release", &release)]);
}

fn histogram(text: &mut Exposition, of: &ReleaseCounters, labels: &[Label<'_>; 3]) {
    let count = of.latency.count();
    let mut line = |le: &str, value: u64| {
        let labels = [labels[0], labels[1], labels[2], ("le", le)];
        text.line("_bucket", &labels, value);
    };
    for power in BOUNDS_LOG2 {
        let bound = 1_u64 << power;
        let within = count - of.latency.count_over(LatencyBucket::ended_by(bound));
        line(&seconds(bound).to_string(), within);
    }
    line("+Inf", count);
    text.line("_sum", labels, seconds(of.latency_sum_us));
    text.line("_count", labels, count);
}

fn instances(text: &mut Exposition, seen: &Seen) {
    let used = || {
        let all = seen.instances.iter();
        all.filter_map(|one| Some((one, seen.usage.get(&one.view.id)?)))
    };
    if used().next().is_none() {
        return;
    }
    for (name, kind, help, value) in OF_INSTANCES {
        text.family(name, *kind, help);
        for (one, usage) in used() {
            if let Some(value) = value(one, usage) {
                with_instance(one, |labels| {
                    text.sample(labels, value);
                });
            }
        }
    }
    if used().all(|(_, usage)| usage.pressure.is_none()) {
        return;
    }
    text.family(
        "hornero_instance_pressure_seconds_total",
        Counter,
        "Time in which something of an instance waited for want of a resource.",
    );
    for (one, pressure) in used().filter_map(|(one, usage)| Some((one, usage.pressure?))) {
        let resources =
            [("cpu", pressure.cpu_us), ("memory", pressure.memory_us), ("io", pressure.io_us)];
        for (resource, micros) in resources {
            with_instance(one, |labels| {
                let labels = [labels[0], labels[1], labels[2], ("resource", resource)];
                text.sample(&labels, seconds(micros));
            });
        }
    }
}

type OfInstance =
    (&'static str, FamilyKind, &'static str, fn(&SeenInstance, &InstanceUsage) -> Option<f64>);

/// What is told of each instance.
#[allow(clippy::cast_precision_loss)] // A byte of eight petabytes.
const OF_INSTANCES: &[OfInstance] = &[
    ("hornero_instance_start_time_seconds", Gauge, "When an instance was made.", |one, _| {
        Some(time(one.view.created))
    }),
    ("hornero_instance_healthy", Gauge, "Whether the edge finds an instance healthy.", |one, _| {
        Some(f64::from(u8::from(one.view.health == Health::Healthy)))
    }),
    ("hornero_instance_cpu_seconds_total", Counter, "Processor time used.", |_, usage| {
        Some(seconds(usage.cpu_us))
    }),
    (
        "hornero_instance_cpu_throttled_seconds_total",
        Counter,
        "Time over the processor limit.",
        |_, usage| usage.throttled_us.map(seconds),
    ),
    ("hornero_instance_memory_bytes", Gauge, "Memory used, page cache included.", |_, usage| {
        Some(usage.memory_bytes as f64)
    }),
    ("hornero_instance_memory_peak_bytes", Gauge, "The most memory ever used.", |_, usage| {
        usage.memory_peak_bytes.map(|bytes| bytes as f64)
    }),
    ("hornero_instance_memory_limit_bytes", Gauge, "The most that may be used.", |one, _| {
        Some(one.resources.memory_bytes as f64)
    }),
    ("hornero_instance_processes", Gauge, "Processes and threads.", |_, usage| {
        Some(usage.processes as f64)
    }),
    ("hornero_instance_open_descriptors", Gauge, "Open file descriptors.", |_, usage| {
        usage.descriptors.map(|count| count as f64)
    }),
    (
        "hornero_instance_out_of_memory_kills_total",
        Counter,
        "Processes that the kernel killed for want of memory.",
        |_, usage| Some(usage.out_of_memory_kills as f64),
    ),
];

fn with_instance(one: &SeenInstance, tell: impl FnOnce(&[Label<'_>; 3])) {
    let release = one.view.release.to_string();
    let (service, instance) = (one.view.service.as_str(), one.view.id.as_str());
    tell(&[("service", service), ("release", &release), ("instance", instance)]);
}

fn time(at: Timestamp) -> f64 {
    Millis(at.0).duration().as_secs_f64()
}
