//! Moves images onto another version of their base: layers are swapped, no content is opened.
//!
//! What the move needs to know of contents was recorded as facts when the layers were made. Only dpkg's status, which
//! speaks of the base's packages and of the image's own, is written anew.

mod error;
mod load;
mod plan;
mod rebaser;
mod seed;

use hornero_model::Digest;
use hornero_rebase::Refusal;
use hornero_store::Store;
use serde::Serialize;

pub use error::RebaseError;
pub use rebaser::Rebaser;
pub use seed::seed;

use crate::{BakeError, lock::LockedImage, record::BakeRecord};

/// Images made on images made on images: a deeper line is a mistake or an attack.
const LINE_MAX: usize = 64;

/// How an image is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RebaseOptions {
    /// Also where the proof refuses; the reasons are recorded beside the image.
    pub force: bool,
}

/// An image on its new base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rebased {
    /// The image as it was.
    pub from: Digest,
    /// The image on the new base.
    pub image: Digest,
    /// The base it was on.
    pub old_base: Digest,
    /// The base it is on now.
    pub new_base: Digest,
    /// Why it would have been refused; empty unless it was forced.
    pub refusals: Vec<Refusal>,
    /// Whether it was moved although the proof refused.
    pub forced: bool,
}

/// Moves an image onto a new version of what it is made on.
///
/// Where `new_base` is a version of something further down the image's line (an image of the same name), all images
/// in between are moved as well, the lowest first. With nothing of its name in the line it takes the place of the
/// direct parent.
pub fn rebase(
    store: &Store,
    app: &Digest,
    new_base: &Digest,
    options: RebaseOptions,
) -> Result<Rebased, RebaseError> {
    // What is made on the way has no reference yet.
    let _lease = store.lease()?;
    let line = line(store, app, new_base)?;
    let mut base = *new_base;
    let mut outcome = None;
    let mut refusals = Vec::new();
    // From the image right above the exchanged one up to the image itself.
    for pair in line.windows(2).rev() {
        let (image, old_base) = (pair[0], pair[1]);
        let moved = Rebaser::new(store, &old_base, &base)?.image(&image, options)?;
        base = moved.image;
        refusals.extend(moved.refusals.iter().cloned());
        outcome = Some(moved);
    }
    let moved = outcome.ok_or(RebaseError::NoParent(*app))?;
    let old_base = *line.last().expect("a line has two images at least");
    let forced = !refusals.is_empty();
    Ok(Rebased { old_base, new_base: *new_base, refusals, forced, ..moved })
}

/// What came of moving an image for a new lock.
#[derive(Debug)]
pub enum MovedForLock {
    /// It was moved, and the next bake from the lock finds it.
    Moved(Rebased),
    /// It does not hold on the new base.
    Refused(Vec<Refusal>),
    /// It can't be moved, for this reason: a bake makes something else of it.
    NotMoved(String),
}

/// Moves an image onto a new version of its direct base, as a bake from `locked` shall find it.
pub fn rebase_for_lock(
    store: &Store,
    app: &Digest,
    new_base: &Digest,
    locked: Option<&LockedImage>,
) -> Result<MovedForLock, BakeError> {
    let record = BakeRecord::of(store, app)?;
    let fits = |record: &BakeRecord| seed::same_packages(record.locked.as_ref(), locked);
    if !record.as_ref().is_some_and(fits) {
        return Ok(MovedForLock::NotMoved("its own packages changed".to_owned()));
    }
    let moved = match rebase(store, app, new_base, RebaseOptions::default()) {
        Ok(moved) => moved,
        Err(RebaseError::Refused { refusals, .. }) => return Ok(MovedForLock::Refused(refusals)),
        Err(RebaseError::Bake(error)) => return Err(error),
        Err(error) => return Ok(MovedForLock::NotMoved(error.to_string())),
    };
    match seed(store, &moved.image, locked) {
        Ok(_) => Ok(MovedForLock::Moved(moved)),
        Err(RebaseError::Bake(error)) => Err(error),
        Err(error) => Ok(MovedForLock::NotMoved(error.to_string())),
    }
}

/// The image and those it is made on, down to the one that `new_base` takes the place of.
fn line(store: &Store, app: &Digest, new_base: &Digest) -> Result<Vec<Digest>, RebaseError> {
    let name = BakeRecord::of(store, new_base)?.map(|record| record.name);
    let mut line = vec![*app];
    let mut at = *app;
    while line.len() < LINE_MAX {
        let Some(record) = BakeRecord::of(store, &at)? else {
            if line.len() == 1 {
                return Err(RebaseError::NoRecord(at));
            }
            break;
        };
        let Some(parent) = record.parent else { break };
        line.push(parent);
        let parent_name = BakeRecord::of(store, &parent)?.map(|record| record.name);
        if parent == *new_base || (name.is_some() && parent_name == name) {
            return Ok(line);
        }
        at = parent;
    }
    line.truncate(2);
    match line.len() {
        2 => Ok(line),
        _ => Err(RebaseError::NoParent(*app)),
    }
}
