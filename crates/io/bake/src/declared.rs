//! What a directory declares of an image: what it is made on, and which archives its packages come from.

use std::path::Path;

use hornero_apt::sources_list::{ArchiveRequest, DeclaredArchive};
use hornero_model::ImageName;
use hornero_spec::{ArchiveDefinition, Base, ImageDefinition, Spec};

use crate::BakeError;

/// The images of `names` and everything they are made from, ancestors first.
pub(crate) fn with_ancestors<'s>(
    spec: &'s Spec,
    names: &[ImageName],
) -> Result<Vec<&'s ImageDefinition>, BakeError> {
    let mut order: Vec<&ImageDefinition> = Vec::new();
    for name in names {
        let mut line = Vec::new();
        let mut at = Some(name);
        while let Some(name) = at {
            let image =
                spec.images.get(name).ok_or_else(|| BakeError::NoImage(name.to_string()))?;
            line.push(image);
            at = image.base.image();
        }
        let stored = line.last().is_some_and(|root| matches!(root.base, Base::Stored(_)));
        if let Some(image) = line.iter().find(|image| stored && !image.packages.is_empty()) {
            return Err(BakeError::PackagesOnStored { image: image.name.clone() });
        }
        for image in line.into_iter().rev() {
            if !order.iter().any(|known| known.name == image.name) {
                order.push(image);
            }
        }
    }
    Ok(order)
}

/// The archives that an image's packages come from: that of the Debian base at its root, and those declared from there
/// on; None where that is no Debian
/// base, and no package of its own is allowed.
pub(crate) fn archive_request(
    spec: &Spec,
    image: &ImageDefinition,
    dir: &Path,
) -> Option<ArchiveRequest> {
    let mut image = image;
    let mut archives: Vec<DeclaredArchive> = Vec::new();
    loop {
        // The nearest declaration of a name counts.
        let new = image.archives.iter().filter(|new| archives.iter().all(|it| it.name != new.name));
        let new: Vec<DeclaredArchive> = new.map(|archive| declared(archive, dir)).collect();
        archives.extend(new);
        match &image.base {
            Base::Debian { suite, mirror, keyring } => {
                archives.sort();
                return Some(ArchiveRequest {
                    suite: suite.clone(),
                    mirror: mirror.clone(),
                    keyring: keyring.as_ref().map(|keyring| dir.join(keyring)),
                    archives,
                });
            }
            Base::Image(parent) => image = &spec.images[parent],
            Base::Stored(_) => return None,
        }
    }
}

fn declared(archive: &ArchiveDefinition, dir: &Path) -> DeclaredArchive {
    DeclaredArchive {
        name: archive.name.clone(),
        uri: archive.url.trim_end_matches('/').to_owned(),
        suite: archive.suite.clone(),
        components: archive.components.clone(),
        keyring: dir.join(&archive.signed_by),
    }
}

/// Whether an image has packages of its own to be locked.
pub(crate) fn has_entry(image: &ImageDefinition) -> bool {
    matches!(image.base, Base::Debian { .. }) || !image.packages.is_empty()
}

/// The images of the file that one is made from, the nearest first.
pub(crate) fn ancestors<'s>(spec: &'s Spec, image: &'s ImageDefinition) -> Vec<&'s ImageName> {
    let mut names = Vec::new();
    let mut image = image;
    while let Base::Image(parent) = &image.base {
        names.push(parent);
        image = &spec.images[parent];
    }
    names
}
