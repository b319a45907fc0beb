//! The state of one rollout, as its journal keeps it.

use std::collections::BTreeSet;

use hornero_model::{
    Actor, Batched, ExitCause, GuardName, InstanceId, Intervention, JournalEntry, ReleaseNumber,
    RolloutId, ServiceName, Share, Spread, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{Canary, Expanding, Paused, Replacing, Rolling};

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
    pub failure: Option<RolloutFailure>,
    /// The counters from which the receipt counts; known from `switching` on.
    pub baseline: Baseline,
    /// The switch to `to`, or of a canary's first share until then; known once the edge confirmed it.
    pub switch: Option<Switch>,
    /// The switch back to `from`, where there was one.
    pub returned: Option<Switch>,
    /// Whether it failed after the switch with nothing healthy to go back to, so that the new set serves on.
    pub stays: bool,
    /// Requests that were in flight when the drain's time was up, and that were then cut off.
    pub cut_off: Option<u64>,
    /// How far its schema steps are; none before the first is begun, and without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expanding: Option<Expanding>,
    /// How far it is as a canary; none where it is none, and before its first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// That it goes batch by batch because there was no room for a whole set beside the one that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batched: Option<Batched>,
    /// How far it is batch by batch; none where it goes by none, and before its first one is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling: Option<Rolling>,
    /// How far it is where its servers can't run beside the old ones; none before requests are held for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacing: Option<Replacing>,
    /// The release by whose terms the set of `to` serves, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<ReleaseNumber>,
    /// The same for the set of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_terms: Option<ReleaseNumber>,
    /// That it stays in its phase until somebody says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Guards that somebody overrode.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub overridden: BTreeSet<GuardName>,
    /// Whether it is a removal that has closed nothing yet, because its guards have not passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guarding: bool,
    /// What people did to it by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<Intervention>,
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
    /// Schema steps are run, and nothing of the release is started yet; the old set serves.
    Expanding,
    /// The new set is started and probed while the image's tests run; the old set serves.
    Preparing,
    /// Both sets serve, the new one a share of the requests, by which it is judged.
    Canary,
    /// Both sets serve; the new one grows batch by batch and the old one shrinks.
    Rolling,
    /// Requests wait; the old servers end, then the new ones begin, or the other way on the way back.
    Replacing,
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
pub struct RolloutFailure {
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
    /// Whether the release is at fault, so that the same would fail again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_release: bool,
}

/// What the edge had counted before the switch, from which a receipt counts: failed requests, and those that waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// On the release that served.
    pub failed_from: u64,
    /// On the release that shall serve.
    pub failed_to: u64,
    /// Requests that had waited before they were let in, on both.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
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
    /// Over how many edges it was made; none where nothing was routed, and before edges were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
}

impl Phase {
    /// Its name, as journal and status give it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expanding => "expanding",
            Self::Preparing => "preparing",
            Self::Canary => "canary",
            Self::Rolling => "rolling",
            Self::Replacing => "replacing",
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
            Self::Expanding
            | Self::Preparing
            | Self::Canary
            | Self::Rolling
            | Self::Replacing
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
            Self::Expanding
            | Self::Preparing
            | Self::Canary
            | Self::Rolling
            | Self::Replacing
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

    /// Whether people may keep a rollout in it, or send it on from there.
    pub(crate) const fn waits_for_people(self) -> bool {
        matches!(self, Self::Preparing | Self::Canary | Self::Rolling)
    }

    pub(crate) const fn keeps_new_set(self) -> bool {
        match self {
            Self::Expanding
            | Self::Preparing
            | Self::Canary
            | Self::Rolling
            | Self::Replacing
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
            Self::Expanding
            | Self::Preparing
            | Self::Canary
            | Self::Rolling
            | Self::Replacing
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
            Self::Expanding => {
                matches!(next, Self::Expanding | Self::Preparing | Self::Switching | Self::Undoing)
            }
            Self::Preparing => {
                matches!(
                    next,
                    Self::Preparing
                        | Self::Canary
                        | Self::Rolling
                        | Self::Replacing
                        | Self::Switching
                        | Self::Undoing
                )
            }
            Self::Rolling => {
                matches!(next, Self::Rolling | Self::Switching | Self::Returning | Self::Failed)
            }
            Self::Canary => {
                matches!(next, Self::Canary | Self::Switching | Self::Returning | Self::Failed)
            }
            Self::Replacing => matches!(next, Self::Replacing | Self::Switching | Self::Returning),
            Self::Switching => matches!(next, Self::Watching | Self::Replacing | Self::Returning),
            Self::Watching => {
                matches!(
                    next,
                    Self::Draining
                        | Self::Finished
                        | Self::Replacing
                        | Self::Returning
                        | Self::Failed
                )
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

impl RolloutFailure {
    /// A failure of no instance in particular.
    pub fn of(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            instance: None,
            cause: None,
            log_tail: Vec::new(),
            refused: None,
            of_release: false,
        }
    }

    /// That somebody ended it.
    pub fn cancelled(by: &Actor) -> Self {
        Self::of(format!("cancelled by `{}`: {}", by.who, by.why))
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

    /// The release that serves once it is over: the one by whose terms the set of `to` serves.
    pub fn to_terms(&self) -> ReleaseNumber {
        self.terms.unwrap_or(self.to)
    }

    /// The release that served when it began: the one by whose terms the set of `from` serves.
    pub fn from_terms(&self) -> Option<ReleaseNumber> {
        self.old_terms.or(self.from)
    }

    /// The shares at the canary's step; none where there is no canary.
    pub(crate) fn canary_traffic(&self) -> Option<Vec<Share>> {
        let weight = self.canary.as_ref()?.weight;
        let rest = Share::WHOLE.saturating_sub(weight);
        let from = self.from.map(|release| Share { release, weight: rest });
        Some(from.into_iter().chain([Share { release: self.to, weight }]).collect())
    }

    /// Whether the old set is there as a whole at its end, so that it can be kept warm.
    pub(crate) const fn leaves_whole_set(&self) -> bool {
        self.batched.is_none()
    }

    /// Whether both releases got requests in it at the same time.
    pub(crate) const fn shared_out(&self) -> bool {
        self.canary.is_some() || self.rolling.is_some()
    }

    /// The same rollout in its next phase.
    pub(crate) fn enter(&self, phase: Phase, now: Timestamp) -> Self {
        let paused = self.paused.clone().filter(|_| phase == self.phase);
        Self { phase, since: now, paused, ..self.clone() }
    }
}
