//! What a step does, written down so that it can be done again without the directory it was read from.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use hornero_apt::sources_list::ArchiveRequest;
use hornero_model::Digest;
use hornero_spec::{CopyOwner, CopySource, SourceKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::image::copy::{Found, FoundKind};

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Installs the packages of the record's `locked`.
    Packages {
        /// The suite.
        suite: String,
        /// The mirror, where it was not the host's own.
        mirror: Option<String>,
        /// The keyring, where it was not the host's own.
        keyring: Option<PathBuf>,
    },
    /// Copies files whose contents are in the store.
    Copy(CopyAction),
    /// Runs a command.
    Run {
        /// The command.
        command: String,
        /// The image's own environment.
        env: BTreeMap<String, String>,
        /// Whether it had a network: what it gives may then differ from time to time.
        network: bool,
    },
    /// Runs a provision.
    Provision(ProvisionAction),
}

/// A copy with everything that was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CopyAction {
    /// The path copied from, below the directory.
    pub from: String,
    /// Whether that was a directory.
    pub directory: bool,
    /// The path copied to.
    pub to: String,
    /// Permission bits of every file, where they were said.
    pub mode: Option<u32>,
    /// The user who owns it, by name or number.
    pub user: String,
    /// The group, where it was said.
    pub group: Option<String>,
    /// Everything that was copied, sorted by path.
    pub found: Vec<Copied>,
}

/// One thing that was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Copied {
    /// Its path below the source, empty for the source itself.
    pub path: PathBytes,
    /// What it is.
    #[serde(flatten)]
    pub kind: CopiedKind,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CopiedKind {
    /// A directory.
    Directory,
    /// A symlink.
    Symlink {
        /// Where it leads.
        target: PathBytes,
    },
    /// A file.
    File {
        /// Whether its owner could execute it.
        executable: bool,
        /// SHA-256 of its contents.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
}

/// A provision as it ran. Of secrets it tells where their values came from, not what they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProvisionAction {
    /// What ran.
    pub work: ProvisionKind,
    /// Its environment, that of the image included.
    pub env: BTreeMap<String, String>,
    /// Whether it had a network: what it gives may then differ from time to time.
    pub network: bool,
    /// Its secrets, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretOrigin>,
}

/// Where the value of a secret came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretOrigin {
    /// An environment variable.
    Env(String),
    /// A file, absolute.
    File(String),
}

/// What a provision ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "provision", rename_all = "snake_case")]
pub enum ProvisionKind {
    /// Commands.
    Inline {
        /// The commands.
        commands: Vec<String>,
    },
    /// A script.
    Script {
        /// Its path below the directory.
        from: String,
        /// Its contents.
        contents: PathBytes,
    },
    /// A playbook.
    Ansible(PlaybookAction),
}

/// A playbook with what it may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlaybookAction {
    /// Its path below its files.
    pub playbook: String,
    /// Where the files were, below the directory of `hornero.hcl`.
    pub base: String,
    /// The files.
    pub files: Vec<CopyAction>,
    /// Their contents; None where they are too large to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<BTreeMap<Digest, PathBytes>>,
    /// Variables over all others.
    pub extra_vars: BTreeMap<String, serde_json::Value>,
    /// Groups of the inventory.
    pub groups: Vec<String>,
    /// The versions of Ansible and its Python.
    pub tool: String,
}

/// A path, as text where it is valid UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PathBytes {
    /// Valid UTF-8.
    Text(String),
    /// Anything else.
    Raw(Vec<u8>),
}

impl PathBytes {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Raw(bytes.to_owned()),
        }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Raw(bytes) => bytes,
        }
    }
}

impl CopyAction {
    /// What a copy does with what was found.
    pub(crate) fn new(source: &CopySource, found: &[Found]) -> Self {
        let copied = |one: &Found| Copied {
            path: PathBytes::of(&one.path),
            kind: match &one.kind {
                FoundKind::Directory => CopiedKind::Directory,
                FoundKind::Symlink(target) => CopiedKind::Symlink { target: PathBytes::of(target) },
                FoundKind::File { executable, digest, size, .. } => {
                    CopiedKind::File { executable: *executable, digest: *digest, size: *size }
                }
            },
        };
        Self {
            from: source.from.clone(),
            directory: source.kind == SourceKind::Directory,
            to: source.to.clone(),
            mode: source.mode,
            user: source.owner.user.clone(),
            group: source.owner.group.clone(),
            found: found.iter().map(copied).collect(),
        }
    }

    /// The copy as it was declared, and what is to be copied: contents are read below `objects`.
    pub(crate) fn again(&self, objects: &Path) -> (CopySource, Vec<Found>) {
        let source = CopySource {
            from: self.from.clone(),
            kind: if self.directory { SourceKind::Directory } else { SourceKind::File },
            to: self.to.clone(),
            mode: self.mode,
            owner: CopyOwner { user: self.user.clone(), group: self.group.clone() },
        };
        let found = |one: &Copied| Found {
            path: one.path.as_bytes().to_owned(),
            kind: match &one.kind {
                CopiedKind::Directory => FoundKind::Directory,
                CopiedKind::Symlink { target } => FoundKind::Symlink(target.as_bytes().to_owned()),
                CopiedKind::File { executable, digest, size } => {
                    let hex = digest.hex();
                    let host = objects.join(OsStr::from_bytes(&hex.as_bytes()[..2]));
                    FoundKind::File {
                        host: host.join(OsStr::from_bytes(&hex.as_bytes()[2..])),
                        executable: *executable,
                        digest: *digest,
                        size: *size,
                    }
                }
            },
        };
        (source, self.found.iter().map(found).collect())
    }
}

impl ProvisionAction {
    /// What of it happens on the host itself, in words: who only sends a record may not ask for it. None where all of
    /// it happens in the sandbox of a step.
    pub(crate) fn leaves_the_sandbox(&self) -> Option<String> {
        if !self.secrets.is_empty() {
            let names: Vec<String> = self.secrets.keys().map(|name| format!("`{name}`")).collect();
            return Some(format!("secrets {} of this host would be read for it", names.join(", ")));
        }
        match &self.work {
            ProvisionKind::Ansible(_) => Some("its playbook would run on this host".to_owned()),
            ProvisionKind::Inline { .. } | ProvisionKind::Script { .. } => None,
        }
    }
}

impl From<&ArchiveRequest> for Action {
    fn from(request: &ArchiveRequest) -> Self {
        Self::Packages {
            suite: request.suite.clone(),
            mirror: request.mirror.clone(),
            keyring: request.keyring.clone(),
        }
    }
}
