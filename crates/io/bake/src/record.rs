//! What is remembered of a bake: the record beside an image, and the inputs of the last bake for explaining the next.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use hornero_apt::{LockedImage, files};
use hornero_model::{Digest, ImageName};
use hornero_rebase::RebaseRefusal;
use hornero_store::{FORMAT_EPOCH, Store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BakeError, action::Action, kept, source::LayerSource};

/// The version of the record's format.
const VERSION: u32 = 2;
/// Fingerprints of every copied file, at 100 bytes each.
const RECORD_BYTES: u64 = 256 << 20;
/// A record that came from elsewhere: enough for fifty thousand copied files, and read in a moment. Those of this home
/// are as large as what was copied here.
const FOREIGN_BYTES_MAX: usize = 16 << 20;
/// A program tells its name and version.
const PROGRAM_LEN_MAX: usize = 256;

/// How an image came to be; stored beside it and no part of its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BakeRecord {
    /// The version of this format.
    pub version: u32,
    /// The program that baked it.
    pub program: String,
    /// The format epoch of the store.
    pub format_epoch: u32,
    /// The image's name in `hornero.hcl`.
    pub name: ImageName,
    /// The image.
    pub image: Digest,
    /// The image it was made from; None for a Debian base.
    pub parent: Option<Digest>,
    /// The newest time of its files, in seconds since the Unix epoch.
    pub epoch: u64,
    /// Its own packages and the state of the archives they came from.
    pub locked: Option<LockedImage>,
    /// Its steps in order.
    pub steps: Vec<StepRecord>,
    /// How it was moved, for an image that was not baked but moved onto another base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// Private keys that maintainer scripts made, as absolute paths: everyone who has the image has them, and no
    /// other bake of it has the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets_in_image: Vec<String>,
}

/// A move of an image's own layers onto another base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moved {
    /// The image whose own layers were moved.
    pub image: Digest,
    /// The base that it was moved onto.
    pub base: Digest,
    /// Whether it was moved although the proof refused, or comes from an image that was.
    #[serde(default)]
    pub forced: bool,
    /// Why the proof refused, now or in an earlier move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RebaseRefusal>,
}

/// One step of a bake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepRecord {
    /// What it was, for people.
    pub title: String,
    /// `packages`, `copy`, `provision` or `run`.
    pub kind: StepKind,
    /// The identity of everything that went into it, what lies below included.
    pub key: Digest,
    /// The identity of what lies below.
    pub below: Digest,
    /// Its own inputs, by name.
    pub inputs: BTreeMap<String, String>,
    /// The layers it gave, from the bottom up.
    pub layers: Vec<Digest>,
    /// Where each of the layers comes from.
    #[serde(default)]
    pub sources: Vec<LayerSource>,
    /// The identity of its own inputs, without what lies below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Digest>,
    /// What it does, for doing it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

/// The kinds of steps.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Packages are installed.
    Packages,
    /// Files are copied.
    Copy,
    /// A command is run.
    Run,
    /// A provision is run.
    Provision,
}

impl StepKind {
    /// Its word in the keys of steps, which never changes.
    pub(crate) const fn key_word(self) -> &'static str {
        match self {
            Self::Packages => "Packages",
            Self::Copy => "Copy",
            Self::Run => "Run",
            Self::Provision => "Provision",
        }
    }
}

/// A record as the store has it.
pub(crate) struct KnownRecord {
    /// What it says.
    pub record: BakeRecord,
    /// Whether this home wrote it: whoever sends an image may send any record with it.
    pub is_own: bool,
    /// Its size, encoded.
    pub len: usize,
}

impl BakeRecord {
    /// The attachment that holds it.
    pub(crate) const ATTACHMENT: &str = kept::RECORD;

    /// A record without its steps' outcome.
    pub(crate) fn new(
        name: &ImageName,
        image: Digest,
        parent: Option<Digest>,
        epoch: u64,
        locked: Option<&LockedImage>,
        steps: Vec<StepRecord>,
    ) -> Self {
        Self {
            version: VERSION,
            program: format!("hornero {}", hornero_model::program_version()),
            format_epoch: FORMAT_EPOCH,
            name: name.clone(),
            image,
            parent,
            epoch,
            locked: locked.cloned(),
            steps,
            moved: None,
            secrets_in_image: Vec::new(),
        }
    }

    /// The record of an image; None for one that was not baked here.
    pub fn of(store: &Store, image: &Digest) -> Result<Option<Self>, BakeError> {
        Ok(Self::known(store, image)?.map(|known| known.record))
    }

    /// As [`BakeRecord::of`], with whether this home wrote it.
    pub(crate) fn known(store: &Store, image: &Digest) -> Result<Option<KnownRecord>, BakeError> {
        if let Some(bytes) = store.attachment(image, Self::ATTACHMENT).map_err(BakeError::store)? {
            return Self::read(store, image, &bytes);
        }
        // The cache goes nowhere, and nothing but this home writes to it.
        let bytes = store.cache_get(&old_record_key(image)).map_err(BakeError::store)?;
        let known = |bytes: Vec<u8>| {
            let record = Self::parse(&bytes, image)?;
            Some(KnownRecord { record, is_own: true, len: bytes.len() })
        };
        Ok(bytes.and_then(known))
    }

    /// Reads a record of an image from where anybody may have put it.
    pub(crate) fn read(
        store: &Store,
        image: &Digest,
        bytes: &[u8],
    ) -> Result<Option<KnownRecord>, BakeError> {
        let own = store.cache_get(&own_key(image, bytes)).map_err(BakeError::store)?;
        let is_own = own.is_some();
        if !is_own && bytes.len() > FOREIGN_BYTES_MAX {
            return Ok(None);
        }
        let record = Self::parse(bytes, image);
        Ok(record.map(|record| KnownRecord { record, is_own, len: bytes.len() }))
    }

    /// Reads the record of an image; None for what is none, of another image, or of a later version.
    fn parse(bytes: &[u8], image: &Digest) -> Option<Self> {
        let record = serde_json::from_slice::<Self>(bytes).ok();
        let fits = |record: &Self| {
            record.version <= VERSION
                && record.image == *image
                && record.program.len() <= PROGRAM_LEN_MAX
        };
        record.filter(fits)
    }

    /// The bytes of the attachment.
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data is always JSON")
    }

    /// Attaches it to its image, in the place of an older one; what is known of the image below stays as long as
    /// this one does.
    pub(crate) fn save(&self, store: &Store) -> Result<(), BakeError> {
        if let Some(parent) = &self.parent {
            kept::keep_for_children(store, parent)?;
        }
        let bytes = self.encode();
        store.attach(&self.image, Self::ATTACHMENT, &bytes).map_err(BakeError::store)?;
        Self::note_own(store, &self.image, &bytes)
    }

    /// Notes that this home wrote these bytes as the record of an image. A note that is lost makes the record one from
    /// elsewhere, until the image is baked again.
    pub(crate) fn note_own(store: &Store, image: &Digest, bytes: &[u8]) -> Result<(), BakeError> {
        store.cache_put(&own_key(image, bytes), b"own").map_err(BakeError::store)
    }

    /// Every layer of its own with where it comes from, from the bottom up.
    pub fn sources(&self) -> impl Iterator<Item = (&Digest, &LayerSource)> {
        self.steps.iter().flat_map(|step| step.layers.iter().zip(&step.sources))
    }
}

/// Where the first version of the record lay, in the cache.
fn old_record_key(image: &Digest) -> Digest {
    Digest::of(format!("hornero bake record 1\n{image}").as_bytes())
}

/// Where the cache says that a record is this home's own.
fn own_key(image: &Digest, bytes: &[u8]) -> Digest {
    Digest::of(format!("hornero own bake record 1\n{image}\n{}", Digest::of(bytes)).as_bytes())
}

/// The inputs of the last bake of one image of one directory.
pub(crate) struct LastBake {
    path: PathBuf,
    state: Option<Option<Vec<StepRecord>>>,
}

impl LastBake {
    /// Where it is kept; nothing is read yet.
    pub(crate) fn of(cache_dir: &Path, dir: &Path, image: &ImageName) -> Self {
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let text = [dir.as_os_str().as_encoded_bytes(), b"\0", image.as_str().as_bytes()].concat();
        Self { path: cache_dir.join("bakes").join(Digest::of(&text).hex()), state: None }
    }

    /// Why a step has to run, by comparing it with what it was.
    pub(crate) fn why(&mut self, index: usize, step: &StepRecord) -> String {
        let path = self.path.clone();
        let steps = self.state.get_or_insert_with(|| {
            let bytes = files::read_file(&path, RECORD_BYTES).ok()?;
            let (_, json) = bytes.split_at_checked(65)?;
            serde_json::from_slice(json).ok()
        });
        let Some(steps) = steps else { return "it was never baked from this directory".to_owned() };
        let same_place = steps.get(index).filter(|old| old.kind == step.kind);
        let old = same_place.or_else(|| steps.iter().find(|old| old.title == step.title));
        let Some(old) = old else { return "the step is new".to_owned() };
        if let Some(text) = differences(step.kind, &old.inputs, &step.inputs) {
            return text;
        }
        if old.below != step.below {
            return "what lies below it changed".to_owned();
        }
        if old.key != step.key {
            return "this version of Hornero bakes it differently".to_owned();
        }
        "its result is no longer in the store".to_owned()
    }

    /// Remembers this bake for the next; nothing is written where it is known already.
    pub(crate) fn save(&self, steps: &[StepRecord]) {
        let keys: String = steps.iter().map(|step| step.key.hex()).collect();
        let head = Digest::of(keys.as_bytes()).hex();
        let mut known = [0_u8; 64];
        let same = fs::File::open(&self.path)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut known))
            .is_ok_and(|()| known == head.as_bytes());
        if same {
            return;
        }
        let json = serde_json::to_string(steps).expect("plain data is always JSON");
        if let Some(parent) = self.path.parent() {
            let _ = fs::create_dir_all(parent);
        }
        // Losing it costs only an explanation.
        let _ = files::write_whole(&self.path, format!("{head}\n{json}").as_bytes());
    }
}

/// Names at most this many inputs in an explanation; more help nobody.
const SHOWN: usize = 3;

/// Which inputs differ, in words; None where none does.
fn differences(
    kind: StepKind,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Option<String> {
    let noun = if kind == StepKind::Packages { "package " } else { "" };
    let mut found = Vec::new();
    for (name, value) in new {
        match old.get(name) {
            None => found.push(format!("{noun}`{name}` is new")),
            Some(before) if before != value => found.push(match kind {
                StepKind::Packages => format!("{noun}`{name}` {before} → {value}"),
                StepKind::Copy | StepKind::Run | StepKind::Provision => format!("`{name}` changed"),
            }),
            Some(_) => {}
        }
    }
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    found.extend(gone.map(|name| format!("{noun}`{name}` is gone")));
    let more = found.len().saturating_sub(SHOWN);
    found.truncate(SHOWN);
    match (found.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(found.join(", ")),
        (false, more) => Some(format!("{} and {more} more", found.join(", "))),
    }
}
