//! Several edges: a table is prepared at all of them before it is in force at one, and one that can't be reached is waited for
//! no longer than it may be.

use std::collections::BTreeSet;

use hornero_model::{
    EdgeName, EdgeStatus, Health, Millis, ReleaseCounters, ReleaseNumber, RouteTable,
};

use super::{Bench, all_healthy, site, spec};
use crate::{AWAY_ALLOWANCE, Effect, Phase};

fn name(edge: &str) -> EdgeName {
    EdgeName::new(edge).unwrap()
}

/// Edges and what they are asked for, in short.
fn asked(bench: &Bench) -> Vec<String> {
    let of_edges = bench.wanted().into_iter().filter(|effect| effect.edge_of().is_some());
    of_edges.map(|effect| effect.to_string()).collect()
}

impl Bench {
    /// A world in which `site@1` serves, proven, behind edges of these names.
    fn behind(edges: &[&str]) -> Self {
        let mut bench = Self::new();
        bench.facts.edges.clear();
        for edge in edges {
            let now = bench.facts.now;
            let edge = name(edge);
            bench.facts.here.edges.insert(edge.clone(), Default::default());
            bench.facts.here.saw_edge(&edge, EdgeStatus { pid: 1, ..EdgeStatus::default() }, now);
        }
        bench.forward(&spec("one", 2));
        bench.obey();
        bench.pass(Millis(1_000));
        bench.obey();
        assert_eq!(bench.world.services[&site()].proven.len(), 1, "{:?}", bench.log);
        bench.log.clear();
        bench
    }

    /// Decides and does until nothing is wanted, edge by edge.
    fn obey(&mut self) {
        for _ in 0..200 {
            self.settle();
            let Some(effect) = self.wanted().into_iter().next() else { return };
            self.obeys(effect);
        }
        panic!("it never comes to rest: {:?}", self.log);
    }

    fn obeys(&mut self, effect: Effect) {
        let (now, here) = (self.facts.now, &mut self.facts.here);
        match effect {
            Effect::PrepareRoutes { edge, table } => {
                here.proposes(&table);
                here.saw_prepared(&edge.edge, table.generation);
            }
            Effect::ApplyRoutes { edge, table, .. } => {
                here.sent(&edge.edge, &table, now);
                let status = follows(&table);
                let counters = status.counters.clone();
                here.confirmed(&edge.edge, *table, (1.0, counters), now);
                here.saw_edge(&edge.edge, status, now);
            }
            other => self.done(other),
        }
    }

    /// Prepares what is to be switched to, at every edge but those.
    fn prepares(&mut self, but: &[&str]) {
        for effect in self.wanted() {
            let edge = effect.edge_of().map(|edge| edge.edge.as_str().to_owned());
            if matches!(effect, Effect::PrepareRoutes { .. })
                && !edge.is_some_and(|edge| but.contains(&edge.as_str()))
            {
                self.obeys(effect);
            }
        }
    }

    /// A world in which `site@2` is to be switched to.
    fn switching(edges: &[&str]) -> Self {
        let mut bench = Self::behind(edges);
        bench.forward(&spec("two", 2));
        while bench.phase() != Some(Phase::Switching) {
            bench.settle();
            if bench.phase() == Some(Phase::Switching) {
                break;
            }
            let effect = bench.wanted().into_iter().next().expect("something to do");
            bench.obeys(effect);
        }
        bench
    }

    fn lose(&mut self, edge: &str) {
        let now = self.facts.now;
        self.facts.here.lost_edge(&name(edge), now);
    }

    fn sees(&mut self, edge: &str, status: EdgeStatus) {
        let now = self.facts.now;
        self.facts.here.saw_edge(&name(edge), status, now);
    }

    fn later(&mut self, span: Millis) {
        self.pass(span);
        self.facts.gather();
    }

    fn weight(&self, edge: &str) -> u32 {
        let in_force = self.facts.edges[&name(edge)].in_force.as_ref().unwrap();
        in_force.table.pools[0].weight(ReleaseNumber(2))
    }
}

/// The status of an edge that has a table in force, and finds all servers healthy.
fn follows(table: &RouteTable) -> EdgeStatus {
    let backends = all_healthy(table);
    let sets: BTreeSet<_> = backends.iter().map(|of| (of.pool.clone(), of.release)).collect();
    let counters = sets.into_iter().map(|(pool, release)| ReleaseCounters::new(pool, release));
    EdgeStatus {
        pid: 1,
        generation: table.generation,
        backends,
        counters: counters.collect(),
        ..EdgeStatus::default()
    }
}

#[test]
fn a_table_is_in_force_nowhere_before_it_is_prepared_everywhere() {
    let mut bench = Bench::switching(&["a", "b", "c"]);
    let table = bench.facts.next_generation();
    let prepare = |edge: &str| format!("prepare route table {table} at edge `local/{edge}`");
    let commit = |edge: &str| format!("apply route table {table} at edge `local/{edge}`");
    assert_eq!(asked(&bench), [prepare("a"), prepare("b"), prepare("c")]);
    bench.prepares(&["b"]);
    assert_eq!(asked(&bench), [prepare("b")]);
    assert_eq!(bench.phase(), Some(Phase::Switching));
    bench.prepares(&[]);
    assert_eq!(asked(&bench), [commit("a"), commit("b"), commit("c")]);
    for after in [40, 0, 25] {
        bench.later(Millis(after));
        let next = bench.wanted().into_iter().next().unwrap();
        bench.obeys(next);
        bench.settle();
    }
    assert_eq!(bench.phase(), Some(Phase::Watching));
    bench.pass(Millis(1_000));
    bench.obey();
    let receipt = bench.world.services[&site()].last_receipt.clone().unwrap().body;
    assert_eq!((receipt.edges, receipt.skew_ms), (Some(3), Some(25.0)));
}

#[test]
fn one_edge_is_asked_once() {
    let bench = Bench::switching(&["a"]);
    let table = bench.facts.next_generation();
    assert_eq!(asked(&bench), [format!("apply route table {table} at edge `local/a`")]);
    let effect = bench.wanted().into_iter().find(|effect| effect.edge_of().is_some());
    assert!(matches!(effect, Some(Effect::ApplyRoutes { prepared: false, .. })), "{effect:?}");
}

#[test]
fn an_edge_that_does_not_prepare_leaves_all_of_them_as_they_were() {
    let mut bench = Bench::switching(&["a", "b"]);
    bench.prepares(&["b"]);
    bench.later(Millis(30_000));
    bench.settle();
    let failed = "rollout 2 failed: edges `a`, `b` did not switch within 30s";
    assert_eq!(bench.log.last().unwrap(), failed, "{:?}", bench.log);
    assert_eq!((bench.weight("a"), bench.weight("b")), (0, 0));
}

#[test]
fn an_edge_that_refuses_is_named() {
    let mut bench = Bench::switching(&["a", "b"]);
    bench.prepares(&["b"]);
    let refused = bench.wanted().into_iter().find(|effect| effect.edge_of().is_some()).unwrap();
    let (world, key) = (bench.world.clone(), refused.key());
    for tries in 1..=3 {
        crate::failed(&world, &mut bench.facts, &key, tries, "it is invalid".to_owned());
    }
    bench.settle();
    let failed = "rollout 2 failed: edge `b` refused the route table: it is invalid";
    assert_eq!(bench.log.last().unwrap(), failed, "{:?}", bench.log);
    assert_eq!((bench.weight("a"), bench.weight("b")), (0, 0));
}

#[test]
fn after_the_first_commit_it_only_goes_forward() {
    let mut bench = Bench::switching(&["a", "b"]);
    bench.prepares(&[]);
    let before = bench.facts.in_force.clone().unwrap().table.generation;
    let first = bench.wanted().into_iter().find(|effect| effect.edge_of().is_some()).unwrap();
    bench.obeys(first);
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Switching), "half of it is no switch");
    assert_eq!(bench.facts.in_force, None);
    let next = bench.facts.proposed.as_ref().unwrap().generation;
    assert_eq!(asked(&bench), [format!("apply route table {next} at edge `local/b`")]);
    // The other one never answers: the way back is a newer table for both, of which each is asked beforehand.
    bench.later(Millis(30_000));
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Returning));
    let back = bench.facts.next_generation();
    assert!(back > next && next > before);
    let prepare = |edge: &str| format!("prepare route table {back} at edge `local/{edge}`");
    assert_eq!(asked(&bench), [prepare("a"), prepare("b")]);
    bench.obey();
    assert_eq!((bench.weight("a"), bench.weight("b"), bench.phase()), (0, 0, None));
}

#[test]
fn an_edge_that_is_away_is_waited_for_and_then_left_out() {
    let mut bench = Bench::switching(&["a", "b"]);
    let old = bench.instance(1);
    bench.lose("b");
    assert_eq!(asked(&bench), [""; 0], "nobody knows what it does");
    bench.later(Millis(AWAY_ALLOWANCE.0 - 1));
    assert_eq!(asked(&bench), [""; 0]);
    bench.later(Millis(1));
    bench.obey();
    bench.pass(Millis(1_000));
    bench.obey();
    let receipt = bench.world.services[&site()].last_receipt.clone().unwrap().body;
    assert_eq!((receipt.to.0, receipt.edges), (2, Some(1)));
    // It may route to the old servers for as long as nothing is heard of it.
    bench.later(Millis(3_600_000));
    bench.obey();
    assert!(bench.facts.routed(&old) && bench.facts.running.contains_key(&old), "{:?}", bench.log);
    // It is back with the table from before; then it follows, and they end.
    let before = follows(&bench.facts.edges[&name("b")].in_force.clone().unwrap().table);
    bench.sees("b", before);
    assert_eq!(bench.facts.in_force, None, "the edges differ");
    bench.obey();
    assert_eq!((bench.weight("a"), bench.weight("b")), (10_000, 10_000));
    assert!(!bench.facts.running.contains_key(&old));
}

#[test]
fn a_server_is_healthy_where_every_edge_says_so() {
    let mut bench = Bench::behind(&["a", "b"]);
    let (id, world) = (bench.instance(1), bench.world.clone());
    assert_eq!(bench.facts.health(&world, &id), Health::Healthy);
    let mut sick = follows(&bench.facts.in_force.clone().unwrap().table);
    sick.backends.iter_mut().for_each(|of| of.health = Health::Unhealthy);
    bench.sees("b", sick);
    assert_eq!(bench.facts.health(&world, &id), Health::Unhealthy);
    bench.lose("a");
    assert_eq!(bench.facts.health(&world, &id), Health::Unknown);
}
