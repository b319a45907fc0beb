//! Why an image was not moved.

use hornero_model::Digest;
use hornero_rebase::{RebaseRefusal, StaleFacts};

use crate::BakeError;

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

impl From<hornero_store::StoreError> for RebaseError {
    fn from(error: hornero_store::StoreError) -> Self {
        Self::Bake(BakeError::store(error))
    }
}
