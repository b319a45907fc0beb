//! The JSON documents of the OCI image specification 1.1, as far as they matter here.

use std::collections::BTreeMap;

use hornero_model::Digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{OciError, Result};

/// Registries take manifests up to 4 MiB (distribution specification); ours have some 20 KiB.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Docker's own limit of a configuration is 4 MiB as well.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// Docker stops at 125 layers; other builders may make more.
pub(crate) const LAYERS_MAX: usize = 1000;
/// Platforms of one image, or images of one layout directory.
pub(crate) const INDEX_MANIFESTS_MAX: usize = 10_000;

/// An OCI image manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image configuration.
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's image manifest.
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's list of platforms.
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A layer, uncompressed; `+gzip` and `+zstd` may follow.
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The name of an image inside a layout directory.
pub(crate) const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name of an image that containerd wrote; [`REFERENCE_NAME`] is only its tag then.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// What Docker leaves out of the names of Docker Hub's images, the longest first.
const DOCKER_PREFIXES: [&str; 2] = ["docker.io/library/", "docker.io/"];
/// The digest of the Hornero image: annotation of the manifest and label of the configuration.
pub(crate) const HORNERO_IMAGE: &str = "hornero.image";

/// A reference to a blob or manifest by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
}

impl Descriptor {
    /// Of a blob or document.
    pub(crate) fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size, annotations: None, platform: None }
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// What the image is called, the name that tells most first: its whole name, as Docker shows it, its tag.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let whole = self.annotation(CONTAINERD_NAME);
        let shown = whole
            .and_then(|whole| DOCKER_PREFIXES.iter().find_map(|prefix| whole.strip_prefix(prefix)));
        [shown, whole, self.annotation(REFERENCE_NAME)].into_iter().flatten()
    }
}

/// The machine that an image of an index is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
    /// Which processors of the architecture it is for, such as `v3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    /// What a machine has to be able to do for it.
    #[serde(default, rename = "os.features", skip_serializing_if = "Option::is_none")]
    pub(crate) os_features: Option<Vec<String>>,
}

impl Platform {
    /// This machine.
    pub(crate) fn here() -> Self {
        Self {
            architecture: architecture().into(),
            os: "linux".into(),
            variant: None,
            os_features: None,
        }
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.is_of_machine() && self.os_features.as_deref().is_none_or(<[_]>::is_empty)
    }

    /// How much it wants of a processor: more for newer ones, nothing where it says so or says nothing.
    pub(crate) fn wants(&self) -> u32 {
        let variant = self.variant.as_deref().unwrap_or_default();
        let level = variant.strip_prefix('v').unwrap_or(variant).split('.').next();
        level.and_then(|level| level.parse().ok()).unwrap_or(0)
    }

    /// Whether it is for such a machine, if that has what the image wants.
    pub(crate) fn is_of_machine(&self) -> bool {
        self.os == "linux" && self.architecture == architecture()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default = "index_media_type")]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

fn index_media_type() -> String {
    INDEX.to_owned()
}

/// An image configuration; what others wrote in may have much more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Configuration {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    /// What a machine has to be able to do for it.
    #[serde(default, rename = "os.features", skip_serializing_if = "Option::is_none")]
    pub(crate) os_features: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) config: Option<Runtime>,
    pub(crate) rootfs: RootFs,
}

/// What a container runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Runtime {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) env: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) volumes: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) working_dir: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) diff_ids: Vec<Digest>,
}

/// Reads a document; `what` names it in errors.
pub(crate) fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| OciError::refused(what, error))
}

/// The bytes of a document, the same for the same document.
pub(crate) fn encode<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("the documents have only string keys")
}

/// The machine's architecture in Go's words, which OCI uses.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
