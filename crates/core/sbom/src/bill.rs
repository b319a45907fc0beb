//! What a bill of materials is made from.

use hornero_model::{DebianPurl, Digest};

/// Unowned files that an error names; more help nobody.
const NAMED_MAX: usize = 20;

/// A file's SHA-1. SPDX 2.3 demands it of every file; nothing here relies on it.
pub type Sha1 = [u8; 20];

/// An image and everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// The image's name.
    pub name: String,
    /// The image.
    pub image: Digest,
    /// The newest time of its files, in seconds since the Unix epoch: when documents say they were made.
    pub epoch_seconds: u64,
    /// The version of the program that writes the documents.
    pub version: String,
    /// The distribution it is made from; none for an image without one.
    pub distribution: Option<Distribution>,
    /// What its files belong to: packages and sources, in the order they went in.
    pub components: Vec<Component>,
    /// Its files, directories left out, sorted by path.
    pub files: Vec<File>,
}

/// A distribution, as its `os-release` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Its name, such as `debian`.
    pub id: String,
    /// Its version, such as `12`; empty for one that has none yet.
    pub version: String,
}

/// What files belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Component {
    /// A package of the distribution.
    Package(Package),
    /// Something else that was declared.
    Source(Source),
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// The name of the source package it is built from.
    pub source: String,
    /// The version of that.
    pub source_version: String,
    /// The digest of its `.deb`, where it is known.
    pub digest: Option<Digest>,
}

/// A declared source of files that is no package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it is, for people, such as `copy public/`.
    pub title: String,
    /// Its kind.
    pub kind: SourceKind,
    /// The digest of the layer it gave, where there is just one.
    pub digest: Option<Digest>,
}

/// The kinds of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceKind {
    /// The package manager's own database.
    Database,
    /// What the packages' scripts made when they were configured.
    Configuration,
    /// Files of the project.
    Copy,
    /// What a command made.
    Run,
    /// What a provisioner made.
    Provision,
    /// An image or archive from elsewhere.
    Import,
}

impl SourceKind {
    /// What it is in a few words.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Database => "the database that the package manager keeps of packages",
            Self::Configuration => "what the packages' scripts made when they were configured",
            Self::Copy => "files of the project, copied as declared",
            Self::Run => "what a declared command made",
            Self::Provision => "what a declared provisioner made",
            Self::Import => "made elsewhere and imported",
        }
    }

    /// The word for it in documents.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Configuration => "configuration",
            Self::Copy => "copy",
            Self::Run => "run",
            Self::Provision => "provision",
            Self::Import => "import",
        }
    }
}

/// A file of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is, without a leading slash.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
    /// The index of the component it belongs to.
    pub owner: Option<usize>,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular {
        /// The digest of its content.
        digest: Digest,
        /// The SHA-1 of its content.
        sha1: Sha1,
        /// Its size in bytes.
        size_bytes: u64,
    },
    /// A symbolic link, and where it leads.
    Symlink(Vec<u8>),
    /// A device or a named pipe.
    Special,
}

/// Why no document can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BillError {
    /// Files belong to nothing.
    #[error("{count} files belong to no package and to no declared source: {}", .paths.join(", "))]
    Unowned {
        /// How many.
        count: usize,
        /// The first of them, in backticks.
        paths: Vec<String>,
    },
    /// A file's owner is not in the list.
    #[error("file `{path}` belongs to component {owner}, and there are {components}")]
    NoSuchComponent {
        /// The file.
        path: String,
        /// The index it gives.
        owner: usize,
        /// How many components there are.
        components: usize,
    },
}

impl Bill {
    /// The files of each component, in the order of both; an error where one belongs to none.
    pub(crate) fn by_owner(&self) -> Result<Vec<Vec<&File>>, BillError> {
        let unowned: Vec<&File> = self.files.iter().filter(|file| file.owner.is_none()).collect();
        if !unowned.is_empty() {
            let named = unowned.iter().take(NAMED_MAX).map(|file| format!("`/{}`", file.text()));
            return Err(BillError::Unowned { count: unowned.len(), paths: named.collect() });
        }
        let mut owned = vec![Vec::new(); self.components.len()];
        for file in &self.files {
            let Some(owner) = file.owner else { continue };
            let Some(files) = owned.get_mut(owner) else {
                let (path, components) = (file.text(), self.components.len());
                return Err(BillError::NoSuchComponent { path, owner, components });
            };
            files.push(file);
        }
        Ok(owned)
    }

    /// When documents say they were made, in RFC 3339 with seconds.
    pub(crate) fn created(&self) -> String {
        // The last second that RFC 3339 can write.
        const LAST: u64 = 253_402_300_799;
        let since = std::time::Duration::from_secs(self.epoch_seconds.min(LAST));
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
    }

    /// The package URL of a package of this image.
    pub(crate) fn purl(&self, package: &Package) -> String {
        let distribution = self.distribution.as_ref().map_or_else(String::new, Distribution::text);
        DebianPurl {
            name: &package.name,
            version: &package.version,
            architecture: &package.architecture,
            distribution: &distribution,
        }
        .to_string()
    }
}

impl Distribution {
    /// Name and version, as the `distro` qualifier of package URLs has them.
    pub fn text(&self) -> String {
        match self.version.is_empty() {
            true => self.id.clone(),
            false => format!("{}-{}", self.id, self.version),
        }
    }
}

impl File {
    /// Its path for a document: bytes that are no UTF-8 as `\xNN`, so that different paths stay different.
    pub(crate) fn text(&self) -> String {
        text_of(&self.path)
    }
}

pub(crate) fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    text
}
