//! Effects: what the recorded world asks the engine and the edge to do. Each is safe to repeat.

use hornero_model::{
    Digest, InstanceId, LeasedMount, Millis, ReleaseNumber, RouteTable, ServiceName, ServiceSpec,
};

/// Something for an adapter to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Starts an instance; one that runs already is left alone and reported as started.
    StartInstance {
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
        /// Its id.
        instance: InstanceId,
        /// How long it may take to end by itself before it is killed.
        grace: Millis,
    },
    /// Removes what is left of a stopped instance, except its logs.
    RemoveInstance {
        /// Its id.
        instance: InstanceId,
    },
    /// Runs every test that the image declares, against exactly this digest.
    RunTests {
        /// The image.
        image: Digest,
        /// The service that it is for; its limits and ports apply.
        spec: Box<ServiceSpec>,
    },
    /// Puts a route table in force; one with a lower generation than the one in force is refused by the edge.
    ApplyRoutes {
        /// The table.
        table: Box<RouteTable>,
    },
    /// Records an address of its own for a service, on which its ports answer inside; one that has one keeps it.
    GiveAddress {
        /// The service.
        service: ServiceName,
    },
    /// Takes the address of a service back; one that has none is reported so.
    TakeAddress {
        /// The service.
        service: ServiceName,
    },
    /// Cuts off the requests in flight on a release that gets no new ones.
    CutInFlight {
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
    /// Testing an image.
    Tests(Digest),
    /// The route table: one is put in force at a time.
    Routes,
    /// Cutting off a release.
    Cut(ServiceName, ReleaseNumber),
    /// A service's own address: it is given or taken back.
    Address(ServiceName),
}

impl Effect {
    /// What it acts on.
    pub fn key(&self) -> EffectKey {
        match self {
            Self::StartInstance { instance, .. } => EffectKey::Start(instance.clone()),
            Self::StopInstance { instance, .. } => EffectKey::Stop(instance.clone()),
            Self::RemoveInstance { instance } => EffectKey::Remove(instance.clone()),
            Self::RunTests { image, .. } => EffectKey::Tests(*image),
            Self::ApplyRoutes { .. } => EffectKey::Routes,
            Self::CutInFlight { service, release, .. } => EffectKey::Cut(service.clone(), *release),
            Self::GiveAddress { service } | Self::TakeAddress { service } => {
                EffectKey::Address(service.clone())
            }
        }
    }
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StartInstance { instance, .. } => write!(f, "start instance `{instance}`"),
            Self::StopInstance { instance, .. } => write!(f, "stop instance `{instance}`"),
            Self::RemoveInstance { instance } => write!(f, "remove instance `{instance}`"),
            Self::RunTests { image, .. } => write!(f, "test image `{}`", image.short()),
            Self::ApplyRoutes { table } => write!(f, "apply route table {}", table.generation),
            Self::CutInFlight { service, release, .. } => {
                write!(f, "cut off requests on `{service}@{release}`")
            }
            Self::GiveAddress { service } => write!(f, "give `{service}` an address"),
            Self::TakeAddress { service } => write!(f, "take the address of `{service}` back"),
        }
    }
}
