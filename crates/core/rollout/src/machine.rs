//! The state of one rollout, as its journal keeps it.

use std::collections::BTreeSet;

use hornero_model::{
    Actor, ExitCause, InstanceId, JournalEntry, ReleaseNumber, RolloutId, ServiceName, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::World;

/// A numbered, journalled transition of one service between two releases, or its removal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Its number.
    pub id: RolloutId,
    /// The service.
    pub service: ServiceName,
    /// What it is for.
    pub kind: Kind,
    /// Who asked for it, and why.
    pub by: Actor,
    /// When.
    pub requested: Timestamp,
    /// The release that served when it began.
    pub from: Option<ReleaseNumber>,
    /// The release that shall serve; for a removal the one that served.
    pub to: ReleaseNumber,
    /// Whether the set of `to` was still running, healthy and proven when it began.
    pub warm: bool,
    /// The instances of `to`.
    pub set: BTreeSet<InstanceId>,
    /// The instances of `from`; known from the switch on.
    pub old: BTreeSet<InstanceId>,
    /// Where it is.
    pub phase: Phase,
    /// When it entered that phase.
    pub since: Timestamp,
    /// What went wrong, where something did.
    pub failure: Option<Failure>,
    /// The counters from which the receipt counts; known from `switching` on.
    pub baseline: Baseline,
    /// The switch to `to`; known once the edge confirmed it.
    pub switch: Option<Switch>,
    /// The switch back to `from`, where there was one.
    pub returned: Option<Switch>,
    /// Whether it failed after the switch with nothing healthy to go back to, so that the new set serves on.
    pub stays: bool,
    /// Requests that were in flight when the drain's time was up, and that were then cut off.
    pub cut_off: Option<u64>,
}

/// What a rollout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// To a new release, or one that never served whole.
    Forward,
    /// Back to a proven release.
    Rollback,
    /// To nothing.
    Removal,
}

/// Where a rollout is. Every phase is one entry of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The new set is started and probed while the image's tests run; the old set serves.
    Preparing,
    /// The edge is being told; either set may be serving.
    Switching,
    /// The new set serves and is watched; the old one drains.
    Watching,
    /// The new release is proven; the old set still drains.
    Draining,
    /// Over: the new release serves.
    Finished,
    /// It failed before the switch; the new set is being stopped.
    Undoing,
    /// Over: it failed, and what served before serves still.
    Failed,
    /// It failed at or after the switch; the edge is being told to go back.
    Returning,
    /// The old set serves again; the new one drains.
    Clearing,
    /// Over: it failed, and the release from before serves again.
    RolledBack,
    /// Removal: the routes are gone, requests in flight end.
    Closing,
    /// Removal: the instances are being stopped.
    Emptying,
    /// Over: the service is gone.
    Removed,
}

/// What went wrong in a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What failed and why, in one sentence.
    pub reason: String,
    /// The instance that failed, where it was one.
    pub instance: Option<InstanceId>,
    /// How it ended, where it did.
    pub cause: Option<ExitCause>,
    /// The last lines of its log.
    pub log_tail: Vec<String>,
    /// The invariant by which the watchdog refused to go on, where it did.
    pub refused: Option<String>,
}

/// Failed requests at the edge before the switch, from which a receipt counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// On the release that served.
    pub failed_from: u64,
    /// On the release that shall serve.
    pub failed_to: u64,
}

/// A confirmed switch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// The table that made it.
    pub generation: u64,
    /// When it was confirmed.
    pub at: Timestamp,
    /// How long the edge took, in milliseconds.
    pub switch_ms: f64,
    /// Requests in flight at that moment on the set that lost the traffic.
    pub in_flight: u64,
}

impl Phase {
    /// Its name, as journal and status give it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Switching => "switching",
            Self::Watching => "watching",
            Self::Draining => "draining",
            Self::Finished => "finished",
            Self::Undoing => "undoing",
            Self::Failed => "failed",
            Self::Returning => "returning",
            Self::Clearing => "clearing",
            Self::RolledBack => "rolled_back",
            Self::Closing => "closing",
            Self::Emptying => "emptying",
            Self::Removed => "removed",
        }
    }

    /// Whether the rollout is over.
    pub const fn finished(self) -> bool {
        match self {
            Self::Finished | Self::Failed | Self::RolledBack | Self::Removed => true,
            Self::Preparing
            | Self::Switching
            | Self::Watching
            | Self::Draining
            | Self::Undoing
            | Self::Returning
            | Self::Clearing
            | Self::Closing
            | Self::Emptying => false,
        }
    }

    /// Whether instances that fail while serving are replaced in it; else the rollout itself answers for them.
    pub(crate) const fn repairs(self) -> bool {
        match self {
            Self::Preparing
            | Self::Undoing
            | Self::Draining
            | Self::Returning
            | Self::Clearing
            | Self::Finished
            | Self::Failed
            | Self::RolledBack => true,
            Self::Switching | Self::Watching | Self::Closing | Self::Emptying | Self::Removed => {
                false
            }
        }
    }

    pub(crate) const fn keeps_new_set(self) -> bool {
        match self {
            Self::Preparing
            | Self::Switching
            | Self::Watching
            | Self::Draining
            | Self::Returning
            | Self::Clearing
            | Self::Closing => true,
            Self::Undoing
            | Self::Finished
            | Self::Failed
            | Self::RolledBack
            | Self::Emptying
            | Self::Removed => false,
        }
    }

    pub(crate) const fn keeps_old_set(self) -> bool {
        match self {
            Self::Switching
            | Self::Watching
            | Self::Draining
            | Self::Returning
            | Self::Clearing
            | Self::Closing => true,
            Self::Preparing
            | Self::Undoing
            | Self::Finished
            | Self::Failed
            | Self::RolledBack
            | Self::Emptying
            | Self::Removed => false,
        }
    }

    pub(crate) const fn stops_everything(self) -> bool {
        matches!(self, Self::Emptying | Self::Removed)
    }

    /// Whether `next` may follow.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Preparing => matches!(next, Self::Switching | Self::Undoing),
            Self::Switching => matches!(next, Self::Watching | Self::Returning),
            Self::Watching => {
                matches!(next, Self::Draining | Self::Finished | Self::Returning | Self::Failed)
            }
            Self::Draining => matches!(next, Self::Draining | Self::Finished),
            Self::Undoing => matches!(next, Self::Failed),
            Self::Returning => matches!(next, Self::Clearing | Self::Failed),
            Self::Clearing => {
                matches!(next, Self::Clearing | Self::RolledBack | Self::Failed)
            }
            Self::Closing => matches!(next, Self::Closing | Self::Emptying | Self::Failed),
            Self::Emptying => matches!(next, Self::Removed),
            Self::Finished | Self::Failed | Self::RolledBack | Self::Removed => false,
        }
    }
}

impl Failure {
    /// A failure of no instance in particular.
    pub fn of(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            instance: None,
            cause: None,
            log_tail: Vec::new(),
            refused: None,
        }
    }
}

impl Rollout {
    /// The journal entry that says all of it.
    pub fn entry(&self) -> JournalEntry {
        JournalEntry {
            rollout: self.id,
            service: self.service.clone(),
            phase: self.phase.name().to_owned(),
            finished: self.phase.finished(),
            state: serde_json::to_value(self).expect("a rollout has only string keys"),
        }
    }

    /// The rollout that a journal entry's state says; none where it is no such state.
    pub fn from_journal(state: &serde_json::Value) -> Option<Self> {
        serde_json::from_value(state.clone()).ok()
    }

    /// Which release shall get new requests in its phase.
    pub(crate) fn active(&self, world: &World) -> Option<ReleaseNumber> {
        let serving = || {
            let service = world.services.get(&self.service)?;
            service.serving.as_ref().map(|set| set.release)
        };
        match self.phase {
            Phase::Preparing | Phase::Undoing | Phase::Failed => serving(),
            Phase::Switching | Phase::Watching | Phase::Draining | Phase::Finished => Some(self.to),
            Phase::Returning | Phase::Clearing | Phase::RolledBack => self.from,
            Phase::Closing | Phase::Emptying | Phase::Removed => None,
        }
    }

    /// The same rollout in its next phase.
    pub(crate) fn enter(&self, phase: Phase, now: Timestamp) -> Self {
        Self { phase, since: now, ..self.clone() }
    }
}
