//! The ports: everything the driver reaches outside itself, and everything that comes back.

use std::{collections::BTreeMap, net::IpAddr};

use hornero_model::{
    Digest, EdgeRef, EdgeStatus, Event, ExitCause, GuardAnswer, InstanceId, Location, NewEvent,
    Receipt, ReceiptBody, RegionName, ReleaseCounters, ReleaseNumber, RolloutId, Room, RunEnd,
    ServiceName, TakenSnapshot, Term, Timestamp,
};
use hornero_rollout::{Effect, GuardOccasion, GuardRound, TestRun};

use crate::{Progress, Request};

/// The number of an effect: which control asked for it, and its count within its life. Whoever performs it names the term,
/// so that what an older control asks for is refused once a newer one has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId {
    /// The term of the control.
    pub term: Term,
    /// Counted from 1.
    pub number: u64,
}

/// What the driver needs of the outside.
pub trait Ports {
    /// The present. It may go backwards; the driver then stands still.
    fn now(&self) -> Timestamp;

    /// A few random lower-case letters and digits for an instance id; not the same twice in a row.
    fn random_tail(&mut self) -> String;

    /// Appends events, all or none; durable when it returns. An error means that none was appended.
    fn append(&mut self, events: Vec<NewEvent>) -> Result<Vec<Event>, LedgerFailed>;

    /// A control of this term has begun, as the ledger says by now: from here on engine and edge shall refuse what an older
    /// one asks. Where one of them can't be reached it learns it with the first effect that comes to it.
    fn begins(&mut self, term: Term);

    /// Signs a receipt.
    fn sign(&self, body: ReceiptBody) -> Receipt;

    /// Begins an effect and returns at once. Its result comes back as an observation, [`Observation::EffectFailed`]
    /// where it could not be done. The same deed may be asked for again; doing it twice must be as doing it once.
    fn dispatch(&mut self, id: EffectId, effect: Effect);

    /// What memory a region's engine has for more instances; none where it can't tell. Asked for whenever something is under
    /// way.
    fn room(&self, region: &RegionName) -> Option<Room> {
        let _ = region;
        None
    }

    /// The processor time that instances have used since their start, in microseconds; none where the engine can't tell.
    /// Asked for where a service is scaled by it.
    fn processor_use(&self, instances: &[InstanceId]) -> Option<BTreeMap<InstanceId, u64>> {
        let _ = instances;
        None
    }

    /// The last lines of an instance's log, also of one that was removed; asked for when a rollout failed by an
    /// instance that did not end by itself. Nothing where there are none.
    fn log_tail(&mut self, instance: &InstanceId) -> Vec<String> {
        let _ = instance;
        Vec::new()
    }

    /// Takes news for clients. Must not block.
    fn progress(&mut self, progress: Progress);
}

/// Why the ledger took nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LedgerFailed(pub String);

/// What comes back from the outside. Observations may come late, twice and out of order.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// Time has passed.
    Tick,
    /// Somebody asks for something.
    Request(Request),
    /// An instance's command runs: the answer to `StartInstance`.
    InstanceStarted {
        /// The instance.
        instance: InstanceId,
        /// Where it is.
        location: Location,
    },
    /// Starts of instances of an image go on, although none runs yet: more of it was verified, or a start that others
    /// wait for has ended.
    StartsGoOn {
        /// The image.
        image: Digest,
    },
    /// An instance ended by itself or could not be started.
    InstanceExited {
        /// The instance.
        instance: InstanceId,
        /// Why.
        cause: ExitCause,
        /// The last lines of its log.
        log_tail: Vec<String>,
    },
    /// An instance's processes are gone: the answer to `StopInstance`.
    InstanceStopped {
        /// The instance.
        instance: InstanceId,
    },
    /// An instance stands still, or its engine can't make it: the answer to `FreezeInstance`.
    InstanceFrozen {
        /// The instance.
        instance: InstanceId,
        /// Whether it does.
        stands_still: bool,
    },
    /// Nothing but logs is left of an instance: the answer to `RemoveInstance`.
    InstanceRemoved {
        /// The instance.
        instance: InstanceId,
    },
    /// An image's tests ran: the answer to `RunTests`.
    TestsFinished {
        /// The effect that asked for them.
        effect: EffectId,
        /// The image.
        image: Digest,
        /// The results.
        run: TestRun,
    },
    /// One-off work ended: the answer to `CarryOut` and `EndRun`. Its end may be recorded already.
    RunEnded {
        /// How.
        end: RunEnd,
    },
    /// What guards say: the answer to `AskGuards`.
    GuardsAnswered {
        /// The effect that asked them.
        effect: EffectId,
        /// What waits for it.
        occasion: GuardOccasion,
        /// At which point of it.
        round: GuardRound,
        /// What each said of each server.
        answers: Vec<GuardAnswer>,
    },
    /// The answer to `TakeSnapshots`.
    SnapshotsTaken {
        /// The rollout.
        rollout: RolloutId,
        /// One of each volume.
        snapshots: Vec<TakenSnapshot>,
    },
    /// The answer to `RestoreSnapshots`.
    SnapshotsRestored {
        /// The rollout.
        rollout: RolloutId,
        /// Each, and the snapshot that has what was there before.
        restored: Vec<(TakenSnapshot, u64)>,
    },
    /// A route table was checked and made ready: the answer to `PrepareRoutes`.
    RoutesPrepared {
        /// The edge.
        edge: EdgeRef,
        /// The table's generation.
        generation: u64,
    },
    /// A route table is in force: the answer to `ApplyRoutes`.
    RoutesApplied {
        /// The edge.
        edge: EdgeRef,
        /// Its generation.
        generation: u64,
        /// How long the edge took, in milliseconds.
        switch_ms: f64,
        /// The counters at that moment.
        counters: Vec<ReleaseCounters>,
    },
    /// Requests were cut off: the answer to `CutInFlight`.
    InFlightCut {
        /// The effect that asked for it.
        effect: EffectId,
        /// The edge.
        edge: EdgeRef,
        /// The service.
        service: ServiceName,
        /// The release.
        release: ReleaseNumber,
    },
    /// What address a service has: the answer to `GiveAddress` and `TakeAddress`.
    ServiceAddressed {
        /// The effect that asked for it.
        effect: EffectId,
        /// The service.
        service: ServiceName,
        /// The address that is recorded for it; none where it has none any more.
        address: Option<IpAddr>,
    },
    /// An edge's status. Send one after every change of its `version`, after every applied table, and while a set
    /// drains as often as may be.
    EdgeStatus {
        /// The edge.
        edge: EdgeRef,
        /// How it is.
        status: EdgeStatus,
    },
    /// An edge can't be reached.
    EdgeLost {
        /// The edge.
        edge: EdgeRef,
    },
    /// An effect could not be performed.
    EffectFailed {
        /// The effect.
        effect: EffectId,
        /// Why.
        reason: String,
    },
}

impl Observation {
    /// Whether it is about edges alone: no memory of servers is taken or left by what it tells.
    pub(crate) fn is_of_edges(&self) -> bool {
        matches!(
            self,
            Self::RoutesPrepared { .. }
                | Self::RoutesApplied { .. }
                | Self::InFlightCut { .. }
                | Self::EdgeStatus { .. }
                | Self::EdgeLost { .. }
        )
    }
}
