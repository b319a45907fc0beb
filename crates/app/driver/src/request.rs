//! Requests: what clients ask for.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{
    Actor, GuardName, InstanceId, Preview, ReleaseNumber, ServiceName, ServiceSpec, Steer,
    StepName, StepRuling,
};
use hornero_rollout::Declared;

/// The number of a request, given by whoever takes it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its number; the progress it makes carries it.
    pub id: RequestId,
    /// Who asks, and why.
    pub by: Actor,
    /// What for.
    pub kind: RequestKind,
    /// Whether releases that failed are tried again.
    pub retry_failed: bool,
    /// Data guards that are overridden.
    pub overridden: BTreeSet<GuardName>,
    /// What is decided about schema steps that failed, or of which nobody knows how far they came.
    pub rulings: BTreeMap<StepName, StepRuling>,
}

/// What is asked for. Requests that touch the same service wait for each other, first come, first served; others go
/// on side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestKind {
    /// These services shall run as given, one after the other in this order; the first that fails ends the request.
    Apply {
        /// The services.
        services: Vec<ServiceSpec>,
    },
    /// All that a directory declares shall run as given, as with [`RequestKind::Apply`], and belong to it; what it
    /// declared before may go.
    Bring {
        /// The directory, and what is agreed to.
        declared: Box<Declared>,
        /// The services.
        services: Vec<ServiceSpec>,
    },
    /// A service shall go back to an earlier proven release.
    Rollback {
        /// The service.
        service: ServiceName,
        /// The release; none for the proven one that served before, else the last proven one below.
        to: Option<ReleaseNumber>,
    },
    /// Previews shall run beside what serves, one after the other.
    Preview {
        /// Each, and the release of its service that it shows, or what a directory declares.
        previews: Vec<(Preview, ServiceSpec)>,
    },
    /// Services shall be taken down, those that others depend on last; what previews run as is taken down as they are, and
    /// with the services that they show.
    Down {
        /// The services; empty for all.
        services: Vec<ServiceName>,
    },
    /// A service shall be gone at once: before everything else that waits, whatever it is doing, and whether or not the
    /// edge confirms it.
    End {
        /// The service.
        service: ServiceName,
    },
    /// What serves of a service shall be replaced by new instances of the same release, one after the other.
    Recycle {
        /// The service.
        service: ServiceName,
        /// The one instance that is meant; none for all that serve.
        instance: Option<InstanceId>,
    },
    /// What is under way for a service shall end: its rollout the way a failed one does, and the operation that it
    /// belongs to with it; where none has begun, the operations that would come to it.
    Cancel {
        /// The service.
        service: ServiceName,
    },
    /// The rollout of a service that is under way shall stay where it is, go on, take its next step or end. Operations
    /// that wait are let be.
    Steer {
        /// The service.
        service: ServiceName,
        /// Which of it.
        steer: Steer,
    },
}
