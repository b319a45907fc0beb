//! Previews beside what serves: through rollouts, troubles of their own, and control killed at each of their writes.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{
    CanaryPolicy, Millis, OnInconclusive, Preview, PreviewName, ServiceName, ServiceSpec, Share,
    Strategy, Timestamp,
};
use hornero_sim::{Behaviour, CrashPoint, Simulation, Trouble, history, service};

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

/// A release that serves.
fn serving(seed: u64) -> (Simulation, ServiceSpec) {
    let mut simulation = Simulation::new(seed);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let spec = service("site", image, 2);
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    (simulation, spec)
}

/// A preview of `spec` with other servers, for so long.
fn preview(
    simulation: &mut Simulation,
    spec: &ServiceSpec,
    behaviour: Behaviour,
    (share, lasts): (u32, u64),
) -> RequestKind {
    let image = simulation.host.scenario.image(behaviour);
    let preview = Preview {
        name: PreviewName::new("new").unwrap(),
        service: spec.name.clone(),
        release: None,
        share,
        until: Timestamp(simulation.host.now + lasts),
    };
    RequestKind::Preview { previews: vec![(preview, ServiceSpec { image, ..spec.clone() })] }
}

fn remove() -> RequestKind {
    RequestKind::Down { services: vec!["new.site".parse().unwrap()] }
}

/// Requests for the service that its preview got, and all that failed of production.
fn got(simulation: &Simulation) -> (u64, u64, u64) {
    let counters = simulation.host.edge.counters();
    let of_site = counters.iter().filter(|of| of.pool.service.as_str() == "site");
    of_site.fold((0, 0, 0), |(shown, all, failed), of| {
        let is_shown = of.release.is_of_preview();
        let failed_own = if is_shown { 0 } else { of.failed };
        (shown + u64::from(is_shown) * of.requests, all + of.requests, failed + failed_own)
    })
}

/// That nothing of the preview is left, and what serves is as before.
fn check_gone(simulation: &Simulation, when: &str) {
    let world = simulation.driver().world();
    let runs_as: ServiceName = "new.site".parse().unwrap();
    assert!(world.previews.is_empty(), "{when}");
    assert!(!world.services.contains_key(&runs_as), "{when}");
    assert!(world.instances.values().all(|of| of.service != runs_as), "{when}");
    assert!(!simulation.host.addresses.contains_key(&runs_as), "{when}");
    let site = &world.services[&ServiceName::new("site").unwrap()];
    assert_eq!((site.releases.len(), site.proven.len()), (1, 1), "{when}");
    assert_eq!(simulation.serving("site"), Some(1), "{when}");
}

#[test]
fn it_gets_its_share_and_is_gone_when_its_time_is_up() {
    let (mut simulation, spec) = serving(1);
    let wanted = preview(&mut simulation, &spec, Behaviour::GOOD, (2_500, 60_000));
    assert_eq!(simulation.ask(wanted).result, OutcomeKind::Done);
    let before = got(&simulation);
    simulation.run(40_000);
    let after = got(&simulation);
    let (shown, all) = (after.0 - before.0, after.1 - before.1);
    assert!(shown * 5 > all && shown * 10 < all * 3, "{shown} of {all}");
    assert_eq!(after.2, 0);
    simulation.run(20_000);
    simulation.come_to_rest();
    simulation.check_whole();
    check_gone(&simulation, "after its time");
}

#[test]
fn a_sick_one_gives_its_share_back_and_harms_nobody() {
    for (seed, trouble) in [
        Trouble::SickLater,
        Trouble::OutOfMemoryLater,
        Trouble::NotStarted,
        Trouble::NeverHealthy,
        Trouble::TestFails,
        Trouble::CrashAtStart,
    ]
    .into_iter()
    .enumerate()
    {
        let (mut simulation, spec) = serving(seed as u64);
        let wanted = preview(&mut simulation, &spec, Behaviour::with(trouble), (5_000, 60_000));
        simulation.ask(wanted);
        simulation.run(30_000);
        assert_eq!(got(&simulation).2, 0, "{trouble:?}");
        assert_eq!(simulation.serving("site"), Some(1), "{trouble:?}");
        let ended = simulation.ask(remove());
        assert_eq!(ended.result, OutcomeKind::Done, "{trouble:?}");
        check_gone(&simulation, &format!("{trouble:?}"));
        simulation.come_to_rest();
        simulation.check_whole();
    }
}

#[test]
fn rollouts_go_on_beside_it_and_are_judged_without_it() {
    let (mut simulation, mut spec) = serving(3);
    // Its servers err, and no canary is held to that.
    let errs = Behaviour::with(Trouble::Errs);
    let wanted = preview(&mut simulation, &spec, errs, (3_000, 600_000));
    assert_eq!(simulation.ask(wanted).result, OutcomeKind::Done);
    spec.image = simulation.host.scenario.image(Behaviour::GOOD);
    spec.rollout.strategy = Strategy::Canary(CanaryPolicy {
        steps: vec![5_000],
        step_timeout: Millis(600_000),
        on_inconclusive: OnInconclusive::Wait,
        sticky: None,
        judge: None,
        probe: None,
    });
    let rolled = simulation.ask(apply(&spec));
    assert_eq!(rolled.result, OutcomeKind::Done, "{:?}", rolled.failure);
    let table = simulation.host.edge.table();
    let pool = table.pools.iter().find(|pool| pool.name.service.as_str() == "site").unwrap();
    assert_eq!(pool.traffic, [Share::whole(hornero_model::ReleaseNumber(2))]);
    assert_eq!(pool.previews.len(), 1);
    simulation.come_to_rest();
    simulation.check_whole();
    // With its service it goes.
    let services = vec![spec.name.clone()];
    assert_eq!(simulation.ask(RequestKind::Down { services }).result, OutcomeKind::Done);
    assert!(simulation.driver().world().previews.is_empty());
    assert!(simulation.driver().world().instances.is_empty());
    simulation.come_to_rest();
    simulation.check_whole();
}

#[test]
fn shown_anew_it_shows_the_other_thing_without_a_gap() {
    let (mut simulation, spec) = serving(4);
    for _ in 0..2 {
        let wanted = preview(&mut simulation, &spec, Behaviour::GOOD, (1_000, 600_000));
        assert_eq!(simulation.ask(wanted).result, OutcomeKind::Done);
    }
    simulation.run(10_000);
    let counters = simulation.host.edge.counters();
    let failed: u64 = counters.iter().map(|of| of.failed).sum();
    assert_eq!(failed, 0, "{counters:?}");
    let open = simulation.driver().world().previews.values().next().unwrap();
    assert_eq!(open.shows.len(), 2);
    simulation.come_to_rest();
    simulation.check_whole();
}

/// Runs what `act` gives once for every append that it makes, with control killed just before and just after it.
fn at_every_append(
    prepare: impl Fn(&mut Simulation, &ServiceSpec) -> RequestKind,
    check: impl Fn(&mut Simulation, &str),
) {
    let (mut simulation, spec) = serving(5);
    let request = prepare(&mut simulation, &spec);
    let before = simulation.host.ledger.appends;
    simulation.ask(request);
    let appends = simulation.host.ledger.appends - before;
    assert!(appends >= 3, "there is something to be killed at");
    for number in 1..=appends {
        for point in [CrashPoint::Before(number), CrashPoint::After(number)] {
            let (mut simulation, spec) = serving(5);
            let request = prepare(&mut simulation, &spec);
            simulation.crash_at(point);
            let id = simulation.request(request);
            simulation.answer(id, 60_000);
            simulation.host.crash = None;
            simulation.come_to_rest();
            simulation.check_whole();
            check(&mut simulation, &format!("{point:?}"));
        }
    }
}

#[test]
fn control_may_die_at_each_write_of_its_beginning() {
    for behaviour in [Behaviour::GOOD, Behaviour::with(Trouble::CrashAtStart)] {
        at_every_append(
            |simulation, spec| preview(simulation, spec, behaviour, (1_000, 120_000)),
            |simulation, when| {
                simulation.run(130_000);
                simulation.come_to_rest();
                simulation.check_whole();
                check_gone(simulation, when);
            },
        );
    }
}

#[test]
fn control_may_die_at_each_write_of_its_end() {
    at_every_append(
        |simulation, spec| {
            let wanted = preview(simulation, spec, Behaviour::GOOD, (1_000, 120_000));
            assert_eq!(simulation.ask(wanted).result, OutcomeKind::Done);
            remove()
        },
        |simulation, when| {
            simulation.run(130_000);
            simulation.come_to_rest();
            simulation.check_whole();
            check_gone(simulation, when);
        },
    );
}

/// Histories with previews, in each of which everything else goes wrong too.
#[test]
fn histories_with_previews_end_whole() {
    for seed in 4_000_000..4_000_060 {
        history(seed, false);
    }
}
