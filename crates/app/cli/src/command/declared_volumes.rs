//! The volumes that a directory declares, as control is told of them; and those that stay.

use hornero_api::{
    Client,
    message::{DeclareVolumesRequest, DeclaredVolumesReport, Intent, VolumeStatus},
};
use hornero_model::{Directory, Timestamp, Volume};

use crate::{
    failure::Failure,
    output::{age, size},
};

/// Has control know the volumes of a directory as they are declared, and make those that are not there.
pub async fn declare(
    client: &Client,
    directory: &Directory,
    volumes: Vec<Volume>,
    intent: &Intent,
) -> Result<(), Failure> {
    let known: Vec<VolumeStatus> = client.get("/v1/volumes").await?;
    let is_own = |volume: &VolumeStatus| volume.directory.as_ref() == Some(directory);
    if volumes.is_empty() && !known.iter().any(is_own) {
        return Ok(());
    }
    let (directory, intent) = (directory.clone(), intent.clone());
    let request = DeclareVolumesRequest { directory, volumes, intent };
    let report: DeclaredVolumesReport = client.post("/v1/volumes", &request).await?;
    report.changes.iter().for_each(|change| tell!("{change}"));
    // Those that are not declared any more are told of each time: their data takes room, and is somebody's.
    tell_kept(client, |volume| {
        volume.directory.is_none() && known.iter().any(|was| was.name == volume.name && is_own(was))
    })
    .await
}

/// Tells which volumes stay, and what each holds.
pub async fn tell_kept(
    client: &Client,
    which: impl Fn(&VolumeStatus) -> bool,
) -> Result<(), Failure> {
    let volumes: Vec<VolumeStatus> = client.get("/v1/volumes").await?;
    let now = Timestamp::now();
    for volume in volumes.iter().filter(|volume| which(volume)) {
        tell!(
            "volume `{}` stays: {} of data, made {} ago; `hornero volume rm {}` removes it{}",
            volume.name,
            size(volume.stored_bytes),
            age(now, volume.created),
            volume.name,
            if volume.protected { ", once its `prevent_destroy` is false" } else { "" },
        );
    }
    Ok(())
}
