//! `inventory`: what runs where, from what, in the formats that others read.

mod ansible;
mod csv;
mod cyclonedx;
mod prometheus;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use hornero_api::message::{HistoryEntry, ServiceStatus, StatusReport};
use hornero_bake::BakeRecord;
use hornero_model::{DebianPurl, Digest, Timestamp, error_chain};
use hornero_store::Store;

use crate::{
    arguments::InventoryFormat,
    command::{absent, sbom, stores},
    failure::Failure,
    output::{print_json, print_text},
    reports::{
        InventoryImage, InventoryInstance, InventoryPackage, InventoryReport, InventoryService,
    },
};

/// `hornero inventory`.
pub async fn run(home: &Path, json: bool, format: InventoryFormat) -> Result<(), Failure> {
    let report = collected(home).await?;
    if json {
        return print_json(&report);
    }
    match format {
        InventoryFormat::Json => print_json(&report),
        InventoryFormat::Csv => print_text(&csv::text(&report)),
        InventoryFormat::Cyclonedx => print_text(&format!("{}\n", cyclonedx::document(&report))),
        InventoryFormat::Prometheus => print_text(&prometheus::text(&report)),
        InventoryFormat::Ansible => print_text(&format!("{:#}\n", ansible::document(&report))),
    }
}

/// What runs by control's word, or the ledger's where none runs, and what the store knows of the images.
async fn collected(home: &Path) -> Result<InventoryReport, Failure> {
    let status: StatusReport = absent::status(home).await?;
    let mut services = Vec::new();
    for service in &status.services {
        services.push(described(home, service).await?);
    }
    let instances: Vec<InventoryInstance> = status.services.iter().flat_map(instances).collect();
    let digests: BTreeSet<Digest> = instances
        .iter()
        .filter_map(|one| one.image)
        .chain(services.iter().filter_map(|one| one.image))
        .collect();
    let images = match digests.is_empty() {
        true => Vec::new(),
        false => {
            let store = stores::known_store(home)?;
            digests.iter().map(|digest| image(&store, digest)).collect()
        }
    };
    let node = rustix::system::uname();
    Ok(InventoryReport {
        at: Timestamp::now(),
        host: node.nodename().to_string_lossy().into_owned(),
        home: std::path::absolute(home)?,
        services,
        instances,
        images,
    })
}

async fn described(home: &Path, service: &ServiceStatus) -> Result<InventoryService, Failure> {
    let asked = absent::client(home);
    let path = format!("/v1/services/{}/history", service.name);
    let releases: Vec<HistoryEntry> = match asked.get(&path).await {
        Ok(releases) => releases,
        // No control runs, as was said: what the ledger has of it.
        Err(hornero_api::ClientError::Unreachable { .. }) => {
            let read = hornero_control::history_offline(home, &service.name);
            read.map_err(|error| Failure::of(&*error))?.unwrap_or_default()
        }
        Err(error) => return Err(error.into()),
    };
    let release = releases.into_iter().find(|entry| Some(entry.release) == service.release);
    Ok(InventoryService {
        id: format!("service/{}", service.name),
        name: service.name.clone(),
        release: service.release,
        image: service.image,
        released: release.as_ref().map(|entry| entry.created),
        released_by: release.as_ref().map(|entry| entry.who.clone()),
        commit: release.and_then(|entry| entry.commit),
        directory: service.directory.as_ref().map(ToString::to_string),
        labels: service.labels.clone(),
    })
}

fn instances(service: &ServiceStatus) -> impl Iterator<Item = InventoryInstance> {
    service.instances.iter().map(|instance| InventoryInstance {
        id: format!("instance/{}", instance.id),
        instance: instance.id.clone(),
        service: service.name.clone(),
        release: instance.release,
        image: instance.image,
        state: instance.state,
        health: instance.health,
        address: instance.address,
        created: instance.created,
        labels: service.labels.clone(),
    })
}

/// What the store knows of an image; an image that can't be read is told of with the reason, beside the others.
fn image(store: &Store, digest: &Digest) -> InventoryImage {
    let record = BakeRecord::of(store, digest).ok().flatten();
    let distribution = sbom::distribution(store, digest).ok().flatten();
    let distribution = distribution.map(|distribution| distribution.text());
    let (packages, fault) = match packages(store, digest, distribution.as_deref().unwrap_or("")) {
        Ok(packages) => (Some(packages), None),
        Err(failure) => (None, Some(error_chain(&failure))),
    };
    InventoryImage {
        id: format!("image/{digest}"),
        digest: *digest,
        name: record.map(|record| record.name.to_string()),
        distribution,
        packages,
        fault,
    }
}

fn packages(
    store: &Store,
    digest: &Digest,
    distribution: &str,
) -> Result<Vec<InventoryPackage>, hornero_bake::BakeError> {
    let ownership = hornero_bake::ownership(store, digest)?;
    let mut packages: Vec<InventoryPackage> = ownership
        .packages()
        .into_iter()
        .map(|(_, package)| {
            let (name, version, architecture) =
                (package.name.as_str(), package.version.as_str(), package.architecture.as_str());
            InventoryPackage {
                name: name.to_owned(),
                version: version.to_owned(),
                architecture: architecture.to_owned(),
                purl: DebianPurl { name, version, architecture, distribution }.to_string(),
            }
        })
        .collect();
    packages.sort();
    Ok(packages)
}

impl InventoryReport {
    /// An image of it.
    fn image(&self, digest: Option<Digest>) -> Option<&InventoryImage> {
        self.images.iter().find(|image| Some(image.digest) == digest)
    }

    /// The packages of all images, each once.
    fn packages(&self) -> BTreeMap<&str, &InventoryPackage> {
        let all = self.images.iter().flat_map(|image| image.packages.iter().flatten());
        all.map(|package| (package.purl.as_str(), package)).collect()
    }
}

#[cfg(test)]
mod tests;
