//! Which services are looked at: one at rest is left alone until something of it is seen, and never longer.

use std::collections::BTreeSet;

use hornero_model::{
    Actor, EventBody, Health, InstanceId, InstanceState, Millis, PoolName, PoolWaiting,
    ServiceName, Timestamp,
};

use super::{Bench, root, site, spec};
use crate::{Attention, recycle_due, rest::is_at_rest, table, wanted};

fn other() -> ServiceName {
    ServiceName::new("other").unwrap()
}

/// `site` serves with two servers that may become so old, and `other` with one.
fn two_services() -> Bench {
    let mut bench = Bench::new();
    let mut own = spec("one", 2);
    own.max_age = Some(Millis(100_000));
    bench.forward(&own);
    bench.comply();
    let mut beside = spec("two", 1);
    beside.name = other();
    beside.routes[0].listen = 9000;
    bench.forward(&beside);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    assert!(bench.world.rollouts.is_empty());
    bench
}

fn of_site(bench: &Bench) -> InstanceId {
    bench.world.instances.of(&site()).next().unwrap().id.clone()
}

/// What looks at all that is there, once.
fn looked(bench: &Bench) -> Attention {
    let mut attention = Attention::to_all(&bench.world, &bench.facts);
    assert_eq!(wanted(&bench.world, &bench.facts, &mut attention), []);
    attention.rest(&bench.world, &bench.facts);
    attention
}

#[test]
fn what_serves_well_is_at_rest_until_its_time_comes() {
    let bench = two_services();
    let mut attention = looked(&bench);
    assert!(attention.busy().is_empty(), "{:?}", attention.busy());
    let due = |of: &crate::Instance| recycle_due(of, Millis(100_000));
    let due: Timestamp = bench.world.instances.of(&site()).map(due).min().unwrap();
    assert_eq!(attention.first_due(), Some(due));
    attention.rouse(Timestamp(due.0 - 1));
    assert!(attention.busy().is_empty());
    attention.rouse(due);
    assert_eq!(*attention.busy(), BTreeSet::from([site()]), "nobody else's time has come");
    assert_eq!(attention.first_due(), None);
}

#[test]
fn nothing_that_is_not_as_it_shall_be_is_at_rest() {
    type Disturb = fn(&mut Bench);
    let cases: [(&str, Disturb); 13] = [
        ("a server ended", |bench| bench.exit(&of_site(bench))),
        ("one is sick", |bench| bench.health(&of_site(bench), Health::Unhealthy)),
        ("nobody knows how one is", |bench| bench.status(|edge| edge.backends.clear())),
        ("no edge can tell", |bench| bench.facts.edge = None),
        ("one was sick", |bench| {
            let (id, now) = (of_site(bench), bench.facts.now);
            bench.facts.unhealthy_since.insert(id, now);
        }),
        ("one is to be replaced", |bench| {
            let instances = vec![of_site(bench)];
            bench.append(root(), EventBody::RecycleSet { service: site(), instances }).unwrap();
        }),
        ("somebody is in one", |bench| {
            let until = bench.facts.now.after(Millis(100_000));
            let body = super::glass::session(&of_site(bench), "glass-a", until, false);
            bench.append(root(), body).unwrap();
        }),
        ("one ends", |bench| {
            let body = EventBody::InstanceChanged {
                instance: of_site(bench),
                service: site(),
                release: hornero_model::ReleaseNumber(1),
                state: InstanceState::Stopped,
                cause: None,
                region: Default::default(),
            };
            bench.append(Actor::hornero("test"), body).unwrap();
        }),
        ("a rollout is under way", |bench| bench.forward(&spec("three", 2))),
        ("its release is not proven", |bench| {
            bench.world.services.get_mut(&site()).unwrap().proven.clear();
        }),
        ("it has no address", |bench| {
            bench.facts.addresses.remove(&site());
        }),
        ("its address is taken back", |bench| {
            bench.facts.leaving_addresses.insert(site());
        }),
        ("it goes at once", |bench| {
            bench.facts.forced.insert(site());
        }),
    ];
    let whole = two_services();
    assert!(is_at_rest(&whole.world, &whole.facts, &site()));
    for (what, disturb) in cases {
        let mut bench = whole.clone();
        disturb(&mut bench);
        assert!(!is_at_rest(&bench.world, &bench.facts, &site()), "{what}");
    }
}

#[test]
fn what_is_seen_is_looked_at_and_nothing_else() {
    let bench = two_services();
    let looked = looked(&bench);
    let only = |attention: &Attention| Vec::from_iter(attention.busy().iter().cloned());
    let mut attention = looked.clone();
    attention.look_at_instance(&bench.world, &of_site(&bench));
    assert_eq!(only(&attention), [site()]);
    let before = bench.facts.edge.clone().unwrap();
    let mut sick = (*before).clone();
    let id = bench.world.instances.of(&other()).next().unwrap().id.clone();
    for backend in sick.backends.iter_mut().filter(|of| of.instance == id) {
        backend.health = Health::Unhealthy;
    }
    let mut attention = looked.clone();
    attention.saw_edges(&bench.world, Some(&before), Some(&sick));
    assert_eq!(only(&attention), [other()]);
    let mut waited_for = (*before).clone();
    let pool = PoolName { service: site(), port: "http".parse().unwrap() };
    waited_for.waiting.push(PoolWaiting { pool, requests: 1 });
    let mut attention = looked.clone();
    attention.saw_edges(&bench.world, Some(&before), Some(&waited_for));
    assert_eq!(only(&attention), [site()]);
    let mut attention = looked.clone();
    attention.saw_edges(&bench.world, Some(&before), None);
    assert_eq!(only(&attention), [other(), site()], "nobody knows how any of them is");
}

#[test]
fn a_table_shares_what_nobody_changed_and_is_the_one_made_anew() {
    let mut bench = two_services();
    let mut attention = looked(&bench);
    let before = attention.table(&bench.world, &bench.facts);
    assert_eq!(before, table(&bench.world, &bench.facts, before.generation));
    bench.forward(&spec("three", 2));
    bench.comply_once();
    attention.look_at(&site());
    attention.renew_table(&bench.world, &bench.facts);
    let after = attention.table(&bench.world, &bench.facts);
    assert_eq!(after, table(&bench.world, &bench.facts, after.generation));
    assert!(after.listeners.is_clone_of(&before.listeners), "its ways in are the same");
    let shared = |service: ServiceName| {
        let own =
            |pool: &&hornero_model::CopyOnWrite<hornero_model::Pool>| pool.name.service == service;
        let (before, after) = (before.pools.iter().find(own), after.pools.iter().find(own));
        after.unwrap().is_clone_of(before.unwrap())
    };
    assert!(shared(other()));
    assert!(!shared(site()), "new servers are in it");
    let last = bench.world.services.remove(&other());
    attention.look_at(&other());
    attention.renew_table(&bench.world, &bench.facts);
    let without = attention.table(&bench.world, &bench.facts);
    assert_eq!(without, table(&bench.world, &bench.facts, without.generation));
    assert!(last.is_some() && without.pools.len() + 1 == after.pools.len());
}
