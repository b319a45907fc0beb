//! What a proof refuses, one by one: the file, what it needs, and what the new base has instead.

use std::fmt;

use hornero_model::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One reason why layers do not hold on a new base.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Refusal")]
pub struct RebaseRefusal {
    /// What kind of reason it is.
    pub kind: RefusalKind,
    /// The file that needs something, absolute inside the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The package that needs something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// What it needs.
    pub need: String,
    /// What the new base has instead.
    pub found: String,
    /// The layer that the file is in; None where it is the new base's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
    /// Where that layer comes from, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Kinds of reasons.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// A shared library is not found any more.
    LibraryMissing,
    /// A shared library lacks a symbol version.
    LibraryVersion,
    /// The image has its own `ld.so.cache`, and the base's library paths changed.
    LibraryCache,
    /// The interpreter of a program or script is not there any more.
    InterpreterMissing,
    /// What runs the image's command or one of its scripts is another program now.
    ProgramChanged,
    /// What a program or library needs could not be read from it.
    ProgramUnread,
    /// The program that the image's command or a test of it runs is not there any more.
    CommandMissing,
    /// The directory that the image's command starts in is not there any more.
    WorkdirMissing,
    /// Something that the image replaces or deletes is another thing now.
    PathChanged,
    /// The new base has something new where the image has its own.
    PathBrought,
    /// A symlink of the image leads nowhere any more.
    LinkBroken,
    /// A user or group has another number, or none.
    AccountChanged,
    /// A package that the image's own packages depend on is not there any more, or in the wrong version.
    PackageMissing,
    /// A package of the image and one of the new base exclude each other.
    PackageConflict,
    /// A package of the base is older than before.
    PackageDowngraded,
    /// The image changed a package of the base, and the new base did as well.
    PackageChanged,
    /// The new base has a package that the image brings itself, in another version.
    PackageBrought,
}

impl RefusalKind {
    /// The code that scripts see.
    pub fn code(self) -> &'static str {
        match self {
            Self::LibraryMissing => "library_missing",
            Self::LibraryVersion => "library_version",
            Self::LibraryCache => "library_cache",
            Self::InterpreterMissing => "interpreter_missing",
            Self::ProgramChanged => "program_changed",
            Self::ProgramUnread => "program_unread",
            Self::CommandMissing => "command_missing",
            Self::WorkdirMissing => "workdir_missing",
            Self::PathChanged => "path_changed",
            Self::PathBrought => "path_brought",
            Self::LinkBroken => "link_broken",
            Self::AccountChanged => "account_changed",
            Self::PackageMissing => "package_missing",
            Self::PackageConflict => "package_conflict",
            Self::PackageDowngraded => "package_downgraded",
            Self::PackageChanged => "package_changed",
            Self::PackageBrought => "package_brought",
        }
    }
}

impl RebaseRefusal {
    pub(crate) fn of_file(
        kind: RefusalKind,
        path: &[u8],
        layer: Option<Digest>,
        need: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            file: Some(crate::entry::shown(path)),
            package: None,
            need: need.into(),
            found: found.into(),
            layer,
            source: None,
        }
    }

    pub(crate) fn of_package(
        kind: RefusalKind,
        package: &str,
        need: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            file: None,
            package: Some(package.to_owned()),
            need: need.into(),
            found: found.into(),
            layer: None,
            source: None,
        }
    }
}

impl fmt::Display for RebaseRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, &self.package) {
            (Some(file), _) => write!(f, "`{file}`")?,
            (None, Some(package)) => write!(f, "package `{package}`")?,
            (None, None) => f.write_str("the image")?,
        }
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        write!(f, " needs {}; the new base has {}", self.need, self.found)
    }
}
