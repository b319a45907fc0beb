//! Resuming: from the ledger's world and what engine and edge have, whatever happened in between.

use std::{collections::BTreeMap, net::IpAddr};

use hornero_conservation::Churn;
use hornero_model::{
    Actor, BootId, EdgeName, EdgeRef, EdgeStatus, EventBody, ExitCause, InstanceId, InstanceState,
    Location, RegionName, ServiceName, Term, Timestamp,
};
use hornero_rollout::{
    Attention, Bug, Exit, Facts, KnownEdge, Record, RegionFacts, Running, World, planted,
};

use crate::{Driver, DriverError, Ports};

/// An instance that the engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub instance: InstanceId,
    /// Where it is, while its command runs.
    pub running: Option<Location>,
    /// Why it ended, where it did; [`ExitCause::Unknown`] where that is not known. Where the host was started since, it
    /// counts as [`ExitCause::HostRestarted`], whatever is said here.
    pub cause: Option<ExitCause>,
    /// The last lines of its log, where it ended.
    pub log_tail: Vec<String>,
}

/// Everything outside of the ledger that a control process finds at its start, in one region.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Every instance that the engine has.
    pub instances: Vec<Found>,
    /// Every service that has an address of its own.
    pub addresses: BTreeMap<ServiceName, IpAddr>,
    /// Every edge of it, with its status where it can be reached.
    pub edges: BTreeMap<EdgeName, Option<EdgeStatus>>,
    /// The newest term of control that the engine has heard of.
    pub term: Term,
}

/// What a control process finds at its start, by region.
pub type Regions = BTreeMap<RegionName, Outside>;

/// The control process that starts.
#[derive(Debug, Clone, Copy)]
pub struct Starting<'a> {
    /// Its version.
    pub version: &'a str,
    /// The start of the host on which it does.
    pub boot: &'a BootId,
}

impl Driver {
    /// Takes over a home: `world` and `churn` folded from its whole ledger, and what is outside of it. What was under way goes on or is undone; instances nobody knows are removed;
    /// instances that should run and don't have failed. Where the host was started again since the ledger's last entry,
    /// that is recorded, and what does not run ended with it.
    ///
    /// # Errors
    /// As [`Driver::handle`].
    pub fn resume(
        world: World,
        churn: Churn,
        mut outside: Regions,
        starting: Starting<'_>,
        ports: &mut dyn Ports,
    ) -> Result<Self, DriverError> {
        let now = ports.now();
        let term = next_term(&world, &outside);
        let mut facts = Facts { now, begun: now, ..Facts::default() };
        let here = outside.remove(&facts.region).unwrap_or_default();
        let Outside { instances, addresses, edges, .. } = here;
        facts.addresses = addresses;
        facts.edges = away(&edges, now);
        let elsewhere = outside.iter().map(|(region, found)| {
            let (addresses, edges) = (found.addresses.clone(), away(&found.edges, now));
            (region.clone(), RegionFacts { addresses, edges, ..RegionFacts::default() })
        });
        facts.elsewhere = elsewhere.collect();
        let restarted = world.boot.as_ref().is_some_and(|last| last != starting.boot);
        saw_instances(&mut facts, &world, instances, restarted);
        let detail = describe(&world, &facts);
        let attention = Attention::to_all(&world, &facts);
        let mut driver = Self {
            attention,
            term,
            world,
            churn,
            facts,
            last_effect: 0,
            pending: Default::default(),
            refused: Default::default(),
            last_status: Default::default(),
            jobs: Vec::new(),
            ended: Default::default(),
            told_healthy: Default::default(),
            told_probes: Default::default(),
            looked_for_room: None,
        };
        driver.hold();
        let records = begun(&starting, restarted, (detail, term));
        driver.persist(records, ports)?;
        ports.begins(term);
        let region = driver.facts.region.clone();
        let found = edges.into_iter().map(|(edge, status)| (region.clone(), edge, status));
        let others = outside.into_iter().flat_map(|(region, found)| {
            found.edges.into_iter().map(move |(edge, status)| (region.clone(), edge, status))
        });
        for (region, edge, status) in found.chain(others) {
            if let Some(status) = status {
                let edge = EdgeRef { region, edge };
                driver.observe(crate::Observation::EdgeStatus { edge, status }, ports);
            }
        }
        driver.look_for_room(&*ports);
        driver.settle(ports)?;
        Ok(driver)
    }
}

/// What is recorded of a start: that the host was started again, where it was, and that control goes on.
fn begun(starting: &Starting<'_>, restarted: bool, (detail, term): (String, Term)) -> Vec<Record> {
    let boot = starting.boot.clone();
    let host = restarted.then(|| {
        let by = Actor::hornero("what ran on it ended with it");
        Record::Event(by, EventBody::HostStarted { boot: boot.clone() })
    });
    let body = EventBody::ControlStarted {
        version: starting.version.to_owned(),
        detail: detail.clone(),
        boot: Some(boot.clone()),
        term: Some(term),
    };
    host.into_iter().chain([Record::Event(Actor::hornero(detail), body)]).collect()
}

/// Notes what runs and what ended, and of what the ledger has and nobody knows any more, that it ended.
fn saw_instances(facts: &mut Facts, world: &World, found: Vec<Found>, restarted: bool) {
    let lost_by = match restarted {
        true => ExitCause::HostRestarted,
        false => ExitCause::Unknown,
    };
    let since = facts.now;
    for instance in found {
        let id = instance.instance;
        if let Some(location) = instance.running {
            facts.running.insert(id, Running { location, since });
        } else {
            // A host that goes down in good order ends servers by signals: that is no end of their own either.
            let cause = instance.cause.filter(|_| !restarted).unwrap_or_else(|| lost_by.clone());
            facts.exited.insert(id, Exit { cause, log_tail: instance.log_tail });
        }
    }
    for instance in world.instances.values() {
        let known =
            facts.running.contains_key(&instance.id) || facts.exited.contains_key(&instance.id);
        let is_lost = !known && (restarted || instance.state != InstanceState::Created);
        if !is_lost || planted(Bug::MissesWhatEndedMeanwhile) {
            continue;
        }
        if matches!(instance.state, InstanceState::Failed | InstanceState::Stopped) {
            facts.removed.insert(instance.id.clone());
        } else {
            let exit = Exit { cause: lost_by.clone(), log_tail: Vec::new() };
            facts.exited.insert(instance.id.clone(), exit);
        }
    }
}

/// The term of a control that starts: the next one by the ledger; where a ledger from before was put back, beyond what
/// engine and edge have heard of.
fn next_term(world: &World, outside: &Regions) -> Term {
    let engines = outside.values().map(|found| found.term);
    let edges = outside.values().flat_map(|found| found.edges.values().flatten());
    let known = engines.chain(edges.map(|edge| edge.term)).fold(world.term, Term::max);
    match planted(Bug::KeepsTheTerm) {
        true => known.max(Term(1)),
        false => known.next(),
    }
}

/// Edges of which nothing is known yet.
fn away(
    edges: &BTreeMap<EdgeName, Option<EdgeStatus>>,
    now: Timestamp,
) -> BTreeMap<EdgeName, KnownEdge> {
    edges.keys().map(|edge| (edge.clone(), KnownEdge::away(now))).collect()
}

fn describe(world: &World, facts: &Facts) -> String {
    let strangers = facts.running.keys().filter(|id| !world.instances.contains_key(*id)).count();
    let rollouts: Vec<String> = world
        .rollouts
        .values()
        .map(|of| format!("rollout {} of `{}` ({})", of.id, of.service, of.phase.name()))
        .collect();
    let mut detail = format!("{} instances run", facts.running.len());
    if strangers > 0 {
        detail.push_str(&format!(", {strangers} of them unknown"));
    }
    if !rollouts.is_empty() {
        detail.push_str(&format!("; resuming {}", rollouts.join(", ")));
    }
    detail
}
