//! `image gc, du, why-kept, pin, unpin, fsck`: what the store holds, why, and for how long.

use std::{collections::BTreeMap, path::Path, time::Duration};

use hornero_bake::BakeRecord;
use hornero_control::{Hold, retained_images};
use hornero_model::{Digest, Keep};
use hornero_store::{
    CollectOptions, CollectProgress, CollectReport, Healing, Protection, Root, Store, StoreError,
    Unneeded,
};
use serde_json::{Value, json};

use crate::{
    command::{bake, named},
    failure::{Failure, exit},
    output::{Table, Tone, print_json, print_text},
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
}

impl Rules {
    /// The keep-rules for every service; None where each has its own.
    fn keep(self) -> Option<Keep> {
        if self.releases.is_none() && self.days.is_none() {
            return None;
        }
        let usual = Keep::default();
        Some(Keep {
            releases: self.releases.unwrap_or(usual.releases),
            days: self.days.unwrap_or(usual.days),
        })
    }
}

/// Every reason that the ledger and the chains of images know to keep one.
fn roots(
    home: &Path,
    store: &Store,
    keep: Option<Keep>,
) -> Result<Vec<Root>, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots: Vec<Root> = retained_images(home, keep)?
        .into_iter()
        .map(|kept| Root {
            image: kept.image,
            reason: format!("{}: {}", kept.release, kept.reason),
            protection: match kept.hold {
                Hold::Needed => Protection::Always,
                Hold::Rule { created } => Protection::ByRule { recency: created.0 },
            },
        })
        .collect();
    let mut pending: Vec<(Digest, Protection)> =
        roots.iter().map(|root| (root.image, root.protection)).collect();
    // Pins are references, too.
    let named = store.refs()?.into_iter().map(|(_, digest)| digest);
    pending.extend(named.map(|digest| (digest, Protection::Always)));
    // What an image was made on is what it can be moved away from: its layers are kept anyway.
    let mut seen: BTreeMap<Digest, Protection> = BTreeMap::new();
    while let Some((image, protection)) = pending.pop() {
        if seen.get(&image).is_some_and(|before| *before >= protection) {
            continue;
        }
        seen.insert(image, protection);
        let record = BakeRecord::of(store, &image)?;
        if let Some(parent) =
            record.and_then(|record| record.parent).filter(|one| store.has_image(one))
        {
            let reason = format!("image {} is made on it", image.short());
            roots.push(Root { image: parent, reason, protection });
            pending.push((parent, protection));
        }
    }
    Ok(roots)
}

/// `hornero image gc`.
pub fn collect(home: &Path, json_wanted: bool, dry_run: bool, rules: Rules) -> Result<(), Failure> {
    let store = bake::store(home)?;
    let names = names(&store)?;
    let options = CollectOptions {
        dry_run,
        ceiling_bytes: rules.ceiling,
        patience: Some(rules.patience),
        ..CollectOptions::default()
    };
    let tell = |progress: CollectProgress| match progress {
        CollectProgress::Waiting { waited } => {
            eprintln!("waiting  a bake or a rollout is at work, {} s by now", waited.as_secs());
        }
        CollectProgress::Marking { images } => eprintln!("looking  at {images} images"),
        CollectProgress::Deleting { .. } => {}
    };
    let report =
        store.collect(&options, || roots(home, &store, rules.keep()), &tell).map_err(busy)?;
    let data = json(&report, &names, dry_run);
    let unmet = report.ceiling.filter(|ceiling| !ceiling.met);
    let failure = if let Some(ceiling) = unmet {
        let text = format!(
            "what must be kept takes {} alone, more than the ceiling of {}",
            size(ceiling.always_bytes),
            size(ceiling.limit_bytes)
        );
        Some(
            Failure::new(exit::FAILED, text).hint("`hornero image du` says which images are large"),
        )
    } else if !report.damaged.is_empty() {
        let text = format!(
            "{} damaged images or layers: nothing that they may need was deleted",
            report.damaged.len()
        );
        Some(Failure::new(exit::FAILED, text).hint("`hornero image fsck` names and heals them"))
    } else {
        None
    };
    if let Some(failure) = failure {
        return Err(failure.with_data(data));
    }
    if json_wanted {
        return print_json(&data);
    }
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
            (names_of(&names, &image.digest).join(" "), Tone::Plain),
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
    if busy { failure.further_hint("`--wait 10m` waits longer") } else { failure }
}

fn json(report: &CollectReport, names: &BTreeMap<Digest, Vec<String>>, dry_run: bool) -> Value {
    let deleted: Vec<Value> = report
        .deleted_images
        .iter()
        .map(|image| {
            let (why, reasons) = match &image.why {
                Unneeded::NothingKeepsIt => ("unneeded", Vec::new()),
                Unneeded::Ceiling { reasons } => ("ceiling", reasons.clone()),
            };
            json!({ "digest": image.digest, "names": names_of(names, &image.digest), "why": why, "reasons": reasons })
        })
        .collect();
    let kept: Vec<Value> = report
        .kept_images
        .iter()
        .map(|image| {
            let reasons: Vec<&str> = image.reasons.iter().map(|one| one.text.as_str()).collect();
            json!({ "digest": image.digest, "names": names_of(names, &image.digest), "reasons": reasons })
        })
        .collect();
    let total = report.deleted.total();
    let mut value = json!({
        "dry_run": dry_run, "deleted": deleted, "kept": kept, "freed_bytes": total.bytes,
        "deleted_files": total.files, "deleted_objects": report.deleted.objects.files,
        "kept_bytes": report.kept_objects.bytes,
        "missing": report.missing.iter().map(|root| json!({ "digest": root.image, "reason": root.reason })).collect::<Vec<_>>(),
        "damaged": report.damaged,
    });
    if let Some(ceiling) = report.ceiling {
        value["ceiling"] = json!({
            "limit_bytes": ceiling.limit_bytes, "always_bytes": ceiling.always_bytes, "met": ceiling.met,
        });
    }
    value
}

/// `hornero image du`.
pub fn disk_use(home: &Path, json_wanted: bool) -> Result<(), Failure> {
    let used = bake::store(home)?.disk_use()?;
    if json_wanted {
        let images: Vec<Value> = used
            .images
            .iter()
            .map(|image| {
                json!({
                    "digest": image.digest, "names": plain(&image.refs), "pinned": image.pinned,
                    "total_bytes": image.total.bytes, "shared_bytes": image.shared.bytes,
                    "unique_bytes": image.unique.bytes, "files": image.total.files,
                })
            })
            .collect();
        return print_json(&json!({
            "images": images, "objects": used.total.files, "total_bytes": used.total.bytes,
            "shared_bytes": used.shared.bytes, "unique_bytes": used.total.bytes - used.shared.bytes,
            "separate_bytes": used.separate_bytes, "saved_bytes": used.saved_bytes(),
            "unused_bytes": used.unused.bytes, "layer_bytes": used.layers.bytes,
            "metadata_bytes": used.metadata.bytes, "attachment_bytes": used.attachments.bytes,
            "cache_bytes": used.cache.bytes, "disk_bytes": used.disk_bytes(), "damaged": used.damaged,
        }));
    }
    let mut table = Table::with_head(&["IMAGE", "NAMES", "TOTAL", "SHARED", "UNIQUE", ""]);
    for image in &used.images {
        table.row(vec![
            (image.digest.short(), Tone::Plain),
            (plain(&image.refs).join(" "), Tone::Plain),
            (size(image.total.bytes), Tone::Plain),
            (size(image.shared.bytes), Tone::Quiet),
            (size(image.unique.bytes), Tone::Plain),
            (if image.pinned { "pinned" } else { "" }.to_owned(), Tone::Passing),
        ]);
    }
    table.print()?;
    print_text(&format!(
        "\n{} in {} contents, {} saved by sharing; {} on disk with all that is kept beside them\n",
        size(used.total.bytes),
        used.total.files,
        size(used.saved_bytes()),
        size(used.disk_bytes())
    ))?;
    if used.unused.bytes > 0 {
        let free = size(used.unused.bytes);
        print_text(&format!("{free} belong to no image; `hornero image gc` frees them\n"))?;
    }
    if !used.damaged.is_empty() {
        let count = used.damaged.len();
        print_text(&format!("{count} images or layers can't be read: `hornero image fsck`\n"))?;
    }
    Ok(())
}

/// `hornero image why-kept`.
pub fn why_kept(home: &Path, json_wanted: bool, image: &str) -> Result<(), Failure> {
    let store = bake::store(home)?;
    let digest = named::image(home, &store, image)?;
    let roots = roots(home, &store, None).map_err(|error| Failure::of(&*error))?;
    let reasons = store.why_kept(&digest, roots)?;
    let firmness = |protection| match protection {
        Protection::Always => "always",
        Protection::ByRule { .. } => "rule",
    };
    if json_wanted {
        let reasons: Vec<Value> = reasons
            .iter()
            .map(|one| json!({ "reason": one.text, "kept": firmness(one.protection) }))
            .collect();
        return print_json(
            &json!({ "image": digest, "kept": !reasons.is_empty(), "reasons": reasons }),
        );
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
            (firmness(reason.protection).to_owned(), Tone::Quiet),
            (reason.text, Tone::Plain),
        ]);
    }
    table.print()
}

/// `hornero image pin` and `unpin`.
pub fn pin(home: &Path, json_wanted: bool, image: &str, pinned: bool) -> Result<(), Failure> {
    let store = bake::store(home)?;
    let digest = named::image(home, &store, image)?;
    let changed = if pinned { store.pin(&digest)? } else { store.unpin(&digest)? };
    if json_wanted {
        return print_json(&json!({ "image": digest, "pinned": pinned, "changed": changed }));
    }
    let text = match (pinned, changed) {
        (true, true) => "is pinned: no collection takes it",
        (true, false) => "was pinned already",
        (false, true) => "is no longer pinned",
        (false, false) => "was not pinned",
    };
    print_text(&format!("{} {text}\n", digest.short()))
}

/// `hornero image untag`: takes a name away, so that nothing but rules keeps what it led to.
pub fn untag(home: &Path, json_wanted: bool, name: &str) -> Result<(), Failure> {
    let store = bake::store(home)?;
    let missing = || {
        Failure::new(exit::NO_SUCH_OBJECT, format!("no image has the name `{name}`"))
            .hint("`hornero image ls` lists names")
    };
    let name: hornero_model::ImageName = name.parse().map_err(|_| missing())?;
    let mut was = None;
    for key in [format!("image/{name}"), format!("rebased/{name}")] {
        let digest = store.get_ref(&key)?;
        if digest.is_some() {
            store.remove_ref(&key)?;
            was = was.or(digest);
        }
    }
    let was = was.ok_or_else(missing)?;
    if json_wanted {
        return print_json(&json!({ "name": name, "image": was }));
    }
    print_text(&format!(
        "{name} led to {was}; it goes with the next `hornero image gc` if nothing else keeps it\n"
    ))
}

/// `hornero image fsck`: finds damage and mends what can be mended from the package cache.
pub fn fsck(
    home: &Path,
    json_wanted: bool,
    from: Option<&str>,
    plain_http: bool,
) -> Result<(), Failure> {
    let store = bake::store(home)?;
    let mut packages = hornero_bake::PackageCacheSource::new(home, &store);
    let registry = from.map(|from| super::transport::heal_source(from, plain_http));
    let mut registry = registry.transpose()?;
    let mut sources: Vec<&mut dyn hornero_store::HealSource> = vec![&mut packages];
    if let Some(registry) = &mut registry {
        sources.push(registry);
    }
    let found = store.heal_all(&mut sources)?;
    let told: Vec<(Value, bool, String)> = found
        .iter()
        .map(|(finding, healing)| {
            let (word, detail) = match healing {
                Healing::Mended => ("mended", String::new()),
                Healing::NoSource => ("damaged", "no source has it".to_owned()),
                Healing::Failed(why) => ("damaged", why.join("; ")),
                Healing::Unused => ("unused", "`hornero image gc` deletes it".to_owned()),
            };
            let uses: Vec<Value> = finding
                .uses
                .iter()
                .map(|(image, path)| json!({ "image": image, "path": path }))
                .collect();
            let value = json!({
                "kind": finding.kind, "digest": finding.digest, "damage": finding.damage.to_string(),
                "uses": uses, "result": word, "detail": detail,
            });
            let place = finding.uses.first().and_then(|(_, path)| path.clone()).unwrap_or_default();
            let text = format!(
                "{} {} {place}: {}; {word}{}{detail}",
                finding.kind,
                finding.digest.short(),
                finding.damage,
                if detail.is_empty() { "" } else { ": " }
            );
            (value, word == "damaged", text)
        })
        .collect();
    let left = told.iter().filter(|(_, damaged, _)| *damaged).count();
    let data = json!({ "intact": found.is_empty(), "findings": told.iter().map(|(value, ..)| value).collect::<Vec<_>>() });
    if !json_wanted {
        for (_, _, text) in &told {
            print_text(&format!("{text}\n"))?;
        }
    }
    if left > 0 {
        return Err(Failure::new(exit::FAILED, format!("{left} damages could not be mended"))
            .hint("`hornero build DIR --verify` bakes anew what is damaged; `--from REF` asks a registry")
            .with_data(data));
    }
    match (json_wanted, found.is_empty()) {
        (true, _) => print_json(&data),
        (false, true) => print_text("everything is as it was stored\n"),
        (false, false) => print_text("what was damaged and is used is mended\n"),
    }
}

/// The names of images, by digest.
fn names(store: &Store) -> Result<BTreeMap<Digest, Vec<String>>, Failure> {
    let mut names: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for (name, image) in store.refs()? {
        if name.starts_with("pin/") {
            continue;
        }
        let name = name.strip_prefix("image/").unwrap_or(&name);
        names.entry(image).or_default().push(name.to_owned());
    }
    // One that no name leads to any more is known by the one it was baked under.
    for image in store.images()? {
        if names.contains_key(&image) {
            continue;
        }
        if let Ok(Some(record)) = BakeRecord::of(store, &image) {
            names.entry(image).or_default().push(record.name.to_string());
        }
    }
    Ok(names)
}

fn names_of<'n>(names: &'n BTreeMap<Digest, Vec<String>>, image: &Digest) -> Vec<&'n str> {
    names.get(image).map(|names| names.iter().map(String::as_str).collect()).unwrap_or_default()
}

fn plain(refs: &[String]) -> Vec<&str> {
    refs.iter().map(|name| name.strip_prefix("image/").unwrap_or(name)).collect()
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
