//! How many servers a service wants by its load: what was seen of it over a short while, what that comes to, and how
//! long fewer have been enough. Knows no world, only numbers.

use std::collections::{BTreeMap, VecDeque};

use hornero_model::{InstanceId, Millis, ReleaseNumber, Scale, Timestamp};

use crate::planted::{Bug, planted};

/// What is seen within it is averaged: short enough for a rush to be answered within seconds, long enough that one slow
/// request is none.
const WINDOW: Millis = Millis(2_000);
/// The least time that a rate is told from.
const LEAST_SPAN: Millis = Millis(900);
/// Nothing is decided by what was seen longer ago, and a longer break begins everything anew.
const FRESH: Millis = Millis(5_000);
/// Between two samples that count: more of them say no more.
const APART: Millis = Millis(100);
/// The pause between two changes: what came of the one before has to be there to be seen.
const PAUSE: Millis = Millis(3_000);
/// More is wanted only beyond the target by this part, and less only where it would be below by it: load that comes and
/// goes by less moves nothing back and forth.
const TOLERANCE: f64 = 0.1;
/// The least that a step up may add; else it doubles.
const LEAST_STEP: u32 = 4;

/// What was seen of a service at one moment; all but what is in flight grows for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// The edge's process that counted.
    pub edge: u32,
    /// The release by whose terms what serves does.
    pub release: ReleaseNumber,
    /// Requests begun on it.
    pub requests: u64,
    /// Requests in flight on it.
    pub in_flight: u64,
    /// Processor time that its servers used, in microseconds; none where that can't be told.
    pub cpu_us: Option<BTreeMap<InstanceId, u64>>,
}

/// What was seen of a service since it is looked at without a break.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Load {
    recent: VecDeque<Sample>,
    /// How many servers were enough at each moment within the time that fewer have to hold; only those that no later one
    /// reaches, so that the first is the most.
    enough: VecDeque<(Timestamp, u32)>,
    since: Timestamp,
    /// When there last was a request.
    busy_at: Timestamp,
}

/// Averages over the last moments.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    in_flight: f64,
    requests_per_second: f64,
    /// Processor time, in thousandths of a core.
    cpu_millis: Option<f64>,
}

/// How much of something there is, and what one server shall have of it.
struct Demand {
    amount: f64,
    target: f64,
    text: String,
}

/// Another number of servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How many.
    pub to: u32,
    /// The figures that say so.
    pub why: String,
}

/// What a service has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How many servers are wanted.
    pub wanted: u32,
    /// Since when.
    pub since: Timestamp,
    /// Whether there was none before.
    pub woken: bool,
    /// The processor limit of each, in thousandths of a core.
    pub cpu_millis: u32,
    /// The moment.
    pub now: Timestamp,
}

impl Demand {
    /// How many servers have enough to do.
    fn servers(&self) -> f64 {
        self.amount / self.target.max(f64::MIN_POSITIVE)
    }
}

impl Load {
    /// Takes in what is seen now. What does not follow on what was seen before begins everything anew.
    pub fn take(&mut self, sample: Sample, scale: &Scale, cpu_millis: u32) {
        if let Some(last) = self.recent.back() {
            let is_late = sample.at < last.at;
            let follows = sample.edge == last.edge
                && sample.release == last.release
                && sample.requests >= last.requests
                && sample.at.since(last.at) <= FRESH;
            if is_late {
                return;
            }
            if !follows {
                *self = Self::default();
            } else if sample.requests > last.requests || sample.in_flight > 0 {
                self.busy_at = sample.at;
            }
        }
        let now = sample.at;
        if self.recent.is_empty() {
            (self.since, self.busy_at) = (now, now);
        }
        if self.recent.back().is_some_and(|last| now.since(last.at) < APART) {
            return;
        }
        self.recent.push_back(sample);
        while self.recent.get(1).is_some_and(|next| now.since(next.at) >= WINDOW) {
            self.recent.pop_front();
        }
        if let Some(enough) = self.enough(scale, cpu_millis) {
            while self.enough.back().is_some_and(|(_, of)| *of <= enough) {
                self.enough.pop_back();
            }
            self.enough.push_back((now, enough));
        }
        while self.enough.front().is_some_and(|(at, _)| now.since(*at) > scale.stabilise) {
            self.enough.pop_front();
        }
    }

    /// For how long there has been no request, as far as that was seen; none where what was seen is too old.
    fn idle_for(&self, now: Timestamp) -> Option<Millis> {
        let last = self.recent.back().filter(|last| now.since(last.at) <= WINDOW)?;
        Some(last.at.since(self.busy_at))
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.recent.back().is_some_and(|last| now.since(last.at) <= FRESH)
    }

    fn figures(&self) -> Option<Figures> {
        let (first, last) = (self.recent.front()?, self.recent.back()?);
        let span = last.at.since(first.at);
        if span < LEAST_SPAN {
            return None;
        }
        let seconds = real(span.0) / 1_000.0;
        let in_flight: u64 = self.recent.iter().map(|of| of.in_flight).sum();
        let used = first.cpu_us.as_ref().zip(last.cpu_us.as_ref()).map(|(before, after)| {
            let used = |(id, us): (&InstanceId, &u64)| {
                before.get(id).map(|before| us.saturating_sub(*before))
            };
            after.iter().filter_map(used).sum::<u64>()
        });
        Some(Figures {
            in_flight: real(in_flight) / real(self.recent.len() as u64),
            requests_per_second: real(last.requests - first.requests) / seconds,
            cpu_millis: used.map(|us| real(us) / 1_000.0 / seconds),
        })
    }

    /// What is measured, and whether all that shall be is.
    fn demands(&self, scale: &Scale, cpu_millis: u32) -> Option<(Vec<Demand>, bool)> {
        let figures = self.figures()?;
        let mut demands = Vec::new();
        if let Some(target) = scale.in_flight {
            let amount = figures.in_flight;
            let text = format!("{} in flight, {target} for each server", requests(amount));
            demands.push(Demand { amount, target: f64::from(target), text });
        }
        if let Some(target) = scale.requests_per_second {
            let amount = figures.requests_per_second;
            let text = format!("{} a second, {target} for each server", requests(amount));
            demands.push(Demand { amount, target: f64::from(target), text });
        }
        let mut is_complete = true;
        if let Some(percent) = scale.cpu_percent {
            match figures.cpu_millis {
                Some(amount) => {
                    let target = f64::from(cpu_millis) * f64::from(percent) / 100.0;
                    let cores = amount / 1_000.0;
                    let text =
                        format!("{cores:.2} cores in use, {percent}% of its limit for each server");
                    demands.push(Demand { amount, target, text });
                }
                None => is_complete = false,
            }
        }
        Some((demands, is_complete))
    }

    /// How many servers are enough for what is seen now, with room to spare; none where that is not known in full.
    fn enough(&self, scale: &Scale, cpu_millis: u32) -> Option<u32> {
        let (demands, is_complete) = self.demands(scale, cpu_millis)?;
        let servers = demands.iter().map(Demand::servers).fold(0.0, f64::max);
        is_complete.then(|| count(servers / (1.0 - TOLERANCE)).clamp(scale.least(), scale.maximum))
    }
}

/// What number of servers the load wants now; none where it is to stay as it is, or too little is known. Up at once and at
/// most to twice as many; down only to what has been enough for as long as it has to.
pub fn decide(scale: &Scale, load: &Load, standing: Standing) -> Option<Decision> {
    let Standing { wanted, since, cpu_millis, now, .. } = standing;
    if !load.is_fresh(now) {
        return None;
    }
    let (demands, is_complete) = load.demands(scale, cpu_millis)?;
    let most = demands.iter().max_by(|one, other| one.servers().total_cmp(&other.servers()));
    if let Some(most) = most.filter(|of| of.servers() > f64::from(wanted) * (1.0 + TOLERANCE)) {
        let step = wanted.saturating_mul(2).max(wanted.saturating_add(LEAST_STEP));
        let to = count(most.servers()).min(step).min(scale.maximum);
        return (to > wanted && now >= since.after(PAUSE))
            .then(|| Decision { to, why: most.text.clone() });
    }
    let at_once = planted(Bug::ScalesDownAtOnce);
    let enough = if at_once { load.enough.back() } else { load.enough.front() };
    let enough = enough.map(|(_, enough)| *enough).filter(|_| is_complete)?;
    // Those that waited for the first server were in flight nowhere.
    let pause = if standing.woken { scale.stabilise.max(PAUSE) } else { PAUSE };
    let is_due = at_once || now >= load.since.after(scale.stabilise) && now >= since.after(pause);
    (enough < wanted && is_due).then(|| {
        let figures = most.map(|most| format!("; now {}", most.text)).unwrap_or_default();
        let why = format!("{enough} were enough for {}{figures}", scale.stabilise);
        Decision { to: enough, why }
    })
}

/// Whether nothing has to run any more: no request came for as long as was declared, and none waits.
pub fn sleep(scale: &Scale, load: &Load, standing: Standing, waiting: u64) -> Option<Decision> {
    let idle = scale.to_zero?.idle;
    let quiet = load.idle_for(standing.now).is_some_and(|quiet| quiet >= idle);
    let quiet = quiet || planted(Bug::SleepsUnderLoad);
    let due = quiet && waiting == 0 && standing.now >= standing.since.after(idle);
    due.then(|| Decision { to: 0, why: format!("no request came for {idle}") })
}

/// How many servers are wanted for requests that wait at a service of which nothing runs: enough for those that do, by what
/// is in flight on each, where that is a measure.
pub fn wake(scale: &Scale, waiting: u64) -> Option<Decision> {
    let each = u64::from(scale.in_flight.unwrap_or(u32::MAX)).max(1);
    let wanted = u32::try_from(waiting.div_ceil(each)).unwrap_or(u32::MAX);
    let why = match waiting {
        1 => "a request waits for a server".to_owned(),
        _ => format!("{waiting} requests wait for a server"),
    };
    (waiting > 0 && !planted(Bug::WakesNobody))
        .then(|| Decision { to: wanted.min(LEAST_STEP).min(scale.maximum), why })
}

/// A number of servers that has room for so much; more than anybody may have is as good as any.
fn count(servers: f64) -> u32 {
    // Casting stops at the largest number.
    servers.ceil() as u32
}

fn requests(count: f64) -> String {
    format!("{count:.1} requests")
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts 2^53 requests within seconds")]
const fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
