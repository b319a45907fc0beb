//! Stores what a step changed: cleaned, and with times that do not depend on when it ran.

use std::{
    fs,
    ops::RangeInclusive,
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use hornero_apt::files;
use hornero_dpkg::scripts;
use hornero_model::Digest;
use hornero_store::{
    CaptureOptions, ChangeKind, DevicePolicy, Entry, EntryKind, Ingest, Layer, LayerError,
    Metadata, Tree,
};

use crate::{
    BakeError,
    clean::{self, EntryFate},
    image::step::Step,
    progress::BakeEvent,
    provision::Scanned,
    surroundings::Surroundings,
};

impl Surroundings<'_> {
    /// Runs a step and stores what it changed; None where it changed nothing that stays.
    pub(crate) fn run_and_capture(
        &self,
        step: &Step<'_>,
        below: &Arc<Tree>,
        epoch: u64,
    ) -> Result<Option<Digest>, BakeError> {
        let (started, clock) = (now_seconds(), Instant::now());
        self.steps.run(step)?;
        self.progress.event(BakeEvent::Ran {
            image: step.image.clone(),
            what: step.title.clone(),
            milliseconds: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        let ingest = self.store.ingest().map_err(BakeError::store)?;
        let upper = step.dir.join("upper");
        let scanned = Scanned { image: step.image, title: &step.title };
        step.extras.secrets.keep_out_of(&upper, &scanned)?;
        settle_shadow(&upper.join("etc/shadow"), epoch)?;
        let options = CaptureOptions { max_mtime: u64::MAX, devices: DevicePolicy::Skip };
        let captured =
            ingest.capture_upper(&upper, Some(below), &options).map_err(BakeError::store)?;
        let fresh =
            started.saturating_sub(CLOCK_SLACK_SECONDS)..=now_seconds() + CLOCK_SLACK_SECONDS;
        let settled = settle(&ingest, captured, below, epoch, &fresh)?;
        if settled.entries().is_empty() {
            return Ok(None);
        }
        let digest = ingest.put_layer(&settled).map_err(BakeError::store)?;
        let _ = ingest.finish().map_err(BakeError::store)?;
        Ok(Some(digest))
    }
}

/// What has to lie on one tree so that another is seen, but for times of what is the same otherwise.
pub(super) fn difference(old: &Tree, new: &Tree) -> Result<Layer, LayerError> {
    let mut entries: Vec<Entry> = Vec::new();
    for change in Tree::diff(old, new) {
        // What is no directory any more has nothing below it.
        let hidden = entries.last().is_some_and(|last| {
            !last.kind.is_directory()
                && change.old.is_some_and(|entry| entry.path.is_below(&last.path))
        });
        match (change.kind, change.old, change.new) {
            (ChangeKind::Removed, Some(_), _) if hidden => {}
            (ChangeKind::Removed, Some(old), _) => {
                let (path, kind) = (old.path.clone(), EntryKind::Whiteout);
                entries.push(Entry { path, kind, metadata: Metadata::default() });
            }
            (ChangeKind::Changed(_), Some(old), Some(new)) if looks_like(old, new) => {}
            (_, _, Some(new)) => entries.push(new.clone()),
            (_, _, None) => unreachable!("a change has what it is about"),
        }
    }
    Layer::from_sorted(entries)
}

/// The file system's clock may lag behind the precise one by a tick.
const CLOCK_SLACK_SECONDS: u64 = 2;

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What of a captured layer stays: cleaned, without what only looks changed, and with times that do not depend on when
/// it was made. Other times than those of the step were set on purpose and stay, also where the clock is wrong.
fn settle(
    ingest: &Ingest<'_>,
    captured: Layer,
    below: &Tree,
    epoch: u64,
    fresh: &RangeInclusive<u64>,
) -> Result<Layer, BakeError> {
    let [no_services, in_chroot] = scripts::ANSWERS;
    let answers = [no_services, in_chroot, scripts::RESOLVERS];
    let mut kept = Vec::new();
    for mut entry in captured.into_entries() {
        let answer = answers.iter().find(|(path, _)| entry.path.as_bytes() == path.as_bytes());
        if let (Some((_, text)), EntryKind::File { digest, .. }) = (answer, &entry.kind)
            && *digest == Digest::of(text.as_bytes())
        {
            continue;
        }
        if clean::is_package_log(&entry.path) {
            continue;
        }
        match clean::judge(&entry) {
            EntryFate::Keep => {}
            EntryFate::Drop => continue,
            EntryFate::Empty => {
                entry.kind = ingest.put_bytes(b"").map_err(BakeError::store)?.into();
            }
        }
        if below.get(&entry.path).is_some_and(|there| looks_like(there, &entry)) {
            continue;
        }
        if entry.kind == EntryKind::Whiteout {
            // Nothing to remove: it was made and removed within the step.
            if below.get(&entry.path).is_none() {
                continue;
            }
        } else if fresh.contains(&entry.metadata.mtime) || entry.metadata.mtime > epoch {
            entry.metadata.mtime = epoch;
        }
        kept.push(entry);
    }
    Layer::from_sorted(kept).map_err(|source| {
        BakeError::store(hornero_store::StoreError::Layer { name: "a step".to_owned(), source })
    })
}

/// Sets the days of password changes, which accounts made by packages get from the clock.
fn settle_shadow(path: &Path, epoch: u64) -> Result<(), BakeError> {
    /// A hundred bytes for each of the accounts an image can have.
    const SHADOW_BYTES: u64 = 8 << 20;
    let text = match files::read_text(path, SHADOW_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BakeError::file(path, error)),
    };
    let settled = clean::with_shadow_day(&text, epoch / 86_400);
    // A copy of the metadata alone has no text of its own.
    if settled == text || text.contains('\0') {
        return Ok(());
    }
    fs::write(path, settled).map_err(|error| BakeError::file(path, error))
}

/// Whether an entry differs from what lies below in its time at most.
fn looks_like(there: &Entry, entry: &Entry) -> bool {
    let (a, b) = (&there.metadata, &entry.metadata);
    there.kind == entry.kind
        && (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid)
        && a.xattrs == b.xattrs
}
