//! Archives that hold an image: what `docker save` writes, and OCI layouts in a tar.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use hornero_model::Digest;
use hornero_store::{PATH_LEN_MAX, TarReader};
use serde::Deserialize;

use super::{
    reading::{buffered, temporary, unreadable},
    stream,
};
use crate::{
    ImportOptions, OciError, Result,
    document::{
        self, CONFIG, CONFIG_BYTES_MAX, Configuration, Descriptor, Index, LAYER, LAYERS_MAX,
        MANIFEST, MANIFEST_BYTES_MAX, Manifest,
    },
    layout::LAYOUT_FILE,
    source::{self, Source},
};

/// Files of such an archive: a few for each layer.
const FILES_MAX: usize = 100_000;
/// A link leads to a file, at most over another link.
const LINKS_MAX: usize = 8;
/// What the first entry of such an archive may be called; a root has none of these.
const FIRST_NAMES: [&str; 5] =
    ["blobs", "oci-layout", "index.json", "manifest.json", "repositories"];

/// An archive that holds an image; none when it holds a root.
pub(crate) fn open(path: &Path, options: &ImportOptions) -> Result<Option<Archive>> {
    let what = path.display().to_string();
    if !begins_like_an_image(&what, path)? {
        return Ok(None);
    }
    let mut head = [0; 257 + 5];
    let file = source::open_file(path)?;
    let is_plain = file.read_exact_at(&mut head, 0).is_ok() && head[257..] == *b"ustar";
    let file = match is_plain {
        true => file,
        false => {
            // Compressed: its layers are read in another order than they are in.
            let most = options.content_bytes_max;
            let plain = stream::decompress(&what, buffered(path)?, options.any_ratio)?;
            let mut file = temporary()?;
            let copied = io::copy(&mut plain.take(most.saturating_add(1)), &mut file);
            if copied.map_err(|error| unreadable(&what, error))? > most {
                return Err(OciError::TooLarge { what, limit_bytes: most });
            }
            file
        }
    };
    Archive::new(what, file, options.name.as_deref()).map(Some)
}

fn begins_like_an_image(what: &str, path: &Path) -> Result<bool> {
    let mut archive = TarReader::new(stream::decompress(what, buffered(path)?, false)?);
    let Some(first) = archive.next_entry().map_err(|error| unreadable(what, error))? else {
        return Err(OciError::refused(what, "it is an empty archive, or none at all"));
    };
    let first = first.path;
    let first = String::from_utf8_lossy(&first).into_owned();
    let first = first.trim_start_matches("./").split('/').next().unwrap_or_default();
    // Directories, configurations and layers are named by digests.
    let stem = first.strip_suffix(".json").or(first.strip_suffix(".tar")).unwrap_or(first);
    Ok(FIRST_NAMES.contains(&first) || Digest::from_hex(stem).is_ok())
}

/// Where a file of the archive is.
#[derive(Debug, Clone)]
enum Place {
    At { start: u64, size: u64 },
    Link(String),
}

/// An image in an archive.
pub(crate) struct Archive {
    what: String,
    file: File,
    places: HashMap<String, Place>,
    /// Files by the digest they are asked for.
    blobs: HashMap<Digest, String>,
    top: Vec<u8>,
    by_layout: bool,
    moved: AtomicU64,
}

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Archive {
    fn new(what: String, file: File, name: Option<&str>) -> Result<Self> {
        let places = places(&what, &file)?;
        let mut archive = Self {
            what,
            file,
            places,
            blobs: HashMap::new(),
            top: Vec::new(),
            by_layout: false,
            moved: AtomicU64::new(0),
        };
        let has = |name: &str| archive.places.contains_key(name);
        // Both are in what newer versions of Docker save; only the layout names layers by their own bytes.
        let is_layout = has("index.json") && (has(LAYOUT_FILE) || !has("manifest.json"));
        if is_layout {
            archive.by_layout = true;
            archive.top = archive.layout(name)?;
        } else if has("manifest.json") {
            archive.top = archive.saved(name)?;
        } else {
            let reason = "it has neither `manifest.json` nor `index.json`";
            return Err(OciError::refused(archive.what, reason));
        }
        Ok(archive)
    }

    /// A manifest for what `docker save` says of an image. Its layers are named by what they unpack to, which is
    /// what is known of them, and what is checked.
    fn saved(&mut self, name: Option<&str>) -> Result<Vec<u8>> {
        let images: Vec<Saved> = document::parse(
            &format!("manifest.json of {}", self.what),
            &self.document("manifest.json", MANIFEST_BYTES_MAX)?,
        )?;
        let tags = |image: &Saved| image.repo_tags.clone().unwrap_or_default();
        let image = match (name, images.as_slice()) {
            (None, [one]) => one,
            (Some(name), all) => all
                .iter()
                .find(|image| tags(image).iter().any(|tag| tag == name))
                .ok_or_else(|| OciError::Missing(format!("{}:{name}", self.what)))?,
            (None, all) => return Err(OciError::several(&self.what, all.iter().flat_map(tags))),
        };
        let config = self.document(&image.config, CONFIG_BYTES_MAX)?;
        let configuration =
            document::parse::<Configuration>(&format!("configuration of {}", self.what), &config)?;
        let diff_ids = configuration.rootfs.diff_ids;
        if diff_ids.len() != image.layers.len() || diff_ids.len() > LAYERS_MAX {
            let reason = "`manifest.json` and the configuration have different numbers of layers";
            return Err(OciError::refused(&self.what, reason));
        }
        let config_digest = Digest::of(&config);
        self.blobs.insert(config_digest, image.config.clone());
        let mut layers = Vec::new();
        for (digest, file) in diff_ids.into_iter().zip(&image.layers) {
            layers.push(Descriptor::new(LAYER, digest, self.place(file)?.1));
            self.blobs.insert(digest, file.clone());
        }
        Ok(document::encode(&Manifest {
            schema_version: 2,
            media_type: MANIFEST.into(),
            config: Descriptor::new(CONFIG, config_digest, config.len() as u64),
            layers,
            annotations: Default::default(),
        }))
    }

    fn layout(&self, name: Option<&str>) -> Result<Vec<u8>> {
        let bytes = self.document("index.json", MANIFEST_BYTES_MAX)?;
        let mut index: Index = document::parse(&format!("index of {}", self.what), &bytes)?;
        index.manifests = vec![source::named(&self.what, &index, name)?.clone()];
        Ok(document::encode(&index))
    }

    fn document(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let (start, size) = self.place(name)?;
        if size > limit {
            let reason = format!("its file `{name}` is larger than {limit} bytes");
            return Err(OciError::refused(&self.what, reason));
        }
        self.bytes(name, start, size)
    }

    fn bytes(&self, name: &str, start: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        let read = self.file.read_exact_at(&mut bytes, start);
        read.map_err(|_| OciError::refused(&self.what, format!("its file `{name}` ends early")))?;
        self.moved.fetch_add(length, Ordering::Relaxed);
        Ok(bytes)
    }

    /// Where a file is, links followed.
    fn place(&self, name: &str) -> Result<(u64, u64)> {
        let mut at = name.to_owned();
        for _ in 0..LINKS_MAX {
            match self.places.get(&at) {
                Some(Place::At { start, size }) => return Ok((*start, *size)),
                Some(Place::Link(target)) => at.clone_from(target),
                None => break,
            }
        }
        Err(OciError::refused(&self.what, format!("it has no file `{name}`")))
    }

    fn file(&self, digest: &Digest) -> String {
        let by_layout = || format!("blobs/sha256/{}", digest.hex());
        self.blobs.get(digest).cloned().unwrap_or_else(by_layout)
    }
}

fn places(what: &str, file: &File) -> Result<HashMap<String, Place>> {
    let refused = |error: io::Error| unreadable(what, error);
    let mut places = HashMap::new();
    let mut reader = file;
    io::Seek::rewind(&mut reader).map_err(refused)?;
    let mut archive = TarReader::seekable(reader);
    while let Some(entry) = archive.next_entry().map_err(refused)? {
        let name = file_name(what, &entry.path)?;
        let name = name.trim_start_matches("./").trim_start_matches('/').to_owned();
        if places.len() >= FILES_MAX {
            let reason = format!("it has more than {FILES_MAX} files, too many for an image");
            return Err(OciError::refused(what, reason));
        }
        match entry.entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous if !entry.is_sparse => {
                places.insert(name, Place::At { start: entry.position, size: entry.size });
            }
            tar::EntryType::Symlink | tar::EntryType::Link => {
                let target = file_name(what, &entry.link)?;
                let symlink = entry.entry_type() == tar::EntryType::Symlink;
                places.insert(name.clone(), Place::Link(resolve(&name, &target, symlink)));
            }
            _ if entry.is_sparse => {
                let reason = format!("its file `{name}` is sparse; archive it without `--sparse`");
                return Err(OciError::refused(what, reason));
            }
            _ => {}
        }
    }
    Ok(places)
}

fn file_name(what: &str, bytes: &[u8]) -> Result<String> {
    if bytes.len() > PATH_LEN_MAX {
        let reason = format!("it has a file with a name of more than {PATH_LEN_MAX} bytes");
        return Err(OciError::refused(what, reason));
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// The file that a link leads to: only a name to look up, never a path of the host.
fn resolve(name: &str, target: &str, symlink: bool) -> String {
    let mut parts: Vec<&str> = match symlink {
        true => name.split('/').collect(),
        false => Vec::new(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

impl Source for Archive {
    fn name(&self) -> String {
        format!("`{}`", self.what)
    }

    fn top(&self) -> Result<Vec<u8>> {
        Ok(self.top.clone())
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.document(&self.file(digest), MANIFEST_BYTES_MAX)
    }

    fn read(&self, blob: &Digest, start: u64, length: u64) -> Result<Vec<u8>> {
        let file = self.file(blob);
        let (begin, size) = self.place(&file)?;
        if start.checked_add(length).is_none_or(|end| end > size) {
            return Err(OciError::refused(&self.what, format!("its file `{file}` ends early")));
        }
        self.bytes(&file, begin + start, length)
    }

    fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    fn checks_blobs(&self) -> bool {
        self.by_layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_names() {
        assert_eq!(resolve("a/layer.tar", "../b/layer.tar", true), "b/layer.tar");
        assert_eq!(resolve("a/layer.tar", "/etc/passwd", true), "a/etc/passwd");
        assert_eq!(resolve("a/layer.tar", "../../../etc/passwd", true), "etc/passwd");
        assert_eq!(resolve("a/layer.tar", "b/layer.tar", false), "b/layer.tar");
    }
}
