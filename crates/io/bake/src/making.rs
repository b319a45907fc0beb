//! An image in the making: what is there of it so far.

use hornero_model::{Digest, ImageName};

use crate::{
    BakeError,
    baked::BakedStep,
    record::{LastBake, StepRecord},
};

/// An image in the making.
pub(crate) struct Making {
    /// Its name.
    pub name: ImageName,
    /// Its layers so far, from the bottom up, those of the image it is made from included.
    pub layers: Vec<Digest>,
    /// The newest time that its files may have, in seconds since the Unix epoch.
    pub epoch: u64,
    /// Most bytes that one of its steps may write, and one of its packages unpack to.
    pub max_bytes: u64,
    /// What was done.
    pub steps: Vec<BakedStep>,
    /// What is to be remembered of it.
    pub records: Vec<StepRecord>,
    /// Files with secrets in them that its steps made.
    pub secrets: Vec<String>,
    /// The bake before, for explaining this one.
    pub last: LastBake,
    /// Whether steps are taken that were moved from another base: decided at the first, for all of them.
    pub moved: Option<bool>,
}

/// Tells whether an image, made so far, comes out as one that was moved as a whole: asked at a step that was moved.
pub(crate) type IsMoved<'m> = dyn Fn(&Making) -> Result<bool, BakeError> + 'm;
