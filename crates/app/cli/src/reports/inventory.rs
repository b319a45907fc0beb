//! What `inventory` prints: what runs where, from what.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use hornero_model::{
    Digest, Health, InstanceId, InstanceState, ReleaseNumber, ServiceName, Timestamp,
};
use schemars::JsonSchema;
use serde::Serialize;

/// What runs where, from which image, since when, and whose it is. Ids are the same at every look for as long as what they
/// name is there, and name nothing else in this home later.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InventoryReport {
    /// When it was seen.
    pub at: Timestamp,
    /// The name of the host.
    pub host: String,
    /// The home.
    pub home: PathBuf,
    /// Services that are up, by name.
    pub services: Vec<InventoryService>,
    /// Instances, by service.
    pub instances: Vec<InventoryInstance>,
    /// The images that they are made from.
    pub images: Vec<InventoryImage>,
}

/// A service.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InventoryService {
    /// `service/NAME`.
    pub id: String,
    /// Its name.
    pub name: ServiceName,
    /// The release that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// Its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// Since when there is that release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released: Option<Timestamp>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_by: Option<String>,
    /// From which commit, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The directory that declares it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// What people say of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// An instance.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InventoryInstance {
    /// `instance/ID`.
    pub id: String,
    /// Its id.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// The release that it was made from.
    pub release: ReleaseNumber,
    /// Its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// Where it is in its life.
    pub state: InstanceState,
    /// What the edge last found it to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Its address on Hornero's network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Since when there is it.
    pub created: Timestamp,
    /// What people say of its service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// An image that something is made from.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InventoryImage {
    /// `image/DIGEST`.
    pub id: String,
    /// Its identity.
    pub digest: Digest,
    /// Its name where it was baked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The distribution that it is made from, such as `debian-12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// Its packages, by name; absent where they can't be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<Vec<InventoryPackage>>,
    /// Why they can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A package of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct InventoryPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// Its package URL.
    pub purl: String,
}
