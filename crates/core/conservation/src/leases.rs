//! Who had volumes, counted from the ledger's events and from nothing else.

use std::collections::BTreeMap;

use hornero_model::{Event, EventBody, InstanceId, LeaseToken, VolumeName};

/// Holders that are remembered of a volume: of those before them none can still be there, since each was fenced.
const REMEMBERED: usize = 64;

/// The last holders of each volume, and its newest lease. Build it with [`Leases::default`] and
/// [`Leases::apply`].
#[derive(Debug, Clone, Default)]
pub struct Leases {
    volumes: BTreeMap<VolumeName, Holders>,
}

#[derive(Debug, Clone, Default)]
struct Holders {
    newest: LeaseToken,
    /// Who had it last, and has.
    all: BTreeMap<InstanceId, LeaseToken>,
}

impl Leases {
    /// Takes in the next event of the ledger.
    pub fn apply(&mut self, event: &Event) {
        if let EventBody::VolumeLeased { volume, lease, instance, .. } = &event.body {
            let holders = self.volumes.entry(volume.clone()).or_default();
            holders.newest = holders.newest.max(*lease);
            holders.all.insert(instance.clone(), *lease);
            if holders.all.len() > REMEMBERED
                && let Some(oldest) = holders.all.iter().min_by_key(|(_, lease)| **lease)
            {
                let oldest = oldest.0.clone();
                holders.all.remove(&oldest);
            }
        }
    }

    /// Whether an instance has the newest lease of a volume.
    pub(crate) fn has(&self, volume: &VolumeName, instance: &InstanceId) -> bool {
        let holders = self.volumes.get(volume);
        holders.is_some_and(|of| of.all.get(instance) == Some(&of.newest))
    }

    /// Everyone else who had a volume.
    pub(crate) fn others<'l>(
        &'l self,
        volume: &VolumeName,
        instance: &'l InstanceId,
    ) -> impl Iterator<Item = &'l InstanceId> {
        let all = self.volumes.get(volume).into_iter().flat_map(|of| of.all.keys());
        all.filter(move |other| *other != instance)
    }
}
