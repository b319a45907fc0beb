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

impl ImageConfig {
    /// The configuration of an image made on one that has `base`: what is not set here is as there, `env` and
    /// `scratch` add to what is there, and tests are never inherited.
    pub fn on(self, base: &Self) -> Self {
        let or = |own: String, there: &String| if own.is_empty() { there.clone() } else { own };
        let mut env = base.env.clone();
        env.extend(self.env);
        let sizes = base.scratch.iter().cloned().chain(self.scratch);
        let scratch: BTreeMap<String, u64> =
            sizes.map(|scratch| (scratch.path, scratch.size_bytes)).collect();
        Self {
            user: or(self.user, &base.user),
            command: if self.command.is_empty() { base.command.clone() } else { self.command },
            env,
            workdir: or(self.workdir, &base.workdir),
            scratch: scratch
                .into_iter()
                .map(|(path, size_bytes)| Scratch { path, size_bytes })
                .collect(),
            tests: self.tests,
        }
    }
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
