//! What can go wrong in the store, and what a person can do about it.

use std::{io, path::PathBuf};

use hornero_model::Digest;

use crate::LayerError;

/// The result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why a text is no kind of attachment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a kind of attachment: use 1 to 64 lower-case letters, digits, `.` and `-`, not beginning with `.`"
)]
pub struct AttachmentKindError(pub(crate) String);

/// Why a text is no reference name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a reference name: use up to 8 parts of lower-case letters, digits, `.`, `_` and `-` with `/` \
     between them, none beginning with `.`"
)]
pub struct RefNameError(pub(crate) String);

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The kernel refused a file operation.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A stream that was to be stored could not be read.
    #[error("cannot read the content of `{name}`")]
    Source {
        /// What was being read.
        name: String,
        /// What its reader said.
        source: io::Error,
    },
    /// The directory holds files but no store.
    #[error("`{}` is not a store: it has files but no `format` file", .0.display())]
    NotAStore(PathBuf),
    /// The format file cannot be understood.
    #[error("`{}` is damaged: {reason}", path.display())]
    BadFormat {
        /// The format file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store was written by a newer Hornero.
    #[error("the store `{}` needs {needs}, this Hornero knows {knows}", path.display())]
    Unsupported {
        /// The store's directory.
        path: PathBuf,
        /// What the store asks for.
        needs: String,
        /// What this program can do.
        knows: String,
    },
    /// Nothing with this digest is in the store.
    #[error("{kind} `{digest}` is not in the store")]
    Missing {
        /// `object`, `layer` or `image`.
        kind: &'static str,
        /// Its digest.
        digest: Digest,
    },
    /// An object that an image needs is missing or its content is not what its digest says.
    #[error("object `{object}`, which is `{path}` in image `{image}`, {damage}")]
    DamagedObject {
        /// The object's digest.
        object: Digest,
        /// The image under verification.
        image: Digest,
        /// One absolute path of the image that has this content.
        path: String,
        /// What is wrong.
        damage: Damage,
    },
    /// A file of the store that describes others is damaged.
    #[error("{kind} `{digest}` {damage}")]
    Damaged {
        /// `object`, `layer`, `image` or `metadata image`.
        kind: &'static str,
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        damage: Damage,
    },
    /// A layer breaks a rule of its format.
    #[error("layer `{name}` is refused")]
    Layer {
        /// Where it comes from.
        name: String,
        /// The broken rule.
        source: LayerError,
    },
    /// An image manifest cannot be understood.
    #[error("image manifest `{digest}` is refused: {reason}")]
    BadManifest {
        /// The manifest's digest.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A tree cannot become an EROFS image.
    #[error("the tree cannot become an EROFS image: {0}")]
    Erofs(String),
    /// What a name leads to cannot be told.
    #[error("reference `{name}` is damaged: its file holds no digest")]
    DamagedRef {
        /// The reference, such as `image/site` or `pin/HEX`.
        name: String,
    },
    /// A name is no reference name.
    #[error(transparent)]
    RefName(#[from] RefNameError),
    /// A name is no kind of attachment.
    #[error(transparent)]
    AttachmentKind(#[from] AttachmentKindError),
    /// An attachment's bytes are not what was attached.
    #[error("attachment `{kind}` of `{subject}` has other bytes than were attached")]
    DamagedAttachment {
        /// The image or layer it is about.
        subject: Digest,
        /// Its kind.
        kind: String,
    },
    /// An archive breaks a rule or a limit.
    #[error("archive `{name}` is refused: {reason}")]
    Archive {
        /// What the caller named the archive.
        name: String,
        /// Which entry breaks what.
        reason: String,
    },
    /// A directory holds something that no layer can hold.
    #[error("cannot capture `{}`: {reason}", path.display())]
    Capture {
        /// The file in question.
        path: PathBuf,
        /// Why it is refused.
        reason: String,
    },
    /// A path leads to nothing in an image's tree.
    #[error("`{path}` is not in the image: {reason}")]
    NoPath {
        /// The path asked for.
        path: String,
        /// What is in the way.
        reason: &'static str,
    },
    /// The image's user database has no such user.
    #[error("user `{user}` is not in the image's `/etc/passwd`")]
    NoUser {
        /// The user asked for.
        user: String,
    },
    /// More than a limit allows.
    #[error("`{name}` is larger than {limit_bytes} bytes")]
    TooLarge {
        /// What is too large.
        name: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// More would be written than the disk has room for.
    #[error(
        "the disk of `{}` has {} free, and {} or more are needed",
        path.display(), mebibytes(*free_bytes), mebibytes(*needed_bytes)
    )]
    NoRoom {
        /// What is on the disk.
        path: PathBuf,
        /// What is needed, a reserve included.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// A content that was to have a digest has another one.
    #[error("`{name}` should be `{expected}` but its bytes are `{found}`")]
    OtherContent {
        /// What was read.
        name: String,
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Whoever knows what has to be kept could not say it, so that nothing was deleted.
    #[error("cannot tell which images have to be kept")]
    Roots(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Whoever could heal damage failed at it.
    #[error("cannot fetch {kind} `{digest}` to heal it")]
    HealSource {
        /// `object`, `layer` or `image`.
        kind: &'static str,
        /// Its digest.
        digest: Digest,
        /// What the source said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is in use, so that an exclusive operation has to wait.
    #[error("the store `{}` is in use by a bake, a rollout or a command that reads", .0.display())]
    Busy(PathBuf),
}

/// In which way content is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It is not there.
    Missing,
    /// Its size is not the recorded one.
    Size,
    /// Its bytes do not hash to its digest.
    Content,
    /// A symbolic link, a directory or a special file lies in its place.
    NotAFile,
    /// Something else lies in the place of a directory.
    NotADirectory,
    /// The disk cannot give its bytes.
    Unreadable,
    /// A reference leads nowhere.
    NoDigest,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "is missing from the store",
            Self::Size => "has another size than recorded",
            Self::Content => "has other bytes than its digest says",
            Self::NotAFile => "is no plain file in the store",
            Self::NotADirectory => "is no directory in the store",
            Self::Unreadable => "cannot be read from the disk",
            Self::NoDigest => "holds no digest",
        })
    }
}

const FREE_SPACE: &str = "free some disk space, such as with `hornero image gc`, then run the same command again; \
     what is stored is kept";

/// For people: whole ones, rounded down.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

impl StoreError {
    /// What a person can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::DamagedObject { .. } | Self::Damaged { .. } => Some(
                "no instance was started from it; bake the image again with `hornero build` to write \
                 good content, and check the disk if this comes back",
            ),
            Self::DamagedRef { .. } => Some(
                "build the image again to write its name anew, or take the name away with `hornero image untag`; \
                 `hornero image fsck` mends pins",
            ),
            Self::Roots(source) => source.downcast_ref::<Self>().and_then(Self::hint),
            Self::NotAStore(_) => Some("choose an empty directory with `--home`"),
            Self::Unsupported { .. } => {
                Some("use the Hornero release that wrote the store, or a newer one")
            }
            Self::BadFormat { .. } => {
                Some("restore the file, or choose another directory with `--home`")
            }
            Self::Busy(_) => Some("try again when it has ended"),
            Self::NoUser { .. } => Some(
                "name a user that the image's packages create, or give a number such as `1000`",
            ),
            Self::NoRoom { .. } => Some(FREE_SPACE),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some(FREE_SPACE)
            }
            _ => None,
        }
    }

    /// A stream could not be read; what stopped it where that was the store itself.
    pub(crate) fn source(name: &str, source: io::Error) -> Self {
        match source.downcast::<Self>() {
            Ok(error) => error,
            Err(source) => Self::Source { name: name.to_owned(), source },
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }
}
