//! Directories that bring up what they declare: each has its own services.

use std::collections::BTreeSet;

use hornero_driver::{Outcome, OutcomeKind, RequestKind};
use hornero_model::{Directory, ServiceName, ServiceSpec, Standing};
use hornero_rollout::Declared;
use hornero_sim::{Behaviour, CrashPoint, Simulation, service};

fn directory(path: &str) -> Directory {
    Directory::new(path).unwrap()
}

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn declared(path: &str) -> Declared {
    let (adopt, remove) = (BTreeSet::new(), BTreeSet::new());
    Declared { directory: directory(path), adopt, remove, planned: Vec::new() }
}

fn bring(declared: Declared, services: &[&ServiceSpec]) -> RequestKind {
    let services = services.iter().map(|spec| (*spec).clone()).collect();
    RequestKind::Bring { declared: Box::new(declared), services }
}

fn reason(outcome: &Outcome) -> String {
    outcome.failure.as_ref().map(|(_, failure)| failure.reason.clone()).unwrap_or_default()
}

fn owner(simulation: &Simulation, service: &str) -> Option<String> {
    simulation.driver().world().owner(&name(service)).map(ToString::to_string)
}

/// `site` and `box` serve for `/a`.
fn two() -> (Simulation, ServiceSpec, ServiceSpec) {
    let mut simulation = Simulation::new(21);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let (site, mut box_) = (service("site", image, 1), service("box", image, 1));
    box_.routes[0].listen = 8_500;
    let outcome = simulation.ask(bring(declared("/a"), &[&site, &box_]));
    assert_eq!(outcome.result, OutcomeKind::Done, "{}", reason(&outcome));
    (simulation, site, box_)
}

#[test]
fn a_directory_takes_over_only_what_it_says() {
    let (mut simulation, site, _) = two();
    assert_eq!(owner(&simulation, "site").as_deref(), Some("/a"));
    let appends = simulation.host.ledger.appends;
    let outcome = simulation.ask(bring(declared("/b"), &[&site]));
    assert_eq!(outcome.result, OutcomeKind::Refused);
    assert!(reason(&outcome).contains("`/a`") && reason(&outcome).contains("`/b`"));
    assert_eq!(simulation.host.ledger.appends, appends, "nothing was changed");
    let adopting = Declared { adopt: BTreeSet::from([name("site")]), ..declared("/b") };
    assert_eq!(simulation.ask(bring(adopting, &[&site])).result, OutcomeKind::Done);
    assert_eq!(owner(&simulation, "site").as_deref(), Some("/b"));
    assert_eq!(owner(&simulation, "box").as_deref(), Some("/a"));
    simulation.check_whole();
}

#[test]
fn what_was_made_before_directories_were_recorded_belongs_to_the_first_that_confirms_it() {
    let mut simulation = Simulation::new(22);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let site = service("site", image, 1);
    simulation.ask(RequestKind::Apply { services: vec![site.clone()] });
    assert_eq!(owner(&simulation, "site"), None);
    let ids = simulation.host.engine.ids();
    assert_eq!(simulation.ask(bring(declared("/a"), &[&site])).result, OutcomeKind::Done);
    assert_eq!(owner(&simulation, "site").as_deref(), Some("/a"));
    assert_eq!(simulation.host.engine.ids(), ids);
    // What is taken down belongs to nobody.
    simulation.ask(RequestKind::Down { services: vec![name("site")] });
    assert_eq!(owner(&simulation, "site"), None);
    assert_eq!(simulation.ask(bring(declared("/b"), &[&site])).result, OutcomeKind::Done);
    assert_eq!(owner(&simulation, "site").as_deref(), Some("/b"));
}

#[test]
fn a_way_in_is_given_over_within_a_directory() {
    let (mut simulation, site, box_) = two();
    let mut store = service("data", site.image, 1);
    store.routes.clone_from(&box_.routes);
    let outcome = simulation.ask(bring(declared("/a"), &[&site, &store]));
    assert_eq!(outcome.result, OutcomeKind::Failed, "`box` stays, and has the port");
    let removing = Declared { remove: BTreeSet::from([name("box")]), ..declared("/a") };
    let outcome = simulation.ask(bring(removing, &[&site, &store]));
    assert_eq!(outcome.result, OutcomeKind::Done, "{}", reason(&outcome));
    let order: Vec<&str> = outcome.services.iter().map(|of| of.service.as_str()).collect();
    assert_eq!(order, ["box", "site", "data"]);
    simulation.come_to_rest();
    simulation.check_whole();
    assert_eq!(simulation.serving("box"), None);
    // What is declared, or another directory's, is not taken down.
    let wrong = Declared { remove: BTreeSet::from([name("site")]), ..declared("/b") };
    assert_eq!(simulation.ask(bring(wrong, &[])).result, OutcomeKind::Refused);
}

#[test]
fn a_plan_is_carried_out_only_where_it_was_made() {
    let (mut simulation, site, box_) = two();
    let planned: Vec<Standing> =
        simulation.driver().world().standings(&directory("/a"), &[site.clone(), box_.clone()]);
    let more = ServiceSpec { instances: 2, ..site.clone() };
    let carried_out = || Declared { planned: planned.clone(), ..declared("/a") };
    assert_eq!(simulation.ask(bring(carried_out(), &[&more, &box_])).result, OutcomeKind::Done);
    let outcome = simulation.ask(bring(carried_out(), &[&more, &box_]));
    assert_eq!(outcome.result, OutcomeKind::Refused);
    let text = reason(&outcome);
    assert!(text.contains("`site` serves as release 2 for `/a` now"), "{text}");
    assert!(text.contains("serves as release 1 for `/a` then"), "{text}");
}

#[test]
fn control_that_is_killed_leaves_no_service_with_two_owners() {
    for number in 1..5 {
        for point in [CrashPoint::Before(number), CrashPoint::After(number)] {
            let (mut simulation, site, box_) = two();
            simulation.crash_at(point);
            let image = simulation.host.scenario.image(Behaviour::GOOD);
            let adopt = BTreeSet::from([name("site"), name("box")]);
            let next = ServiceSpec { image, ..site.clone() };
            let id =
                simulation.request(bring(Declared { adopt, ..declared("/b") }, &[&next, &box_]));
            simulation.answer(id, 30_000);
            simulation.host.crash = None;
            simulation.come_to_rest();
            simulation.check_whole();
            let owner = owner(&simulation, "site").unwrap();
            let serving = simulation.driver().world().services[&name("site")].newest().unwrap();
            assert_eq!(owner == "/b", serving.number.0 == 2, "{point:?}: {owner}");
        }
    }
}
