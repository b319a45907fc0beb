//! `image gc` and `why-kept`: what keeps an image, and what goes because nothing does.

use std::{collections::BTreeMap, path::Path, time::Duration};

use hornero_bake::{BakeError, BakeRecord};
use hornero_control::{Hold, KeepOverride, LogLimits, retained_images, trim_logs};
use hornero_model::Digest;
use hornero_store::{
    CollectOptions, CollectProgress, CollectReport, DeletedImage, KeptImage, Protection, Reason,
    Root, Store, StoreError, Unneeded,
};

use crate::{
    command::{named, names, stores},
    failure::{Failure, exit},
    output::{Table, Tone, print_json, print_text, size},
    reports::{
        CeilingOutcome, CollectedImage, CollectionReport, Firmness, KeepReason, KeptImageReport,
        MissingImage, WhyCollected, WhyKeptReport,
    },
};

/// The rules of one collection, as the command line gives them.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// In place of each service's `keep_releases`.
    pub releases: Option<u32>,
    /// In place of each service's `keep_days`.
    pub days: Option<u32>,
    /// What the kept images may take together, in bytes.
    pub ceiling: Option<u64>,
    /// How long to wait for bakes and rollouts to end.
    pub patience: Duration,
    /// What logs of servers that are gone may take.
    pub logs: LogLimits,
}

impl Rules {
    /// What stands in for the keep-rules of every service.
    fn keep(self) -> KeepOverride {
        KeepOverride { releases: self.releases, days: self.days }
    }
}

/// Every reason that the ledger and the chains of images know to keep one.
pub fn roots(
    home: &Path,
    store: &Store,
    keep: KeepOverride,
    forget: bool,
) -> Result<Vec<Root>, Box<dyn std::error::Error + Send + Sync>> {
    let kept = retained_images(home, keep)?;
    let mut roots: Vec<Root> = kept
        .releases
        .into_iter()
        // A rollback's target that an earlier collection took is no damage.
        .filter(|kept| kept.hold != Hold::Wanted || store.has_image(&kept.image))
        .map(|kept| Root {
            image: kept.image,
            reason: format!("{}: {}", kept.release, kept.reason),
            protection: match kept.hold {
                Hold::Needed | Hold::Wanted => Protection::Always,
                Hold::Rule { created } => Protection::ByRule { recency: created.0 },
            },
        })
        .collect();
    let of_runs = kept.runs.into_iter();
    roots.extend(of_runs.map(|(image, reason)| Root {
        image,
        reason,
        protection: Protection::Always,
    }));
    let known = names::all(home)?;
    if let Some(file) = known.damaged.first() {
        let text = format!(
            "`{}` holds no name any more, and nobody knows what it kept; `hornero build` in its directory writes it \
             anew, or remove it",
            file.display()
        );
        return Err(text.into());
    }
    // A name whose image went with its store is no damage: a bake makes it anew.
    let (live, dead): (Vec<_>, Vec<_>) = known.names.into_iter().partition(names::Named::is_live);
    if forget {
        // A directory that declares nothing any more keeps nothing either.
        dead.iter().try_for_each(names::Named::forget)?;
    }
    let named = live.into_iter().filter(|one| store.has_image(&one.image));
    roots.extend(named.map(|named| Root {
        image: named.image,
        reason: format!("the name `{}` of {}", named.name, named.directory.display()),
        protection: Protection::Always,
    }));
    let mut pending: Vec<(Digest, Protection)> =
        roots.iter().map(|root| (root.image, root.protection)).collect();
    // Pins are references, too.
    let named = store.refs()?.into_iter().map(|(_, digest)| digest);
    pending.extend(named.map(|digest| (digest, Protection::Always)));
    roots.extend(made_on(store, pending)?);
    Ok(roots)
}

/// What images were made on is what they can be moved away from: its layers are kept anyway.
fn made_on(
    store: &Store,
    mut pending: Vec<(Digest, Protection)>,
) -> Result<Vec<Root>, Box<dyn std::error::Error + Send + Sync>> {
    let mut made_on = Vec::new();
    let mut seen: BTreeMap<Digest, Protection> = BTreeMap::new();
    while let Some((image, protection)) = pending.pop() {
        if seen.get(&image).is_some_and(|before| *before >= protection) {
            continue;
        }
        seen.insert(image, protection);
        let record = match BakeRecord::of(store, &image) {
            // Its layers, those of the parent among them, are kept by the image itself; `fsck` names the damage.
            Err(BakeError::Store(error))
                if matches!(*error, StoreError::DamagedAttachment { .. }) =>
            {
                None
            }
            record => record?,
        };
        if let Some(parent) =
            record.and_then(|record| record.parent).filter(|one| store.has_image(one))
        {
            let reason = format!("image {} is made on it", image.short());
            made_on.push(Root { image: parent, reason, protection });
            pending.push((parent, protection));
        }
    }
    Ok(made_on)
}

/// `hornero image gc`.
pub fn collect(home: &Path, json_wanted: bool, dry_run: bool, rules: Rules) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    let known = known_names(home, &store)?;
    let options = CollectOptions {
        dry_run,
        ceiling_bytes: rules.ceiling,
        patience: Some(rules.patience),
        ..CollectOptions::default()
    };
    let report = store
        .collect(&options, || roots(home, &store, rules.keep(), !dry_run), &show)
        .map_err(busy)?;
    if !dry_run {
        // What killed bakes left is nothing that the store knows of.
        hornero_bake::clean(home)?;
    }
    let logs = if dry_run { None } else { Some(trim_logs(home, &rules.logs)?) };
    let freed_log_bytes = logs.as_ref().map_or(0, |logs| logs.bytes);
    let data = collection(&report, &known, dry_run, freed_log_bytes);
    let failure = shortcoming(&report);
    if !json_wanted {
        tell(&report, &known, dry_run)?;
        if let Some(logs) = logs.filter(|logs| logs.bytes > 0) {
            print_text(&format!(
                "{} of logs of {} servers that are gone freed\n",
                size(logs.bytes),
                logs.instances
            ))?;
        }
    }
    match (failure, json_wanted) {
        (Some(failure), _) => Err(failure.with_data(data)),
        (None, true) => print_json(&data),
        (None, false) => Ok(()),
    }
}

fn show(progress: CollectProgress) {
    match progress {
        CollectProgress::Waiting { waited } => {
            // Told about once a second: a log need not have them all.
            if waited.as_secs() % 10 == 0 {
                tell!("waiting  something is at work on the store, {} s by now", waited.as_secs());
            }
        }
        CollectProgress::Marking { images } => tell!("looking  at {images} images"),
        CollectProgress::Deleting { .. } => {}
    }
}

/// Why a run that went through did not do all that was asked.
fn shortcoming(report: &CollectReport) -> Option<Failure> {
    if let Some(ceiling) = report.ceiling.as_ref().filter(|ceiling| !ceiling.met) {
        let text = format!(
            "what must be kept takes {} alone, more than the ceiling of {}",
            size(ceiling.always_bytes),
            size(ceiling.limit_bytes)
        );
        let hint = "`hornero image du` says which images are large";
        return Some(Failure::new(exit::FAILED, text).hint(hint));
    }
    let damaged = report.damaged.len();
    let text =
        format!("{damaged} damaged images or layers: nothing that they may need was deleted");
    let hint = "`hornero image fsck` names and heals them";
    (damaged > 0).then(|| Failure::new(exit::FAILED, text).hint(hint))
}

/// What went, or would go, for people.
fn tell(
    report: &CollectReport,
    known: &BTreeMap<Digest, Vec<String>>,
    dry_run: bool,
) -> Result<(), Failure> {
    let mut table = Table::with_head(&["IMAGE", "NAMES", "WHY IT GOES"]);
    for image in &report.deleted_images {
        let why = match &image.why {
            Unneeded::NothingKeepsIt => "nothing keeps it".to_owned(),
            Unneeded::Ceiling { reasons } => {
                format!("over the ceiling; kept only by {}", reasons.join(", "))
            }
        };
        table.row(vec![
            (image.digest.short(), Tone::Plain),
            (names::listed(known, &image.digest).join(" "), Tone::Plain),
            (why, Tone::Plain),
        ]);
    }
    if !report.deleted_images.is_empty() {
        table.print()?;
    }
    let total = report.deleted.total();
    let word = if dry_run { "would be freed" } else { "freed" };
    print_text(&format!(
        "{} images go, {} stay; {} in {} files {word}\n",
        report.deleted_images.len(),
        report.kept_images.len(),
        size(total.bytes),
        total.files
    ))
}

fn busy(error: StoreError) -> Failure {
    let busy = matches!(error, StoreError::Busy(_));
    let failure = Failure::from(error);
    if busy {
        failure.further_hint("a longer `--wait`, such as `1h`, waits longer")
    } else {
        failure
    }
}

/// What went, or would go, for scripts.
fn collection<'a>(
    report: &'a CollectReport,
    known: &'a BTreeMap<Digest, Vec<String>>,
    dry_run: bool,
    freed_log_bytes: u64,
) -> CollectionReport<'a> {
    let deleted = |image: &'a DeletedImage| {
        let (why, reasons): (_, &[String]) = match &image.why {
            Unneeded::NothingKeepsIt => (WhyCollected::Unneeded, &[]),
            Unneeded::Ceiling { reasons } => (WhyCollected::Ceiling, reasons),
        };
        let (digest, names) = (image.digest, names::listed(known, &image.digest));
        CollectedImage { digest, names, why, reasons }
    };
    let kept = |image: &'a KeptImage| KeptImageReport {
        digest: image.digest,
        names: names::listed(known, &image.digest),
        reasons: image.reasons.iter().map(|one| one.text.as_str()).collect(),
    };
    let missing = |root: &'a Root| MissingImage { digest: root.image, reason: &root.reason };
    let total = report.deleted.total();
    CollectionReport {
        dry_run,
        deleted: report.deleted_images.iter().map(deleted).collect(),
        kept: report.kept_images.iter().map(kept).collect(),
        freed_bytes: total.bytes,
        deleted_files: total.files,
        deleted_objects: report.deleted.objects.files,
        kept_bytes: report.kept_objects.bytes,
        missing: report.missing.iter().map(missing).collect(),
        damaged: &report.damaged,
        ceiling: report.ceiling.map(|ceiling| CeilingOutcome {
            limit_bytes: ceiling.limit_bytes,
            always_bytes: ceiling.always_bytes,
            met: ceiling.met,
        }),
        freed_log_bytes,
    }
}

/// `hornero image why-kept`.
pub fn why_kept(home: &Path, json_wanted: bool, image: &str) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    let digest = named::image(home, &store, image)?;
    let roots = roots(home, &store, KeepOverride::default(), false)
        .map_err(|error| Failure::of(&*error))?;
    let reasons = store.why_kept(&digest, roots)?;
    if json_wanted {
        let told = reasons.iter().map(|one| KeepReason { reason: &one.text, kept: firmness(one) });
        return print_json(&WhyKeptReport {
            image: digest,
            kept: !reasons.is_empty(),
            reasons: told.collect(),
        });
    }
    if reasons.is_empty() {
        return print_text(&format!(
            "nothing keeps {}: the next `hornero image gc` takes it\n",
            digest.short()
        ));
    }
    let mut table = Table::with_head(&["KEPT", "WHY"]);
    for reason in reasons {
        table.row(vec![
            (firmness(&reason).word().to_owned(), Tone::Quiet),
            (reason.text, Tone::Plain),
        ]);
    }
    table.print()
}

const fn firmness(reason: &Reason) -> Firmness {
    match reason.protection {
        Protection::Always => Firmness::Always,
        Protection::ByRule { .. } => Firmness::Rule,
    }
}

/// The names of images, by digest; one that no name leads to any more is known by the one it was baked under.
fn known_names(home: &Path, store: &Store) -> Result<BTreeMap<Digest, Vec<String>>, Failure> {
    let mut known = names::by_image(home, store)?;
    for image in store.images()? {
        if known.contains_key(&image) {
            continue;
        }
        if let Ok(Some(record)) = BakeRecord::of(store, &image) {
            known.entry(image).or_default().push(record.name.to_string());
        }
    }
    Ok(known)
}
