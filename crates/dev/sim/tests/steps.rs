//! A schema step is begun once, before anything of its release or after all of others, wherever control is killed or the host's
//! power cut: the checks of the simulation look at each command that is begun.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{
    DataGuard, DataProbe, GuardName, Migrate, Millis, PointOfNoReturn, ReleaseNumber, ServiceName,
    ServiceSpec, StepName, StepPhase, StepRuling,
};
use hornero_rollout::StepProgress;
use hornero_sim::{Behaviour, Simulation, at_every_append, service, stateful};

fn site() -> ServiceName {
    ServiceName::new("site").unwrap()
}

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

fn back() -> RequestKind {
    RequestKind::Rollback { service: site(), to: None }
}

fn command(word: &str) -> Vec<String> {
    vec!["/srv/migrate".to_owned(), word.to_owned()]
}

fn migrate(expand: &[&str], contract: &[&str]) -> Migrate {
    let commands = |words: &[&str]| words.iter().map(|word| command(word)).collect();
    Migrate {
        expand: commands(expand),
        contract: commands(contract),
        timeout: Millis(20_000),
        point_of_no_return: PointOfNoReturn::Contract,
        first_release: false,
    }
}

/// What serves first, and what comes then.
fn two(simulation: &mut Simulation, holds_data: bool, migrate: Migrate) -> ServiceSpec {
    let mut image = || simulation.host.scenario.image(Behaviour::GOOD);
    let (one, two) = (image(), image());
    let spec = service("site", one, 2);
    let mut spec = if holds_data { stateful(spec) } else { spec };
    spec.rollout.keep_warm = Millis(0);
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    ServiceSpec { image: two, migrate: Some(migrate), ..spec }
}

fn progress(simulation: &Simulation, step: &str) -> Option<StepProgress> {
    let step: StepName = step.parse().unwrap();
    let steps = simulation.driver().world().services[&site()].steps.get(&ReleaseNumber(2))?;
    Some(steps.get(&step)?.progress.clone())
}

/// What serves is of a release whose steps before it are done, and a step that did its work was begun once.
fn check(simulation: &Simulation, what: &str) {
    let begun = &simulation.host.steps_begun;
    let expanded = begun.iter().filter(|(_, step)| step.phase == StepPhase::Expand).count();
    let all_done = ["expand.1", "expand.2"]
        .iter()
        .all(|step| progress(simulation, step) == Some(StepProgress::Done));
    match simulation.serving("site") {
        Some(2) => assert!(all_done && expanded == 2, "{what}: {begun:?}"),
        Some(1) => assert!(expanded <= 2, "{what}: {begun:?}"),
        other => panic!("{what}: {other:?} serves"),
    }
}

#[test]
fn control_and_host_may_die_at_any_moment() {
    for (seed, holds_data) in [(0, false), (1, true)] {
        let prepare = |simulation: &mut Simulation| {
            apply(&two(simulation, holds_data, migrate(&["a", "b"], &["c"])))
        };
        let mut whole = Simulation::new(seed);
        let request = prepare(&mut whole);
        assert_eq!(whole.ask(request).result, OutcomeKind::Done);
        whole.run(5_000);
        assert_eq!(progress(&whole, "contract.1"), Some(StepProgress::Done));
        assert_eq!(whole.host.steps_begun.len(), 3);
        let appends = at_every_append(seed, prepare, check);
        assert!(appends >= 7, "{appends}");
    }
}

#[test]
fn so_they_may_while_what_comes_after_is_run() {
    for takes_host in [false, true] {
        let mut ends = std::collections::BTreeMap::new();
        for after in (0..2_000).step_by(40) {
            let mut simulation = Simulation::new(after);
            let next = two(&mut simulation, false, migrate(&["a", "b"], &["c", "d"]));
            assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::Done);
            match takes_host {
                true => simulation.restart_host(after),
                false => simulation.kill_control(after),
            }
            simulation.run(after + 10_000);
            simulation.come_to_rest();
            simulation.check_whole();
            let done = |step: &str| progress(&simulation, step) == Some(StepProgress::Done);
            *ends.entry((done("contract.1"), done("contract.2"))).or_insert(0) += 1;
        }
        assert!(ends.contains_key(&(true, true)), "{ends:?}");
        // Where control alone dies its steps go on; with the host they end, and are not begun again.
        assert_eq!(ends.len() > 1, takes_host, "{ends:?}");
    }
}

#[test]
fn what_fails_leaves_everything_as_it_was_and_is_not_begun_again_by_itself() {
    for (seed, word, half_way) in [(2, "fails", false), (3, "dies", true)] {
        let mut simulation = Simulation::new(seed);
        let next = two(&mut simulation, true, migrate(&["a", word], &[]));
        let servers = simulation.host.engine.ids();
        let outcome = simulation.ask(apply(&next));
        assert_eq!(outcome.result, OutcomeKind::RolledBack, "{outcome:?}");
        assert!(outcome.failure.unwrap().1.reason.starts_with("step `expand.2` (`step-site-"));
        simulation.come_to_rest();
        assert_eq!(simulation.host.engine.ids(), servers);
        let again = simulation.ask(apply(&next));
        assert_eq!(again.result, OutcomeKind::Refused, "{again:?}");
        let failure = again.failure.unwrap().1;
        assert_eq!(failure.refused.as_deref(), Some("step.expand.2"));
        assert_eq!(
            failure.reason.contains("nobody knows how far it came"),
            half_way,
            "{failure:?}"
        );
        assert_eq!(simulation.host.steps_begun.len(), 2);
        // Another image does not make it certain what the one before did; another command is another step.
        let image = simulation.host.scenario.image(Behaviour::GOOD);
        let rebuilt = simulation.ask(apply(&ServiceSpec { image, ..next.clone() }));
        assert_eq!(rebuilt.result == OutcomeKind::Refused, half_way, "{rebuilt:?}");
        let step: StepName = "expand.2".parse().unwrap();
        simulation.rulings.insert(step, StepRuling::Done);
        let done = simulation.ask(apply(&next));
        assert_eq!(done.result, OutcomeKind::Done, "{done:?}");
    }
}

#[test]
fn nothing_goes_back_behind_a_point_of_no_return() {
    let mut simulation = Simulation::new(4);
    let mut next = two(&mut simulation, false, migrate(&["a"], &["c"]));
    next.rollout.keep_warm = Millis(8_000);
    assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::Done);
    assert_eq!(progress(&simulation, "contract.1"), None, "what served before is kept warm");
    assert_eq!(simulation.ask(back()).result, OutcomeKind::Done);
    assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::Done);
    simulation.run(20_000);
    assert_eq!(progress(&simulation, "contract.1"), Some(StepProgress::Done));
    let refused = simulation.ask(back());
    assert_eq!(refused.result, OutcomeKind::Refused, "{refused:?}");
    let failure = refused.failure.unwrap().1;
    assert_eq!(failure.refused.as_deref(), Some("point-of-no-return"));
    assert!(failure.reason.contains("`site` can't go back to `site@1`: step `contract.1`"));
    assert_eq!(simulation.serving("site"), Some(2));

    let mut simulation = Simulation::new(5);
    let at_switch = Migrate { point_of_no_return: PointOfNoReturn::Switch, ..migrate(&["a"], &[]) };
    let next = two(&mut simulation, false, at_switch);
    assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::Done);
    let refused = simulation.ask(back());
    assert_eq!(refused.result, OutcomeKind::Refused, "{refused:?}");
}

#[test]
fn who_moves_a_step_is_told_by_what_name_it_is_decided_about() {
    let mut simulation = Simulation::new(6);
    let next = two(&mut simulation, true, migrate(&["a", "dies"], &[]));
    assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::RolledBack);
    let moved = ServiceSpec { migrate: Some(migrate(&["dies"], &[])), ..next };
    let refused = simulation.ask(apply(&moved));
    assert_eq!(refused.result, OutcomeKind::Refused, "{refused:?}");
    let failure = refused.failure.unwrap().1;
    assert_eq!(failure.refused.as_deref(), Some("step.expand.1"));
    let named = failure.reason.contains("step `expand.1`, which was `expand.2` of `site@2` (`");
    assert!(named, "{failure:?}");
    simulation.rulings.insert("expand.1".parse().unwrap(), StepRuling::Done);
    let done = simulation.ask(apply(&moved));
    assert_eq!(done.result, OutcomeKind::Done, "{done:?}");
}

#[test]
fn what_people_went_back_to_does_not_take_away_by_itself_what_it_left() {
    let mut simulation = Simulation::new(7);
    let mut next = two(&mut simulation, false, migrate(&["a"], &["c"]));
    next.rollout.keep_warm = Millis(8_000);
    assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::Done);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let third = ServiceSpec { image, migrate: None, ..next };
    assert_eq!(simulation.ask(apply(&third)).result, OutcomeKind::Done);
    assert_eq!(simulation.ask(back()).result, OutcomeKind::Done);
    assert_eq!(simulation.serving("site"), Some(2));
    simulation.run(60_000);
    assert_eq!(progress(&simulation, "contract.1"), None);
}

/// Runs until the command of a step does.
fn until_it_runs(simulation: &mut Simulation) {
    for _ in 0..100_000 {
        if !simulation.host.running_work().is_empty() {
            return;
        }
        simulation.step();
    }
    panic!("no step was begun");
}

#[test]
fn a_cancel_ends_the_step_that_runs_before_it_is_over() {
    let mut simulation = Simulation::new(8);
    let next = two(&mut simulation, false, migrate(&["stays"], &[]));
    let asked = simulation.request(apply(&next));
    until_it_runs(&mut simulation);
    let cancel = simulation.ask(RequestKind::Cancel { service: site() });
    assert_eq!(cancel.result, OutcomeKind::Done, "{cancel:?}");
    assert!(simulation.host.running_work().is_empty(), "it runs on beside what comes next");
    assert_eq!(simulation.answer(asked, 1_000).unwrap().result, OutcomeKind::Failed);
    assert!(matches!(progress(&simulation, "expand.1"), Some(StepProgress::HalfWay(_))));
    let again = simulation.ask(apply(&next));
    assert_eq!(again.result, OutcomeKind::Refused, "nobody knows how far it came: {again:?}");
    simulation.rulings.insert("expand.1".parse().unwrap(), StepRuling::Done);
    assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::Done);
}

#[test]
fn a_cancelled_step_has_ended_when_its_rollout_is_over_though_control_and_host_die() {
    for takes_host in [false, true] {
        let mut cancelled = 0;
        for after in (0..60).step_by(3) {
            let mut simulation = Simulation::new(after);
            let next = two(&mut simulation, false, migrate(&["stays"], &[]));
            simulation.request(apply(&next));
            until_it_runs(&mut simulation);
            simulation.request(RequestKind::Cancel { service: site() });
            match takes_host {
                true => simulation.restart_host(after),
                false => simulation.kill_control(after),
            }
            let end = simulation.host.now + 20_000;
            while simulation.host.now < end {
                simulation.step();
                let world = simulation.host.ledger.current();
                if world.rollout_of(&site()).is_none() {
                    assert!(simulation.host.running_work().is_empty(), "after {after} ms");
                }
            }
            simulation.come_to_rest();
            simulation.check_whole();
            cancelled += u32::from(simulation.serving("site") == Some(1));
        }
        assert!(cancelled >= 7, "{cancelled} of 20 were cancelled");
    }
}

/// A guard that refuses for so long from now on.
fn refuse_for(simulation: &mut Simulation, millis: u64) {
    let until = simulation.host.now + millis;
    simulation.host.scenario.guards_pass_from.insert(GuardName::new("quiet").unwrap(), until);
}

#[test]
fn a_step_of_what_is_taken_down_ends_once_nothing_refuses_that() {
    let mut simulation = Simulation::new(9);
    let mut next = two(&mut simulation, false, migrate(&["a"], &["stays"]));
    next.guards = vec![DataGuard {
        name: GuardName::new("quiet").unwrap(),
        probe: DataProbe::Command(vec!["/srv/quiet".to_owned()]),
        within: Millis(1_000),
    }];
    assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::Done);
    until_it_runs(&mut simulation);
    let running = simulation.host.running_work();
    refuse_for(&mut simulation, 5_000);
    let down = RequestKind::Down { services: vec![site()] };
    let refused = simulation.ask(down.clone());
    assert_eq!(refused.result, OutcomeKind::Refused, "{refused:?}");
    assert_eq!(simulation.host.running_work(), running, "what is refused changes nothing");
    refuse_for(&mut simulation, 0);
    let gone = simulation.ask(down);
    assert_eq!(gone.result, OutcomeKind::Done, "{gone:?}");
    assert!(simulation.host.running_work().is_empty(), "nothing of it is left");
}

#[test]
fn a_step_that_could_reach_nothing_keeps_its_release_from_coming() {
    let mut simulation = Simulation::new(11);
    let next = two(&mut simulation, true, migrate(&["a"], &[]));
    let first = &simulation.driver().world().services[&site()].releases[&ReleaseNumber(1)];
    let first = first.spec.clone();
    let down = RequestKind::Down { services: vec![site()] };
    assert_eq!(simulation.ask(down).result, OutcomeKind::Done);
    let refused = simulation.ask(apply(&next));
    assert_eq!(refused.result, OutcomeKind::Refused, "{refused:?}");
    assert_eq!(refused.failure.unwrap().1.refused.as_deref(), Some("step-unreached"));
    assert!(simulation.host.steps_begun.is_empty() && simulation.host.engine.ids().is_empty());
    // What served before has none, and is what the step can reach.
    assert_eq!(simulation.ask(apply(&first)).result, OutcomeKind::Done);
    assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::Done);
    assert_eq!(simulation.host.steps_begun.len(), 1);
}
