//! Volumes as they are shown: what the ledger says of them, and their files.

use std::{collections::BTreeMap, path::Path};

use hornero_api::message::{CopyCost, VolumeLease, VolumeSnapshot, VolumeStatus};
use hornero_model::VolumeName;
use hornero_rollout::KnownVolume;
use hornero_volume::{Cost, Origin, Snapshot, VolumeFacts, Volumes};

/// The volumes of a home, by name, where no control process runs.
pub fn volumes_offline(home: &Path) -> anyhow::Result<Vec<VolumeStatus>> {
    let home = home.canonicalize()?;
    let world = crate::offline::world(&home)?;
    Ok(shown(&world.volumes, Volumes::of(&home).list()?))
}

/// Volumes by what is known of them, and by their files. Some have only one of both: a clone of nobody's declaration, and data
/// that is missing.
pub fn shown(
    known: &BTreeMap<VolumeName, KnownVolume>,
    there: Vec<VolumeFacts>,
) -> Vec<VolumeStatus> {
    let mut all: BTreeMap<VolumeName, VolumeStatus> = BTreeMap::new();
    for facts in there {
        let known = known.get(&facts.name).cloned().unwrap_or_default();
        all.insert(facts.name.clone(), one(&facts, &known));
    }
    for (name, known) in known.iter().filter(|(_, known)| known.made.is_some()) {
        all.entry(name.clone()).or_insert_with(|| missing(name, known));
    }
    all.into_values().collect()
}

/// A volume whose data is there.
pub fn one(facts: &VolumeFacts, known: &KnownVolume) -> VolumeStatus {
    VolumeStatus {
        name: facts.name.clone(),
        directory: known.directory.clone(),
        size_bytes: facts.size_bytes,
        stored_bytes: facts.stored_bytes,
        created: facts.created,
        origin: origin(&facts.origin),
        protected: known.is_protected(),
        missing: false,
        attached: facts.attached,
        lease: lease(known),
        copies: match facts.cost {
            Cost::Changes => CopyCost::Changes,
            Cost::Data => CopyCost::Data,
        },
        snapshots: facts.snapshots.iter().map(snapshot).collect(),
    }
}

fn missing(name: &VolumeName, known: &KnownVolume) -> VolumeStatus {
    VolumeStatus {
        name: name.clone(),
        directory: known.directory.clone(),
        size_bytes: 0,
        stored_bytes: 0,
        created: known.made.unwrap_or_default(),
        origin: "its data is missing".to_owned(),
        protected: known.is_protected(),
        missing: true,
        attached: false,
        lease: lease(known),
        copies: CopyCost::Data,
        snapshots: Vec::new(),
    }
}

fn lease(known: &KnownVolume) -> Option<VolumeLease> {
    known.lease.as_ref().map(|lease| VolumeLease {
        lease: lease.token,
        service: lease.service.clone(),
        instance: lease.instance.clone(),
        since: lease.since,
    })
}

fn snapshot(snapshot: &Snapshot) -> VolumeSnapshot {
    VolumeSnapshot {
        snapshot: snapshot.number.0,
        created: snapshot.created,
        why: snapshot.why.clone(),
        size_bytes: snapshot.size_bytes,
        stored_bytes: snapshot.stored_bytes,
        keep_until: snapshot.keep_until,
    }
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Empty => "made empty".to_owned(),
        Origin::Clone { volume, snapshot: None } => format!("a clone of `{volume}`"),
        Origin::Clone { volume, snapshot: Some(number) } => {
            format!("a clone of snapshot {number} of `{volume}`")
        }
        Origin::Adopted { path } => format!("a copy of `{}`", path.display()),
    }
}
