//! Facts: what the engines and the edges were last seen doing. Lost with the process, observed anew after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    ops::{Deref, DerefMut},
    sync::Arc,
};

use hornero_model::{
    Actor, Digest, EdgeName, EdgeRef, EdgeStatus, ExitCause, GuardName, Health, InstanceId,
    ListenerFault, Location, RegionName, RolloutId, Room, RouteTable, RunEnd, ServiceName,
    StepName, StepRuling, TakenSnapshot, Timestamp,
};

use crate::planted::{Bug, planted};
use crate::{
    CanaryReadings, GuardOccasion, GuardsSeen, InForce, KnownEdge, Load, RolloutFailure, World,
};

/// What is known of the outside at one moment.
///
/// What decides looks at one region at a time, and reads what is known of that one as if it were all there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The moment.
    pub now: Timestamp,
    /// When this process began to look.
    pub begun: Timestamp,
    /// The region that is looked at.
    pub region: RegionName,
    /// What is known of it.
    pub here: RegionFacts,
    /// What is known of the others.
    pub elsewhere: BTreeMap<RegionName, RegionFacts>,
    /// Test runs that ended since this process started, by image.
    pub tests: BTreeMap<Digest, TestRun>,
    /// How one-off work ended that rollouts wait for, until that is recorded.
    pub run_ends: BTreeMap<InstanceId, RunEnd>,
    /// What guards answered to whatever waits for them.
    pub guards: BTreeMap<GuardOccasion, GuardsSeen>,
    /// Guards that somebody overrides with what is begun now.
    pub overridden: BTreeSet<GuardName>,
    /// What somebody decides about schema steps with what is begun now.
    pub rulings: BTreeMap<StepName, StepRuling>,
    /// Snapshots that were taken for rollouts.
    pub snapshots: BTreeMap<RolloutId, Vec<TakenSnapshot>>,
    /// What became of snapshots that were to be put back: each, and the one that has what was there; or why it failed.
    pub restored: BTreeMap<RolloutId, Result<Vec<(TakenSnapshot, u64)>, String>>,
    /// Rollouts whose `switching` entry was written by this process: only for them does the first confirmation of
    /// a table tell the counters at the moment of the switch.
    pub switching_here: BTreeSet<RolloutId>,
    /// Rollouts that must not go on, and why: an effect of theirs was refused or keeps failing.
    pub halted: BTreeMap<RolloutId, RolloutFailure>,
    /// Rollouts that somebody ended, and who: each goes the way of one that failed.
    pub cancelled: BTreeMap<RolloutId, Actor>,
    /// Services that shall be gone at once: nothing of theirs waits for requests, or for an edge that does not answer.
    pub forced: BTreeSet<ServiceName>,
    /// Services whose terms can't be put in force, and why.
    pub unadjusted: BTreeMap<ServiceName, String>,
    /// Services of which nothing is made by itself, because the watchdog says so, until somebody lets it.
    pub held: BTreeSet<ServiceName>,
    /// Services whose count of failures was forgiven up to this number by a request.
    pub forgiven: BTreeMap<ServiceName, u32>,
}

/// What is known of one region: of its engine, and of the edges before that one's servers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RegionFacts {
    /// Instances whose command runs.
    pub running: BTreeMap<InstanceId, Running>,
    /// When the start of an instance was last seen to go on, where that takes a while.
    pub starting: BTreeMap<InstanceId, Timestamp>,
    /// Addresses of services, as the network has recorded them.
    pub addresses: BTreeMap<ServiceName, IpAddr>,
    /// Services whose address is being taken back: no table names it any more, whatever becomes of that.
    pub leaving_addresses: BTreeSet<ServiceName>,
    /// Instances that ended without being asked, or could not be started.
    pub exited: BTreeMap<InstanceId, Exit>,
    /// Instances that ended because they were asked, or of which the engine has nothing.
    pub stopped: BTreeSet<InstanceId>,
    /// Instances that were to be made to stand still, as far as this process knows, and whether they do: not every host can.
    pub frozen: BTreeMap<InstanceId, bool>,
    /// Instances of which the engine has nothing left.
    pub removed: BTreeSet<InstanceId>,
    /// Instances that the ledger no longer knows of, and of which the engine was not seen to have nothing left.
    pub abandoned: BTreeSet<InstanceId>,
    /// What memory there is for more instances; none where nobody can tell.
    pub room: Option<Room>,
    /// Each edge.
    pub edges: BTreeMap<EdgeName, KnownEdge>,
    /// The table that the edges are asked to prepare, or that was the last of these. With one edge there is none: that is
    /// asked to prepare and commit at once.
    pub proposed: Option<RouteTable>,
    /// What the edges say together; none while one of them that is waited for can't be reached. This and the next three follow
    /// from `edges`.
    pub edge: Option<Arc<EdgeStatus>>,
    /// What they say of each instance, by that.
    pub healths: BTreeMap<InstanceId, Health>,
    /// Since when the edges say something, all together, without a break.
    pub together_since: Timestamp,
    /// The table that all edges confirmed to this process.
    pub in_force: Option<Arc<InForce>>,
    /// Other tables that an edge was given and may put in force yet, or has: no answer came, or that they failed, which does
    /// not keep an edge that hung from doing it after all. Oldest first.
    pub unsettled: Vec<RouteTable>,
    /// Since when an instance has been unhealthy without a break; or not found healthy, where it serves.
    pub unhealthy_since: BTreeMap<InstanceId, Timestamp>,
    /// Listeners that are at fault, or whose recorded fault is over.
    pub listeners: BTreeMap<SocketAddr, ListenerSeen>,
    /// The load of services that are scaled, as far back as it counts.
    pub load: BTreeMap<ServiceName, Load>,
    /// What was read of canaries while their windows go on.
    pub canaries: BTreeMap<ServiceName, CanaryReadings>,
}

impl Deref for Facts {
    type Target = RegionFacts;

    fn deref(&self) -> &RegionFacts {
        &self.here
    }
}

impl DerefMut for Facts {
    fn deref_mut(&mut self) -> &mut RegionFacts {
        &mut self.here
    }
}

/// A running instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Where it is.
    pub location: Location,
    /// When it was first seen running by this process.
    pub since: Timestamp,
}

/// How an instance ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Why.
    pub cause: ExitCause,
    /// The last lines of its log.
    pub log_tail: Vec<String>,
}

/// A finished run of an image's tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRun {
    /// Every test the image declares; empty where it declares none.
    pub results: Vec<TestOutcome>,
    /// Why none of them was run, where none was; each counts as failed.
    pub not_run: Option<String>,
    /// The last lines of the tested server's log, where a test failed.
    pub log_tail: Vec<String>,
}

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutcome {
    /// The test's name.
    pub test: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was seen; empty where it passed.
    pub detail: String,
}

impl Facts {
    /// What an instance's health is: by the edge where its service has ports, else by whether it runs.
    pub fn health(&self, world: &World, instance: &InstanceId) -> Health {
        if !self.running.contains_key(instance) {
            return Health::Unknown;
        }
        if world.spec_of(instance).is_some_and(|spec| spec.ports.is_empty()) {
            return Health::Healthy;
        }
        match self.edge.is_some() {
            true => self.healths.get(instance).copied().unwrap_or(Health::Unknown),
            false => Health::Unknown,
        }
    }

    /// Whether an instance runs and is healthy.
    pub fn healthy(&self, world: &World, instance: &InstanceId) -> bool {
        let health = self.health(world, instance);
        health == Health::Healthy
            || planted(Bug::TakesUnknownForHealthy)
                && health == Health::Unknown
                && self.running.contains_key(instance)
    }

    /// An instance was archived. One whose start was never answered may run, though nobody saw it run.
    pub fn archived(&mut self, instance: &InstanceId) {
        if !self.removed.contains(instance) {
            self.abandoned.insert(instance.clone());
        }
    }

    /// Whether any edge, as last seen, might still route to an instance; unknown counts as yes.
    pub fn routed(&self, instance: &InstanceId) -> bool {
        self.edges.is_empty()
            || self
                .edges
                .values()
                .any(|edge| edge.routes_to(instance, self.is_left_out(edge, self.now)))
    }

    /// The address of a service, while it is its own.
    pub fn address(&self, service: &ServiceName) -> Option<IpAddr> {
        let leaves = self.leaving_addresses.contains(service);
        self.addresses.get(service).copied().filter(|_| !leaves)
    }

    /// Whether any edge, as last seen, might listen on an address; unknown counts as yes.
    pub fn listened_on(&self, address: IpAddr) -> bool {
        self.edges.is_empty()
            || self
                .edges
                .values()
                .any(|edge| edge.listens_on(address, self.is_left_out(edge, self.now)))
    }

    /// The generation that the edges were last seen to have in force; 0 while they can't be reached.
    pub fn generation(&self) -> u64 {
        self.edge.as_ref().map_or(0, |edge| edge.generation)
    }

    /// An edge of the region that is looked at.
    pub fn edge_ref(&self, edge: &EdgeName) -> EdgeRef {
        EdgeRef { region: self.region.clone(), edge: edge.clone() }
    }

    /// What is known of a region; none of one that this control does not have.
    pub fn at_mut(&mut self, region: &RegionName) -> Option<&mut RegionFacts> {
        match *region == self.region {
            true => Some(&mut self.here),
            false => self.elsewhere.get_mut(region),
        }
    }

    /// Puts together anew what the edges of every region say, as after a while.
    pub fn gather(&mut self) {
        let now = self.now;
        let regions = std::iter::once(&mut self.here).chain(self.elsewhere.values_mut());
        regions.filter(|region| region.edges.len() > 1).for_each(|region| region.gather(now));
    }
}

/// What was last seen of a listener, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSeen {
    /// What is wrong with it; none where it is as it should be.
    pub fault: Option<ListenerFault>,
    /// Since when it is so.
    pub since: Timestamp,
}
