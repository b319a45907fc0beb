//! What is known of schema steps, step by step.

use hornero_model::{
    EventBody, ExitCause, Health, Migrate, Millis, PointOfNoReturn, ReleaseNumber, ServiceSpec,
    StepName, StepPhase, StepRuling,
};

use super::{Bench, root, site, spec};
use crate::{Effect, Phase, StartError, StepProgress, no_return, release_steps, start_forward};

/// `site@2` with these commands before it.
fn second(expand: &[&str]) -> ServiceSpec {
    let expand = expand.iter().map(|word| vec!["/srv/migrate".to_owned(), (*word).to_owned()]);
    let migrate = Migrate {
        expand: expand.collect(),
        contract: Vec::new(),
        timeout: Millis(20_000),
        point_of_no_return: PointOfNoReturn::Contract,
        first_release: false,
    };
    ServiceSpec { migrate: Some(migrate), ..spec("two", 1) }
}

/// Brings `site@2`, whose second step dies.
fn dies_in_the_second(spec: &ServiceSpec) -> Bench {
    let mut bench = Bench::serving(1);
    bench.forward(spec);
    for _ in 0..10 {
        bench.settle();
        for effect in bench.wanted() {
            match effect {
                Effect::CarryOut { run, .. } if run.step.as_ref().unwrap().step.number == 2 => {
                    bench.run_ended(&run.id, ExitCause::Signal(9));
                }
                other => bench.done(other),
            }
        }
    }
    assert!(bench.world.rollout_of(&site()).is_none());
    bench
}

#[test]
fn of_two_steps_with_one_command_each_is_known_by_itself() {
    let spec = second(&["a", "a"]);
    let mut bench = dies_in_the_second(&spec);
    let more = ServiceSpec { instances: 2, ..spec };
    let steps = release_steps(&bench.world, &more, ReleaseNumber(3), StepPhase::Expand);
    let known: Vec<(StepName, bool)> =
        steps.iter().map(|step| (step.known.unwrap().1, step.is_done())).collect();
    let name = |number| StepName { phase: StepPhase::Expand, number };
    assert_eq!(known, [(name(1), true), (name(2), false)]);
    bench.facts.rulings.insert(name(1), StepRuling::Done);
    let mut tail = || "t".to_owned();
    let refused = start_forward(&bench.world, &bench.facts, &more, &root(), &mut tail);
    let Err(StartError::Step(step)) = refused else { panic!("{refused:?}") };
    assert_eq!((step.step, step.half_way), (name(2), true));
    bench.facts.rulings.insert(name(2), StepRuling::Done);
    bench.forward(&more);
    bench.comply();
    assert_eq!(bench.world.services[&site()].steps.len(), 1, "nothing was run once more");
}

#[test]
fn a_step_that_was_moved_is_named_by_its_place_now() {
    let bench = dies_in_the_second(&second(&["a", "b"]));
    let mut tail = || "t".to_owned();
    let refused = start_forward(&bench.world, &bench.facts, &second(&["b"]), &root(), &mut tail);
    let said = refused.unwrap_err().to_string();
    assert!(said.starts_with("step `expand.1`, which was `expand.2` of `site@2` (`"), "{said}");
}

#[test]
fn a_decision_about_what_needs_none_changes_nothing() {
    let mut bench = dies_in_the_second(&second(&["a", "b"]));
    let step = StepName { phase: StepPhase::Expand, number: 1 };
    let before = bench.world.services.clone();
    for (release, step) in [(2, step), (3, step), (2, StepName { number: 7, ..step })] {
        let (service, release, ruling) = (site(), ReleaseNumber(release), StepRuling::Rerun);
        bench.append(root(), EventBody::StepRuled { service, release, step, ruling }).unwrap();
    }
    assert_eq!(bench.world.services, before);
    let known = &bench.world.services[&site()].steps[&ReleaseNumber(2)];
    assert_eq!(known[&step].progress, StepProgress::Done);
}

#[test]
fn what_failed_its_watch_and_served_on_is_a_point_of_no_return_too() {
    let next = second(&["a"]);
    let migrate = next
        .migrate
        .clone()
        .map(|of| Migrate { point_of_no_return: PointOfNoReturn::Switch, ..of });
    let mut bench = Bench::serving(1);
    bench.forward(&ServiceSpec { migrate, ..next });
    for _ in 0..100 {
        if bench.phase() != Some(Phase::Watching) {
            bench.comply_once();
            bench.one_step();
        }
    }
    assert_eq!(bench.phase(), Some(Phase::Watching), "{:?}", bench.log);
    let sick = bench.instance(2);
    bench.health(&sick, Health::Unhealthy);
    bench.one_step();
    assert_eq!(bench.world.services[&site()].serving.as_ref().unwrap().release, ReleaseNumber(2));
    assert_eq!(bench.world.services[&site()].proven.len(), 1, "{:?}", bench.log);
    bench.forward(&spec("three", 1));
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    let service = &bench.world.services[&site()];
    assert!(service.proven.contains(&ReleaseNumber(3)), "{:?}", bench.log);
    let why = no_return(&bench.world, &site(), ReleaseNumber(1));
    assert!(why.unwrap().starts_with("`site@2` has served"));
}

#[test]
fn a_rollout_that_is_given_up_is_over_when_its_step_has_ended() {
    let mut bench = Bench::serving(1);
    bench.forward(&second(&["a"]));
    let begun = |bench: &Bench| {
        bench.wanted().into_iter().find_map(|effect| match effect {
            Effect::CarryOut { run, .. } => Some(run.id),
            _ => None,
        })
    };
    for _ in 0..10 {
        if begun(&bench).is_none() {
            bench.comply_once();
            bench.settle();
        }
    }
    let run = begun(&bench).expect("the step is begun");
    let rollout = bench.world.rollout_of(&site()).unwrap().id;
    bench.facts.cancelled.insert(rollout, root());
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Undoing), "{:?}", bench.log);
    assert_eq!(begun(&bench), None, "it is not carried on with");
    let ends = |effect: &Effect| matches!(effect, Effect::EndRun { run: of, .. } if of.id == run);
    assert!(bench.wanted().iter().any(ends), "it is ended");
    // However long its end takes: what comes next would begin beside it.
    bench.pass(Millis(70_000));
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Undoing), "{:?}", bench.log);
    bench.run_ended(&run, ExitCause::Signal(15));
    bench.settle();
    assert_eq!(bench.phase(), None, "{:?}", bench.log);
    let step = StepName { phase: StepPhase::Expand, number: 1 };
    let known = &bench.world.services[&site()].steps[&ReleaseNumber(2)][&step];
    assert!(matches!(known.progress, StepProgress::HalfWay(_)), "{known:?}");
}
