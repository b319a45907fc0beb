//! What can go wrong in a bake or a move, which each may be part of the other, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use hornero_apt::{AptError, resolve::Unsatisfiable};
use hornero_dpkg::DpkgError;
use hornero_model::{Digest, ImageName};
use hornero_rebase::{RebaseRefusal, StaleFacts};
use hornero_store::StoreError;

impl From<AptError> for BakeError {
    fn from(error: AptError) -> Self {
        match error {
            AptError::File { path, source } => Self::File { path, source },
            AptError::DiskFull { path } => Self::DiskFull { path },
            other => Self::Apt(Box::new(other)),
        }
    }
}

impl From<DpkgError> for BakeError {
    fn from(error: DpkgError) -> Self {
        match error {
            DpkgError::Unpack { package, reason } => Self::Unpack { package, reason },
            DpkgError::SamePath { first, second, path } => Self::SamePath { first, second, path },
        }
    }
}

impl From<RebaseError> for BakeError {
    fn from(error: RebaseError) -> Self {
        match error {
            RebaseError::Bake(error) => error,
            other => Self::Rebase(Box::new(other)),
        }
    }
}

/// Nobody reads more lines than this of a hint; everything is in [`BakeError::refusals`].
const REFUSALS_SHOWN: usize = 20;

/// Why a bake failed.
#[derive(Debug, thiserror::Error)]
pub enum BakeError {
    /// A file or directory could not be read or written.
    #[error("`{}` cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk of the home is full.
    #[error("the disk is full: `{}` could not be written", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// An archive, the package cache or the lock refused or failed.
    #[error(transparent)]
    Apt(Box<AptError>),
    /// The packages of an image cannot be installed together.
    #[error("the packages of image `{image}` cannot be resolved: {problem}")]
    Unsatisfiable {
        /// The image.
        image: ImageName,
        /// Why.
        problem: Box<Unsatisfiable>,
    },
    /// A package file cannot be unpacked.
    #[error("package `{package}` cannot be unpacked: {reason}")]
    Unpack {
        /// Name and version.
        package: String,
        /// Why.
        reason: String,
    },
    /// Packages have scripts, but there is nothing to run them.
    #[error(
        "the packages of image `{image}` have maintainer scripts, but `dpkg` is not among them"
    )]
    NoDpkg {
        /// The image.
        image: ImageName,
    },
    /// Two packages have a file at the same path.
    #[error("packages `{first}` and `{second}` both have `{path}`")]
    SamePath {
        /// The one unpacked first.
        first: String,
        /// The other.
        second: String,
        /// The path.
        path: String,
    },
    /// The lock does not fit and may not be changed.
    #[error("`hornero.lock` does not fit image `{image}`: {reason}")]
    LockOutdated {
        /// The image.
        image: ImageName,
        /// Why.
        reason: String,
    },
    /// No such image is declared.
    #[error("there is no image `{0}`")]
    NoImage(String),
    /// An image of the store that another is made on is not there.
    #[error("the store has no image `{from}` to make image `{image}` on")]
    NoStoredImage {
        /// The image.
        image: ImageName,
        /// Name or digest of the other.
        from: String,
    },
    /// An image on one of the store has packages.
    #[error("image `{image}` can't have packages: the image of the store below it has no archive")]
    PackagesOnStored {
        /// The image.
        image: ImageName,
    },
    /// A file of an image belongs to nothing that was declared.
    #[error("`{path}` in image `{image}` belongs to nothing: {reason}")]
    Unowned {
        /// The image.
        image: ImageName,
        /// The file, absolute.
        path: String,
        /// Why nobody knows.
        reason: String,
    },
    /// Images cannot be placed on what was asked for.
    #[error("image `{}` can't be what the images are made on: {reason}", base.short())]
    NotABase {
        /// What was asked for.
        base: Digest,
        /// Why not.
        reason: String,
    },
    /// An image cannot be moved onto another base.
    #[error(transparent)]
    Rebase(Box<RebaseError>),
    /// An image cannot be baked again from what was recorded of it.
    #[error("image `{}` cannot be baked again: {reason}", image.short())]
    NotReproducible {
        /// The image, or the one of its line that is the obstacle.
        image: Digest,
        /// Why.
        reason: String,
    },
    /// A copy source cannot be copied.
    #[error("copy source `{path}` of image `{image}` cannot be copied: {reason}")]
    Copy {
        /// The image.
        image: ImageName,
        /// Path below the directory.
        path: String,
        /// Why.
        reason: String,
    },
    /// A user or group is not in the image.
    #[error("image `{image}` has no {kind} `{name}`")]
    NoAccount {
        /// The image.
        image: ImageName,
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A step ended with a failure.
    #[error("{step} of image `{image}` failed: {cause}\n{tail}")]
    Step {
        /// The image.
        image: ImageName,
        /// The step, for people.
        step: String,
        /// Exit code, signal or limit.
        cause: String,
        /// The last lines it wrote.
        tail: String,
    },
    /// A step wrote more than its image allows.
    #[error("{step} of image `{image}` wrote more than {} MiB", limit_bytes >> 20)]
    StepTooLarge {
        /// The image.
        image: ImageName,
        /// The step, for people.
        step: String,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// A step was ended, or its result was not taken, because its disk is full.
    #[error("{step} of image `{image}` fills the disk: {} MiB are left", free_bytes >> 20)]
    StepFillsDisk {
        /// The image.
        image: ImageName,
        /// The step, for people.
        step: String,
        /// What was free when it was ended.
        free_bytes: u64,
    },
    /// A step's sandbox could not be started.
    #[error("the sandbox for {step} of image `{image}` could not be started")]
    Sandbox {
        /// The image.
        image: ImageName,
        /// The step, for people.
        step: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A build secret has no value that can be used.
    #[error("secret `{name}` of image `{image}` cannot be used: {reason}")]
    Secret {
        /// The image.
        image: ImageName,
        /// Its name.
        name: String,
        /// Why; never its value.
        reason: String,
    },
    /// A step left the value of a secret in the image.
    #[error("{step} of image `{image}` wrote secret `{name}` to `{path}`")]
    SecretKept {
        /// The image.
        image: ImageName,
        /// The step, for people.
        step: String,
        /// The secret.
        name: String,
        /// The path in the image, which the name itself may be a part of.
        path: String,
    },
    /// A playbook is to be run, but this host has no Ansible.
    #[error("{step} of image `{image}` needs `ansible-playbook`, which this host does not have")]
    NoAnsible {
        /// The image.
        image: ImageName,
        /// The step, for people.
        step: String,
    },
    /// A playbook is to be run on an image without Python.
    #[error("{step} of image `{image}` needs Python in the image: {reason}")]
    NoPython {
        /// The image.
        image: ImageName,
        /// The step, for people.
        step: String,
        /// What is missing.
        reason: &'static str,
    },
    /// The store refused or failed.
    #[error("the store failed")]
    Store(#[source] Box<hornero_store::StoreError>),
    /// The build network failed.
    #[error("the network for {step} of image `{image}` could not be made")]
    Network {
        /// The image.
        image: ImageName,
        /// The step, for people.
        step: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BakeError {
    /// A failure on a file, told apart when the disk is full.
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::File { path, source },
        }
    }

    /// A failure of the store, told apart when the disk is full.
    pub(crate) fn store(error: hornero_store::StoreError) -> Self {
        let is_full = |source: &io::Error| {
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        match error {
            hornero_store::StoreError::Source { name, source } if is_full(&source) => {
                Self::DiskFull { path: PathBuf::from(name) }
            }
            hornero_store::StoreError::Io { path, source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Self::DiskFull { path }
                }
                _ => Self::File { path, source },
            },
            other => Self::Store(Box::new(other)),
        }
    }

    /// Why an image does not hold on another base; none for other errors.
    pub fn refusals(&self) -> &[RebaseRefusal] {
        match self {
            Self::Rebase(error) => error.refusals(),
            _ => &[],
        }
    }

    /// What to do about it, where something can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsatisfiable { problem, .. } if !problem.suggestions.is_empty() => {
                Some(format!("did you mean `{}`?", problem.suggestions.join("`, `")))
            }
            Self::NoStoredImage { .. } => Some(
                "`hornero image ls` shows what is there; `hornero image import` and `pull` bring it in; where \
                 `hornero.lock` names an older one that is gone, `hornero lock --update` takes what is there now"
                    .to_owned(),
            ),
            Self::Secret { .. } => Some(
                "it is read when a step that names it runs: set the variable for this command, or write the file"
                    .to_owned(),
            ),
            Self::SecretKept { .. } => Some(
                "use it from `/run/secrets` without copying it, or remove the file in the same step"
                    .to_owned(),
            ),
            Self::StepTooLarge { .. } => {
                Some("set `max_size` of the image if it is meant to write that much".to_owned())
            }
            Self::StepFillsDisk { .. } => Some(
                "free some space, such as with `hornero image gc`; nothing of the step was kept".to_owned(),
            ),
            Self::NoAnsible { .. } => Some(
                "install it on this host: `apt-get install ansible-core`; it needs no SSH".to_owned(),
            ),
            Self::NoPython { .. } => Some(
                "add `python3` to the `packages` of the image, or of the one it is made from"
                    .to_owned(),
            ),
            Self::LockOutdated { .. } => {
                Some("run `hornero lock`, or build without `--locked`".to_owned())
            }
            Self::Rebase(error) if !error.refusals().is_empty() => {
                let lines = error.refusals().iter().map(ToString::to_string);
                Some(lines.take(REFUSALS_SHOWN).collect::<Vec<_>>().join("\n"))
            }
            Self::Unowned { .. } => Some(
                "bake what it is made on anew by `hornero build DIR --verify`, or bring that in again by \
                 `hornero image import`"
                    .to_owned(),
            ),
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::DiskFull { .. } => {
                Some("free some space and run it again: it goes on".to_owned())
            }
            Self::Apt(error) => error.hint(),
            _ => None,
        }
    }
}

/// Why an image was not moved onto another base.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebaseError {
    /// The store or a record could not be read or written.
    #[error(transparent)]
    Bake(#[from] BakeError),
    /// Nothing tells which of the image's layers are its own.
    #[error("image `{}` has no record of how it was baked", .0.short())]
    NoRecord(Digest),
    /// The image is made on no other image.
    #[error("image `{}` is made on no other image: it is a base itself", .0.short())]
    NoParent(Digest),
    /// The image's layers do not begin with those of the base that its record names.
    #[error("image `{}` does not begin with the layers of `{}`, which its record names as its base", .image.short(), .base.short())]
    OtherLayers {
        /// The image.
        image: Digest,
        /// The base.
        base: Digest,
    },
    /// Facts can't be brought in line with what lies below their layer.
    #[error(transparent)]
    Facts(#[from] StaleFacts),
    /// The image does not hold on the new base.
    #[error("image `{}` does not hold on base `{}`: {}", .image.short(), .base.short(), summary(.refusals))]
    Refused {
        /// The image.
        image: Digest,
        /// The new base.
        base: Digest,
        /// Every reason.
        refusals: Vec<RebaseRefusal>,
    },
}

fn summary(refusals: &[RebaseRefusal]) -> String {
    match refusals {
        [] => "nothing is wrong".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    }
}

impl RebaseError {
    /// Every reason of a refusal; none for other errors.
    pub fn refusals(&self) -> &[RebaseRefusal] {
        match self {
            Self::Refused { refusals, .. } => refusals,
            _ => &[],
        }
    }
}

impl From<StoreError> for RebaseError {
    fn from(error: StoreError) -> Self {
        Self::Bake(BakeError::store(error))
    }
}
