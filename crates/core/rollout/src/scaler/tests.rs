//! What loads come to, told as figures of each second.

use hornero_model::{InstanceId, Millis, ReleaseNumber, Scale, Timestamp};
use proptest::prelude::*;

use super::{Load, Sample, Standing, decide};

/// What one server may use of the processor, in thousandths of a core.
const CPU_MILLIS: u32 = 1_000;

fn scale() -> Scale {
    Scale {
        minimum: 1,
        maximum: 20,
        in_flight: Some(10),
        requests_per_second: None,
        cpu_percent: None,
        stabilise: Millis(30_000),
        to_zero: None,
    }
}

/// A service under a load, one sample a second.
struct Service {
    scale: Scale,
    load: Load,
    wanted: u32,
    since: Timestamp,
    now: Timestamp,
    requests: u64,
    cpu_us: Option<u64>,
    /// Every number that was wanted, and the last reason.
    history: Vec<u32>,
    why: String,
}

impl Service {
    fn new(scale: Scale) -> Self {
        let now = Timestamp(1_000_000);
        let wanted = scale.least();
        let (load, since, why) = (Load::default(), Timestamp::default(), String::new());
        let history = vec![wanted];
        Self { scale, load, wanted, since, now, requests: 0, cpu_us: Some(0), history, why }
    }

    fn sample(&self, in_flight: u64) -> Sample {
        let id = InstanceId::new("site-1-a").unwrap();
        Sample {
            at: self.now,
            edge: 1,
            release: ReleaseNumber(1),
            requests: self.requests,
            in_flight,
            cpu_us: self.cpu_us.map(|us| [(id, us)].into()),
        }
    }

    /// A second with so many requests in flight.
    fn second(&mut self, in_flight: u64) {
        self.now = self.now.after(Millis(1_000));
        let sample = self.sample(in_flight);
        self.take(sample);
    }

    fn take(&mut self, sample: Sample) {
        self.load.take(sample, &self.scale, CPU_MILLIS);
        let standing = Standing {
            woken: false,
            wanted: self.wanted,
            since: self.since,
            cpu_millis: CPU_MILLIS,
            now: self.now,
        };
        if let Some(decision) = decide(&self.scale, &self.load, standing) {
            (self.wanted, self.since, self.why) = (decision.to, self.now, decision.why);
            self.history.push(decision.to);
        }
    }

    fn seconds(&mut self, count: u32, in_flight: u64) {
        (0..count).for_each(|_| self.second(in_flight));
    }
}

#[test]
fn a_rush_is_answered_within_seconds_and_in_bounded_steps() {
    let mut service = Service::new(scale());
    service.seconds(10, 5);
    assert_eq!(service.history, [1]);
    service.seconds(3, 120);
    assert_eq!(service.history, [1, 5], "no more than four beside one at once");
    service.seconds(3, 120);
    assert_eq!(service.history, [1, 5, 10]);
    service.seconds(3, 120);
    assert_eq!(service.history, [1, 5, 10, 12]);
    assert_eq!(service.why, "120.0 requests in flight, 10 for each server");
    service.seconds(20, 10_000);
    assert_eq!(service.history, [1, 5, 10, 12, 20], "never above the maximum");
}

#[test]
fn fewer_have_to_be_enough_for_as_long_as_it_says() {
    let mut service = Service::new(scale());
    service.seconds(20, 60);
    assert_eq!(service.history.last(), Some(&6));
    service.seconds(29, 20);
    assert_eq!(service.wanted, 6, "not before its time");
    // A moment that needs four keeps four.
    service.seconds(3, 35);
    service.seconds(6, 20);
    assert_eq!(service.wanted, 4, "{:?}", service.history);
    service.seconds(40, 20);
    assert_eq!(service.wanted, 3);
    assert!(service.why.starts_with("3 were enough for 30s; now 20.0 requests"), "{}", service.why);
    service.seconds(40, 0);
    assert_eq!(service.wanted, 1, "never below the minimum");
}

#[test]
fn what_is_not_seen_moves_nothing() {
    let mut service = Service::new(scale());
    service.seconds(20, 60);
    let wanted = service.wanted;
    // Nothing came for so long that all of it begins anew.
    service.now = service.now.after(Millis(120_000));
    service.seconds(2, 0);
    assert_eq!(service.wanted, wanted);
    service.seconds(27, 0);
    assert_eq!(service.wanted, wanted);
    service.seconds(6, 0);
    assert_eq!(service.wanted, 1);
    // Nor does another edge, which counts anew, or what it said long ago.
    service.seconds(20, 60);
    let wanted = service.wanted;
    let mut sample = service.sample(0);
    sample.edge = 2;
    service.now = service.now.after(Millis(1_000));
    sample.at = service.now;
    service.take(sample);
    assert_eq!(service.wanted, wanted);
    service.now = service.now.after(Millis(3_600_000));
    let standing = Standing {
        woken: false,
        wanted,
        since: service.since,
        cpu_millis: CPU_MILLIS,
        now: service.now,
    };
    assert_eq!(decide(&service.scale, &service.load, standing), None);
}

#[test]
fn the_measure_that_wants_the_most_decides() {
    let mut service =
        Service::new(Scale { requests_per_second: Some(100), cpu_percent: Some(50), ..scale() });
    for _ in 0..8 {
        service.requests += 250;
        service.second(1);
    }
    assert_eq!(service.wanted, 3);
    assert_eq!(service.why, "250.0 requests a second, 100 for each server");
    for _ in 0..8 {
        service.requests += 250;
        service.cpu_us = service.cpu_us.map(|us| us + 2_400_000);
        service.second(1);
    }
    assert_eq!(service.wanted, 5);
    assert_eq!(service.why, "2.40 cores in use, 50% of its limit for each server");
    // One that can't be told keeps all of them, however little the others want.
    service.cpu_us = None;
    service.seconds(100, 0);
    assert_eq!(service.wanted, 5);
    service.seconds(10, 80);
    assert_eq!(service.wanted, 8, "more are wanted by those that can be told");
}

proptest! {
    #[test]
    fn any_load_stays_within_bounds_and_steps(loads in proptest::collection::vec(0_u64..500, 1..200)) {
        let mut service = Service::new(Scale { minimum: 2, ..scale() });
        for load in loads {
            service.second(load);
        }
        for pair in service.history.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            prop_assert!((2..=20).contains(&to) && from != to, "{:?}", service.history);
            prop_assert!(to <= (from * 2).max(from + 4), "{:?}", service.history);
        }
    }

    /// Noise of a tenth around any load may find its number, and never goes up again after it went down.
    #[test]
    fn noise_moves_nothing_back_and_forth(
        mean in 1_u64..200,
        noise in proptest::collection::vec(910_u64..1_090, 60..300),
    ) {
        let mut service = Service::new(Scale { in_flight: Some(1_000), ..scale() });
        for part in noise {
            service.second(mean * 100 * part / 1_000);
        }
        let downs = service.history.windows(2).position(|pair| pair[1] < pair[0]);
        let after = downs.map_or(&[][..], |at| &service.history[at..]);
        prop_assert!(after.windows(2).all(|pair| pair[1] < pair[0]), "{:?}", service.history);
    }

    /// However the load comes and goes, what came stays for as long as fewer have to be enough.
    #[test]
    fn coming_and_going_is_bounded_by_time(loads in proptest::collection::vec(0_u64..300, 100..400)) {
        let mut service = Service::new(scale());
        let mut last_up = None;
        for load in loads {
            let before = service.wanted;
            service.second(load);
            if service.wanted > before {
                last_up = Some(service.now);
            } else if let Some(up) = last_up.filter(|_| service.wanted < before) {
                prop_assert!(service.now.since(up) >= service.scale.stabilise);
            }
        }
    }
}
