//! Volumes as they stand, and those that a directory declares.

use std::{collections::BTreeMap, sync::Arc};

use hornero_api::message::{DeclareVolumesRequest, DeclaredVolumesReport};
use hornero_model::{
    Actor, Directory, EventBody, Timestamp, Volume, VolumeChange, VolumeName, error_chain,
};
use hornero_rollout::KnownVolume;
use hornero_volume::{VolumeError, VolumeFacts, Volumes};
use hyper::StatusCode;

use super::{recording::record, runs::asked};
use crate::{
    answer::{Answer, ApiRefusal, json},
    api::Api,
    request::Caller,
    runs::Recorder,
    volumes,
};

/// What the ledger says of volumes.
type Known = BTreeMap<VolumeName, KnownVolume>;

impl Api {
    /// Every volume.
    pub async fn volumes(&self) -> Answer {
        let known = self.known_volumes().await?;
        let there = self.volumes.clone();
        let there = tokio::task::spawn_blocking(move || there.list());
        let there = there.await.map_err(ApiRefusal::internal)?.map_err(refusal)?;
        json(&volumes::shown(&known, there))
    }

    /// What the ledger says of volumes.
    pub(super) async fn known_volumes(&self) -> Result<Known, ApiRefusal> {
        self.ask(|driver| driver.world().volumes.clone()).await
    }

    /// Takes in which volumes a directory declares, and makes what is not there. Nothing is removed.
    pub async fn declare_volumes(&self, caller: Caller, wanted: DeclareVolumesRequest) -> Answer {
        let DeclareVolumesRequest { directory, volumes, intent } = wanted;
        let known = self.known_volumes().await?;
        let by = asked(caller, intent, "up");
        let (there, recorder) = (self.volumes.clone(), Arc::clone(&self.recorder));
        let declared = tokio::task::spawn_blocking(move || {
            let declaring = Declaring { known, there, recorder, by, directory };
            declaring.declare(&volumes)
        });
        let changes = declared.await.map_err(ApiRefusal::internal)??;
        json(&DeclaredVolumesReport { changes })
    }
}

/// A directory that declares volumes.
struct Declaring {
    known: Known,
    there: Volumes,
    recorder: Arc<Recorder>,
    by: Actor,
    directory: Directory,
}

impl Declaring {
    /// Looks at all of them before anything is done.
    fn declare(&self, volumes: &[Volume]) -> Result<Vec<String>, ApiRefusal> {
        let found = volumes.iter().map(|volume| self.check(volume));
        let found = found.collect::<Result<Vec<_>, ApiRefusal>>()?;
        let mut changes = Vec::new();
        for (volume, facts) in volumes.iter().zip(found) {
            changes.extend(self.bring(volume, facts)?);
        }
        changes.extend(self.undeclare(volumes)?);
        Ok(changes)
    }

    /// Whether a volume may be as it is declared; its files where it has any.
    fn check(&self, volume: &Volume) -> Result<Option<VolumeFacts>, ApiRefusal> {
        let name = &volume.name;
        let known = self.known.get(name);
        let owner = known.and_then(|known| known.directory.as_ref());
        if let Some(other) = owner.filter(|other| **other != self.directory) {
            let text = format!("volume `{name}` belongs to `{other}`");
            return Err(ApiRefusal::new(StatusCode::CONFLICT, "owned_elsewhere", text)
                .hint("name it otherwise here, or take it out there"));
        }
        let made = known.and_then(|known| known.made);
        match (self.there.facts(name), made) {
            (Ok(facts), _) if facts.size_bytes > volume.size_bytes => Err(shrinks(volume, &facts)),
            (Ok(facts), _) => Ok(Some(facts)),
            (Err(VolumeError::Missing { .. }), None) => Ok(None),
            // An empty one in its place would look like data that is lost.
            (Err(VolumeError::Missing { .. }), Some(made)) => Err(missing(name, made)),
            (Err(error), _) => Err(refusal(error)),
        }
    }

    /// Has a volume be as it is declared.
    fn bring(
        &self,
        volume: &Volume,
        facts: Option<VolumeFacts>,
    ) -> Result<Vec<String>, ApiRefusal> {
        let (name, size_bytes) = (&volume.name, volume.size_bytes);
        let mut changes = Vec::new();
        let known = self.known.get(name);
        let is_same = known.is_some_and(|known| {
            known.declared.as_ref() == Some(volume)
                && known.directory.as_ref() == Some(&self.directory)
        });
        if !is_same {
            let (volume, directory) = (volume.clone(), self.directory.clone());
            self.record(EventBody::VolumeDeclared { volume, directory })?;
        }
        let size = facts.as_ref().map(|facts| facts.size_bytes);
        if facts.is_none() {
            self.there.make(name, size_bytes).map_err(refusal)?;
            changes.push(format!("volume `{name}` was made"));
        }
        if known.and_then(|known| known.made).is_none() {
            // Of what is there already, from before this ledger, the size is what it has.
            let change = VolumeChange::Made { size_bytes: size.unwrap_or(size_bytes) };
            self.record(EventBody::VolumeChanged { volume: name.clone(), change })?;
        }
        if size.is_some_and(|size| size < size_bytes) {
            let usable = self.there.grow(name, size_bytes).map_err(refusal)?;
            let change = VolumeChange::Grown { size_bytes };
            self.record(EventBody::VolumeChanged { volume: name.clone(), change })?;
            changes.push(match usable {
                true => format!("volume `{name}` was made larger"),
                false => format!(
                    "volume `{name}` was made larger; its server can use that once it is replaced"
                ),
            });
        }
        Ok(changes)
    }

    /// Notes which volumes the directory declares no more; their data stays, and that is told.
    fn undeclare(&self, volumes: &[Volume]) -> Result<Vec<String>, ApiRefusal> {
        let own = self
            .known
            .iter()
            .filter(|(_, known)| known.directory.as_ref() == Some(&self.directory));
        let gone = own.filter(|(name, _)| volumes.iter().all(|volume| volume.name != **name));
        let mut changes = Vec::new();
        for (name, _) in gone {
            let (volume, directory) = (name.clone(), self.directory.clone());
            self.record(EventBody::VolumeUndeclared { volume, directory })?;
            changes.push(format!("volume `{name}` is no longer declared; its data stays"));
        }
        Ok(changes)
    }

    fn record(&self, body: EventBody) -> Result<(), ApiRefusal> {
        record(&self.recorder, &self.by, body)
    }
}

fn shrinks(volume: &Volume, facts: &VolumeFacts) -> ApiRefusal {
    let (name, wanted_bytes, size_bytes) = (&volume.name, volume.size_bytes, facts.size_bytes);
    refusal(VolumeError::Shrinks { volume: name.clone(), size_bytes, wanted_bytes })
}

/// Data that was there and is not.
pub(super) fn missing(name: &VolumeName, made: Timestamp) -> ApiRefusal {
    let text = format!("the data of volume `{name}`, which was made at {made}, is missing");
    ApiRefusal::new(StatusCode::CONFLICT, "volume_missing", text).hint(format!(
        "put it back below `volumes/{name}` of the home; or let it go with `hornero volume rm {name}`"
    ))
}

/// Why something was not done with a volume.
pub(super) fn refusal(error: VolumeError) -> ApiRefusal {
    let text = error_chain(&error);
    let conflict = |code: &str| ApiRefusal::new(StatusCode::CONFLICT, code, text.clone());
    match error {
        VolumeError::Missing { .. } => {
            ApiRefusal::new(StatusCode::NOT_FOUND, "no_such_volume", text)
                .hint("`hornero volume ls` lists them")
        }
        VolumeError::NoSnapshot { volume, .. } => {
            ApiRefusal::new(StatusCode::NOT_FOUND, "no_such_snapshot", text)
                .hint(format!("`hornero volume inspect {volume}` lists them"))
        }
        VolumeError::Exists { .. } => conflict("volume_exists"),
        VolumeError::Held { .. } => {
            conflict("volume_attached").hint("take its service down first")
        }
        VolumeError::LeaseOver { .. } => conflict("lease_over"),
        VolumeError::Damaged { volume, .. } => conflict("volume_damaged").hint(format!(
            "nothing was changed; `hornero volume restore {volume} SNAPSHOT` goes back, and `e2fsck` mends what can be mended"
        )),
        VolumeError::Shrinks { .. } => conflict("volume_shrinks")
            .hint("a volume only grows; copy what it holds into a smaller one, or leave its size"),
        VolumeError::TooSmall { .. } => conflict("volume_too_small"),
        VolumeError::NeedsCopy { .. } => conflict("volume_attached")
            .hint("take its service down first, or keep the home on btrfs or XFS"),
        VolumeError::Lacks { .. } => conflict("host_lacks").hint("install `e2fsprogs`"),
        VolumeError::Failed { .. } => ApiRefusal::internal(text),
    }
}
