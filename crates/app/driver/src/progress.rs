//! Progress: news for clients.

use hornero_model::{Digest, InstanceId, Receipt, ReleaseNumber, RolloutId, ServiceName};
use hornero_rollout::RolloutFailure;

use crate::RequestId;

/// News for clients.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Something happened.
    Step {
        /// The request it belongs to; none for what a control process before this one had begun, and for repairs.
        request: Option<RequestId>,
        /// The service.
        service: ServiceName,
        /// The rollout; none for a repair.
        rollout: Option<RolloutId>,
        /// The phase, such as `probing` or `watching`.
        phase: &'static str,
        /// A sentence for people.
        message: String,
        /// The instance it is about, where it is about one.
        instance: Option<InstanceId>,
    },
    /// All servers and new requests are on what a request brings: what is left of it is to watch and drain, and does not
    /// need whoever asked.
    Serves {
        /// The request.
        request: RequestId,
        /// The services that it came to, as they serve now.
        services: Vec<ServiceOutcome>,
    },
    /// A request is over.
    Finished {
        /// The request.
        request: RequestId,
        /// How it ended.
        outcome: Outcome,
    },
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// In one word.
    pub result: OutcomeKind,
    /// The services it came to, in order; those after a failed one are not among them.
    pub services: Vec<ServiceOutcome>,
    /// What went wrong and with which service, where something did.
    pub failure: Option<(ServiceName, RolloutFailure)>,
}

/// How a request ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// Done and read back.
    Done,
    /// Failed; what served before serves still.
    Failed,
    /// The watchdog or a guard refused it; the failure says by which invariant.
    Refused,
    /// The new release failed after the switch; the one before serves again.
    RolledBack,
    /// There is no such service or release.
    NotFound,
}

/// A service after a request.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceOutcome {
    /// Its name.
    pub service: ServiceName,
    /// The release that serves now; none when it was taken down.
    pub release: Option<ReleaseNumber>,
    /// Its image.
    pub image: Option<Digest>,
    /// The rollout; none where nothing had to change or only instances were missing.
    pub rollout: Option<RolloutId>,
    /// The receipt of the switch; none where there was none.
    pub receipt: Option<Receipt>,
    /// Whether what serves went on under another release, with the servers that it had.
    pub adjusted: bool,
    /// Instances that were replaced by others of the same release.
    pub recycled: Vec<InstanceId>,
}
