//! Snapshots of a service's volumes between the servers that go and those that come, to which the way back leads where no
//! client was let in to the new ones.

use hornero_model::{
    EventBody, Millis, SnapshotPurpose, TakenSnapshot, Timestamp, VolumeChange, VolumeName,
};

use crate::{
    Effect, Facts, Phase, Replacing, ReplacingStage, Rollout, RolloutFailure, World,
    record::Record, stage::named, view::View,
};

/// How long snapshots may take: without reflinks all data is copied, and requests wait no longer than a hold anyway.
const ALLOWANCE: Millis = Millis(1_800_000);

/// The effect that a rollout waits for that has snapshots taken, or put back.
pub(crate) fn work(world: &World, facts: &Facts, rollout: &Rollout) -> Option<Effect> {
    let replacing = rollout.replacing.as_ref().filter(|_| rollout.phase == Phase::Replacing)?;
    let (id, service, region) = (rollout.id, rollout.service.clone(), facts.region.clone());
    let lease = |volume: &VolumeName| world.volumes.get(volume).map(|known| known.last_lease);
    match replacing.stage {
        ReplacingStage::Preserving if !facts.snapshots.contains_key(&id) => {
            let spec = &world.release(&rollout.service, rollout.to_terms())?.spec;
            let mounts = spec.mounts.iter().map(|mount| &mount.volume);
            let volumes = mounts.filter_map(|volume| Some((volume.clone(), lease(volume)?)));
            let volumes = volumes.collect();
            let purpose = purpose(world, rollout)?;
            Some(Effect::TakeSnapshots { region, rollout: id, service, volumes, purpose })
        }
        ReplacingStage::Restoring if !facts.restored.contains_key(&id) => {
            let taken = replacing.snapshots.iter();
            let snapshots = taken.filter_map(|of| Some((of.clone(), lease(&of.volume)?))).collect();
            Some(Effect::RestoreSnapshots { region, rollout: id, service, snapshots })
        }
        ReplacingStage::Quiescing
        | ReplacingStage::Holding
        | ReplacingStage::Stopping
        | ReplacingStage::Preserving
        | ReplacingStage::Restoring
        | ReplacingStage::Starting => None,
    }
}

fn purpose(world: &World, rollout: &Rollout) -> Option<SnapshotPurpose> {
    let keep = world.replace_policy(rollout)?.snapshot.as_ref()?.keep;
    let Rollout { id, service, requested, .. } = rollout;
    let from = rollout.from_terms().map(|from| format!("{service}@{from} to "));
    let why = format!(
        "before rollout {id}: {}{service}@{}",
        from.unwrap_or_default(),
        rollout.to_terms()
    );
    // Numbers of rollouts come again where a ledger from before was put back; with their time they do not.
    let tag = format!("rollout-{id}-{}", requested.0);
    Some(SnapshotPurpose { tag, why, keep_until: rollout.since.after(keep) })
}

impl View<'_> {
    /// Whether snapshots are taken before the servers that come are started.
    pub(crate) fn preserves(&self) -> bool {
        let declared =
            self.world.replace_policy(self.rollout).is_some_and(|of| of.snapshot.is_some());
        declared && self.spec().is_some_and(|spec| spec.holds_volumes())
    }

    /// Once the snapshots are there, the servers that come are started.
    pub(crate) fn preserving(
        &self,
        replacing: &Replacing,
        tail: &mut dyn FnMut() -> String,
    ) -> Option<Vec<Record>> {
        let Some(taken) = self.facts.snapshots.get(&self.rollout.id) else {
            let why = format!("no snapshot was taken within {ALLOWANCE}");
            let late = self.lasted(ALLOWANCE);
            return late.then(|| self.replace_back(RolloutFailure::of(why)));
        };
        let recorded = taken.iter().map(|of| {
            let change = VolumeChange::Snapshot { snapshot: of.snapshot };
            self.event(EventBody::VolumeChanged { volume: of.volume.clone(), change })
        });
        let mut records: Vec<Record> = recorded.collect();
        let replacing = Replacing { snapshots: taken.clone(), ..replacing.clone() };
        records.extend(self.start_those_that_come(replacing, tail));
        Some(records)
    }

    /// Whether the way back leads to the snapshots: what clients were let in to has writes that nobody may lose.
    pub(crate) fn restores(&self, replacing: &Replacing) -> bool {
        replacing.back && !replacing.snapshots.is_empty() && !replacing.let_in
    }

    /// Once the snapshots are in their place again, the old servers come; where that fails, on the data as it is.
    pub(crate) fn restoring(
        &self,
        replacing: &Replacing,
        tail: &mut dyn FnMut() -> String,
    ) -> Option<Vec<Record>> {
        let late = || self.lasted(ALLOWANCE).then(|| Err(format!("not within {ALLOWANCE}")));
        let outcome = self.facts.restored.get(&self.rollout.id).cloned().or_else(late)?;
        let mut records = Vec::new();
        let told = match outcome {
            Ok(restored) => {
                for (of, kept) in &restored {
                    let (snapshot, kept) = (of.snapshot, *kept);
                    let change = VolumeChange::Restored { snapshot, kept };
                    let volume = of.volume.clone();
                    records.push(self.event(EventBody::VolumeChanged { volume, change }));
                }
                let left = restored
                    .iter()
                    .map(|(of, kept)| TakenSnapshot { snapshot: *kept, ..of.clone() });
                let (before, left) =
                    (named(&replacing.snapshots), named(&left.collect::<Vec<_>>()));
                format!("the data is as it was before, by {before}; what was left of it is {left}")
            }
            Err(why) => format!("the data is as it was left: no snapshot could be put back: {why}"),
        };
        let mut rollout = self.rollout.clone();
        if let Some(failure) = &mut rollout.failure {
            failure.reason.push_str(&format!("; {told}"));
        }
        let view = View { rollout: &rollout, ..*self };
        records.extend(view.start_those_that_come(replacing.clone(), tail));
        Some(records)
    }
}

/// When time alone moves it on.
pub(crate) fn until(rollout: &Rollout) -> Timestamp {
    rollout.since.after(ALLOWANCE)
}
