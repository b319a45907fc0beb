//! Figures of a service or an instance over time, read from what is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use hornero_api::message::{FigureHistory, FigurePoint};
use hornero_model::{LatencyHistogram, Millis, Timestamp};
use hornero_telemetry::figures::{self, Figure, FigureRange, FigureSeries, FigureSubject};

use super::lately::quantile_ms;

/// How long before the time that is asked for is looked at, so that its first differences are known.
const BEFORE: Millis = Millis(60_000);

/// What was seen within a step.
#[derive(Debug, Default)]
struct Step {
    cpu_us: u64,
    kills: u64,
    requests: u64,
    errors: u64,
    latency: LatencyHistogram,
    /// The numbers of its subjects.
    instances: BTreeSet<u32>,
    /// The most memory of a moment.
    memory_bytes: u64,
    has_usage: bool,
    has_requests: bool,
}

/// What grew, and by how much.
struct Growth {
    at: Timestamp,
    figure: Figure,
    count: u64,
}

/// What is folded from figures.
struct Folding {
    since: Timestamp,
    step: Millis,
    /// What is known of each step.
    steps: BTreeMap<u64, Step>,
    /// What began within the time, once for each subject and figure: it counts from nothing where something else was seen
    /// before it.
    begun: Vec<Growth>,
    last: BTreeMap<(u32, Figure), u64>,
    /// All memory of a moment: subjects come one after the other.
    memory: BTreeMap<Timestamp, u64>,
    /// Each subject's number.
    subjects: BTreeMap<FigureSubject, u32>,
}

impl Folding {
    fn new(since: Timestamp, step: Millis) -> Self {
        let (steps, begun, last) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let (memory, subjects) = (BTreeMap::new(), BTreeMap::new());
        Self { since, step, steps, begun, last, memory, subjects }
    }

    /// The step that a time is in; none where it is before all of them.
    fn step(&mut self, at: Timestamp) -> Option<&mut Step> {
        let span = at.0.checked_sub(self.since.0)?;
        Some(self.steps.entry(span / self.step.0).or_default())
    }

    fn number(&mut self, subject: &FigureSubject) -> u32 {
        if let Some(number) = self.subjects.get(subject) {
            return *number;
        }
        let number = u32::try_from(self.subjects.len()).unwrap_or(u32::MAX);
        self.subjects.insert(subject.clone(), number);
        number
    }

    fn take(&mut self, series: FigureSeries<'_>) {
        let FigureSeries { subject, figure, times, values } = series;
        let subject = self.number(subject);
        if figure == Figure::Memory {
            for (at, value) in times.iter().zip(values) {
                *self.memory.entry(*at).or_default() += value;
                if let Some(step) = self.step(*at) {
                    step.instances.insert(subject);
                }
            }
        }
        if !is_told(figure) {
            return;
        }
        let mut last = self.last.get(&(subject, figure)).copied();
        for (at, value) in times.iter().zip(values) {
            match last.replace(*value) {
                // A count that is less than before began anew.
                Some(before) => {
                    let count = value.checked_sub(before).unwrap_or(*value);
                    if count > 0 {
                        self.grow(&Growth { at: *at, figure, count });
                    }
                }
                None => self.begun.push(Growth { at: *at, figure, count: *value }),
            }
        }
        if let Some(last) = last {
            self.last.insert((subject, figure), last);
        }
    }

    fn grow(&mut self, growth: &Growth) {
        let Growth { at, figure, count } = *growth;
        let Some(step) = self.step(at) else { return };
        match figure {
            Figure::Processor => step.cpu_us += count,
            Figure::OutOfMemoryKills => step.kills += count,
            Figure::Requests => step.requests += count,
            Figure::Failed | Figure::ServerErrors => step.errors += count,
            Figure::Latency(bucket) => step.latency.add(bucket, count),
            _ => {}
        }
        step.has_requests |= figure == Figure::Requests;
    }

    /// The steps, once it is known when it was first looked.
    fn steps(mut self, first: Option<Timestamp>) -> BTreeMap<u64, Step> {
        for growth in std::mem::take(&mut self.begun) {
            if first.is_some_and(|first| growth.at > first) {
                self.grow(&growth);
            }
        }
        for (at, bytes) in std::mem::take(&mut self.memory) {
            let Some(step) = self.step(at) else { continue };
            step.has_usage = true;
            step.memory_bytes = step.memory_bytes.max(bytes);
        }
        self.steps
    }
}

/// Whether growth of a figure is told of.
fn is_told(figure: Figure) -> bool {
    matches!(
        figure,
        Figure::Processor
            | Figure::OutOfMemoryKills
            | Figure::Requests
            | Figure::Failed
            | Figure::ServerErrors
            | Figure::Latency(_)
    )
}

/// Figures of a service or an instance between two times.
///
/// # Errors
/// Where what is kept can't be read.
pub fn history(
    directory: &Path,
    object: &str,
    (since, until): (Timestamp, Timestamp),
    step: Millis,
) -> io::Result<FigureHistory> {
    let of = |subject: &FigureSubject| match subject {
        FigureSubject::Instance { instance, .. } if instance.as_str() == object => true,
        _ => subject.service().as_str() == object,
    };
    let before = Timestamp(since.0.saturating_sub(BEFORE.0));
    let mut folding = Folding::new(since, step);
    let range = FigureRange { since: before, until, of: &of };
    let first = figures::read(directory, range, &mut |series| {
        folding.take(series);
        true
    })?;
    let step_seconds = (step.0 / 1_000).max(1);
    let points = folding.steps(first).into_iter();
    let points =
        points.map(|(number, seen)| point(Timestamp(since.0 + number * step.0), &seen, step));
    Ok(FigureHistory { object: object.to_owned(), step_seconds, points: points.collect() })
}

#[allow(clippy::cast_precision_loss)] // Averages for people.
fn point(at: Timestamp, seen: &Step, step: Millis) -> FigurePoint {
    let seconds = step.duration().as_secs_f64();
    let rate = |count: u64| seen.has_requests.then_some(count as f64 / seconds);
    FigurePoint {
        at,
        instances: u32::try_from(seen.instances.len()).unwrap_or(u32::MAX),
        cpu: seen.has_usage.then_some(seen.cpu_us as f64 / 1_000_000.0 / seconds),
        memory_bytes: seen.has_usage.then_some(seen.memory_bytes),
        out_of_memory_kills: Some(seen.kills).filter(|kills| *kills > 0),
        requests_per_second: rate(seen.requests),
        errors_per_second: rate(seen.errors),
        p50_ms: quantile_ms(&seen.latency, 0.5),
        p99_ms: quantile_ms(&seen.latency, 0.99),
    }
}

#[cfg(test)]
mod tests {
    use hornero_model::{LatencyBucket, PoolName, ReleaseNumber};
    use hornero_telemetry::figures::{FigureLimits, FigureWriter};

    use super::*;

    fn instance(tail: &str) -> FigureSubject {
        FigureSubject::Instance {
            service: "site".parse().unwrap(),
            release: ReleaseNumber(1),
            instance: format!("site-1-{tail}").parse().unwrap(),
        }
    }

    fn pool(release: u32) -> FigureSubject {
        let pool = PoolName { service: "site".parse().unwrap(), port: "http".parse().unwrap() };
        FigureSubject::Pool { pool, release: ReleaseNumber(release) }
    }

    #[test]
    fn what_grew_is_told_by_steps_also_of_what_is_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("metrics");
        let limits = FigureLimits { block_ticks: 4, ..FigureLimits::default() };
        let mut writer = FigureWriter::open(&directory, limits).unwrap();
        let bucket = LatencyBucket::of_micros(5_000);
        for tick in 0..20_u64 {
            let at = Timestamp(1_000_000 + tick * 10_000);
            let mut seen = vec![
                (instance("a"), Figure::Memory, 100),
                (instance("a"), Figure::Processor, tick * 5_000_000),
            ];
            // It ends after 100 seconds, and so does its release; another one comes, and is asked ten times at once.
            if tick < 10 {
                seen.push((instance("b"), Figure::Memory, 50));
                seen.push((pool(1), Figure::Requests, 1_000 + tick * 20));
                seen.push((pool(1), Figure::Latency(bucket), tick * 20 + 1));
            } else {
                seen.push((pool(2), Figure::Requests, 10 + (tick - 10) * 40));
            }
            writer.append(at, &seen).unwrap();
        }
        let told = |object: &str| {
            let range = (Timestamp(1_000_000), Timestamp(1_200_000));
            history(&directory, object, range, Millis(100_000)).unwrap().points
        };
        let points = told("site");
        assert_eq!(points.len(), 2, "{points:?}");
        let (first, second) = (&points[0], &points[1]);
        // Nine differences of what was there before, in 100 seconds.
        assert_eq!(first.requests_per_second, Some(1.8));
        assert_eq!(second.requests_per_second, Some(3.7));
        assert_eq!((first.memory_bytes, second.memory_bytes), (Some(150), Some(100)));
        assert_eq!((first.instances, second.instances), (2, 1));
        assert_eq!((first.cpu, second.cpu), (Some(0.45), Some(0.5)));
        assert!(first.p99_ms.is_some_and(|ms| (5.0..6.0).contains(&ms)), "{first:?}");
        assert_eq!(second.p99_ms, None);
        let gone = told("site-1-b");
        assert_eq!((gone.len(), gone[0].memory_bytes), (1, Some(50)));
        assert_eq!(gone[0].requests_per_second, None);
        assert!(told("nothing").is_empty());
    }
}
