//! `image import, push, pull`: images in and out.

use std::{path::Path, sync::Arc};

use hornero_bake::BakeRecord;
use hornero_model::{Digest, ImageName};
use hornero_oci::{Access, ImportOptions, OciError, Reference, RegistrySource};
use hornero_store::Store;

use crate::{
    arguments::{ImportWords, Packing},
    bar::Bar,
    command::{named, names, sign, stores},
    failure::{Failure, exit},
    output::{print_json, print_text, size},
    reports::{ImportReport, PullReport, PushReport},
};

impl From<OciError> for Failure {
    fn from(error: OciError) -> Self {
        if let OciError::Missing(_) = error {
            return Self::new(exit::NO_SUCH_OBJECT, &error);
        }
        let failure = Self::of(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// `hornero image import`: whatever somebody else made becomes an image, vouched for by who imports it.
pub fn import(home: &Path, json_wanted: bool, words: &ImportWords) -> Result<(), Failure> {
    let from = &words.from;
    // Before anything is read, which may take long.
    let name = match (&words.name, &words.image) {
        (Some(name), _) => name.clone(),
        (None, Some(image)) => name_of_source(image)?,
        (None, None) => name_of_source(from)?,
    };
    let store = Arc::new(stores::store(home)?);
    let _lease = store.lease()?;
    let bar = Bar::new("importing");
    let told = |event| bar.transfer(event);
    let options = ImportOptions { name: words.image.clone(), ..allowing(words.max_size) };
    let access = access(words.plain_http);
    let found = hornero_oci::import(&store, from, &access, &options, &told)?;
    bar.end();
    sign::imported(home, &store, name.as_str(), &found.image, from)?;
    lead(&store, &name, &found.image)?;
    if json_wanted {
        return print_json(&ImportReport {
            image: found.image,
            name: &name,
            layers: found.layers,
            foreign: found.foreign,
        });
    }
    print_text(&format!(
        "{name} is {}; make images on it with `from = \"{name}\"`\n",
        found.image.short()
    ))
}

/// `hornero image push`.
pub fn push(
    home: &Path,
    json_wanted: bool,
    image: &str,
    reference: &Reference,
    packing: Packing,
    plain_http: bool,
) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    let _lease = store.lease()?;
    let digest = named::image(home, &store, image)?;
    let options = hornero_oci::PackOptions {
        compression: packing.into(),
        cache: Some(home.join("cache/oci")),
    };
    let bar = Bar::new("pushing");
    let told = |event| bar.transfer(event);
    let access = access(plain_http);
    let pushed = hornero_oci::push(&store, &digest, reference, &access, &options, None, &told)?;
    bar.end();
    if json_wanted {
        return print_json(&PushReport {
            image: digest,
            reference: reference.to_string(),
            manifest: pushed.manifest,
            bytes_moved: pushed.bytes_moved,
            bytes_total: pushed.bytes_total,
            blobs_moved: pushed.blobs_moved,
            blobs_present: pushed.blobs_present,
        });
    }
    print_text(&format!(
        "{} is at {reference}; {} of {} moved\n",
        digest.short(),
        size(pushed.bytes_moved),
        size(pushed.bytes_total)
    ))
}

/// `hornero image pull`: an image that Hornero pushed; nothing is signed here, its own statements have to satisfy the
/// policy.
pub fn pull(
    home: &Path,
    json_wanted: bool,
    reference: &Reference,
    name: Option<ImageName>,
    max_size: Option<u64>,
    plain_http: bool,
) -> Result<(), Failure> {
    let name = match name {
        Some(name) => name,
        // What the operator typed, and not what the other side calls it.
        None => name_of_source(reference.repository())?,
    };
    let store = Arc::new(stores::store(home)?);
    let _lease = store.lease()?;
    let bar = Bar::new("pulling");
    let told = |event| bar.transfer(event);
    let (access, options) = (access(plain_http), allowing(max_size));
    let pulled = hornero_oci::pull_with(&store, reference, &access, &options, &told)?;
    bar.end();
    sign::disown(home, &store, &pulled.image)?;
    lead(&store, &name, &pulled.image)?;
    if json_wanted {
        return print_json(&PullReport {
            image: pulled.image,
            name: &name,
            manifest: pulled.manifest,
            bytes_moved: pulled.bytes_moved,
            contents_moved: pulled.contents_moved,
            contents_present: pulled.contents_present,
            layers_moved: pulled.layers_moved,
            foreign: pulled.foreign,
        });
    }
    print_text(&format!(
        "{name} is {}; {} moved, {} contents came and {} were here\n",
        pulled.image.short(),
        size(pulled.bytes_moved),
        pulled.contents_moved,
        pulled.contents_present
    ))?;
    if pulled.foreign {
        tell!(
            "note     nobody signed it: `hornero image import {reference}` vouches for it, if you do"
        );
    }
    Ok(())
}

/// What may come in. Whoever says how large it may be knows what it is: no proportion makes it suspect then.
fn allowing(max_size: Option<u64>) -> ImportOptions {
    let default = ImportOptions::default();
    match max_size {
        Some(content_bytes_max) => ImportOptions { content_bytes_max, any_ratio: true, ..default },
        None => default,
    }
}

/// Lets a name lead to an image; says where it led before.
fn lead(store: &Store, name: &ImageName, image: &Digest) -> Result<(), Failure> {
    let key = names::key(name.as_str());
    if let Some(before) = names::leads(store, &key)?.filter(|before| before != image) {
        tell!("note     `{name}` led to {before} until now");
    }
    Ok(store.set_ref(&key, image)?)
}

/// A registry as a source of good bytes, asked when something is wanted of it.
pub fn heal_source(reference: &str, plain_http: bool) -> Result<RegistrySource, Failure> {
    let reference: Reference =
        reference.parse().map_err(|error| Failure::new(exit::USAGE, format!("{error}")))?;
    Ok(RegistrySource::new(&reference, &access(plain_http)))
}

fn access(plain_http: bool) -> Access {
    Access { plain_http, ..Access::from_environment() }
}

/// The name that an image was baked under, else its short digest.
pub(super) fn own_name(store: &Store, image: &Digest) -> Result<String, Failure> {
    let record = BakeRecord::of(store, image).map_err(Failure::from)?;
    Ok(record.map_or_else(|| image.short(), |record| record.name.to_string()))
}

/// A name for what came from a path or a reference: its last part without endings, tag and digest.
fn name_of_source(from: &str) -> Result<ImageName, Failure> {
    let last = from.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem: String = last
        .split(['.', ':', '@'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    stem.trim_matches('-').parse().map_err(|_| {
        Failure::new(exit::USAGE, format!("no name can be made of `{from}`"))
            .hint("give one with `--name NAME`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_paths_and_references() {
        for (from, name) in [
            ("/srv/legacy.tar.gz", "legacy"),
            ("registry.example/team/web-app:1.2", "web-app"),
            ("./Root_FS/", "root-fs"),
            ("site:17", "site"),
        ] {
            assert_eq!(name_of_source(from).unwrap().as_str(), name);
        }
        assert!(name_of_source("...").is_err());
    }
}
