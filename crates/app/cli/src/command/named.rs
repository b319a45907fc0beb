//! Which image a word means: a name of `hornero.hcl`, a release such as `site@17`, a digest or its beginning.

use std::path::Path;

use hornero_bake::BakeRecord;
use hornero_model::{Digest, ReleaseRef};
use hornero_store::Store;

use crate::{
    command::names,
    failure::{Failure, exit},
};

/// Fewest hex digits that name an image: fewer are a typing mistake more often than a choice.
const SHORTEST_PREFIX: usize = 4;
/// Longest chain of images made on images that is followed; `hornero.hcl` has no use for deeper ones.
const ANCESTORS_MAX: usize = 64;

/// The image that a word means in the working directory; it is in the store.
pub fn image(home: &Path, store: &Store, text: &str) -> Result<Digest, Failure> {
    image_in(home, store, Path::new("."), text)
}

/// The image that a word means in a directory: a name is that directory's before it is the home's.
pub fn image_in(
    home: &Path,
    store: &Store,
    directory: &Path,
    text: &str,
) -> Result<Digest, Failure> {
    let missing =
        |why: String| Failure::new(exit::NO_SUCH_OBJECT, why).hint("`hornero image ls` lists them");
    if let Ok(digest) = text.parse::<Digest>() {
        return match store.has_image(&digest) {
            true => Ok(digest),
            false => Err(missing(format!("no image `{text}` in this home"))),
        };
    }
    if let Some(release) = release(text) {
        let found =
            hornero_control::image_of(home, &release).map_err(|error| Failure::of(&*error))?;
        let Some(digest) = found else {
            return Err(Failure::new(
                exit::NO_SUCH_OBJECT,
                format!("no release `{text}` in this home"),
            )
            .hint(format!("`hornero history {}` lists them", release.service)));
        };
        return match store.has_image(&digest) {
            true => Ok(digest),
            false => Err(missing(format!(
                "the image of `{text}`, `{}`, is no longer in this home",
                digest.short()
            ))),
        };
    }
    let named = names::of(home, directory, text).map(|named| named.image);
    if let Some(digest) = named.filter(|digest| store.has_image(digest)) {
        return Ok(digest);
    }
    if let Ok(Some(digest)) = store.get_ref(&names::key(text)) {
        return Ok(digest);
    }
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let found: Vec<Digest> = match hex.len() >= SHORTEST_PREFIX {
        true => store.images()?.into_iter().filter(|one| one.hex().starts_with(hex)).collect(),
        false => Vec::new(),
    };
    if hex.len() < SHORTEST_PREFIX && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(missing(format!(
            "no image `{text}`; the beginning of a digest has {SHORTEST_PREFIX} digits or more"
        )));
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(missing(format!("no image `{text}` in this home"))),
        several => Err(Failure::new(
            exit::USAGE,
            format!("`{text}` is the beginning of {} images; give more of it", several.len()),
        )),
    }
}

/// A release's name, such as `site@17`.
pub fn release(text: &str) -> Option<ReleaseRef> {
    let (service, number) = text.split_once('@')?;
    let number = hornero_model::ReleaseNumber(number.parse().ok()?);
    Some(ReleaseRef { service: service.parse().ok()?, number })
}

/// The base that an image stands on: the lowest of its ancestors; None for one that stands on nothing.
pub fn base_of(store: &Store, image: &Digest) -> Result<Option<Digest>, Failure> {
    Ok(parents(store, image)?.pop())
}

/// What an image is made on, the nearest first.
pub fn parents(store: &Store, image: &Digest) -> Result<Vec<Digest>, Failure> {
    let mut found = Vec::new();
    let mut next = *image;
    while found.len() < ANCESTORS_MAX {
        let record = BakeRecord::of(store, &next).map_err(Failure::from)?;
        let parent = record.and_then(|record| record.parent);
        // Records come with images, and may lead in a circle.
        let parent = parent.filter(|parent| parent != image && !found.contains(parent));
        let Some(parent) = parent else { break };
        found.push(parent);
        next = parent;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_from_names() {
        assert_eq!(release("site@17").unwrap().to_string(), "site@17");
        for text in ["site", "site@", "@3", "site@x", "site@-1", "Site!@1"] {
            assert!(release(text).is_none(), "{text}");
        }
    }
}
