//! Releases that failed: what counts as their fault, what is tried again, and when the cause lies elsewhere.

use hornero_model::{Actor, EventBody, ExitCause, Millis, ReleaseNumber};

use super::{Bench, root, site, spec};
use crate::{
    Phase, RepairState, RolloutFailure, failed_before, last_proven, repair_state, start_rollback,
};

/// `site@2` over `site@1`, whose servers end at their start with code 3.
fn failed() -> Bench {
    let mut bench = Bench::preparing();
    bench.comply_once();
    let victim = bench.instance(2);
    bench.exit(&victim);
    bench.comply();
    assert_eq!(bench.phase(), None);
    bench
}

fn failed_number(bench: &Bench, image: &str, instances: u32) -> Option<u32> {
    failed_before(&bench.world, &spec(image, instances)).map(|(number, _)| number.0)
}

#[test]
fn what_makes_the_servers_of_a_failed_release_counts_as_it() {
    let bench = failed();
    assert_eq!(failed_number(&bench, "two", 2), Some(2));
    assert_eq!(failed_number(&bench, "two", 5), Some(2), "more of the same");
    assert_eq!(failed_number(&bench, "three", 2), None);
    let mut other = spec("two", 2);
    other.resources.memory_bytes *= 2;
    assert!(failed_before(&bench.world, &other).is_none(), "the same image, configured otherwise");
    let (_, failed) = failed_before(&bench.world, &spec("two", 2)).unwrap();
    assert_eq!(failed.by.who, "root");
    assert!(failed.failure.reason.contains("exited with code 3"), "{:?}", failed.failure);
}

#[test]
fn a_release_that_works_the_next_time_did_not_fail() {
    let mut bench = failed();
    bench.forward(&spec("two", 2));
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    assert_eq!(bench.world.services[&site()].serving.as_ref().unwrap().terms, ReleaseNumber(2));
    assert_eq!(failed_number(&bench, "two", 2), None);
}

#[test]
fn what_is_not_the_fault_of_a_release_is_not_held_against_it() {
    for failure in [
        RolloutFailure::cancelled(&root()),
        RolloutFailure {
            refused: Some("bounded-churn".to_owned()),
            ..RolloutFailure::of("too many")
        },
    ] {
        let mut bench = Bench::preparing();
        let id = bench.world.rollout_of(&site()).unwrap().id;
        bench.facts.halted.insert(id, failure);
        bench.comply();
        assert_eq!(bench.phase(), None);
        assert_eq!(failed_number(&bench, "two", 2), None);
    }
    let mut bench = Bench::preparing();
    bench.comply_once();
    let victim = bench.instance(2);
    bench.exit(&victim);
    bench.facts.exited.get_mut(&victim).unwrap().cause = ExitCause::HostRestarted;
    bench.comply();
    assert_eq!(failed_number(&bench, "two", 2), None, "its host was started again");
}

#[test]
fn a_release_that_failed_is_gone_back_to_only_by_name() {
    let mut bench = Bench::serving(1);
    for image in ["two", "three"] {
        bench.forward(&spec(image, 1));
        bench.comply();
        bench.pass(Millis(1_000));
        bench.comply();
    }
    assert_eq!(last_proven(&bench.world, &site()), Some(ReleaseNumber(2)));
    // The way back fails: its servers end.
    bench.pass(Millis(3_600_000));
    bench.comply();
    let (world, facts) = (bench.world.clone(), bench.facts.clone());
    let back = start_rollback(&world, &facts, &site(), None, &root(), &mut || bench.tail());
    bench.record(back.unwrap().records);
    assert_eq!(bench.phase(), Some(Phase::Preparing), "{:?}", bench.log);
    bench.comply_once();
    let victim = bench.instance(2);
    bench.exit(&victim);
    bench.comply();
    assert_eq!(last_proven(&bench.world, &site()), Some(ReleaseNumber(1)));
}

/// What serves ends, in this way.
fn serving_ends(bench: &mut Bench, cause: ExitCause, last_line: &str) {
    let victim = bench.instance(1);
    bench.exit(&victim);
    let exit = bench.facts.exited.get_mut(&victim).unwrap();
    (exit.cause, exit.log_tail) = (cause, vec![last_line.to_owned()]);
    bench.comply();
}

#[test]
fn nothing_is_replaced_once_the_old_release_fails_as_the_new_one_did() {
    let mut bench = failed();
    serving_ends(&mut bench, ExitCause::Code(3), "panic: no config");
    let service = &bench.world.services[&site()];
    let shared = service.shared.clone().unwrap();
    assert_eq!((shared.release.0, shared.failed.0), (1, 2));
    assert!(shared.reason(&site()).contains("likely state, configuration or a dependency"));
    assert!(service.failed.is_empty(), "the new release was not at fault");
    assert_eq!(service.serving.as_ref().unwrap().instances.len(), 1, "what runs is kept");
    assert_eq!(repair_state(&bench.world, &bench.facts, &site()), Some(RepairState::Held));
    let before = bench.world.instances.len();
    bench.pass(Millis(600_000));
    bench.comply();
    assert_eq!(bench.world.instances.len(), before);
    // Somebody lets it go on.
    let by = Actor { who: "root".to_owned(), why: "back".to_owned(), commit: None };
    bench.append(by, EventBody::ChurnResumed { service: Some(site()) }).unwrap();
    bench.comply();
    assert_eq!(repair_state(&bench.world, &bench.facts, &site()), Some(RepairState::Whole));
}

#[test]
fn an_old_release_that_fails_otherwise_or_much_later_is_replaced() {
    for (cause, line, later) in [
        (ExitCause::Code(4), "panic: no config", 0),
        (ExitCause::Code(3), "out of disk", 0),
        (ExitCause::Code(3), "panic: no config", 600_000),
    ] {
        let mut bench = failed();
        bench.pass(Millis(later));
        serving_ends(&mut bench, cause.clone(), line);
        assert_eq!(bench.world.services[&site()].shared, None, "{cause} {line} {later}");
        let state = repair_state(&bench.world, &bench.facts, &site());
        assert_eq!(state, Some(RepairState::Whole), "{cause} {line} {later}");
    }
}
