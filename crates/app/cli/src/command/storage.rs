//! `image du, pin, unpin, untag, fsck`: what the store holds, and whether it is whole.

use std::{collections::BTreeMap, path::Path};

use hornero_model::Digest;
use hornero_store::{Finding, Healing, ImageUse, StoreError, StoreUse};

use crate::{
    command::{named, names, stores},
    failure::{Failure, exit},
    harmless::harmless,
    output::{Table, Tone, print_json, print_text, size},
    reports::{
        DamagedUse, FsckFinding, FsckReport, FsckResult, ImageUseReport, PinReport, StoreUseReport,
        UntagReport,
    },
};

/// `hornero image du`.
pub fn disk_use(home: &Path, json_wanted: bool) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    let known = names::by_image(home, &store)?;
    let used = store.disk_use()?;
    if json_wanted {
        return print_json(&use_report(&used, &known));
    }
    let mut table = Table::with_head(&["IMAGE", "NAMES", "TOTAL", "SHARED", "UNIQUE", ""]);
    for image in &used.images {
        table.row(vec![
            (image.digest.short(), Tone::Plain),
            (names::listed(&known, &image.digest).join(" "), Tone::Plain),
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
    tell_damage(&used)
}

fn use_report<'a>(
    used: &'a StoreUse,
    known: &'a BTreeMap<Digest, Vec<String>>,
) -> StoreUseReport<'a> {
    let of_image = |image: &'a ImageUse| ImageUseReport {
        digest: image.digest,
        names: names::listed(known, &image.digest),
        pinned: image.pinned,
        total_bytes: image.total.bytes,
        shared_bytes: image.shared.bytes,
        unique_bytes: image.unique.bytes,
        files: image.total.files,
    };
    StoreUseReport {
        images: used.images.iter().map(of_image).collect(),
        objects: used.total.files,
        total_bytes: used.total.bytes,
        shared_bytes: used.shared.bytes,
        unique_bytes: used.total.bytes - used.shared.bytes,
        separate_bytes: used.separate_bytes,
        saved_bytes: used.saved_bytes(),
        unused_bytes: used.unused.bytes,
        layer_bytes: used.layers.bytes,
        metadata_bytes: used.metadata.bytes,
        attachment_bytes: used.attachments.bytes,
        cache_bytes: used.cache.bytes,
        disk_bytes: used.disk_bytes(),
        damaged: &used.damaged,
        damaged_names: &used.damaged_refs,
    }
}

/// Says how much of the store can't be read, if anything.
pub fn tell_damage(used: &StoreUse) -> Result<(), Failure> {
    match used.damaged.len() + used.damaged_refs.len() {
        0 => Ok(()),
        count => print_text(&format!(
            "{count} images, layers or names can't be read; `hornero image fsck` names and mends them\n"
        )),
    }
}

/// `hornero image pin` and `unpin`.
pub fn pin(home: &Path, json_wanted: bool, image: &str, pinned: bool) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    // A pin is taken away from an image that is lost as well, else nothing could.
    let digest = match image.parse() {
        Ok(digest) if !pinned => digest,
        _ => named::image(home, &store, image)?,
    };
    let changed = if pinned { store.pin(&digest)? } else { store.unpin(&digest)? };
    if json_wanted {
        return print_json(&PinReport { image: digest, pinned, changed });
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
    let store = stores::known_store(home)?;
    let missing = || {
        Failure::new(exit::NO_SUCH_OBJECT, format!("no image has the name `{name}`"))
            .hint("`hornero image ls` lists names")
    };
    let plain = name.strip_prefix(names::REBASED).unwrap_or(name);
    plain.parse::<hornero_model::ImageName>().map_err(|_| missing())?;
    let here = names::of(home, Path::new("."), name);
    let mut was = here.as_ref().map(|named| named.image);
    if let Some(named) = &here {
        named.forget()?;
    }
    let key = names::key(name);
    let led = store.get_ref(&key);
    let is_damaged = matches!(led, Err(StoreError::DamagedRef { .. }));
    let led = if is_damaged { None } else { led? };
    // Another directory's image of that name is none of this one's business.
    if is_damaged || (led.is_some() && (here.is_none() || led == was)) {
        store.remove_ref(&key)?;
        was = led.or(was);
    }
    if was.is_none() && !is_damaged {
        return Err(missing());
    }
    if json_wanted {
        return print_json(&UntagReport { name, image: was });
    }
    let Some(was) = was else {
        return print_text(&format!("{name} was damaged and is gone\n"));
    };
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
    let store = stores::known_store(home)?;
    let mut packages = hornero_bake::PackageCacheSource::new(home, &store);
    let registry = from.map(|from| super::transport::heal_source(from, plain_http));
    let mut registry = registry.transpose()?;
    let mut sources: Vec<&mut dyn hornero_store::HealSource> = vec![&mut packages];
    if let Some(registry) = &mut registry {
        sources.push(registry);
    }
    let found = store.heal_all(&mut sources)?;
    let mut told: Vec<(FsckFinding, bool, String)> =
        found.iter().map(|(finding, healing)| outcome(finding, healing)).collect();
    told.extend(names::all(home)?.damaged.into_iter().map(|file| {
        let text = format!("name {}: holds no name; damaged", file.display());
        (FsckFinding::Name { kind: "name", file, result: FsckResult::Damaged }, true, text)
    }));
    let left = told.iter().filter(|(_, damaged, _)| *damaged).count();
    let findings = told.iter().map(|(finding, ..)| finding).collect();
    let data = FsckReport { intact: told.is_empty(), findings };
    if !json_wanted {
        for (_, _, text) in &told {
            print_text(&harmless(&format!("{text}\n")))?;
        }
    }
    if left > 0 {
        return Err(Failure::new(exit::FAILED, format!("{left} damages could not be mended"))
            .hint(
                "`hornero build DIR --verify` bakes anew what is damaged, and names with it; `--from REF` asks a \
                 registry; `hornero image untag NAME` takes a damaged name away",
            )
            .with_data(data));
    }
    match (json_wanted, told.is_empty()) {
        (true, _) => print_json(&data),
        (false, true) => print_text("everything is as it was stored\n"),
        (false, false) => print_text("what was damaged and is used is mended\n"),
    }
}

/// A finding for scripts, whether the damage is still there, and for people.
fn outcome(finding: &Finding, healing: &Healing) -> (FsckFinding, bool, String) {
    let (result, word, detail) = match healing {
        Healing::Mended => (FsckResult::Mended, "mended", String::new()),
        Healing::NoSource => (FsckResult::Damaged, "damaged", "no source has it".to_owned()),
        Healing::Failed(why) => (FsckResult::Damaged, "damaged", why.join("; ")),
        Healing::Unused => {
            (FsckResult::Unused, "unused", "`hornero image gc` deletes it".to_owned())
        }
    };
    let place = finding.uses.first().and_then(|(_, path)| path.clone()).unwrap_or_default();
    let what = match finding.kind {
        "reference" => format!("name {place}"),
        kind => format!("{kind} {} {place}", finding.digest.short()),
    };
    let colon = if detail.is_empty() { "" } else { ": " };
    let text = format!("{what}: {}; {word}{colon}{detail}", finding.damage);
    let of_use =
        |(image, path): &(Digest, Option<String>)| DamagedUse { image: *image, path: path.clone() };
    let told = FsckFinding::Stored {
        kind: finding.kind,
        digest: finding.digest,
        damage: finding.damage.to_string(),
        uses: finding.uses.iter().map(of_use).collect(),
        result,
        detail,
    };
    (told, result == FsckResult::Damaged, text)
}
