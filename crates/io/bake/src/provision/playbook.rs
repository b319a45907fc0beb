//! A playbook as a provision runs it.

use std::collections::BTreeMap;

use super::files::Files;

/// A playbook with all that it may read.
pub(super) struct Playbook {
    /// Its path below `files`.
    pub path: String,
    /// The files.
    pub files: Files,
    /// Variables over all others.
    pub extra_vars: BTreeMap<String, serde_json::Value>,
    /// Groups of the inventory.
    pub groups: Vec<String>,
    /// The versions of Ansible and its Python; empty where this host has none.
    pub tool: String,
}
