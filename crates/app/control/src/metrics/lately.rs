//! What runs now uses and answers, with rates from two looks.

use std::time::Duration;

use hornero_api::message::{FiguresReport, InstanceFigures, ReleaseFigures, ReleaseRates};
use hornero_model::{LatencyBucket, LatencyHistogram, ReleaseCounters};

use super::seen::{Seen, SeenInstance};

/// What is told of the last look, with rates since an earlier one.
pub fn report(seen: &Seen, before: Option<&Seen>) -> FiguresReport {
    let before = before.filter(|before| before.taken < seen.taken);
    let span = before.map_or(Duration::ZERO, |before| seen.taken - before.taken);
    let seconds = span.as_secs_f64();
    let edge_before = || {
        let before = before?.edge.as_ref()?;
        // Another process counts anew.
        (seen.edge.as_ref()?.pid == before.pid).then_some(before)
    };
    let releases = seen.counters().iter().map(|counters| {
        let same = |other: &&ReleaseCounters| {
            (&other.pool, other.release) == (&counters.pool, counters.release)
        };
        let earlier = edge_before().map(|edge| edge.counters.iter().find(same));
        release(seen, counters, earlier.map(|earlier| (earlier, seconds)))
    });
    let releases = releases.filter(|of| is_up(seen, of)).collect();
    let instances = seen.instances.iter().map(|one| instance(seen, before, one, seconds));
    FiguresReport { at: seen.at, seconds, releases, instances: instances.collect() }
}

/// Whether a release is of a service that is up: counters stay a while when it is not.
fn is_up(seen: &Seen, of: &ReleaseFigures) -> bool {
    seen.services.iter().any(|service| service.name == of.service)
}

/// `earlier` is what was counted before, nothing where the release was not there, and how many seconds ago.
fn release(
    seen: &Seen,
    of: &ReleaseCounters,
    earlier: Option<(Option<&ReleaseCounters>, f64)>,
) -> ReleaseFigures {
    let waiting = seen.edge.iter().flat_map(|edge| &edge.waiting);
    let waiting = waiting.filter(|pool| pool.pool == of.pool).map(|pool| u64::from(pool.requests));
    ReleaseFigures {
        service: of.pool.service.clone(),
        port: of.pool.port.clone(),
        release: of.release,
        in_flight: of.in_flight,
        waiting: waiting.sum(),
        requests: of.requests,
        failed: of.failed,
        server_errors: of.server_errors,
        held: of.held,
        retries: of.retries,
        lately: earlier.and_then(|(earlier, seconds)| rates(of, earlier, seconds)),
    }
}

#[allow(clippy::cast_precision_loss)] // Rates for people.
fn rates(
    of: &ReleaseCounters,
    earlier: Option<&ReleaseCounters>,
    seconds: f64,
) -> Option<ReleaseRates> {
    if seconds <= 0.0 {
        return None;
    }
    let none = ReleaseCounters::new(of.pool.clone(), of.release);
    let earlier = earlier.unwrap_or(&none);
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    let errors = |of: &ReleaseCounters| of.failed + of.server_errors;
    let latency = of.latency.since(&earlier.latency).unwrap_or_default();
    Some(ReleaseRates {
        requests_per_second: rate(of.requests, earlier.requests),
        errors_per_second: rate(errors(of), errors(earlier)),
        bytes_in_per_second: rate(of.bytes_in.unwrap_or(0), earlier.bytes_in.unwrap_or(0)),
        bytes_out_per_second: rate(of.bytes_out.unwrap_or(0), earlier.bytes_out.unwrap_or(0)),
        p50_ms: quantile_ms(&latency, 0.5),
        p99_ms: quantile_ms(&latency, 0.99),
    })
}

/// A quantile in milliseconds: the end of the bucket that it lies in, which is at most an eighth more.
#[allow(clippy::cast_precision_loss)] // Hours in microseconds.
pub fn quantile_ms(latency: &LatencyHistogram, quantile: f64) -> Option<f64> {
    latency.quantile(quantile).map(LatencyBucket::end_micros).map(|end| end as f64 / 1_000.0)
}

#[allow(clippy::cast_precision_loss)] // Microseconds of seconds.
fn instance(
    seen: &Seen,
    before: Option<&Seen>,
    one: &SeenInstance,
    seconds: f64,
) -> InstanceFigures {
    let view = &one.view;
    let usage = seen.usage.get(&view.id).copied();
    let cpu = usage.and_then(|usage| {
        let before = before?;
        let (earlier, span) = match before.usage.get(&view.id) {
            Some(earlier) => (earlier.cpu_us, seconds),
            // It came since, and has used what it used since then.
            None if view.created >= before.at => {
                (0, seen.at.since(view.created).duration().as_secs_f64())
            }
            None => return None,
        };
        let used = usage.cpu_us.saturating_sub(earlier) as f64 / 1_000_000.0;
        (span > 0.0).then_some(used / span)
    });
    InstanceFigures {
        id: view.id.clone(),
        service: view.service.clone(),
        release: view.release,
        state: view.state,
        health: view.health,
        address: view.location.as_ref().map(|location| location.address),
        memory_limit_bytes: one.resources.memory_bytes,
        cpu_limit_millis: one.resources.cpu_millis,
        cpu,
        usage,
    }
}
