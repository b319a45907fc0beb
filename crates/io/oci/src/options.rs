//! Within which limits an image comes in.

use hornero_model::ImageConfig;
use hornero_store::DevicePolicy;

use crate::{OciError, Result};

/// Contents of all layers together: images with a whole toolchain for machine learning have some 30 GiB.
const CONTENT_BYTES_MAX: u64 = 64 << 30;

/// How something foreign comes in.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Which image of a layout directory or an archive with several.
    pub name: Option<String>,
    /// What becomes of device files; instances get theirs from the sandbox.
    pub devices: DevicePolicy,
    /// The run configuration; without it the image's own, or an empty one for a bare root.
    pub config: Option<ImageConfig>,
    /// Most bytes of all contents together.
    pub content_bytes_max: u64,
    /// Whether it may unpack to any number of times its size: repeated bytes are meant.
    pub any_ratio: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            name: None,
            devices: DevicePolicy::Skip,
            config: None,
            content_bytes_max: CONTENT_BYTES_MAX,
            any_ratio: false,
        }
    }
}

impl ImportOptions {
    /// Fails when contents of so many bytes are more than may come in.
    pub(crate) fn check_size(&self, what: String, bytes: u64) -> Result<()> {
        match self.content_bytes_max {
            limit_bytes if bytes > limit_bytes => Err(OciError::TooLarge { what, limit_bytes }),
            _ => Ok(()),
        }
    }
}
