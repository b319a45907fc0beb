//! Moves images onto another version of their base: layers are swapped, no content is opened.
//!
//! What the move needs to know of contents was recorded as facts when the layers were made. Only dpkg's status, which
//! speaks of the base's packages and of the image's own, is written anew.

mod load;
mod plan;
mod rebaser;
mod seed;

use hornero_model::Digest;
use hornero_store::Store;

pub use rebaser::{RebaseOptions, Rebased, Rebaser};

use crate::{
    RebaseError,
    lineage::{self, Known, Stage},
    record::BakeRecord,
};

/// Images made on images made on images: a deeper line is a mistake or an attack.
const LINE_MAX: usize = 64;

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
    let layers = store.image(app)?.layers;
    let line = line(store, app, &layers, new_base)?;
    let mut base = *new_base;
    let mut outcome = None;
    let mut refusals = Vec::new();
    let mut forced = false;
    // From the image right above the exchanged one up to the image itself.
    for pair in line.windows(2).rev() {
        let (image, old_base) = (&pair[0], &pair[1]);
        let old = (&old_base.image, &layers[..old_base.layers]);
        let moved = Rebaser::on_layers(store, old, &base)?.image(&image.image, options)?;
        base = moved.image;
        refusals.extend(moved.refusals.iter().cloned());
        forced |= moved.forced;
        outcome = Some(moved);
    }
    let moved = outcome.ok_or(RebaseError::NoParent(*app))?;
    let old_base = line.last().expect("a line has two images at least").image;
    Ok(Rebased { old_base, new_base: *new_base, refusals, forced, ..moved })
}

/// One image of a line, and how many of the topmost one's layers it has.
struct Member {
    image: Digest,
    layers: usize,
}

/// The image and those it is made on, down to the one that `new_base` takes the place of; those below the image itself
/// need not be in the store any more.
fn line(
    store: &Store,
    app: &Digest,
    layers: &[Digest],
    new_base: &Digest,
) -> Result<Vec<Member>, RebaseError> {
    let name = BakeRecord::of(store, new_base)?.map(|record| record.name);
    let stages = lineage::of(store, app, layers)?;
    let record = |stage: &Stage| match &stage.known {
        Known::Record(record) => Some((record.name.clone(), record.parent)),
        Known::Import(_) | Known::Nothing(_) => None,
    };
    match stages.first().and_then(record) {
        None => return Err(RebaseError::NoRecord(*app)),
        Some((_, None)) => return Err(RebaseError::NoParent(*app)),
        Some((_, Some(_))) if stages.len() < 2 => return Err(RebaseError::NoParent(*app)),
        Some(_) => {}
    }
    let replaced = stages.iter().skip(1).take(LINE_MAX).position(|stage| {
        let known = record(stage).map(|(name, _)| name);
        stage.image == *new_base || (name.is_some() && known == name)
    });
    let count = replaced.unwrap_or(0) + 2;
    let member = |stage: &Stage| Member { image: stage.image, layers: stage.layers.end };
    Ok(stages.iter().take(count).map(member).collect())
}
