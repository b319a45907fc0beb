//! Snapshots of volumes that a rollout waits for.

use hornero_driver::{EffectId, Observation};
use hornero_model::{TakenSnapshot, error_chain};
use hornero_rollout::Effect;
use hornero_volume::{SnapshotNumber, VolumeError};

use crate::ports::Adapters;

impl Adapters {
    /// Takes the snapshots of a rollout, or puts them back, for whoever the engine obeys.
    pub(crate) fn copy_volumes(&self, id: EffectId, effect: Effect) -> Observation {
        let failed = |reason| Observation::EffectFailed { effect: id, reason };
        match self.starter.engine().obey(id.term) {
            Ok(()) => self.copied(effect).unwrap_or_else(|error| failed(error_chain(&error))),
            Err(error) => failed(self.engine_fault(&error)),
        }
    }

    fn copied(&self, effect: Effect) -> Result<Observation, VolumeError> {
        match effect {
            Effect::TakeSnapshots { rollout, volumes, purpose, .. } => {
                let taken = volumes.into_iter().map(|(volume, lease)| {
                    let taken = self.volumes.preserve(&volume, lease, &purpose)?;
                    Ok(TakenSnapshot { volume, snapshot: taken.number.0 })
                });
                let snapshots = taken.collect::<Result<_, VolumeError>>()?;
                Ok(Observation::SnapshotsTaken { rollout, snapshots })
            }
            Effect::RestoreSnapshots { rollout, snapshots, .. } => {
                let restored = snapshots.into_iter().map(|(of, lease)| {
                    let number = SnapshotNumber(of.snapshot);
                    let kept = self.volumes.restore_under(&of.volume, lease, number)?;
                    Ok((of, kept.number.0))
                });
                let restored = restored.collect::<Result<_, VolumeError>>()?;
                Ok(Observation::SnapshotsRestored { rollout, restored })
            }
            other => unreachable!("`{other}` copies no volume"),
        }
    }
}
