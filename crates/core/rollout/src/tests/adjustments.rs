//! Which changes are adjustments, and how they go.

use hornero_model::{
    Actor, InstanceState, Keep, ListenerFault, Millis, ReleaseNumber, ServiceSpec,
};

use crate::{
    Phase, Target, is_adjustment,
    tests::{Bench, site, spec},
};

fn same_servers(change: impl Fn(&mut ServiceSpec)) -> bool {
    let bench = Bench::serving(2);
    let mut spec = spec("one", 2);
    change(&mut spec);
    is_adjustment(&bench.world, &spec)
}

#[test]
fn what_no_server_is_made_from_makes_no_server() {
    assert!(same_servers(|spec| spec.instances = 9));
    assert!(same_servers(|spec| spec.routes.clear()));
    assert!(same_servers(|spec| spec.rollout.keep_warm = Millis(0)));
    assert!(same_servers(|spec| spec.rollout.drain_timeout = Millis(1)));
    assert!(same_servers(|spec| spec.rollout.watch = Millis(1)));
    assert!(same_servers(|spec| spec.depends_on.push(site())));
    assert!(same_servers(|spec| spec.max_age = Some(Millis(1))));
    assert!(same_servers(|spec| spec.keep = Keep { releases: 1, days: 1 }));
    assert!(!same_servers(|spec| spec.image = hornero_model::Digest::of(b"two")));
    assert!(!same_servers(|spec| spec.resources.pids += 1));
    assert!(!same_servers(|spec| spec.egress = false));
    assert!(!same_servers(|spec| spec.ports[0].container = 81));
    assert!(!same_servers(|spec| spec.health = None));
    assert!(!same_servers(|spec| spec.stop_grace = Some(Millis(1))));
}

#[test]
fn a_scale_up_makes_what_is_missing_from_the_release_that_runs() {
    let mut bench = Bench::serving(2);
    bench.forward(&spec("one", 4));
    assert_eq!(bench.phase(), None, "no rollout");
    let made: Vec<_> = bench.world.instances.values().map(|of| (of.release, of.state)).collect();
    assert_eq!(made.iter().filter(|(_, state)| *state == InstanceState::Created).count(), 2);
    assert!(made.iter().all(|(release, _)| *release == ReleaseNumber(1)));
    assert_eq!(
        Target::of(&bench.world, &bench.facts, &spec("one", 4)),
        Target::Repair(ReleaseNumber(2))
    );
    bench.comply();
    let service = &bench.world.services[&site()];
    assert_eq!(service.serving.as_ref().unwrap().terms, ReleaseNumber(2));
    assert_eq!(service.serving.as_ref().unwrap().leaving, None);
    assert!(service.proven.contains(&ReleaseNumber(2)));
    assert_eq!(
        Target::of(&bench.world, &bench.facts, &spec("one", 4)),
        Target::Unchanged(ReleaseNumber(2))
    );
}

#[test]
fn a_way_in_is_open_before_the_one_from_before_is_closed() {
    let mut bench = Bench::serving(2);
    let mut moved = spec("one", 2);
    moved.routes[0].listen = 9_000;
    bench.forward(&moved);
    let ports = |bench: &Bench| -> Vec<u16> {
        let table = crate::table(&bench.world, &bench.facts, 1);
        let outside = table.listeners.iter().map(|listener| listener.address);
        let outside = outside.filter(|of| of.is_ipv4() && of.ip().is_unspecified());
        outside.map(|of| of.port()).collect()
    };
    assert_eq!(ports(&bench), [8_000, 9_000]);
    assert!(!bench.one_step(), "nothing is known of the new way in");
    bench.comply();
    assert_eq!(ports(&bench), [9_000]);
    assert_eq!(bench.world.services[&site()].serving_release().unwrap().number, ReleaseNumber(2));
}

#[test]
fn a_fault_of_the_new_way_in_takes_it_back() {
    let mut bench = Bench::serving(2);
    let mut moved = spec("one", 2);
    moved.routes[0].listen = 9_000;
    bench.forward(&moved);
    bench.comply_once();
    let fault = ListenerFault {
        address: "0.0.0.0:9000".parse().unwrap(),
        reason: "another program listens".to_owned(),
        serves: false,
        certificate: None,
    };
    bench.status(|edge| edge.faults.push(fault));
    assert!(bench.one_step());
    let set = bench.world.services[&site()].serving.clone().unwrap();
    assert_eq!((set.terms, set.leaving), (ReleaseNumber(1), None));
    assert!(!bench.world.services[&site()].proven.contains(&ReleaseNumber(2)));
    // Asked for again it is tried again.
    assert_eq!(Target::of(&bench.world, &bench.facts, &moved), Target::Again(ReleaseNumber(2)));
}

#[test]
fn a_rollout_leaves_the_terms_and_comes_back_to_them() {
    let mut bench = Bench::serving(2);
    bench.forward(&spec("one", 3));
    bench.comply();
    bench.forward(&spec("two", 3));
    assert_eq!(bench.phase(), Some(Phase::Preparing));
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    let service = &bench.world.services[&site()];
    let warm = service.warm.as_ref().unwrap();
    assert_eq!((warm.release, warm.terms), (ReleaseNumber(1), ReleaseNumber(2)));
    assert_eq!(service.last_receipt.as_ref().unwrap().body.from, Some(ReleaseNumber(2)));
    assert_eq!(crate::last_proven(&bench.world, &site()), Some(ReleaseNumber(2)));
    let step = crate::start_rollback(
        &bench.world.clone(),
        &bench.facts.clone(),
        &site(),
        None,
        &Actor::hornero("test"),
        &mut || bench.tail(),
    );
    bench.record(step.unwrap().records);
    bench.comply();
    let set = bench.world.services[&site()].serving.clone().unwrap();
    assert_eq!((set.release, set.terms), (ReleaseNumber(1), ReleaseNumber(2)));
    assert_eq!(set.instances.len(), 3);
}
