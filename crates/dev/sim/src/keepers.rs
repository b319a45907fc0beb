//! What control has under way beside its driver in a history.

use std::collections::BTreeMap;

use hornero_driver::RequestId;
use hornero_model::{Directory, InstanceId, ScheduleName, Timestamp};

pub(crate) type SimulatedScheduleKey = (Directory, ScheduleName);

/// What is under way, which ends with the control that began it.
#[derive(Debug, Default)]
pub(crate) struct SimKeepers {
    /// Times of schedules that are carried out, and the request that each waits for.
    pub(crate) turns: BTreeMap<SimulatedScheduleKey, (Timestamp, RequestId)>,
    /// Rehearsals: when each ends, and whether its server became healthy.
    pub(crate) rehearsals: BTreeMap<InstanceId, (u64, bool)>,
    /// How many rehearsals were begun.
    pub(crate) rehearsed: u64,
}

impl SimKeepers {
    /// Control is gone, and with it all that it had under way.
    pub(crate) fn lose(&mut self) {
        self.turns.clear();
        self.rehearsals.clear();
    }
}
