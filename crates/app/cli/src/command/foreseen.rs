//! What bringing up a directory would change, asked of control.

use std::path::Path;

use hornero_api::{
    Client, ClientError,
    message::{PlanImage, PlanReport, PlanRequest},
};
use hornero_model::{Digest, Directory, ImageName};

use crate::{
    command::{bake, configuration::Kept, declared_jobs, desired, stores},
    daemon,
    failure::Failure,
    project::Project,
};

/// What bringing up a directory would be asked with, as far as it can be told without baking.
pub fn request(
    home: &Path,
    project: &Project,
    directory: Directory,
) -> Result<PlanRequest, Failure> {
    let images = bake::foresee(home, project)?;
    // What is still to be baked has no digest yet; zeros differ from every image there is.
    let digest_of = |name: &ImageName| {
        let image = images.iter().find(|image| image.name == *name);
        Some(image.and_then(|image| image.digest).unwrap_or_else(|| Digest::from_bytes([0; 32])))
    };
    let store = stores::store(home)?;
    let kept = Some(Kept { home, store: &store });
    Ok(PlanRequest {
        images: images
            .iter()
            .map(|image| PlanImage { name: image.name.clone(), bake: image.why.clone() })
            .collect(),
        services: desired::specs(kept, &project.spec, digest_of)?,
        jobs: declared_jobs::jobs(kept, &project.spec, digest_of)?,
        freezes: project.spec.freezes.values().cloned().collect(),
        schedules: project.spec.schedules.values().cloned().collect(),
        directory: Some(directory),
    })
}

/// Asks control what would change; the ledger, where control does not run.
pub async fn ask(home: &Path, request: &PlanRequest) -> Result<PlanReport, Failure> {
    let client = Client::new(daemon::socket(home));
    match client.post("/v1/plan", request).await {
        Ok(report) => Ok(report),
        Err(ClientError::Unreachable { .. }) => {
            hornero_control::plan_offline(home, request).map_err(|error| Failure::of(&*error))
        }
        Err(error) => Err(error.into()),
    }
}
