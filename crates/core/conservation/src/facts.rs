//! What the watchdog sees: facts, an effect, and why it is refused.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{
    ChurnBreach, EdgeName, EdgeStatus, InstanceId, ReleaseNumber, RouteTable, ServiceName,
    Timestamp, VolumeName,
};

use crate::churn::Churn;

/// What was observed.
#[derive(Debug, Clone, Default)]
pub struct WatchdogFacts<'a> {
    /// What the edges last said, all together; none while one that is waited for can't be reached.
    pub edge: Option<&'a EdgeStatus>,
    /// The table that the edges confirmed; none while that is not known.
    pub in_force: Option<&'a RouteTable>,
    /// Other tables that an edge was given and may put in force yet, or has.
    pub unsettled: Vec<&'a RouteTable>,
    /// Edges that could not be reached for long, and that nobody waits for: `edge` and the tables are those of the others.
    pub left_out: Vec<AwayEdge<'a>>,
    /// The instances that the engine has or may have: where a table is looked at, those of every service of which it has
    /// another pool than the one in force, else those of the service that the effect is about.
    pub engine: BTreeMap<InstanceId, Seen>,
    /// Releases that the ledger says are proven, or whose image it says passed its tests, or declares none.
    pub fit: BTreeMap<(ServiceName, ReleaseNumber), Fitness>,
    /// The release of each service that the ledger says serves: the last one confirmed, or gone back to.
    pub serving: BTreeMap<ServiceName, ReleaseNumber>,
    /// The share that the ledger says the edge confirmed, of a release that gets requests beside the one that serves.
    pub shared: BTreeMap<(ServiceName, ReleaseNumber), u32>,
    /// Services that somebody asked to take down.
    pub going_down: BTreeSet<ServiceName>,
    /// Those of them that somebody takes down by force: their requests may be lost.
    pub forced: BTreeSet<ServiceName>,
    /// Services whose servers can't run beside others by what was declared, and that are being replaced: while their
    /// requests are held, none of them has to be there.
    pub replaced: BTreeSet<ServiceName>,
    /// Services that somebody rolls out, back or away: what that makes and removes was asked for.
    pub requested: BTreeSet<ServiceName>,
    /// Instances that run, or may: the engine was asked to start them, and did not answer yet.
    pub alive: BTreeSet<InstanceId>,
    /// What the ledger says of churn, and of who had volumes; none where nothing is counted.
    pub churn: Option<&'a Churn>,
    /// The moment.
    pub now: Timestamp,
}

/// An edge that nobody waits for.
#[derive(Debug, Clone)]
pub struct AwayEdge<'a> {
    /// Its name.
    pub edge: &'a EdgeName,
    /// The tables that it may follow; none where that is not known.
    pub tables: Option<Vec<&'a RouteTable>>,
}

/// An instance as the engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// Whether its command runs.
    pub running: bool,
    /// Whether it writes to volumes, so that no other one can take its place while it is there.
    pub holds_volumes: bool,
}

/// What speaks for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fitness {
    /// Its image's tests passed; it may serve when all of it is healthy.
    Tested,
    /// It served healthy before; going back to it is never refused for its own sake.
    Proven,
}

/// The effect about to be performed.
#[derive(Debug, Clone, Copy)]
pub enum EffectFacts<'a> {
    /// An instance would be started.
    Start {
        /// Its service.
        service: &'a ServiceName,
        /// The instance.
        instance: &'a InstanceId,
        /// The volumes that it would write to.
        volumes: &'a [VolumeName],
    },
    /// An instance would be stopped.
    Stop {
        /// The instance.
        instance: &'a InstanceId,
    },
    /// What is left of an instance would be removed.
    Remove {
        /// The instance.
        instance: &'a InstanceId,
    },
    /// A route table would be put in force.
    Apply {
        /// The table.
        table: &'a RouteTable,
    },
    /// The requests in flight on a release would be cut off.
    Cut {
        /// The service.
        service: &'a ServiceName,
        /// Its release.
        release: ReleaseNumber,
    },
}

/// Why an effect must not be performed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{invariant}` forbids it: {reason}")]
pub struct Refusal {
    /// The invariant, as the documents name it.
    pub invariant: &'static str,
    /// The service that would suffer, where it is known.
    pub service: Option<ServiceName>,
    /// The facts that say so.
    pub reason: String,
    /// The limit of churn that is reached by this, and is to be recorded.
    pub breach: Option<ChurnBreach>,
}
