//! Facts: what the engine and the edge were last seen doing. Lost with the process, observed anew after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use hornero_model::{
    Actor, Digest, EdgeStatus, ExitCause, Health, InstanceId, Location, ReleaseCounters, RolloutId,
    Room, RouteTable, ServiceName, Timestamp,
};

use crate::planted::{Bug, planted};
use crate::{ListenerSeen, Load, RolloutFailure, World};

/// What is known of the outside at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The moment.
    pub now: Timestamp,
    /// When this process began to look.
    pub begun: Timestamp,
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
    /// Instances of which the engine has nothing left.
    pub removed: BTreeSet<InstanceId>,
    /// Instances that the ledger no longer knows of, and of which the engine was not seen to have nothing left.
    pub abandoned: BTreeSet<InstanceId>,
    /// Test runs that ended since this process started, by image.
    pub tests: BTreeMap<Digest, TestRun>,
    /// The edge's last status; none while it can't be reached.
    pub edge: Option<EdgeStatus>,
    /// The table that the edge confirmed to this process.
    pub in_force: Option<InForce>,
    /// Tables that the edge was given and may put in force yet, or has: no answer came, or that they failed, which does not
    /// keep an edge that hung from doing it after all. Oldest first.
    pub unsettled: Vec<RouteTable>,
    /// Since when the table in force is known without a break.
    pub known_since: Timestamp,
    /// When instances were seen to get no new requests any more, where that was after `known_since`.
    pub left_at: BTreeMap<InstanceId, Timestamp>,
    /// Since when an instance has been unhealthy without a break; or not found healthy, where it serves.
    pub unhealthy_since: BTreeMap<InstanceId, Timestamp>,
    /// Listeners that are at fault, or whose recorded fault is over.
    pub listeners: BTreeMap<SocketAddr, ListenerSeen>,
    /// Rollouts whose `switching` entry was written by this process: only for them does the first confirmation of
    /// a table tell the counters at the moment of the switch.
    pub switching_here: BTreeSet<RolloutId>,
    /// Rollouts that must not go on, and why: an effect of theirs was refused or keeps failing.
    pub halted: BTreeMap<RolloutId, RolloutFailure>,
    /// Rollouts that somebody ended, and who: each goes the way of one that failed.
    pub cancelled: BTreeMap<RolloutId, Actor>,
    /// Services that shall be gone at once: nothing of theirs waits for requests, or for an edge that does not answer.
    pub forced: BTreeSet<ServiceName>,
    /// What memory there is for more instances; none where nobody can tell.
    pub room: Option<Room>,
    /// Services whose terms can't be put in force, and why.
    pub unadjusted: BTreeMap<ServiceName, String>,
    /// Services of which nothing is made by itself, because the watchdog says so, until somebody lets it.
    pub held: BTreeSet<ServiceName>,
    /// The load of services that are scaled, as far back as it counts.
    pub load: BTreeMap<ServiceName, Load>,
    /// Services whose count of failures was forgiven up to this number by a request.
    pub forgiven: BTreeMap<ServiceName, u32>,
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

/// A route table that the edge confirmed.
#[derive(Debug, Clone, PartialEq)]
pub struct InForce {
    /// The table.
    pub table: RouteTable,
    /// How long the edge took to put it in force, in milliseconds.
    pub switch_ms: f64,
    /// When the confirmation was seen.
    pub at: Timestamp,
    /// The edge's counters at that moment.
    pub counters: Vec<ReleaseCounters>,
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
        self.edge.as_ref().map_or(Health::Unknown, |edge| edge.health_of(instance))
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

    /// Whether the edge, as last seen, might still route to an instance; unknown counts as yes.
    pub fn routed(&self, instance: &InstanceId) -> bool {
        match &self.edge {
            None => true,
            Some(edge) => {
                let lists = |table: &RouteTable| {
                    table.pools.iter().any(|pool| {
                        pool.backends.iter().any(|backend| backend.instance == *instance)
                    })
                };
                let names = |in_force: &InForce| {
                    in_force.table.generation > edge.generation || lists(&in_force.table)
                };
                edge.backends.iter().any(|backend| backend.instance == *instance)
                    || self.unsettled.iter().any(lists)
                    || self.in_force.as_ref().map_or(edge.generation != 0, names)
            }
        }
    }

    /// The address of a service, while it is its own.
    pub fn address(&self, service: &ServiceName) -> Option<IpAddr> {
        let leaves = self.leaving_addresses.contains(service);
        self.addresses.get(service).copied().filter(|_| !leaves)
    }

    /// Whether the edge, as last seen, might listen on an address; unknown counts as yes.
    pub fn listened_on(&self, address: IpAddr) -> bool {
        let Some(edge) = &self.edge else { return true };
        let listens =
            |table: &RouteTable| table.listeners.iter().any(|of| of.address.ip() == address);
        let in_force = self.in_force.as_ref().map(|in_force| listens(&in_force.table));
        self.unsettled.iter().any(listens) || in_force.unwrap_or(edge.generation != 0)
    }

    /// The generation that the edge was last seen to have in force; 0 while it can't be reached.
    pub fn generation(&self) -> u64 {
        self.edge.as_ref().map_or(0, |edge| edge.generation)
    }
}
