//! Limits of churn: reached, holding and let go, also by a planner that is broken.

use std::collections::BTreeMap;

use hornero_model::{
    Actor, BootId, Budget, ChurnScope, ChurnWindow, Digest, Event, EventBody, ExitCause,
    InstanceId, InstanceState, Release, ReleaseNumber, ServiceName, ServiceSpec, Timestamp,
};

use crate::{Account, Churn, EffectFacts, Refusal, Seen, WatchdogFacts, check};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;

/// A home of which only the churn is looked at.
#[derive(Default)]
struct Bench {
    churn: Churn,
    events: Vec<Event>,
    sequence: u64,
    now: Timestamp,
    /// Servers that were started.
    started: BTreeMap<ServiceName, u32>,
}

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn spec(service: &str, instances: u32, budget: Option<Budget>) -> ServiceSpec {
    let text = format!(
        r#"{{"name":"{service}","image_name":"site","image":"{}","kind":"stateless","instances":{instances},"ports":[],
        "health":null,"routes":[],"rollout":{{"strategy":"blue_green","drain_timeout":1,"keep_warm":1,"watch":1}},
        "resources":{{"memory_bytes":1,"cpu_millis":1,"pids":1}},"egress":true,"depends_on":[]}}"#,
        Digest::of(b"image")
    );
    ServiceSpec { budget, ..serde_json::from_str(&text).unwrap() }
}

impl Bench {
    fn append(&mut self, who: &str, body: EventBody) {
        self.sequence += 1;
        let zero = Digest::from_bytes([0; 32]);
        let event = Event {
            sequence: self.sequence,
            time: self.now,
            by: Actor { who: who.to_owned(), why: String::new(), commit: None },
            body,
            previous: zero,
            hash: zero,
        };
        self.churn.apply(&event);
        self.events.push(event);
    }

    fn declare(&mut self, spec: ServiceSpec) {
        let release = Release {
            number: ReleaseNumber(1),
            spec_digest: Release::digest_of(&spec),
            spec,
            created: self.now,
            by: Actor::hornero(""),
        };
        self.append("root", EventBody::ReleaseCreated { release: Box::new(release) });
    }

    /// Makes one server; the refusal where it may not be, recorded as the driver does.
    fn make(&mut self, service: &str, who: &str) -> Result<(), Refusal> {
        let service = name(service);
        let instance = InstanceId::new(format!("{service}-1-{:06}", self.sequence)).unwrap();
        let changed = |state, cause| EventBody::InstanceChanged {
            instance: instance.clone(),
            service: service.clone(),
            release: ReleaseNumber(1),
            state,
            cause,
            region: Default::default(),
        };
        self.append(who, changed(InstanceState::Created, None));
        let facts =
            WatchdogFacts { churn: Some(&self.churn), now: self.now, ..WatchdogFacts::default() };
        let seen = check(
            &facts,
            EffectFacts::Start { service: &service, instance: &instance, volumes: &[] },
        );
        match &seen {
            Ok(()) => *self.started.entry(service.clone()).or_default() += 1,
            Err(refusal) => {
                if let Some(breach) = refusal.breach.clone() {
                    self.append("hornero", EventBody::ChurnStopped { breach });
                }
                let cause = ExitCause::NotStarted(refusal.to_string());
                self.append("hornero", changed(InstanceState::Stopped, Some(cause)));
            }
        }
        seen
    }

    /// A planner that replaces everything, every minute, for as long.
    fn replace_everything(&mut self, services: &[(&str, u32)], who: &str, for_ms: u64) {
        for _ in 0..for_ms / MINUTE {
            self.now = Timestamp(self.now.0 + MINUTE);
            for (service, instances) in services {
                for _ in 0..*instances {
                    let _ = self.make(service, who);
                }
            }
        }
    }

    fn started(&self, service: &str) -> u32 {
        self.started.get(&name(service)).copied().unwrap_or_default()
    }

    fn resume(&mut self, service: Option<&str>) {
        self.append("root", EventBody::ChurnResumed { service: service.map(name) });
    }
}

fn budget(per_hour: u32, per_day: u32) -> Option<Budget> {
    Some(Budget { per_hour, per_day })
}

#[test]
fn the_hour_and_the_day_are_bounded_and_what_was_counted_is_told() {
    let mut bench = Bench::default();
    bench.declare(spec("site", 1, budget(3, 5)));
    for _ in 0..3 {
        bench.make("site", "hornero").unwrap();
    }
    // An hour later the hour is free again.
    bench.now = Timestamp(60 * MINUTE);
    for _ in 0..2 {
        bench.make("site", "hornero").unwrap();
    }
    let refusal = bench.make("site", "hornero").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "`bounded-churn` forbids it: 5 servers of `site` were made within a day by Hornero itself, and 5 may be"
    );
    let breach = refusal.breach.unwrap();
    assert_eq!((breach.window, breach.scope), (ChurnWindow::Day, ChurnScope::Unrequested));
    // It holds, however long it takes, and is recorded once.
    bench.now = Timestamp(30 * DAY);
    let again = bench.make("site", "hornero").unwrap_err();
    assert_eq!((again.reason, again.breach), (refusal.reason, None));
    bench.resume(Some("site"));
    bench.make("site", "hornero").unwrap();
    assert_eq!(bench.started("site"), 6);
}

#[test]
fn what_somebody_asks_for_goes_on_and_has_a_limit_of_its_own() {
    let mut bench = Bench::default();
    bench.declare(spec("site", 1, budget(2, 2)));
    for _ in 0..3 {
        let _ = bench.make("site", "hornero");
    }
    assert!(bench.churn.stopped(&name("site")).is_some());
    for _ in 0..40 {
        bench.make("site", "root").unwrap();
    }
    let refusal = bench.make("site", "root").unwrap_err();
    assert_eq!(
        refusal.reason,
        "40 servers of `site` were made within an hour because somebody asked, and 40 may be"
    );
}

#[test]
fn a_planner_that_replaces_everything_for_days_does_bounded_damage() {
    let services = [("large", 40), ("small", 2), ("tiny", 1)];
    let mut bench = Bench::default();
    for (service, instances) in services {
        bench.declare(spec(service, instances, None));
    }
    bench.replace_everything(&services, "hornero", 3 * DAY);
    // Ten times each of 40 servers; then the home is stopped as well, after what its two largest may make.
    let started = services.map(|(service, _)| bench.started(service));
    assert_eq!(started, [400, 40, 20]);
    let before = bench.started.clone();
    bench.replace_everything(&services, "hornero", DAY);
    assert_eq!(bench.started, before, "nothing more until somebody comes");
}

#[test]
fn a_planner_that_puts_somebodys_name_on_it_is_bounded_as_well() {
    let mut bench = Bench::default();
    bench.declare(spec("site", 10, None));
    bench.replace_everything(&[("site", 10)], "root", 3 * DAY);
    // Twenty times the 500 that it may make by itself.
    assert_eq!(bench.started("site"), 10_000);
    let breach = &bench.churn.stopped(&name("site")).unwrap().breach;
    assert_eq!((breach.window, breach.scope), (ChurnWindow::Day, ChurnScope::Requested));
}

#[test]
fn many_services_at_once_stop_the_home_before_each_has_used_up_its_own() {
    let mut bench = Bench::default();
    let names: Vec<String> = (0..10).map(|number| format!("site{number}")).collect();
    let services: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    for (service, instances) in &services {
        bench.declare(spec(service, *instances, budget(10, 50)));
    }
    bench.replace_everything(&services, "hornero", DAY);
    // Half of ten times ten.
    assert_eq!(bench.started.values().sum::<u32>(), 50);
    let breach = &bench.churn.stopped_by(None).unwrap().breach;
    assert_eq!(
        breach.to_string(),
        "50 servers of all services were made within an hour by Hornero itself, and 50 may be"
    );
    // Every service is held by it, and somebody lets all of them go on.
    assert!(bench.make("site3", "hornero").is_err());
    bench.make("site3", "root").unwrap();
    bench.resume(None);
    bench.make("site3", "hornero").unwrap();
}

#[test]
fn a_small_service_in_a_loop_starves_no_large_one_and_a_host_that_starts_costs_nothing() {
    let mut bench = Bench::default();
    bench.declare(spec("small", 1, None));
    bench.declare(spec("large", 100, None));
    bench.replace_everything(&[("small", 1)], "hornero", 3 * DAY);
    assert!(bench.churn.stopped(&name("small")).is_some());
    for _ in 0..1_000 {
        bench.make("large", "hornero").unwrap();
    }
    assert!(bench.make("large", "hornero").is_err());
    bench.resume(Some("large"));
    bench.append("hornero", EventBody::HostStarted { boot: BootId::new("boot") });
    for _ in 0..1_100 {
        bench.make("large", "hornero").unwrap();
    }
    assert!(bench.make("large", "hornero").is_err());
}

#[test]
fn a_budget_holds_as_it_was_declared_last() {
    let mut bench = Bench::default();
    bench.declare(spec("site", 1, budget(1, 1)));
    bench.make("site", "hornero").unwrap();
    let second = spec("site", 1, budget(2, 2));
    let digest = Release::digest_of(&second);
    let release = Release {
        number: ReleaseNumber(2),
        spec: second,
        spec_digest: digest,
        created: bench.now,
        by: Actor::hornero(""),
    };
    bench.append("root", EventBody::ReleaseCreated { release: Box::new(release) });
    bench.make("site", "hornero").unwrap();
    assert!(bench.make("site", "hornero").is_err());
}

#[test]
fn what_runs_is_kept_once_a_limit_was_reached() {
    let mut bench = Bench::default();
    bench.declare(spec("site", 1, budget(1, 1)));
    for _ in 0..2 {
        let _ = bench.make("site", "hornero");
    }
    let instance = InstanceId::new("site-1-a").unwrap();
    let edge = hornero_model::EdgeStatus {
        pid: 1,
        generation: 1,
        version: 1,
        backends: Vec::new(),
        counters: Vec::new(),
        connections: None,
        faults: Vec::new(),
        term: Default::default(),
        waiting: Vec::new(),
    };
    let facts = |running| WatchdogFacts {
        edge: Some(&edge),
        engine: BTreeMap::from([(
            instance.clone(),
            Seen {
                service: name("site"),
                release: ReleaseNumber(1),
                running,
                holds_volumes: false,
            },
        )]),
        churn: Some(&bench.churn),
        ..WatchdogFacts::default()
    };
    let stop = EffectFacts::Stop { instance: &instance };
    assert_eq!(check(&facts(true), stop).unwrap_err().invariant, "bounded-churn");
    // What ended is cleared away, and what somebody asks for is done.
    check(&facts(false), EffectFacts::Remove { instance: &instance }).unwrap();
    let requested = WatchdogFacts { requested: [name("site")].into(), ..facts(true) };
    check(&requested, stop).unwrap();
    let down = WatchdogFacts { going_down: [name("site")].into(), ..facts(true) };
    check(&down, stop).unwrap();
}

#[test]
fn an_account_tells_what_was_made_for_whom_and_what_it_took() {
    let mut bench = Bench::default();
    bench.declare(spec("site", 1, budget(3, 9)));
    bench.make("site", "root").unwrap();
    let first = bench.events.last().unwrap().clone();
    let EventBody::InstanceChanged { instance, .. } = &first.body else { panic!("{first:?}") };
    bench.now = Timestamp(90 * MINUTE);
    let failed = EventBody::InstanceChanged {
        instance: instance.clone(),
        service: name("site"),
        release: ReleaseNumber(1),
        state: InstanceState::Failed,
        cause: Some(ExitCause::Code(1)),
        region: Default::default(),
    };
    bench.append("hornero", failed);
    for _ in 0..3 {
        bench.make("site", "hornero").unwrap();
    }
    bench.make("site", "hornero").unwrap_err();
    let account = |since: u64| {
        let mut account = Account::since(Timestamp(since));
        bench.events.iter().for_each(|event| account.apply(event));
        account.at(Timestamp(100 * MINUTE)).remove(&name("site")).unwrap()
    };
    let all = account(0);
    assert_eq!((all.made, all.removed, all.failed, all.running), (4, 1, 1, 3));
    assert_eq!(all.time.0, (90 + 3 * 10) * MINUTE);
    // A byte of memory each.
    assert_eq!(all.memory_byte_seconds, 120 * 60);
    let causes: Vec<(&str, u32)> =
        all.causes.iter().map(|((who, _), made)| (who.as_str(), *made)).collect();
    assert_eq!(causes, [("hornero", 3), ("root", 1)]);
    let hours: Vec<(u64, (u32, u32))> =
        all.hours.iter().map(|(from, counts)| (from.0 / MINUTE, *counts)).collect();
    assert_eq!(hours, [(0, (1, 0)), (60, (3, 1))]);
    // Only what falls into the time.
    let late = account(60 * MINUTE);
    assert_eq!((late.made, late.removed, late.time.0), (3, 1, (30 + 3 * 10) * MINUTE));
}

impl Bench {
    /// Another number is wanted, and as many servers are made as that takes.
    fn scale(&mut self, service: &str, from: u32, to: u32) -> Result<(), Refusal> {
        self.append("hornero", EventBody::Scaled { service: name(service), from, to });
        (from..to).try_for_each(|_| self.make(service, "hornero"))
    }
}

/// A scaled service of which 60 servers an hour may be made by itself.
fn scaled() -> Bench {
    let scale = serde_json::json!({"minimum": 1, "maximum": 4, "in_flight": 10, "stabilise": 1000});
    let mut bench = Bench::default();
    let scale = Some(serde_json::from_value(scale).unwrap());
    bench.declare(ServiceSpec { scale, ..spec("site", 1, None) });
    bench
}

#[test]
fn what_a_load_wants_is_counted_apart_and_a_scaler_in_a_loop_is_stopped() {
    let mut bench = scaled();
    bench.scale("site", 1, 3).unwrap();
    bench.make("site", "hornero").unwrap();
    let made = |bench: &Bench, scope| {
        let uses = bench.churn.uses(Some(&name("site")), bench.now);
        uses.iter().find(|one| one.scope == scope).map(|one| (one.made, one.limit)).unwrap()
    };
    assert_eq!(made(&bench, ChurnScope::Load), (2, 240));
    assert_eq!(made(&bench, ChurnScope::Unrequested), (1, 60), "no more than was asked for");
    // A scaler that goes up and down in every second, for hours.
    for second in 0..20_000 {
        bench.now = Timestamp(second * 1_000);
        let _ = bench.scale("site", 1, 2);
    }
    assert_eq!(bench.started("site"), 1 + 240);
    let stopped = bench.churn.stopped(&name("site")).unwrap();
    assert_eq!((stopped.breach.scope, stopped.breach.made), (ChurnScope::Load, 240));
    assert!(stopped.breach.to_string().contains("for its load"), "{}", stopped.breach);
    bench.resume(Some("site"));
    bench.scale("site", 1, 2).unwrap();
}

#[test]
fn a_service_that_is_not_scaled_has_no_limit_for_its_load() {
    let mut bench = Bench::default();
    bench.declare(spec("site", 1, None));
    let uses = bench.churn.uses(Some(&name("site")), bench.now);
    assert!(uses.iter().all(|one| one.scope != ChurnScope::Load));
}
