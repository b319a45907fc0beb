//! No server of a guarded service is taken away before its guards have passed in that operation, wherever control is killed
//! or the host's power cut: the checks of the simulation look at each step that is recorded.

use std::collections::BTreeSet;

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{
    DataGuard, DataProbe, GuardName, Millis, ProbeLogin, RedisProbe, ServiceName, ServiceSpec,
};
use hornero_sim::{Behaviour, Simulation, at_every_append, service, stateful};

fn quiet() -> GuardName {
    GuardName::new("quiet").unwrap()
}

fn guarded(spec: ServiceSpec) -> ServiceSpec {
    let login = ProbeLogin { user: String::new(), password: None };
    let probe = DataProbe::Redis(RedisProbe {
        port: 6_379,
        login,
        clients: Some(0),
        pending_persistence: None,
        unsaved_changes: None,
    });
    let guards = vec![DataGuard { name: quiet(), probe, within: Millis(4_000) }];
    ServiceSpec { guards, ..spec }
}

fn site() -> ServiceName {
    ServiceName::new("site").unwrap()
}

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

/// The service as it is first brought up, with a volume or without.
fn serving(simulation: &mut Simulation, holds_data: bool) -> ServiceSpec {
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let spec = guarded(service("site", image, 2));
    let spec = if holds_data { stateful(spec) } else { spec };
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    spec
}

fn next(simulation: &mut Simulation, spec: &ServiceSpec) -> ServiceSpec {
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    ServiceSpec { image, ..spec.clone() }
}

/// Guards refuse for so long from now on.
fn refuse_for(simulation: &mut Simulation, millis: u64) {
    let until = simulation.host.now + millis;
    simulation.host.scenario.guards_pass_from.insert(quiet(), until);
}

#[test]
fn control_and_host_may_die_at_any_moment() {
    for (seed, holds_data, removes) in [(0, true, false), (1, false, false), (2, true, true)] {
        let prepare = |simulation: &mut Simulation| {
            let spec = serving(simulation, holds_data);
            let next = next(simulation, &spec);
            refuse_for(simulation, 1_500);
            match removes {
                true => RequestKind::Down { services: vec![site()] },
                false => apply(&next),
            }
        };
        let mut whole = Simulation::new(seed);
        let request = prepare(&mut whole);
        assert_eq!(whole.ask(request).result, OutcomeKind::Done);
        let appends = at_every_append(seed, prepare, |_, _| ());
        assert!(appends >= 4, "{appends}");
    }
}

#[test]
fn what_refuses_leaves_everything_as_it_was_and_what_passes_later_is_waited_for() {
    for (seed, holds_data) in [(3, true), (4, false)] {
        let mut simulation = Simulation::new(seed);
        let spec = serving(&mut simulation, holds_data);
        let servers = simulation.host.engine.ids();
        let next = next(&mut simulation, &spec);
        refuse_for(&mut simulation, 3_600_000);
        for request in [apply(&next), RequestKind::Down { services: vec![site()] }] {
            let outcome = simulation.ask(request);
            assert_eq!(outcome.result, OutcomeKind::Refused, "{outcome:?}");
            let failure = outcome.failure.unwrap().1;
            assert_eq!(failure.refused.as_deref(), Some("guard.quiet"));
            assert!(failure.reason.contains("guard `quiet` of `site` refuses"), "{failure:?}");
            simulation.come_to_rest();
            assert_eq!(simulation.host.engine.ids(), servers);
        }
        refuse_for(&mut simulation, 2_000);
        assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::Done);
        refuse_for(&mut simulation, 3_600_000);
        let back = RequestKind::Rollback { service: site(), to: None };
        assert_eq!(simulation.ask(back.clone()).result, OutcomeKind::Refused);
        simulation.overridden = BTreeSet::from([quiet()]);
        assert_eq!(simulation.ask(back).result, OutcomeKind::Done);
        simulation.come_to_rest();
        simulation.check_whole();
    }
}

#[test]
fn what_is_too_many_or_recycled_stays_until_its_guards_pass() {
    let mut simulation = Simulation::new(6);
    let spec = serving(&mut simulation, false);
    let fewer = ServiceSpec { instances: 1, ..spec.clone() };
    refuse_for(&mut simulation, 3_600_000);
    let recycle = || RequestKind::Recycle { service: site(), instance: None };
    for request in [apply(&fewer), recycle()] {
        let outcome = simulation.ask(request);
        assert_eq!(outcome.result, OutcomeKind::Refused, "{outcome:?}");
        assert_eq!(outcome.failure.unwrap().1.refused.as_deref(), Some("guard.quiet"));
    }
    refuse_for(&mut simulation, 2_000);
    assert_eq!(simulation.ask(recycle()).result, OutcomeKind::Done);
    refuse_for(&mut simulation, 2_000);
    assert_eq!(simulation.ask(apply(&fewer)).result, OutcomeKind::Done);
    simulation.come_to_rest();
    simulation.check_whole();
    assert_eq!(simulation.host.engine.ids().len(), 1);
}

#[test]
fn what_is_taken_down_by_force_and_what_died_ask_nobody() {
    let mut simulation = Simulation::new(5);
    serving(&mut simulation, true);
    refuse_for(&mut simulation, 3_600_000);
    let server = simulation.host.engine.ids()[0].clone();
    simulation.crash_instance(&server, hornero_model::ExitCause::Signal(9));
    simulation.come_to_rest();
    simulation.check_whole();
    let outcome = simulation.ask(RequestKind::End { service: site() });
    assert_eq!(outcome.result, OutcomeKind::Done, "{outcome:?}");
}
