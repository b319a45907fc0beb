//! Provisions and build secrets as declared.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// A `provision` block: one step of an image's bake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provision {
    /// What runs.
    pub work: ProvisionWork,
    /// Environment of it, over that of the image.
    pub env: BTreeMap<String, String>,
    /// Whether it has a network; that of the image where the block does not say.
    pub network: bool,
    /// Secrets that are mounted while it runs, sorted, without repeats; each is one of the image.
    pub secrets: Vec<SecretName>,
}

/// What a provision runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProvisionWork {
    /// Shell commands, in one shell that ends at the first failure.
    Inline(Vec<String>),
    /// A script: path of a file as in [`crate::CopySource::from`].
    Script(String),
    /// An Ansible playbook.
    Ansible(AnsibleProvision),
}

/// An Ansible playbook and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsibleProvision {
    /// Path of the playbook, a file as in [`crate::CopySource::from`].
    pub playbook: String,
    /// Variables over all others.
    pub extra_vars: BTreeMap<String, serde_json::Value>,
    /// Groups of the inventory that the image is in, besides `all`; in the order given, without repeats.
    pub groups: Vec<String>,
}

/// The name of a build secret, and of its file below `/run/secrets`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SecretName(String);

impl SecretName {
    /// What a name may be, for people.
    pub const RULE: &'static str =
        "use 1 to 64 letters, digits, `_` and `-`, beginning with a letter or `_`";

    /// Parses a name; none where it breaks the rule.
    pub fn new(text: &str) -> Option<Self> {
        let fine = text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        fine.then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the value of a build secret comes from; it is read only when a provision that names it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of the process that bakes.
    Environment(String),
    /// A file: absolute, or relative to the directory of `hornero.hcl`, which it may leave.
    File(String),
}
