//! Images as declared: what to bake, and what runs from it.

use std::{collections::BTreeMap, fmt};

use hornero_model::{Digest, ImageConfig, ImageName};

use crate::{Provision, SecretName, SecretSource};

/// An `image` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDefinition {
    /// Its name.
    pub name: ImageName,
    /// What it is made on.
    pub base: Base,
    /// Archives that its packages may come from besides Debian's, in the order given.
    pub archives: Vec<ArchiveDefinition>,
    /// Debian packages to install on the base, in the order given, without repeats.
    pub packages: Vec<String>,
    /// Files to copy in, in the order given.
    pub copies: Vec<CopySource>,
    /// Provisions after the copies, in the order given.
    pub provisions: Vec<Provision>,
    /// Secrets that its provisions may name.
    pub secrets: BTreeMap<SecretName, SecretSource>,
    /// Shell commands to run in the build sandbox after the provisions, in the order given.
    pub run: Vec<String>,
    /// Whether `run` has a network.
    pub network: bool,
    /// Most bytes that one of its steps may write, and one of its packages unpack to; none means the default. No part of
    /// what the image is.
    pub max_size_bytes: Option<u64>,
    /// What runs from it; on a [`Base::Stored`] only what the file says, to be completed by [`ImageConfig::on`]. User, command, environment, working directory and scratch that the block does not set
    /// are those of the image it is made from (`env` and `scratch` add to them); tests are never inherited.
    pub config: ImageConfig,
}

/// An `archive` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveDefinition {
    /// Its name.
    pub name: String,
    /// Its base address.
    pub url: String,
    /// Its suite; ends in `/` for a flat archive, whose lists lie in a directory.
    pub suite: String,
    /// Its components; none for a flat archive.
    pub components: Vec<String>,
    /// File with the keys that may sign it, an absolute path on the host or one relative to the directory of
    /// `hornero.hcl`.
    pub signed_by: String,
}

/// What an image is made on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A Debian base made from the archive.
    Debian {
        /// The suite, such as `bookworm`.
        suite: String,
        /// Address of the mirror; none means those of the host's own apt sources.
        mirror: Option<String>,
        /// Keyring file, an absolute path on the host or one relative to the directory of `hornero.hcl`; none
        /// means that of the host's own apt sources.
        keyring: Option<String>,
    },
    /// Another image of the same file.
    Image(ImageName),
    /// An image that is in the home's store already; an image on one, or on one of those, has no packages of its own.
    Stored(StoredImage),
}

impl Base {
    /// The image of the same file that it is, where it is one.
    pub fn image(&self) -> Option<&ImageName> {
        match self {
            Self::Image(name) => Some(name),
            Self::Debian { .. } | Self::Stored(_) => None,
        }
    }
}

/// An image of the home's store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoredImage {
    /// By the name it was imported under; no image of the file has it.
    Name(ImageName),
    /// By its identity.
    Digest(Digest),
}

impl fmt::Display for StoredImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// What a `copy` block's source was when the file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// One file, copied to exactly `to`.
    File,
    /// A directory whose contents are merged into `to`.
    Directory,
}

/// A `copy` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// Path relative to the directory of `hornero.hcl`: no `.`, no `..`, no doubled or trailing `/`; `.` alone is
    /// the directory itself. Symlinks on the way, its own last component included, are resolved already: whoever
    /// opens it need follow none. Symlinks inside a copied directory are copied as symlinks.
    pub from: String,
    /// Whether `from` is a file or a directory.
    pub kind: SourceKind,
    /// Absolute, normalised path in the image. A file copied to a path ending in `/` has its own name appended
    /// here already.
    pub to: String,
    /// Permission bits of every copied file; none means 0755 for what its owner may execute, else 0644. Directories
    /// are always 0755.
    pub mode: Option<u32>,
    /// Owner of every copied entry.
    pub owner: CopyOwner,
}

/// Owner of copied entries, by name or number, resolved against the image's `/etc/passwd` and `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOwner {
    /// User name or number; `root` by default.
    pub user: String,
    /// Group name or number; none means the user's primary group.
    pub group: Option<String>,
}

impl Default for CopyOwner {
    fn default() -> Self {
        Self { user: "root".to_owned(), group: None }
    }
}
