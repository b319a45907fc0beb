//! Removes snapshots whose time is over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hornero_model::{Actor, EventBody, Timestamp, VolumeChange, error_chain};
use hornero_volume::Volumes;

use crate::{
    runs::Recorder,
    timekeeper::{ComesRound, CronLines, LONGEST},
};

/// Between two looks: they are kept for hours at least.
const PAUSE: Duration = Duration::from_secs(600);

/// Looks after snapshots that are kept until a time.
pub struct SnapshotTimes {
    volumes: Volumes,
    recorder: Arc<Recorder>,
    next: Instant,
}

impl SnapshotTimes {
    /// Those of these volumes.
    pub fn new(volumes: Volumes, recorder: Arc<Recorder>) -> Self {
        Self { volumes, recorder, next: Instant::now() }
    }
}

impl ComesRound for SnapshotTimes {
    fn look(&mut self, _: &mut CronLines, now: Timestamp) -> Option<Duration> {
        if Instant::now() < self.next {
            return Some(LONGEST);
        }
        self.next = Instant::now() + PAUSE;
        match self.volumes.expire(now) {
            Ok(expired) => {
                for (volume, number) in expired {
                    let by = Actor::hornero("the time was over for which it was to be kept");
                    let change = VolumeChange::Expired { snapshot: number.0 };
                    let what = format!("the end of snapshot {number} of `{volume}`");
                    let body = EventBody::VolumeChanged { volume, change };
                    if !self.recorder.record_end(&by, &body, &what) {
                        return None;
                    }
                }
            }
            Err(error) => tracing::warn!("{}", error_chain(&error)),
        }
        Some(LONGEST)
    }
}
