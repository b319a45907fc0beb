//! Figures as OTLP's metrics (opentelemetry-proto, `metrics.proto`).

use std::{collections::BTreeMap, io, path::Path};

use hornero_model::{LatencyBucket, LatencyHistogram, Timestamp};
use hornero_telemetry::figures::{self, Figure, FigureRange, FigureSubject};
use serde_json::{Value, json};

use super::words::{nanos, number, own_resource, scope, text};

/// The upper bounds of the histogram's buckets as powers of two, in microseconds.
const BOUNDS_LOG2: std::ops::RangeInclusive<u32> = 9..=24;
/// The value of `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// Figures of some moments.
pub struct MetricsBatch {
    pub request: Value,
    /// The last moment of it.
    pub until: Timestamp,
}

/// Values by moment of one figure of one subject.
type Points = Vec<(Timestamp, u64)>;

/// What was seen after `since` and up to `until`; none where there was nothing.
///
/// # Errors
/// Where what is kept can't be read.
pub fn batch(
    directory: &Path,
    host: &str,
    (since, until): (Timestamp, Timestamp),
) -> io::Result<Option<MetricsBatch>> {
    let all = |_: &FigureSubject| true;
    let range = FigureRange { since: Timestamp(since.0 + 1), until, of: &all };
    let mut values: BTreeMap<Figure, BTreeMap<FigureSubject, Points>> = BTreeMap::new();
    let mut latencies: BTreeMap<FigureSubject, BTreeMap<Timestamp, LatencyHistogram>> =
        BTreeMap::new();
    let mut last = None;
    figures::read(directory, range, &mut |series| {
        let seen = series.times.iter().copied().zip(series.values.iter().copied());
        last = last.max(series.times.iter().max().copied());
        match series.figure {
            Figure::Latency(bucket) => {
                let own = latencies.entry(series.subject.clone()).or_default();
                seen.for_each(|(at, count)| own.entry(at).or_default().add(bucket, count));
            }
            figure => {
                let own = values.entry(figure).or_default();
                own.entry(series.subject.clone()).or_default().extend(seen);
            }
        }
        true
    })?;
    let Some(until) = last else { return Ok(None) };
    let sums = values.remove(&Figure::LatencySum).unwrap_or_default();
    let mut metrics: Vec<Value> =
        values.iter().filter_map(|(figure, of)| metric(*figure, of)).collect();
    if !latencies.is_empty() {
        metrics.push(durations(&latencies, &sums));
    }
    let request = json!({ "resourceMetrics": [{
        "resource": own_resource(host),
        "scopeMetrics": [{ "scope": scope(), "metrics": metrics }],
    }] });
    Ok(Some(MetricsBatch { request, until }))
}

/// Its name, its unit (UCUM), and by what it is to be divided to be in that unit.
fn described(figure: Figure) -> Option<(&'static str, &'static str, Option<f64>)> {
    const MICROS: Option<f64> = Some(1_000_000.0);
    Some(match figure {
        Figure::Memory => ("hornero.instance.memory", "By", None),
        Figure::MemoryPeak => ("hornero.instance.memory.peak", "By", None),
        Figure::Processor => ("hornero.instance.cpu.time", "s", MICROS),
        Figure::Throttled => ("hornero.instance.cpu.throttled", "s", MICROS),
        Figure::Processes => ("hornero.instance.processes", "{process}", None),
        Figure::Descriptors => ("hornero.instance.descriptors", "{descriptor}", None),
        Figure::OutOfMemoryKills => ("hornero.instance.oom_kills", "{process}", None),
        Figure::ProcessorPressure => ("hornero.instance.pressure.cpu", "s", MICROS),
        Figure::MemoryPressure => ("hornero.instance.pressure.memory", "s", MICROS),
        Figure::DiskPressure => ("hornero.instance.pressure.io", "s", MICROS),
        Figure::Requests => ("hornero.requests", "{request}", None),
        Figure::InFlight => ("hornero.requests.in_flight", "{request}", None),
        Figure::Failed => ("hornero.requests.failed", "{request}", None),
        Figure::ServerErrors => ("hornero.responses.5xx", "{response}", None),
        Figure::ClientErrors => ("hornero.responses.4xx", "{response}", None),
        Figure::Redirects => ("hornero.responses.3xx", "{response}", None),
        Figure::Successes => ("hornero.responses.2xx", "{response}", None),
        Figure::Upgrades => ("hornero.responses.1xx", "{response}", None),
        Figure::Held => ("hornero.requests.held", "{request}", None),
        Figure::Retries => ("hornero.requests.retries", "{request}", None),
        Figure::BytesIn => ("hornero.request.bytes", "By", None),
        Figure::BytesOut => ("hornero.response.bytes", "By", None),
        Figure::LatencySum | Figure::Latency(_) => return None,
    })
}

#[allow(clippy::cast_precision_loss)] // Microseconds of a hundred years.
fn metric(figure: Figure, of: &BTreeMap<FigureSubject, Points>) -> Option<Value> {
    let (name, unit, divisor) = described(figure)?;
    let point = |subject: &FigureSubject, (at, value): &(Timestamp, u64)| {
        let mut point = json!({ "attributes": attributes(subject), "timeUnixNano": nanos(*at) });
        match divisor {
            Some(divisor) => point["asDouble"] = json!(*value as f64 / divisor),
            None => point["asInt"] = json!(value.to_string()),
        }
        point
    };
    let points =
        of.iter().flat_map(|(subject, points)| points.iter().map(move |seen| point(subject, seen)));
    let points: Vec<Value> = points.collect();
    let mut metric = json!({ "name": name, "unit": unit });
    match figure.grows() {
        true => {
            metric["sum"] = json!({
                "aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points,
            });
        }
        false => metric["gauge"] = json!({ "dataPoints": points }),
    }
    Some(metric)
}

#[allow(clippy::cast_precision_loss)] // Microseconds of a hundred years.
fn durations(
    latencies: &BTreeMap<FigureSubject, BTreeMap<Timestamp, LatencyHistogram>>,
    sums: &BTreeMap<FigureSubject, Points>,
) -> Value {
    let seconds = |micros: u64| micros as f64 / 1_000_000.0;
    let bounds: Vec<f64> = BOUNDS_LOG2.map(|power| seconds(1 << power)).collect();
    let mut points = Vec::new();
    for (subject, moments) in latencies {
        for (at, latency) in moments {
            let sum = sums.get(subject).and_then(|of| of.iter().find(|(time, _)| time == at));
            let mut point = json!({
                "attributes": attributes(subject),
                "timeUnixNano": nanos(*at),
                "count": latency.count().to_string(),
                "explicitBounds": bounds,
                "bucketCounts": counts(latency),
            });
            if let Some((_, sum)) = sum {
                point["sum"] = json!(seconds(*sum));
            }
            points.push(point);
        }
    }
    json!({
        "name": "hornero.request.duration", "unit": "s",
        "histogram": { "aggregationTemporality": CUMULATIVE, "dataPoints": points },
    })
}

/// How many lie between each bound and the one before, and how many behind all.
fn counts(latency: &LatencyHistogram) -> Vec<String> {
    let (count, mut before) = (latency.count(), 0);
    let mut counts: Vec<String> = BOUNDS_LOG2
        .map(|power| {
            let within = count - latency.count_over(LatencyBucket::ended_by(1 << power));
            (within - std::mem::replace(&mut before, within)).to_string()
        })
        .collect();
    counts.push((count - before).to_string());
    counts
}

fn attributes(subject: &FigureSubject) -> Vec<Value> {
    let mut attributes = vec![
        text("hornero.service", subject.service()),
        number("hornero.release", u64::from(subject.release().0)),
    ];
    match subject {
        FigureSubject::Instance { instance, .. } => {
            attributes.push(text("hornero.instance", instance));
        }
        FigureSubject::Pool { pool, .. } => attributes.push(text("hornero.port", &pool.port)),
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_between_bounds_make_the_whole() {
        let mut latency = LatencyHistogram::default();
        for micros in [1, 500, 511, 512, 600, 5_000, 20_000_000] {
            latency.record(micros);
        }
        let counts: Vec<u64> =
            counts(&latency).iter().map(|count| count.parse().unwrap()).collect();
        assert_eq!(counts.len(), BOUNDS_LOG2.count() + 1);
        assert_eq!((counts[0], counts[1], counts.last()), (3, 2, Some(&1)));
        assert_eq!(counts.iter().sum::<u64>(), 7);
    }
}
