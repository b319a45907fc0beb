//! The directory that declares something, and how what it declares stands.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{ReleaseNumber, ServiceName};

/// The longest path that Linux takes, with its end (`PATH_MAX`).
const BYTES_MAX: usize = 4096;

/// A directory with a `hornero.hcl`, as an absolute path without a symlink in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Directory(String);

/// Why a text names no directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no absolute path of at most {BYTES_MAX} bytes without control characters")]
pub struct DirectoryError(String);

impl Directory {
    /// The directory at this path, which is not looked at.
    pub fn new(path: impl Into<String>) -> Result<Self, DirectoryError> {
        let path = path.into();
        let is_path = path.starts_with('/') && !path.contains(char::is_control);
        match is_path && path.len() < BYTES_MAX {
            true => Ok(Self(path)),
            false => Err(DirectoryError(path.chars().take(80).collect())),
        }
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Directory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// How a service stands, as far as a plan depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// The service.
    pub service: ServiceName,
    /// The directory that it belongs to.
    #[serde(default)]
    pub directory: Option<Directory>,
    /// Its newest release.
    #[serde(default)]
    pub newest: Option<ReleaseNumber>,
    /// The release that serves.
    #[serde(default)]
    pub serving: Option<ReleaseNumber>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_name_one() {
        assert_eq!(Directory::new("/srv/my shop").unwrap().as_str(), "/srv/my shop");
        for text in ["", "srv", "/srv\n/x", "/\u{1b}[2J"] {
            assert!(Directory::new(text).is_err(), "{text:?}");
        }
        assert!(Directory::new(format!("/{}", "x".repeat(BYTES_MAX))).is_err());
        assert!(serde_json::from_str::<Directory>("\"relative\"").is_err());
    }
}
