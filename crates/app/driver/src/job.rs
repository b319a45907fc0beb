//! A request on its way: what is left of it, what it waits for, what became of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hornero_model::{
    Actor, GuardName, InstanceId, Preview, ReleaseNumber, RolloutId, ServiceName, ServiceSpec,
    Steer, StepName, StepRuling, Timestamp,
};
use hornero_rollout::{Declared, RolloutFailure};

use crate::{OutcomeKind, RequestId, ServiceOutcome};

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: RequestId,
    pub(crate) by: Actor,
    /// What is left of it; the first is under way when `current` is set.
    pub(crate) items: VecDeque<Item>,
    pub(crate) current: Option<Current>,
    pub(crate) done: Vec<ServiceOutcome>,
    /// Whether its items still have to be found when its turn comes.
    pub(crate) down_all: bool,
    /// The directory that brings up what it declares.
    pub(crate) declared: Option<Declared>,
    /// Whether it may be brought up still has to be looked at when its turn comes.
    pub(crate) unchecked: bool,
    /// Why it ends before the next of its items begins.
    pub(crate) cancelled: Option<(ServiceName, RolloutFailure)>,
    /// Whether releases that failed are tried again.
    pub(crate) retry_failed: bool,
    /// Data guards that are overridden.
    pub(crate) overridden: BTreeSet<GuardName>,
    /// What is decided about schema steps.
    pub(crate) rulings: BTreeMap<StepName, StepRuling>,
}

#[derive(Debug, Clone)]
pub(crate) enum Item {
    Apply(Box<ServiceSpec>),
    /// What it runs as, the preview, and the service as it shows it.
    Preview(ServiceName, Box<(Preview, ServiceSpec)>),
    Rollback(ServiceName, Option<ReleaseNumber>),
    Down(ServiceName),
    Recycle(ServiceName, Option<InstanceId>),
    Cancel(ServiceName),
    Steer(ServiceName, Steer),
}

#[derive(Debug, Clone)]
pub(crate) enum Current {
    Rollout(RolloutId),
    Repair {
        service: ServiceName,
        until: Timestamp,
    },
    /// What serves goes on under the terms of this release.
    Adjustment {
        service: ServiceName,
        release: ReleaseNumber,
        until: Timestamp,
        /// Why the terms from before hold again, where they do.
        taken_back: Option<String>,
    },
    /// Instances are replaced one after the other.
    Recycling {
        service: ServiceName,
        instances: Vec<InstanceId>,
        until: Timestamp,
    },
    /// The end of a rollout that was cancelled.
    Ending(RolloutId),
}

/// How a job ended, and why where it failed.
pub(crate) type End = (OutcomeKind, Option<(ServiceName, RolloutFailure)>);

/// What became of an item.
pub(crate) enum ItemOutcome {
    Done(ServiceOutcome),
    Failed(OutcomeKind, ServiceOutcome, RolloutFailure),
}

impl Item {
    /// What shall run, where something shall.
    pub(crate) fn spec(&self) -> Option<&ServiceSpec> {
        match self {
            Self::Apply(spec) => Some(spec),
            Self::Preview(..)
            | Self::Rollback(..)
            | Self::Down(_)
            | Self::Recycle(..)
            | Self::Cancel(_)
            | Self::Steer(..) => None,
        }
    }

    pub(crate) fn service(&self) -> &ServiceName {
        match self {
            Self::Apply(spec) => &spec.name,
            Self::Preview(service, _)
            | Self::Rollback(service, _)
            | Self::Down(service)
            | Self::Recycle(service, _)
            | Self::Cancel(service)
            | Self::Steer(service, _) => service,
        }
    }

    /// Whether it is about what is under way, and waits for nobody.
    pub(crate) const fn is_about_others(&self) -> bool {
        match self {
            Self::Cancel(_) | Self::Steer(..) => true,
            Self::Apply(_)
            | Self::Preview(..)
            | Self::Rollback(..)
            | Self::Down(_)
            | Self::Recycle(..) => false,
        }
    }
}

impl Job {
    pub(crate) fn waits_for(&self, rollout: RolloutId) -> bool {
        match &self.current {
            Some(Current::Rollout(id) | Current::Ending(id)) => *id == rollout,
            Some(
                Current::Repair { .. } | Current::Adjustment { .. } | Current::Recycling { .. },
            )
            | None => false,
        }
    }

    pub(crate) fn repairs(&self, service: &ServiceName) -> bool {
        match &self.current {
            Some(
                Current::Repair { service: repaired, .. }
                | Current::Adjustment { service: repaired, .. }
                | Current::Recycling { service: repaired, .. },
            ) => repaired == service,
            Some(Current::Rollout(_) | Current::Ending(_)) | None => false,
        }
    }

    /// Services that it has not come to the end of. One that is about others concerns none: it waits for nobody.
    pub(crate) fn services(&self) -> Vec<ServiceName> {
        let works = |item: &&Item| !item.is_about_others();
        self.items.iter().filter(works).map(|item| item.service().clone()).collect()
    }
}
