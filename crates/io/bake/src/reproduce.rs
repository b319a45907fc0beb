//! Bakes an image again from what was recorded of it, in a store of its own, and compares.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Instant};

use hornero_apt::sources_list::ArchiveRequest;
use hornero_model::{Digest, ImageConfig, ImageName};
use hornero_store::{Aspects, ChangeKind, EntryKind, FORMAT_EPOCH, ImageManifest, Store, Tree};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    BakeContext, BakeError,
    action::Action,
    image::{place, step::Steps},
    lineage::{self, Known},
    maker::{Maker, Work},
    making::Making,
    ownership,
    progress::{BakeEvent, BakeProgress},
    provision::Environment,
    rebase::{RebaseOptions, Rebaser},
    record::{BakeRecord, KnownRecord, LastBake, Moved, StepRecord},
    source::LayerSource,
    surroundings::Surroundings,
    workdir::WorkDir,
};

/// What came of baking an image again.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Reproduction {
    /// The image.
    pub image: Digest,
    /// What its inputs gave this time; the image itself where it was reproduced.
    pub made: Digest,
    /// Files that differ, sorted by path; none where it was reproduced.
    pub differences: Vec<FileDifference>,
    /// The layers that differ, from the bottom up.
    pub layers: Vec<LayerDifference>,
    /// Steps that had a network, which may give them something else at any time: image and title.
    pub networked: Vec<(ImageName, String)>,
    /// Images of its line that came from elsewhere and were taken as they are.
    pub imported: Vec<Digest>,
    /// How long it took.
    pub seconds: f64,
}

impl Reproduction {
    /// Whether the same inputs gave the same bytes.
    pub fn is_same(&self) -> bool {
        self.image == self.made
    }
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileDifference {
    /// The file, absolute.
    pub path: String,
    /// In what it differs.
    pub what: Vec<Differs>,
    /// What it belongs to in the image.
    pub owner: Option<LayerSource>,
}

/// In what a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Differs {
    /// It is in the image, but was not made again.
    Missing,
    /// It was made, but is not in the image.
    Extra,
    /// In its kind: a file became a directory, say.
    Kind,
    /// In its contents, or the number of a device.
    Content,
    /// In its size.
    Size,
    /// In where a symlink leads.
    Target,
    /// In its permissions.
    Mode,
    /// In its user or group.
    Owner,
    /// In its modification time.
    Time,
    /// In its extended attributes.
    Xattrs,
}

/// A layer that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LayerDifference {
    /// Where it comes from, where that is known.
    pub source: Option<LayerSource>,
    /// The layer of the image; None where the image has none there.
    pub recorded: Option<Digest>,
    /// What was made instead; None where nothing was.
    pub made: Option<Digest>,
}

/// Bakes an image again from its recorded inputs and compares. The home's package cache is used, and nothing of its
/// store but the contents of what was copied and imported. An image that was moved is baked as it was before, and
/// moved again.
pub fn reproduce(
    context: &BakeContext<'_>,
    store: &Store,
    image: &Digest,
) -> Result<Reproduction, BakeError> {
    let started = Instant::now();
    let tmp = context.home.join("tmp");
    place::clean(&context.home)?;
    // The home of the scratch store may be a long path: everything in it is opened by this process alone.
    let work = WorkDir::create(&tmp).map_err(|error| BakeError::file(&tmp, error))?;
    let objects = store.objects_dir();
    let objects = fs::canonicalize(objects).map_err(|error| BakeError::file(objects, error))?;
    let _lease = store.lease().map_err(BakeError::store)?;
    let manifest = store.image(image).map_err(BakeError::store)?;
    let scratch = Store::open(work.path().join("store")).map_err(BakeError::store)?;
    let access = context.access()?;
    let progress = &SecretsWereTold(context.progress);
    let surroundings = Surroundings {
        store: &scratch,
        access: &access,
        steps: Steps { home: &context.home, progress },
        tmp: &tmp,
        progress,
    };
    let mut again = Again {
        store,
        scratch: &scratch,
        objects,
        dir: work.path().to_owned(),
        maker: Maker { surroundings, forecast: false, verify: false },
        environment: context.environment.clone(),
        made: BTreeMap::new(),
        networked: Vec::new(),
        imported: Vec::new(),
    };
    let made = again.image(image, &manifest.layers);
    hornero_sandbox::remove_parent(&place::cgroup_parent(&context.home));
    let layers = made?.map(|made| made.layers).unwrap_or_default();
    let made = ImageManifest::new(layers, manifest.config.clone());
    let (networked, imported) = (again.networked, again.imported);
    let mut reproduction = Reproduction {
        image: *image,
        made: made.digest(),
        differences: Vec::new(),
        layers: Vec::new(),
        networked,
        imported,
        seconds: 0.0,
    };
    if !reproduction.is_same() {
        reproduction.layers = layer_differences(store, image, &manifest.layers, &made.layers)?;
        let ownership = ownership::ownership(store, image)?;
        let theirs = scratch.tree_of_layers(&made.layers).map_err(BakeError::store)?;
        reproduction.differences = file_differences(&ownership, &theirs);
    }
    reproduction.seconds = started.elapsed().as_secs_f64();
    Ok(reproduction)
}

/// Passes on all but the files with secrets: those were told when the image was baked, and these go away again.
struct SecretsWereTold<'p>(&'p dyn BakeProgress);

impl BakeProgress for SecretsWereTold<'_> {
    fn event(&self, event: BakeEvent) {
        if !matches!(event, BakeEvent::SecretInImage { .. }) {
            self.0.event(event);
        }
    }
}

/// An image that was made again.
#[derive(Debug, Clone)]
struct Made {
    /// Its identity in the scratch store.
    image: Digest,
    /// Its layers, from the bottom up.
    layers: Vec<Digest>,
}

/// The bake of a line of images in a store of its own.
struct Again<'a> {
    store: &'a Store,
    scratch: &'a Store,
    objects: PathBuf,
    dir: PathBuf,
    maker: Maker<'a>,
    environment: Environment,
    /// What came out, by the image it should be; None while it is made.
    made: BTreeMap<Digest, Option<Made>>,
    networked: Vec<(ImageName, String)>,
    imported: Vec<Digest>,
}

impl Again<'_> {
    /// Makes an image with everything it is made from.
    fn image(&mut self, image: &Digest, layers: &[Digest]) -> Result<Option<Made>, BakeError> {
        let mut below: Option<Made> = None;
        for stage in lineage::of(self.store, image, layers)?.into_iter().rev() {
            match self.made.get(&stage.image) {
                Some(Some(known)) => {
                    below = Some(known.clone());
                    continue;
                }
                Some(None) => {
                    let reason = "by its records it is made from itself".to_owned();
                    return Err(self.refused(&stage.image, reason));
                }
                None => self.made.insert(stage.image, None),
            };
            let made = match stage.known {
                Known::Nothing(reason) => return Err(self.refused(&stage.image, reason)),
                Known::Import(_) => self.bring(&stage.image, &layers[stage.layers.clone()])?,
                Known::Record(_) => {
                    let known =
                        lineage::record(self.store, &stage.image, &layers[..stage.layers.end])?;
                    let Some(known) = known else {
                        let reason = "its record went away meanwhile".to_owned();
                        return Err(self.refused(&stage.image, reason));
                    };
                    let record = &known.record;
                    if record.format_epoch != FORMAT_EPOCH {
                        let reason = format!(
                            "it was baked in format epoch {}, this program bakes in {FORMAT_EPOCH}",
                            record.format_epoch
                        );
                        return Err(self.refused(&stage.image, reason));
                    }
                    match (&record.moved, &below) {
                        (None, _) => self.bake(&known, below.as_ref())?,
                        (Some(moved), Some(base)) => self.move_again(&stage.image, moved, base)?,
                        (Some(_), None) => {
                            let reason = "its record does not say what it was moved onto";
                            return Err(self.refused(&stage.image, reason.to_owned()));
                        }
                    }
                }
            };
            self.made.insert(stage.image, Some(made.clone()));
            below = Some(made);
        }
        Ok(below)
    }

    fn refused(&self, image: &Digest, reason: String) -> BakeError {
        BakeError::NotReproducible { image: *image, reason }
    }

    /// Takes an image over as it is.
    fn bring(&mut self, image: &Digest, layers: &[Digest]) -> Result<Made, BakeError> {
        let ingest = self.scratch.ingest().map_err(BakeError::store)?;
        for digest in layers {
            let layer = self.store.layer(digest).map_err(BakeError::store)?;
            for (content, _) in layer.contents() {
                let file = self.store.open_object(&content).map_err(BakeError::store)?;
                ingest.put(&content.hex(), file).map_err(BakeError::store)?;
            }
            ingest.put_layer(&layer).map_err(BakeError::store)?;
        }
        let _ = ingest.finish().map_err(BakeError::store)?;
        self.imported.push(*image);
        self.put(image, layers.to_vec())
    }

    /// Makes an image of layers in the scratch store, configured as the one it should be.
    fn put(&self, image: &Digest, layers: Vec<Digest>) -> Result<Made, BakeError> {
        let config = match self.store.has_image(image) {
            true => self.store.image(image).map_err(BakeError::store)?.config,
            // One of those it is made from, no longer there itself: nothing asks for its configuration.
            false => ImageConfig::default(),
        };
        let manifest = ImageManifest::new(layers, config);
        let image = self.scratch.put_image(&manifest).map_err(BakeError::store)?;
        Ok(Made { image, layers: manifest.layers })
    }

    fn bake(&mut self, known: &KnownRecord, below: Option<&Made>) -> Result<Made, BakeError> {
        let record = &known.record;
        let mut making = Making {
            name: record.name.clone(),
            layers: below.map(|below| below.layers.clone()).unwrap_or_default(),
            epoch: record.epoch,
            // As much as it had when it was baked.
            max_bytes: u64::MAX,
            steps: Vec::new(),
            records: Vec::new(),
            secrets: Vec::new(),
            last: LastBake::of(&self.dir, &self.dir, &record.name),
            moved: None,
        };
        for step in &record.steps {
            let work = self.work(record, step, known.is_own)?;
            self.maker.step(&mut making, &work, &|_| Ok(false))?;
        }
        let made = self.put(&record.image, making.layers)?;
        let (parent, locked) = (below.map(|below| below.image), record.locked.as_ref());
        BakeRecord::new(&record.name, made.image, parent, record.epoch, locked, making.records)
            .save(self.scratch)?;
        Ok(made)
    }

    /// What a recorded step does.
    fn work<'r>(
        &mut self,
        record: &'r BakeRecord,
        step: &StepRecord,
        is_own: bool,
    ) -> Result<Work<'r>, BakeError> {
        let lost = |what: &str| self.refused(&record.image, format!("{}: {what}", step.title));
        match &step.action {
            None => Err(lost("its record is of a version that does not say what it did")),
            Some(Action::Packages { suite, mirror, keyring }) => {
                let locked = record.locked.as_ref();
                let locked = locked.ok_or_else(|| lost("its record names no packages"))?;
                let request = ArchiveRequest {
                    suite: suite.clone(),
                    mirror: mirror.clone(),
                    keyring: keyring.clone(),
                    // The lock entry of the record says where they are.
                    archives: Vec::new(),
                };
                Ok(Work::Packages { locked, request })
            }
            Some(Action::Copy(copy)) => {
                let (source, found) = copy.again(&self.objects);
                Ok(Work::Copy { source, found })
            }
            Some(Action::Run { command, env, network }) => {
                if *network {
                    self.networked.push((record.name.clone(), step.title.clone()));
                }
                Ok(Work::Run { command: command.clone(), env: env.clone(), network: *network })
            }
            Some(Action::Provision(provision)) => {
                if let Some(why) = provision.leaves_the_sandbox().filter(|_| !is_own) {
                    return Err(lost(&format!(
                        "{why}, and its record is not one that this home wrote"
                    )));
                }
                let place = self.dir.join("provision");
                let again = provision.again(&place, &self.environment).map_err(|why| lost(&why))?;
                if provision.network {
                    self.networked.push((record.name.clone(), step.title.clone()));
                }
                Ok(Work::Provision(again))
            }
        }
    }

    /// Makes the image that was moved, and moves it again onto what was made of its new base.
    fn move_again(
        &mut self,
        image: &Digest,
        moved: &Moved,
        base: &Made,
    ) -> Result<Made, BakeError> {
        let short = moved.image.short();
        let gone = |what: &str| self.refused(image, format!("image `{short}`, {what}"));
        if !self.store.has_image(&moved.image) {
            return Err(gone("which it was moved from, is no longer in the store"));
        }
        let layers = self.store.image(&moved.image).map_err(BakeError::store)?.layers;
        let from = self.image(&moved.image, &layers)?;
        let gone = |what: &str| self.refused(image, format!("image `{short}`, {what}"));
        let from = from.ok_or_else(|| gone("which it was moved from, has no layers"))?;
        let old_base = BakeRecord::of(self.scratch, &from.image)?.and_then(|record| record.parent);
        let old_base =
            old_base.ok_or_else(|| gone("which it was moved from, is made on no other image"))?;
        let rebaser = Rebaser::new(self.scratch, &old_base, &base.image)?;
        let again = rebaser.image(&from.image, RebaseOptions { force: moved.forced })?;
        let layers = self.scratch.image(&again.image).map_err(BakeError::store)?.layers;
        Ok(Made { image: again.image, layers })
    }
}

fn layer_differences(
    store: &Store,
    image: &Digest,
    recorded: &[Digest],
    made: &[Digest],
) -> Result<Vec<LayerDifference>, BakeError> {
    let mut sources: Vec<Option<LayerSource>> = Vec::with_capacity(recorded.len());
    for stage in lineage::of(store, image, recorded)?.into_iter().rev() {
        sources.extend(stage.sources());
    }
    let places = 0..recorded.len().max(made.len());
    let differing = places.filter(|place| recorded.get(*place) != made.get(*place));
    Ok(differing
        .map(|place| LayerDifference {
            source: sources.get(place).cloned().flatten(),
            recorded: recorded.get(place).copied(),
            made: made.get(place).copied(),
        })
        .collect())
}

fn file_differences(ownership: &ownership::Ownership, made: &Tree) -> Vec<FileDifference> {
    let differences = Tree::diff(ownership.tree(), made).into_iter().filter_map(|change| {
        let entry = change.old.or(change.new)?;
        let what = match change.kind {
            ChangeKind::Removed => vec![Differs::Missing],
            ChangeKind::Added => vec![Differs::Extra],
            ChangeKind::Changed(aspects) => {
                differs(&aspects, matches!(entry.kind, EntryKind::Symlink { .. }))
            }
        };
        let owner = ownership.owner_of(&entry.path).map(|owner| owner.source.clone());
        Some(FileDifference { path: entry.path.to_string(), what, owner })
    });
    differences.collect()
}

fn differs(aspects: &Aspects, is_symlink: bool) -> Vec<Differs> {
    let content = if is_symlink { Differs::Target } else { Differs::Content };
    [
        (aspects.kind, Differs::Kind),
        (aspects.content, content),
        (aspects.size, Differs::Size),
        (aspects.mode, Differs::Mode),
        (aspects.owner, Differs::Owner),
        (aspects.mtime, Differs::Time),
        (aspects.xattrs, Differs::Xattrs),
    ]
    .into_iter()
    .filter_map(|(differs, what)| differs.then_some(what))
    .collect()
}
