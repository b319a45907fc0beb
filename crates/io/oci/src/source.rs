//! Where OCI images are read from: a registry, a layout directory, an archive; and which image is meant.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use hornero_model::Digest;
use rustix::fs::OFlags;

use crate::{
    OciError, Result,
    digest::Hashing,
    document::{
        self, CONFIG_BYTES_MAX, Descriptor, INDEX_MANIFESTS_MAX, Index, LAYERS_MAX,
        MANIFEST_BYTES_MAX, Manifest, Platform,
    },
};

/// Blobs are read in pieces of this size, each taken up again where it breaks off.
pub(crate) const PIECE_BYTES: u64 = 8 << 20;
/// An index may lead to an index; real ones do not.
const INDEX_DEPTH_MAX: usize = 4;

/// Somewhere that has blobs.
pub(crate) trait Source: Sync {
    /// What it is, for errors.
    fn name(&self) -> String;

    /// The document that stands for the image: a manifest or an index. Checked against its digest if it has one.
    fn top(&self) -> Result<Vec<u8>>;

    /// A manifest or an index that another document names; not checked.
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>>;

    /// `length` bytes of a blob from `start` on; not checked.
    fn read(&self, blob: &Digest, start: u64, length: u64) -> Result<Vec<u8>>;

    /// Bytes of bodies that came in so far.
    fn moved(&self) -> u64;

    /// Whether layers are named by their own bytes; otherwise by what they unpack to.
    fn checks_blobs(&self) -> bool {
        true
    }
}

/// An image of a source.
pub(crate) struct Found {
    pub(crate) manifest: Manifest,
    /// Of the manifest's bytes.
    pub(crate) digest: Digest,
}

/// The image that a source stands for, on this machine's platform.
pub(crate) fn find(source: &dyn Source) -> Result<Found> {
    let mut bytes = source.top()?;
    for _ in 0..INDEX_DEPTH_MAX {
        let what = format!("manifest of {}", source.name());
        let value: serde_json::Value = document::parse(&what, &bytes)?;
        if value.get("manifests").is_none() {
            return found(&what, &bytes);
        }
        let index: Index = document::parse(&what, &bytes)?;
        let chosen = choose(&what, &index.manifests.iter().collect::<Vec<_>>())?;
        bytes = source.manifest(&chosen.digest)?;
        check(&what, &chosen.digest, &bytes)?;
    }
    Err(OciError::refused(source.name(), "its indexes lead to indexes without end"))
}

fn found(what: &str, bytes: &[u8]) -> Result<Found> {
    let manifest: Manifest = document::parse(what, bytes)?;
    if manifest.schema_version != 2 {
        return Err(OciError::refused(what, "only schema version 2 is known"));
    }
    if manifest.layers.len() > LAYERS_MAX {
        return Err(OciError::refused(what, format!("it has more than {LAYERS_MAX} layers")));
    }
    Ok(Found { manifest, digest: Digest::of(bytes) })
}

/// The one for this machine, of several that which runs on most of its kind; where there is none, one without a platform
/// is for any. Last comes one that wants something of the machine: what that is, its layers tell.
pub(crate) fn choose<'a>(what: &str, images: &[&'a Descriptor]) -> Result<&'a Descriptor> {
    if images.len() > INDEX_MANIFESTS_MAX {
        let reason = format!("it names more than {INDEX_MANIFESTS_MAX} images");
        return Err(OciError::refused(what, reason));
    }
    let ours = |one: &&Descriptor| one.platform.as_ref().is_some_and(Platform::is_ours);
    let any = |one: &&Descriptor| one.platform.is_none();
    let wanting = |one: &&Descriptor| one.platform.as_ref().is_some_and(Platform::is_of_machine);
    let least = |one: &&Descriptor| one.platform.as_ref().map_or(0, Platform::wants);
    let all = images.iter().copied();
    let found = all.clone().filter(ours).min_by_key(least).or_else(|| all.clone().find(any));
    found.or_else(|| all.filter(wanting).min_by_key(least)).ok_or_else(|| {
        let reason = format!("it has no image for linux/{}", document::architecture());
        OciError::refused(what, reason)
    })
}

/// The one of an index that is called `name`; without one the only image it has. Either may be there for several
/// platforms, and the image without a name under several names.
pub(crate) fn named<'a>(
    what: &str,
    index: &'a Index,
    name: Option<&str>,
) -> Result<&'a Descriptor> {
    let called = |one: &&Descriptor| name.is_none_or(|name| one.names().any(|found| found == name));
    let all: Vec<&Descriptor> = index.manifests.iter().filter(called).collect();
    match name {
        Some(name) if all.is_empty() => return Err(OciError::Missing(format!("{what}:{name}"))),
        // The name says which is meant; whether it is for this machine is seen later.
        Some(_) if all.len() == 1 => return Ok(all[0]),
        None if all.is_empty() => return Err(OciError::refused(what, "it has no image")),
        _ => {}
    }
    let fits = |one: &&&Descriptor| one.platform.as_ref().is_none_or(Platform::is_ours);
    let fitting: Vec<&Descriptor> = all.iter().filter(fits).copied().collect();
    let shown = |one: &&'a Descriptor| one.names().next();
    if let [one, more @ ..] = fitting.as_slice()
        && more.iter().all(|other| other.digest == one.digest)
    {
        return Ok(one);
    }
    // One image for several platforms has one name, or none; or there is none for this machine.
    match fitting.iter().all(|one| name.is_some() || shown(one) == shown(&fitting[0])) {
        true => choose(what, &all),
        false => Err(OciError::several(what, fitting.iter().filter_map(shown))),
    }
}

/// Reads a whole document that a descriptor names, and checks it.
pub(crate) fn read_document(
    source: &dyn Source,
    descriptor: &Descriptor,
    limit: u64,
) -> Result<Vec<u8>> {
    let what = format!("blob `{}` of {}", descriptor.digest, source.name());
    if descriptor.size > limit {
        return Err(OciError::refused(what, format!("it is larger than {limit} bytes")));
    }
    let bytes = source.read(&descriptor.digest, 0, descriptor.size)?;
    check(&what, &descriptor.digest, &bytes)?;
    Ok(bytes)
}

/// Reads an image's configuration.
pub(crate) fn configuration(
    source: &dyn Source,
    manifest: &Manifest,
) -> Result<document::Configuration> {
    let bytes = read_document(source, &manifest.config, CONFIG_BYTES_MAX)?;
    document::parse(&format!("configuration of {}", source.name()), &bytes)
}

/// Refuses what this machine cannot run; a configuration that leaves the architecture out is taken at its word.
pub(crate) fn check_platform(
    source: &dyn Source,
    configuration: &document::Configuration,
) -> Result<()> {
    let (os, architecture) = (configuration.os.as_str(), configuration.architecture.as_str());
    let machine = document::architecture();
    if os == "linux" && (architecture.is_empty() || architecture == machine) {
        return Ok(());
    }
    let clean =
        |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(40).collect() };
    let reason =
        format!("it is for {}/{}, not for linux/{machine}", clean(os), clean(architecture));
    Err(OciError::refused(source.name(), reason))
}

pub(crate) fn check(what: &str, expected: &Digest, bytes: &[u8]) -> Result<()> {
    if Digest::of(bytes) == *expected {
        return Ok(());
    }
    Err(OciError::Digest { what: what.to_owned(), expected: *expected })
}

/// Reads a blob from its beginning to its end, and says at the end whether it is what its digest says.
pub(crate) struct BlobReader<'a> {
    source: &'a dyn Source,
    blob: &'a Descriptor,
    piece: io::Cursor<Vec<u8>>,
    next: u64,
}

impl<'a> BlobReader<'a> {
    pub(crate) fn new(source: &'a dyn Source, blob: &'a Descriptor) -> Hashing<Self> {
        Hashing::new(Self { source, blob, piece: io::Cursor::default(), next: 0 })
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.piece.read(buffer)?;
        if count > 0 || buffer.is_empty() || self.next == self.blob.size {
            return Ok(count);
        }
        let length = PIECE_BYTES.min(self.blob.size - self.next);
        let piece = self.source.read(&self.blob.digest, self.next, length);
        self.piece = io::Cursor::new(piece.map_err(io::Error::other)?);
        self.next += length;
        self.piece.read(buffer)
    }
}

/// Opens a regular file: a device may do something when it is opened, and a pipe that nobody writes to would be waited
/// for without end.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => OciError::Missing(path.display().to_string()),
        _ => OciError::io("open", path, error),
    };
    let irregular = || OciError::refused(path.display().to_string(), "it is no regular file");
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(irregular());
    }
    // It may be another one by now.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    match file.metadata().map_err(failed)?.is_file() {
        true => Ok(file),
        false => Err(irregular()),
    }
}

/// A document of a file; `limit` is its kind's.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open_file(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| OciError::io("read", path, error))?;
    if bytes.len() as u64 > limit {
        let reason = format!("it is larger than {limit} bytes");
        return Err(OciError::refused(path.display().to_string(), reason));
    }
    Ok(bytes)
}

/// A manifest or index of a file.
pub(crate) fn read_manifest_file(path: &Path) -> Result<Vec<u8>> {
    read_file(path, MANIFEST_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    /// Images for this machine, each with a variant or none, and a name or none.
    fn index(images: &[(Option<&str>, Option<&str>)]) -> Index {
        let manifests: Vec<serde_json::Value> = images
            .iter()
            .enumerate()
            .map(|(number, (variant, name))| {
                let mut platform =
                    serde_json::json!({"architecture": document::architecture(), "os": "linux"});
                if let Some(variant) = variant {
                    platform["variant"] = (*variant).into();
                }
                let mut image = serde_json::json!({
                    "mediaType": document::MANIFEST, "digest": digest(number), "size": 2,
                    "platform": platform,
                });
                if let Some(name) = name {
                    image["annotations"] = serde_json::json!({document::REFERENCE_NAME: name});
                }
                image
            })
            .collect();
        let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
        serde_json::from_value(index).unwrap()
    }

    /// Which of an index's images is taken, by its number, whether or not they have a name.
    fn check(variants: &[Option<&str>], expected: usize) {
        for name in [None, Some("app:1")] {
            let images: Vec<_> = variants.iter().map(|variant| (*variant, name)).collect();
            let index = index(&images);
            let all: Vec<&Descriptor> = index.manifests.iter().collect();
            assert_eq!(choose("x", &all).unwrap().digest, digest(expected), "{variants:?}");
            for asked in [None, name] {
                let found = named("x", &index, asked).unwrap();
                assert_eq!(found.digest, digest(expected), "{variants:?} {asked:?}");
            }
        }
    }

    #[test]
    fn of_several_for_this_machine_the_one_is_taken_that_runs_on_most() {
        check(&[Some("v4"), Some("v3"), None], 2);
        check(&[Some("v4"), Some("v1"), Some("v2")], 1);
        check(&[Some("v4"), Some("v10"), Some("v3")], 2);
        check(&[None, Some("v1")], 0);
        check(&[Some("v4")], 0);
        check(&[Some("v9.2"), Some("v8")], 1);
    }

    #[test]
    fn a_name_is_needed_only_where_several_images_have_one() {
        let named = |images, name| {
            named("x", &index(images), name).map(|found| found.digest).map_err(|e| e.to_string())
        };
        let two = [(None, Some("a")), (Some("v2"), Some("b")), (Some("v3"), Some("b"))];
        assert_eq!(named(&two, Some("b")), Ok(digest(1)));
        assert!(named(&two, None).unwrap_err().contains("`a`, `b`"));
        assert!(named(&two, Some("c")).is_err());
        assert!(named(&[(None, Some("a")), (None, None)], None).is_err());
        assert!(named(&[], None).is_err());
    }
}
