//! What an image says of the process that runs from it; part of the image's identity.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Check, Millis};

/// The run configuration of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// User name or number the command runs as; resolved against the image's `/etc/passwd`. Empty means root.
    #[serde(default)]
    pub user: String,
    /// The command and its arguments; empty for an image that is only a base.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment of the command.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory, absolute; empty means `/`.
    #[serde(default)]
    pub workdir: String,
    /// Writable directories, each a tmpfs of its own; sorted by path.
    #[serde(default)]
    pub scratch: Vec<Scratch>,
    /// Tests that a release of this image must pass before it gets traffic.
    #[serde(default)]
    pub tests: Vec<ImageTest>,
}

/// A writable directory that lives and dies with its instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scratch {
    /// Absolute path inside the instance.
    pub path: String,
    /// Largest size in bytes.
    pub size_bytes: u64,
}

/// A named test of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageTest {
    /// Its name, unique in the image.
    pub name: String,
    /// What is tried.
    pub check: TestCheck,
    /// How long it may take, start of the server included.
    pub timeout: Millis,
}

/// What a test tries against a server started from exactly the image under test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestCheck {
    /// Asks the running server over the network until it passes or time is up.
    Server(Check),
    /// Runs a command in a sandbox of the image's own, as the image's user; exit 0 passes.
    Run(Vec<String>),
}
