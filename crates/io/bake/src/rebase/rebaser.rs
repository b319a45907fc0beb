//! Moves many images from one version of a base to another: the bases are read and compared once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use hornero_model::Digest;
use hornero_rebase::{App, FACTS_KIND, LayerFacts, OwnLayer, Pair, RebaseRefusal, StaleFacts};
use hornero_store::{ImageManifest, Store, StoreLease};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    load,
    plan::{self, Made, Plan},
    seed,
};
use crate::{
    RebaseError, facts, kept,
    record::{BakeRecord, KnownRecord},
};

/// Own layers kept in memory; images share those of packages. Beyond it all are read anew.
const LAYERS_KEPT: usize = 16_384;
/// Images whose writes are synced together.
const BATCH: usize = 1024;

/// How an image is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RebaseOptions {
    /// Also where the proof refuses; the reasons are recorded beside the image.
    pub force: bool,
}

/// An image on its new base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Rebased {
    /// The image as it was.
    pub from: Digest,
    /// The image on the new base.
    pub image: Digest,
    /// The base it was on.
    pub old_base: Digest,
    /// The base it is on now.
    pub new_base: Digest,
    /// Why it would have been refused, now or in an earlier move; empty unless it was forced.
    pub refusals: Vec<RebaseRefusal>,
    /// Whether it was moved although the proof refused, or comes from an image that was.
    pub forced: bool,
}

/// Moves images from one version of a base to another.
pub struct Rebaser<'s> {
    store: &'s Store,
    old_base: Digest,
    new_base: Digest,
    old_layers: Vec<Digest>,
    new_layers: Vec<Digest>,
    pair: Pair,
    layers: Mutex<HashMap<Digest, Arc<OwnLayer>>>,
    _lease: StoreLease,
}

impl<'s> Rebaser<'s> {
    /// Reads and compares both bases, by their facts alone where those were recorded.
    pub fn new(
        store: &'s Store,
        old_base: &Digest,
        new_base: &Digest,
    ) -> Result<Self, RebaseError> {
        let layers = store.image(old_base)?.layers;
        Self::on_layers(store, (old_base, &layers), new_base)
    }

    /// As [`Rebaser::new`] for an old base of these layers that is perhaps no longer there itself.
    pub fn on_layers(
        store: &'s Store,
        (old_base, old_layers): (&Digest, &[Digest]),
        new_base: &Digest,
    ) -> Result<Self, RebaseError> {
        let lease = store.lease()?;
        let new_layers = store.image(new_base)?.layers;
        let pair = Pair::new(load::base(store, old_layers)?, load::base(store, &new_layers)?);
        Ok(Self {
            store,
            old_base: *old_base,
            new_base: *new_base,
            old_layers: old_layers.to_vec(),
            new_layers,
            pair,
            layers: Mutex::default(),
            _lease: lease,
        })
    }

    /// Moves one image whose direct parent is the old base.
    pub fn image(&self, app: &Digest, options: RebaseOptions) -> Result<Rebased, RebaseError> {
        let mut moved = self.images(std::slice::from_ref(app), options)?;
        moved.pop().expect("one image was asked for")
    }

    /// Moves images whose direct parent is the old base, all of them on disk when this returns; each has its own
    /// outcome.
    pub fn images(
        &self,
        apps: &[Digest],
        options: RebaseOptions,
    ) -> Result<Vec<Result<Rebased, RebaseError>>, RebaseError> {
        if self.old_base == self.new_base {
            return Ok(apps.iter().map(|app| Ok(self.unmoved(app))).collect());
        }
        let mut moved = Vec::with_capacity(apps.len());
        for batch in apps.chunks(BATCH) {
            moved.extend(self.batch(batch, options)?);
        }
        Ok(moved)
    }

    fn unmoved(&self, app: &Digest) -> Rebased {
        Rebased {
            from: *app,
            image: *app,
            old_base: self.old_base,
            new_base: self.new_base,
            refusals: Vec::new(),
            forced: false,
        }
    }

    fn batch(
        &self,
        apps: &[Digest],
        options: RebaseOptions,
    ) -> Result<Vec<Result<Rebased, RebaseError>>, RebaseError> {
        let ingest = self.store.ingest()?;
        let made = in_parallel(apps, |app| {
            let plan = self.plan(app)?;
            let refusals = plan.refusals.clone();
            if !refusals.is_empty() && !options.force {
                let (image, base) = (*app, self.new_base);
                return Err(RebaseError::Refused { image, base, refusals });
            }
            let forced = !refusals.is_empty();
            plan.make(self.store, &ingest, (&self.new_base, &self.new_layers), forced)
        });
        let _ = ingest.finish()?;
        let good = || made.iter().filter_map(|made| made.as_ref().ok());
        let manifests: Vec<ImageManifest> = good().map(|made| made.manifest.clone()).collect();
        let _ = self.store.put_images(&manifests)?;
        self.attach(&good().collect::<Vec<_>>())?;
        let rebased = made.into_iter().zip(apps).map(|(made, app)| {
            let Made { record, vouched, .. } = made?;
            seed::remember(self.store, &record.steps, vouched)?;
            let moved = record.moved.expect("a plan says how it was moved");
            Ok(Rebased {
                from: *app,
                image: record.image,
                old_base: self.old_base,
                new_base: self.new_base,
                refusals: moved.refusals,
                forced: moved.forced,
            })
        });
        Ok(rebased.collect())
    }

    /// Attaches records to images and facts to layers, synced together.
    fn attach(&self, made: &[&Made]) -> Result<(), RebaseError> {
        if made.is_empty() {
            return Ok(());
        }
        kept::keep_for_children(self.store, &self.new_base)?;
        let facts: HashMap<Digest, &LayerFacts> = made
            .iter()
            .flat_map(|made| &made.facts)
            .map(|(layer, facts)| (*layer, facts))
            .collect();
        let facts = facts.into_iter().map(|(layer, facts)| (layer, FACTS_KIND, facts.encode()));
        let mut records = Vec::with_capacity(made.len());
        for made in made {
            let known = BakeRecord::known(self.store, &made.record.image)?;
            // A record from elsewhere takes nothing away from one of this home, and stands before none.
            let stays = |known: KnownRecord| {
                known.is_own && (!made.is_own || is_nearer(&known.record, &made.record))
            };
            if !known.is_some_and(stays) {
                let (image, bytes) = (made.record.image, made.record.encode());
                // Noted before it is there: no other bytes are meant by it.
                if made.is_own {
                    BakeRecord::note_own(self.store, &image, &bytes)?;
                }
                records.push((image, BakeRecord::ATTACHMENT, bytes));
            }
        }
        let all: Vec<(Digest, &str, Vec<u8>)> = facts.chain(records).collect();
        let all: Vec<(Digest, &str, &[u8])> =
            all.iter().map(|(subject, kind, bytes)| (*subject, *kind, bytes.as_slice())).collect();
        Ok(self.store.attach_all(&all)?)
    }

    fn plan(&self, app: &Digest) -> Result<Plan, RebaseError> {
        let manifest = self.store.image(app)?;
        let known = BakeRecord::known(self.store, app)?.ok_or(RebaseError::NoRecord(*app))?;
        let KnownRecord { record, is_own, .. } = known;
        let own = manifest.layers.strip_prefix(self.old_layers.as_slice());
        let own = own.ok_or(RebaseError::OtherLayers { image: *app, base: self.old_base })?;
        let steps: usize = record.steps.iter().map(|step| step.layers.len()).sum();
        if steps != own.len() {
            return Err(RebaseError::OtherLayers { image: *app, base: self.old_base });
        }
        let mut layers = Vec::with_capacity(own.len());
        for (number, digest) in own.iter().enumerate() {
            layers.push(self.layer(digest, &own[..number])?);
        }
        let mut stale = 0;
        let outcome = loop {
            match self.pair.prove(&App { layers: &layers, config: &manifest.config }) {
                Ok(outcome) => break outcome,
                // Each is made anew once at most.
                Err(StaleFacts(digest)) if stale < own.len() => {
                    stale += 1;
                    let Some(number) = own.iter().position(|one| *one == digest) else {
                        return Err(StaleFacts(digest).into());
                    };
                    let below = [self.old_layers.as_slice(), &own[..number]].concat();
                    facts::make(self.store, &digest, &below)?;
                    let layer = load::layer(self.store, &digest, &below)?;
                    layers[number] = Arc::new(self.pair.layer(layer));
                }
                Err(error) => return Err(error.into()),
            }
        };
        let mut refusals = outcome.refusals;
        plan::name_sources(&mut refusals, &record);
        let statuses = outcome.statuses;
        let vouched = seed::vouched(self.store, &record, &self.old_layers, own)?;
        let from = *app;
        Ok(Plan { from, record, is_own, own: layers, statuses, refusals, vouched, manifest })
    }

    /// A layer of an image, read once for all images that have it.
    fn layer(&self, digest: &Digest, own: &[Digest]) -> Result<Arc<OwnLayer>, RebaseError> {
        let known = || self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = known().get(digest) {
            return Ok(layer.clone());
        }
        let layer = match facts::recorded(self.store, digest)? {
            Some(_) => load::layer(self.store, digest, &[])?,
            None => load::layer(self.store, digest, &[self.old_layers.as_slice(), own].concat())?,
        };
        let layer = Arc::new(self.pair.layer(layer));
        let mut layers = known();
        if layers.len() >= LAYERS_KEPT {
            layers.clear();
        }
        layers.insert(*digest, layer.clone());
        Ok(layer)
    }
}

/// Whether a record of the very same image tells of less between it and its bake: a move never takes that away.
fn is_nearer(known: &BakeRecord, record: &BakeRecord) -> bool {
    let steps = |record: &BakeRecord| -> Vec<_> {
        record.steps.iter().map(|step| (step.kind, step.own, step.layers.clone())).collect()
    };
    let distance = |record: &BakeRecord| record.moved.as_ref().map(|moved| moved.forced);
    known.parent == record.parent
        && distance(known) < distance(record)
        && steps(known) == steps(record)
}

/// Does something with each item on all cores, in no order; outcomes are in the items' order.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { return };
            let outcome = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((number, outcome));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(worker);
        }
        worker();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}
