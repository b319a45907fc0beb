//! Simulated requests to two releases, from a seed.

use hornero_judge::{Readings, Tally};
use hornero_load::Moments;
use hornero_model::{LatencyHistogram, Timestamp};

/// Random numbers from a seed.
pub struct Random(Moments);

impl Random {
    /// Those of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(Moments(seed))
    }

    /// At least 0, less than 1.
    fn unit(&mut self) -> f64 {
        (self.0.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normally distributed about 0 with a deviation of 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// How a release answers.
#[derive(Clone, Copy)]
pub struct Behaviour {
    /// Of all requests, those that fail.
    pub errors: f64,
    /// What every latency is multiplied with.
    pub slower: f64,
    /// What the slowest twentieth is multiplied with besides.
    pub tail_slower: f64,
}

/// What the release that serves does.
pub const USUAL: Behaviour = Behaviour { errors: 0.001, slower: 1.0, tail_slower: 1.0 };

/// Latencies are log-normal: a median of 50 ms, and a 99th percentile of 255 ms.
const MEDIAN_MICROS: f64 = 50_000.0;
const DEVIATION: f64 = 0.7;
/// The normal deviate that a twentieth is above.
const TAIL: f64 = 1.645;

impl Behaviour {
    fn answer(&self, tally: &mut Tally, paused: bool, random: &mut Random) {
        tally.requests += 1;
        if random.unit() < self.errors {
            tally.server_errors += 1;
        }
        let deviate = random.normal();
        let tail = if deviate > TAIL { self.tail_slower } else { 1.0 };
        let micros = MEDIAN_MICROS * (DEVIATION * deviate).exp() * self.slower * tail;
        let pause = if paused { PAUSE_MICROS } else { 0 };
        tally.latency.record(micros as u64 + pause);
    }
}

/// Requests, and who answers them.
#[derive(Clone, Copy)]
pub struct Traffic {
    pub requests_a_second: u32,
    /// The candidate's part of them; each request goes to it or not by itself.
    pub share: f64,
    pub baseline: Behaviour,
    pub candidate: Behaviour,
    /// What comes over the releases now and then.
    pub bursts: Bursts,
}

/// What comes over releases now and then.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bursts {
    /// Nothing.
    None,
    /// For ten seconds in each minute a tenth of both releases' requests fails, and takes twice as long.
    OfBoth,
    /// Every ten seconds or so, each release by itself stands still for up to a fifth of a second, and what comes then takes a
    /// second longer.
    Pauses,
}

/// In one of so many seconds a release stands still.
const PAUSE_EVERY: f64 = 10.0;
/// For how much of it at most.
const PAUSED_MAX: f64 = 0.2;
/// How much longer the answers take that were asked for meanwhile.
const PAUSE_MICROS: u64 = 1_000_000;

/// What both releases did.
#[derive(Default)]
pub struct Window {
    pub baseline: Tally,
    pub candidate: Tally,
    pub readings: Readings,
}

impl Traffic {
    /// One second more, the `second`th.
    pub fn go_on(&self, second: u32, window: &mut Window, random: &mut Random) {
        let burst = self.bursts == Bursts::OfBoth && (20..30).contains(&(second % 60));
        let now = |usual: Behaviour| match burst {
            true => Behaviour { errors: 0.1, slower: usual.slower * 2.0, ..usual },
            false => usual,
        };
        let (baseline, candidate) = (now(self.baseline), now(self.candidate));
        let paused = [(); 2].map(|()| {
            let stands_still = self.bursts == Bursts::Pauses && random.unit() < 1.0 / PAUSE_EVERY;
            if stands_still { PAUSED_MAX * random.unit() } else { 0.0 }
        });
        for request in 0..self.requests_a_second {
            let moment = f64::from(request) / f64::from(self.requests_a_second);
            if random.unit() < self.share {
                candidate.answer(&mut window.candidate, moment < paused[1], random);
            } else {
                baseline.answer(&mut window.baseline, moment < paused[0], random);
            }
        }
        let counted = (&window.baseline.latency, &window.candidate.latency);
        window.readings.take(Timestamp(1_000 * u64::from(second)), counted);
    }

    /// Latencies of the baseline from before there was a candidate.
    pub fn before(&self, requests: u32, random: &mut Random) -> LatencyHistogram {
        let mut tally = Tally::default();
        for _ in 0..requests {
            self.baseline.answer(&mut tally, false, random);
        }
        tally.latency
    }
}
