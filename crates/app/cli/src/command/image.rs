//! `image`: a look into the store.

use std::path::Path;

use hornero_bake::BakeRecord;
use hornero_control::ImageHistory;
use hornero_model::ImageConfig;

use crate::{
    command::{named, names, storage, stores},
    failure::{Failure, exit},
    output::{Table, Tone, print_json, print_text},
    reports::{
        ImageList, ImageVerifyReport, InspectedImage, LastTest, ListedImage, ReleaseOfImage,
    },
};

const MEBIBYTE: u64 = 1 << 20;

/// `hornero image ls`.
pub fn list(home: &Path, json_wanted: bool) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    let known = names::by_image(home, &store)?;
    let used = store.disk_use()?;
    if json_wanted {
        let mut images = Vec::new();
        for image in &used.images {
            images.push(ListedImage {
                digest: image.digest,
                names: names::listed(&known, &image.digest),
                layers: store.image(&image.digest)?.layers.len(),
                total_bytes: image.total.bytes,
                shared_bytes: image.shared.bytes,
            });
        }
        let (damaged, damaged_names) = (&used.damaged, &used.damaged_refs);
        return print_json(&ImageList { images, damaged, damaged_names });
    }
    let mut table = Table::with_head(&["IMAGE", "NAMES", "LAYERS", "FILES", "MiB", "SHARED MiB"]);
    for image in &used.images {
        table.row(vec![
            (image.digest.short(), Tone::Plain),
            (names::listed(&known, &image.digest).join(" "), Tone::Plain),
            (store.image(&image.digest)?.layers.len().to_string(), Tone::Quiet),
            (image.total.files.to_string(), Tone::Quiet),
            ((image.total.bytes / MEBIBYTE).to_string(), Tone::Plain),
            ((image.shared.bytes / MEBIBYTE).to_string(), Tone::Quiet),
        ]);
    }
    table.print()?;
    storage::tell_damage(&used)
}

/// `hornero image inspect`: what went into an image, what it is made on, how it was tested and where it runs.
pub fn inspect(home: &Path, json_wanted: bool, image: &str) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    let digest = named::image(home, &store, image)?;
    let manifest = store.image(&digest)?;
    let record = BakeRecord::of(&store, &digest)?;
    let history =
        hornero_control::history_of(home, &digest).map_err(|error| Failure::of(&*error))?;
    let parents = named::parents(&store, &digest)?;
    let known = names::by_image(home, &store)?;
    let names = names::listed(&known, &digest);
    if json_wanted {
        let releases = history.releases.iter();
        let tests = history.tests.iter();
        return print_json(&InspectedImage {
            digest,
            names,
            format_epoch: manifest.format_epoch,
            layers: &manifest.layers,
            config: &manifest.config,
            parents,
            bake: record.as_ref(),
            tests: tests.map(|(name, passed)| LastTest { name, passed: *passed }).collect(),
            releases: releases
                .map(|(release, serves)| ReleaseOfImage {
                    release: release.to_string(),
                    serves: *serves,
                })
                .collect(),
            instances: &history.instances,
            attachments: store.attachments(&digest)?,
        });
    }
    let mut table = Table::default();
    let mut row = |name: &str, value: String| {
        table.row(vec![(name.to_owned(), Tone::Quiet), (value, Tone::Plain)]);
    };
    row("image", digest.to_string());
    row("names", names.join(" "));
    for parent in &parents {
        row("made on", parent.to_string());
    }
    if let Some(moved) = record.as_ref().and_then(|record| record.moved.as_ref()) {
        row("moved from", moved.image.to_string());
    }
    row("command", manifest.config.command.join(" "));
    row("user", manifest.config.user.clone());
    for step in record.iter().flat_map(|record| &record.steps) {
        row("input", format!("{} ({} layers)", step.title, step.layers.len()));
    }
    tell_history(&manifest.config, &history, &mut row);
    for kind in store.attachments(&digest)? {
        row("attached", kind);
    }
    table.print()
}

/// How an image was tested and where it runs, in rows.
fn tell_history(config: &ImageConfig, history: &ImageHistory, row: &mut dyn FnMut(&str, String)) {
    for test in &config.tests {
        let last = history.tests.iter().find(|(name, _)| *name == test.name);
        let word = match last {
            Some((_, true)) => "passed",
            Some((_, false)) => "failed",
            None => "not run yet",
        };
        row("test", format!("{}: {word}", test.name));
    }
    for (release, serves) in &history.releases {
        row("release", format!("{release}{}", if *serves { ", serves now" } else { "" }));
    }
    for instance in &history.instances {
        row("instance", instance.to_string());
    }
}

/// `hornero image verify`: hashes everything anew, whatever was recorded before.
pub fn verify(home: &Path, json_wanted: bool, image: &str) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    let digest = named::image(home, &store, image)?;
    let findings = store.fsck()?;
    let damaged: Vec<String> = findings
        .iter()
        .filter_map(|finding| {
            let (_, path) = finding.uses.iter().find(|(used_by, _)| *used_by == digest)?;
            let place = path.as_deref().map_or_else(String::new, |path| format!(" (`{path}`)"));
            Some(format!("{} `{}`{place}: {}", finding.kind, finding.digest, finding.damage))
        })
        .collect();
    let data = ImageVerifyReport { image: digest, intact: damaged.is_empty(), damaged };
    if !data.intact {
        let text = format!(
            "image `{}` is not as it was baked:\n  {}",
            digest.short(),
            data.damaged.join("\n  ")
        );
        let hint = "`hornero build DIR --verify` bakes anew what is damaged";
        return Err(Failure::new(exit::FAILED, text).hint(hint).with_data(data));
    }
    match json_wanted {
        true => print_json(&data),
        false => print_text(&format!("{} is as it was baked\n", digest.short())),
    }
}
