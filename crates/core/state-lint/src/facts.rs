//! What is known of a service and its servers before anything is decided.

use std::collections::BTreeMap;

use hornero_model::{ServiceName, WrittenInstance};

/// What a service declares and its image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFacts {
    /// The service.
    pub service: ServiceName,
    /// The name of its image.
    pub image: String,
    /// How many servers it has.
    pub instances: u32,
    /// Paths at which it has volumes.
    pub mounts: Vec<String>,
    /// Paths that are scratch of its image.
    pub scratch: Vec<String>,
    /// Paths that hold no data, as it declares.
    pub not_state: Vec<String>,
    /// The command of its servers, with arguments.
    pub command: Vec<String>,
    /// Their environment.
    pub env: BTreeMap<String, String>,
    /// Names of the packages of its image.
    pub packages: Vec<String>,
    /// Directories that the image says should be volumes, where it was imported.
    pub image_volumes: Vec<String>,
    /// Directories of the image for data that belong to another user than root.
    pub data_directories: Vec<DataDirectory>,
}

/// A directory of an image that its programs are to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirectory {
    /// Its path in the image.
    pub path: String,
    /// The id of its owner.
    pub uid: u32,
}

/// What one server was seen to have written at two moments, the same one twice where it was looked at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateLook {
    /// At the first.
    pub before: WrittenInstance,
    /// At the second.
    pub after: WrittenInstance,
}

/// Names of the packages that dpkg's `status` file has as installed.
pub fn installed(status: &str) -> Vec<String> {
    let field = |stanza: &str, name: &str| -> Option<String> {
        let line = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    };
    let stanzas = status.split("\n\n");
    let is_there = |stanza: &&str| {
        field(stanza, "Status").is_some_and(|status| status.ends_with(" installed"))
    };
    stanzas.filter(is_there).filter_map(|stanza| field(stanza, "Package")).collect()
}
