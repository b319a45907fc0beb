//! What a comparison found, and how much it looked at.

use hornero_model::DriftFinding;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Findings kept in a report: more would only repeat that this is another tree.
pub const FINDINGS_MAX: usize = 10_000;

/// In what something differs from the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The image has no such file.
    Added,
    /// The image has it, the tree does not.
    Removed,
    /// It is of another kind: a file became a directory, say.
    Kind,
    /// Other bytes.
    Content,
    /// Other permission, set-id or sticky bits.
    Mode,
    /// Another user or group.
    Owner,
    /// A symbolic link to somewhere else.
    Target,
    /// Another device number.
    Device,
    /// Other extended attributes, capabilities and access lists among them.
    Attributes,
    /// It can't be read, or changed while it was looked at.
    Unreadable,
    /// A mount that should not be there, is missing, or can do more than it should.
    Mount,
    /// A process' root is not the instance's.
    Root,
    /// A process executes what is not the image's.
    Executable,
    /// Code is mapped from a file that is not the image's.
    Library,
    /// Code is mapped from a file that was deleted, or that never had a name.
    Deleted,
    /// A process that the instance did not start.
    Process,
    /// The image itself is damaged in the store.
    Object,
}

impl FindingKind {
    /// The word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Target => "target",
            Self::Device => "device",
            Self::Attributes => "attributes",
            Self::Unreadable => "unreadable",
            Self::Mount => "mount",
            Self::Root => "root",
            Self::Executable => "executable",
            Self::Library => "library",
            Self::Deleted => "deleted",
            Self::Process => "process",
            Self::Object => "object",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// Where, absolute as inside the instance or below the tree's top.
    pub path: String,
    /// In what it differs.
    pub kind: FindingKind,
    /// What the image has; empty where it has nothing.
    pub expected: String,
    /// What is there; empty where nothing is.
    pub found: String,
    /// The process it was found at, in ids of the host.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<u32>,
}

impl From<Finding> for DriftFinding {
    fn from(finding: Finding) -> Self {
        Self {
            kind: finding.kind.word().to_owned(),
            path: finding.path,
            expected: finding.expected,
            found: finding.found,
            pid: finding.pid,
        }
    }
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    /// Files, directories and links compared.
    pub entries: u64,
    /// Contents read and hashed.
    pub hashed: u64,
    /// Bytes hashed.
    pub hashed_bytes: u64,
    /// Mounts looked at.
    pub mounts: u64,
    /// Processes looked at.
    pub processes: u64,
    /// Files mapped as code, executables among them.
    pub mapped: u64,
}

impl Checked {
    pub(crate) fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.hashed += other.hashed;
        self.hashed_bytes += other.hashed_bytes;
        self.mounts += other.mounts;
        self.processes += other.processes;
        self.mapped += other.mapped;
    }
}

/// The outcome of one comparison.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Every difference, sorted by path; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Differences beyond those.
    pub left_off: u64,
    /// How much was looked at.
    pub checked: Checked,
    /// How long it took.
    pub millis: u64,
}

impl Report {
    /// Whether nothing differs.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    pub(crate) fn of(findings: Findings, checked: Checked, began: std::time::Instant) -> Self {
        let Findings { mut kept, left_off } = findings;
        kept.sort();
        kept.dedup();
        Self { findings: kept, left_off, checked, millis: began.elapsed().as_millis() as u64 }
    }
}

/// Findings in the making, no more than a report has.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub kept: Vec<Finding>,
    pub left_off: u64,
}

impl Findings {
    pub fn push(
        &mut self,
        kind: FindingKind,
        path: &[u8],
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.add(Finding {
            path: shown(path),
            kind,
            expected: expected.into(),
            found: found.into(),
            pid: None,
        });
    }

    pub fn add(&mut self, finding: Finding) {
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(finding);
        } else {
            self.left_off += 1;
        }
    }

    pub fn append(&mut self, other: Self) {
        other.kept.into_iter().for_each(|finding| self.add(finding));
        self.left_off += other.left_off;
    }
}

/// A path for people: absolute, bytes that are no UTF-8 replaced.
pub(crate) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    if text.starts_with('/') { text.into_owned() } else { format!("/{text}") }
}
