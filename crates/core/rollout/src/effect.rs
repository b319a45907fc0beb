//! Effects: what the recorded world asks the engine and the edge to do. Each is safe to repeat.

use hornero_model::{
    Digest, EdgeRef, InstanceId, LeaseToken, LeasedMount, Millis, RegionName, ReleaseNumber,
    RolloutId, RouteTable, Run, ServiceName, ServiceSpec, SnapshotPurpose, TakenSnapshot,
    Timestamp, VolumeName,
};

use crate::{GuardOccasion, GuardQuestion, GuardRound};

/// Something for an adapter to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Starts an instance; one that runs already is left alone and reported as started.
    StartInstance {
        /// The region whose engine has it.
        region: RegionName,
        /// Its id.
        instance: InstanceId,
        /// Its release.
        release: ReleaseNumber,
        /// What it runs.
        spec: Box<ServiceSpec>,
        /// The volumes that it writes to, each under a lease of its own.
        mounts: Vec<LeasedMount>,
    },
    /// Ends an instance's processes; one that does not run is reported as stopped.
    StopInstance {
        /// The region whose engine has it.
        region: RegionName,
        /// Its id.
        instance: InstanceId,
        /// How long it may take to end by itself before it is killed.
        grace: Millis,
    },
    /// Makes everything in an instance stand still, where the engine can; one that does already is left alone.
    FreezeInstance {
        /// The region whose engine has it.
        region: RegionName,
        /// Its id.
        instance: InstanceId,
    },
    /// Removes what is left of a stopped instance, except its logs.
    RemoveInstance {
        /// The region whose engine has it.
        region: RegionName,
        /// Its id.
        instance: InstanceId,
    },
    /// Runs every test that the image declares, against exactly this digest.
    RunTests {
        /// The region whose engine runs them.
        region: RegionName,
        /// The image.
        image: Digest,
        /// The service that it is for; its limits and ports apply.
        spec: Box<ServiceSpec>,
    },
    /// Carries out one-off work that a rollout waits for, to its end; what was begun is not begun again.
    CarryOut {
        /// The region whose engine runs it.
        region: RegionName,
        /// The run, as it is recorded.
        run: Box<Run>,
        /// Since when.
        since: Timestamp,
        /// What its server is made from.
        spec: Box<ServiceSpec>,
    },
    /// Ends one-off work that is recorded: its stop signal, then SIGKILL. What has ended meanwhile is told as it ended, and what
    /// was not begun is not begun any more.
    EndRun {
        /// The region whose engine runs it.
        region: RegionName,
        /// The run, as it is recorded.
        run: Box<Run>,
        /// Since when.
        since: Timestamp,
    },
    /// Asks each guard once; what they say is true for a moment only.
    AskGuards {
        /// The region whose engine has the servers.
        region: RegionName,
        /// What waits for it.
        occasion: GuardOccasion,
        /// At which point of it.
        round: GuardRound,
        /// What is asked.
        question: Box<GuardQuestion>,
    },
    /// Takes a snapshot of each volume, once for a purpose, whoever asks again. Nobody has them.
    TakeSnapshots {
        /// The region whose engine has the volumes.
        region: RegionName,
        /// The rollout that waits for it.
        rollout: RolloutId,
        /// Its service.
        service: ServiceName,
        /// The volumes, each with its newest lease: where there is a newer one by now, nothing is done.
        volumes: Vec<(VolumeName, LeaseToken)>,
        /// What for.
        purpose: SnapshotPurpose,
    },
    /// Puts snapshots in the place of what their volumes have, which becomes a snapshot each. Nobody has them.
    RestoreSnapshots {
        /// The region whose engine has the volumes.
        region: RegionName,
        /// The rollout that waits for it.
        rollout: RolloutId,
        /// Its service.
        service: ServiceName,
        /// The snapshots, each with the newest lease of its volume.
        snapshots: Vec<(TakenSnapshot, LeaseToken)>,
    },
    /// Has an edge check a route table and make it ready, without putting it in force.
    PrepareRoutes {
        /// The edge.
        edge: EdgeRef,
        /// The table.
        table: Box<RouteTable>,
    },
    /// Puts a route table in force at an edge, which refuses one with a lower generation than the one in force there.
    ApplyRoutes {
        /// The edge.
        edge: EdgeRef,
        /// The table.
        table: Box<RouteTable>,
        /// Whether every edge that counts has prepared it; else there is none but this one. An edge that lost since what it
        /// had prepared takes the table as it is.
        prepared: bool,
    },
    /// Records an address of its own for a service, on which its ports answer inside; one that has one keeps it.
    GiveAddress {
        /// The region in which it has it.
        region: RegionName,
        /// The service.
        service: ServiceName,
    },
    /// Takes the address of a service back; one that has none is reported so.
    TakeAddress {
        /// The region in which it had it.
        region: RegionName,
        /// The service.
        service: ServiceName,
    },
    /// Cuts off the requests in flight on a release that gets no new ones.
    CutInFlight {
        /// The edge at which they are.
        edge: EdgeRef,
        /// The service.
        service: ServiceName,
        /// Its release.
        release: ReleaseNumber,
        /// The table by which it gets none; with another one in force the edge refuses.
        generation: u64,
    },
}

/// What an effect acts on: two effects with the same key are the same deed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum EffectKey {
    /// Starting an instance.
    Start(InstanceId),
    /// Stopping an instance.
    Stop(InstanceId),
    /// Removing an instance.
    Remove(InstanceId),
    /// Making one stand still.
    Freeze(InstanceId),
    /// Testing an image.
    Tests(Digest),
    /// One-off work.
    Run(InstanceId),
    /// Ending one-off work.
    EndRun(InstanceId),
    /// Asking guards.
    Guards(GuardOccasion),
    /// Taking the snapshots of a rollout.
    Snapshots(RolloutId),
    /// Putting them back.
    Restore(RolloutId),
    /// The route table of an edge: it gets one at a time.
    Routes(EdgeRef),
    /// Cutting off a release at an edge.
    Cut(EdgeRef, ServiceName, ReleaseNumber),
    /// A service's own address in a region: it is given or taken back.
    Address(RegionName, ServiceName),
}

impl Effect {
    /// What it acts on.
    pub fn key(&self) -> EffectKey {
        match self {
            Self::StartInstance { instance, .. } => EffectKey::Start(instance.clone()),
            Self::StopInstance { instance, .. } => EffectKey::Stop(instance.clone()),
            Self::RemoveInstance { instance, .. } => EffectKey::Remove(instance.clone()),
            Self::FreezeInstance { instance, .. } => EffectKey::Freeze(instance.clone()),
            Self::RunTests { image, .. } => EffectKey::Tests(*image),
            Self::CarryOut { run, .. } => EffectKey::Run(run.id.clone()),
            Self::EndRun { run, .. } => EffectKey::EndRun(run.id.clone()),
            Self::AskGuards { occasion, .. } => EffectKey::Guards(occasion.clone()),
            Self::TakeSnapshots { rollout, .. } => EffectKey::Snapshots(*rollout),
            Self::RestoreSnapshots { rollout, .. } => EffectKey::Restore(*rollout),
            Self::PrepareRoutes { edge, .. } | Self::ApplyRoutes { edge, .. } => {
                EffectKey::Routes(edge.clone())
            }
            Self::CutInFlight { edge, service, release, .. } => {
                EffectKey::Cut(edge.clone(), service.clone(), *release)
            }
            Self::GiveAddress { region, service } | Self::TakeAddress { region, service } => {
                EffectKey::Address(region.clone(), service.clone())
            }
        }
    }
}

impl Effect {
    /// The region whose engine or network it is for; none where it is for an edge.
    pub fn engine_of(&self) -> Option<&RegionName> {
        match self {
            Self::StartInstance { region, .. }
            | Self::StopInstance { region, .. }
            | Self::RemoveInstance { region, .. }
            | Self::FreezeInstance { region, .. }
            | Self::RunTests { region, .. }
            | Self::CarryOut { region, .. }
            | Self::EndRun { region, .. }
            | Self::AskGuards { region, .. }
            | Self::TakeSnapshots { region, .. }
            | Self::RestoreSnapshots { region, .. }
            | Self::GiveAddress { region, .. }
            | Self::TakeAddress { region, .. } => Some(region),
            Self::PrepareRoutes { .. } | Self::ApplyRoutes { .. } | Self::CutInFlight { .. } => {
                None
            }
        }
    }

    /// The edge that it is for; none where it is for an engine.
    pub fn edge_of(&self) -> Option<&EdgeRef> {
        match self {
            Self::PrepareRoutes { edge, .. }
            | Self::ApplyRoutes { edge, .. }
            | Self::CutInFlight { edge, .. } => Some(edge),
            Self::StartInstance { .. }
            | Self::StopInstance { .. }
            | Self::RemoveInstance { .. }
            | Self::FreezeInstance { .. }
            | Self::RunTests { .. }
            | Self::CarryOut { .. }
            | Self::EndRun { .. }
            | Self::AskGuards { .. }
            | Self::TakeSnapshots { .. }
            | Self::RestoreSnapshots { .. }
            | Self::GiveAddress { .. }
            | Self::TakeAddress { .. } => None,
        }
    }
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StartInstance { instance, .. } => write!(f, "start instance `{instance}`"),
            Self::StopInstance { instance, .. } => write!(f, "stop instance `{instance}`"),
            Self::RemoveInstance { instance, .. } => write!(f, "remove instance `{instance}`"),
            Self::FreezeInstance { instance, .. } => {
                write!(f, "make instance `{instance}` stand still")
            }
            Self::RunTests { image, .. } => write!(f, "test image `{}`", image.short()),
            Self::CarryOut { run, .. } => write!(f, "carry out run `{}`", run.id),
            Self::EndRun { run, .. } => write!(f, "end run `{}`", run.id),
            Self::AskGuards { question, .. } => {
                write!(f, "ask the guards of `{}`", question.release.service)
            }
            Self::TakeSnapshots { service, .. } => {
                write!(f, "take snapshots of the volumes of `{service}`")
            }
            Self::RestoreSnapshots { service, .. } => {
                write!(f, "put snapshots of the volumes of `{service}` back")
            }
            Self::PrepareRoutes { edge, table } => {
                write!(f, "prepare route table {}{}", table.generation, Named(edge))
            }
            Self::ApplyRoutes { edge, table, .. } => {
                write!(f, "apply route table {}{}", table.generation, Named(edge))
            }
            Self::CutInFlight { edge, service, release, .. } => {
                write!(f, "cut off requests on `{service}@{release}`{}", Named(edge))
            }
            Self::GiveAddress { service, .. } => write!(f, "give `{service}` an address"),
            Self::TakeAddress { service, .. } => write!(f, "take the address of `{service}` back"),
        }
    }
}

/// An edge where a sentence names one: a home's own goes without saying.
struct Named<'a>(&'a EdgeRef);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self.0 == EdgeRef::default() {
            true => Ok(()),
            false => write!(f, " at edge `{}`", self.0),
        }
    }
}
