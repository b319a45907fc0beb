//! Where an imported image came from, and that it is one of the store from now on.

use std::collections::BTreeMap;

use hornero_model::{Digest, ImageConfig, Timestamp};
use hornero_store::{ImageManifest, Store, Tree};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::directories;
use crate::{Result, document::Runtime};

/// The attachment that says where an image came from.
pub const IMPORT_ATTACHMENT: &str = "import";

/// Where an imported image came from, as its attachment [`IMPORT_ATTACHMENT`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// The path or reference.
    pub from: String,
    /// Digest of the OCI manifest, the archive's bytes, or the layer that a directory became.
    pub digest: Digest,
    /// When.
    pub time: Timestamp,
    /// Ports that the image says it listens on, such as `80/tcp`.
    #[serde(default)]
    pub exposed_ports: Vec<String>,
    /// Directories that the image expects to be volumes.
    #[serde(default)]
    pub volumes: Vec<String>,
}

/// What is recorded of an image that comes in now.
pub(crate) fn record(from: &str, digest: Digest, runtime: Option<&Runtime>) -> ImportRecord {
    let keys = |map: &Option<BTreeMap<String, Value>>| {
        map.iter().flat_map(|map| map.keys().cloned()).collect()
    };
    ImportRecord {
        from: from.to_owned(),
        digest,
        time: Timestamp::now(),
        exposed_ports: runtime.map(|runtime| keys(&runtime.exposed_ports)).unwrap_or_default(),
        volumes: runtime.map(|runtime| keys(&runtime.volumes)).unwrap_or_default(),
    }
}

/// Makes an image of layers, and records where it came from; gives it with the number of its layers.
pub(crate) fn finish(
    store: &Store,
    mut layers: Vec<Digest>,
    tree: Tree,
    config: ImageConfig,
    record: ImportRecord,
) -> Result<(Digest, usize)> {
    let directories = std::iter::once(&config.workdir).chain(&record.volumes);
    if let Some(layer) = directories::missing(&tree, directories) {
        let ingest = store.ingest()?;
        layers.push(ingest.put_layer(&layer)?);
        ingest.finish()?;
    }
    let count = layers.len();
    let user = config.user.clone();
    let image = store.put_image(&ImageManifest::new(layers, config))?;
    // Now, not when the first server of it starts.
    store.resolve_user(&image, &user)?;
    let record = serde_json::to_vec(&record).expect("it has only string keys");
    store.attach(&image, IMPORT_ATTACHMENT, &record)?;
    Ok((image, count))
}
