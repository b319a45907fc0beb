//! Images of one layer that is a plain EROFS file system, for runtimes that mount layers.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use hornero_model::Digest;
use hornero_store::Store;

use crate::{
    LayoutWritten, OciError, Result,
    digest::Hashing,
    document::{self, CONFIG, Configuration, Descriptor, MANIFEST, Manifest, Platform},
    layout::{self, Addition},
    pack, tarball,
};

/// A layer that is an EROFS file system as it is, in containerd's words since 2.3.
const EROFS_LAYER: &str = "application/vnd.erofs.layer.v1";
/// All such types, those of the drafts before and after as well.
const EROFS: &str = "application/vnd.erofs";
const ENDING: &str = ".erofs";
/// Says in an index and a configuration that only who mounts such layers may take the image.
const FEATURE: &str = "erofs";

/// Writes an image into an OCI layout under `name` as [`export_layout`](crate::export_layout) does, with its whole root
/// in one layer: the plain EROFS file system that `write` makes at the path it gets. The same root gives the same bytes.
///
/// Nothing in it says which image of ours it is, and it does not come back in.
///
/// # Errors
/// Those of `write`, and of [`export_layout`](crate::export_layout); the layout is then as it was.
pub fn export_layout_with_erofs<E: From<OciError>>(
    store: &Store,
    image: &Digest,
    dir: &Path,
    name: &str,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<LayoutWritten, E> {
    layout::check_name(name)?;
    layout::check_directory(dir)?;
    let _lease = store.lease().map_err(OciError::from)?;
    check_tree(store, image)?;
    let workshop = layout::beside(dir)?;
    let file = workshop.path().join("layer");
    write(&file)?;
    Ok(add(store, image, dir, name, &file)?)
}

/// The draft of the format forbids names that mean something in a tar of a layer: whoever turns layers into tars
/// would lose files.
fn check_tree(store: &Store, image: &Digest) -> Result<()> {
    let tree = store.tree(image)?;
    match tree.entries().iter().find(|entry| tarball::looks_like_whiteout(entry)) {
        None => Ok(()),
        Some(entry) => {
            let path = &entry.path;
            let reason = format!("`{path}` would be taken for a whiteout by whoever reads it");
            Err(OciError::NotCarried { image: *image, reason })
        }
    }
}

fn add(
    store: &Store,
    image: &Digest,
    dir: &Path,
    name: &str,
    file: &Path,
) -> Result<LayoutWritten> {
    let failed = |error| OciError::io("read", file, error);
    let mut hasher = Hashing::new(File::open(file).map_err(failed)?);
    io::copy(&mut hasher, &mut io::sink()).map_err(failed)?;
    let (digest, size) = hasher.finish();
    let platform = Platform { os_features: Some(vec![FEATURE.into()]), ..Platform::here() };
    let config = document::encode(&Configuration {
        os_features: platform.os_features.clone(),
        config: Some(pack::runtime(&store.image(image)?.config)),
        // Nothing is compressed: it unpacks to itself.
        ..pack::bare_configuration(vec![digest])
    });
    let manifest = document::encode(&Manifest {
        schema_version: 2,
        media_type: MANIFEST.into(),
        config: Descriptor::new(CONFIG, Digest::of(&config), config.len() as u64),
        layers: vec![Descriptor::new(EROFS_LAYER, digest, size)],
        annotations: Default::default(),
    });
    let addition =
        Addition { blobs: vec![(digest, size)], config: &config, manifest: &manifest, platform };
    layout::add(dir, name, &addition, |_, target| {
        fs::rename(file, target).map_err(|error| OciError::io("write", target, error))
    })
}

/// Refuses an image whose layers are EROFS file systems, before any of it moves.
pub(crate) fn refuse(what: &str, manifest: &Manifest) -> Result<()> {
    let of_erofs = |media_type: &str| {
        media_type.starts_with(EROFS) || media_type.split('+').next().unwrap().ends_with(ENDING)
    };
    match manifest.layers.iter().find(|layer| of_erofs(&layer.media_type)) {
        None => Ok(()),
        Some(layer) => Err(OciError::Layers {
            what: what.to_owned(),
            media_type: layer.media_type.chars().filter(|c| !c.is_control()).take(100).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_layers_of_erofs_are_refused() {
        for (media_type, is_refused) in [
            (EROFS_LAYER, true),
            ("application/vnd.erofs.layer.v1+zstd", true),
            ("application/vnd.erofs", true),
            ("application/vnd.stacker.image.layer.erofs+zstd", true),
            ("application/vnd.oci.image.layer.v1.tar", false),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", false),
            ("", false),
        ] {
            let digest = Digest::of(b"");
            let manifest = Manifest {
                schema_version: 2,
                media_type: MANIFEST.into(),
                config: Descriptor::new(CONFIG, digest, 0),
                layers: vec![
                    Descriptor::new(document::LAYER, digest, 0),
                    Descriptor::new(media_type, digest, 0),
                ],
                annotations: Default::default(),
            };
            assert_eq!(refuse("it", &manifest).is_err(), is_refused, "{media_type}");
        }
    }
}
