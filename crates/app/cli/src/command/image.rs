//! `image`: a look into the store.

use std::path::Path;

use hornero_bake::BakeRecord;
use serde_json::json;

use crate::{
    command::{bake, named},
    failure::{Failure, exit},
    output::{Table, Tone, print_json, print_text},
};

const MEBIBYTE: u64 = 1 << 20;

/// `hornero image ls`.
pub fn list(home: &Path, json_wanted: bool) -> Result<(), Failure> {
    let images = bake::store(home)?.list_images()?;
    if json_wanted {
        let images: Vec<_> = images
            .iter()
            .map(|image| {
                json!({
                    "digest": image.digest, "names": names(&image.refs), "layers": image.layers,
                    "total_bytes": image.total_bytes, "shared_bytes": image.shared_bytes,
                })
            })
            .collect();
        return print_json(&json!({ "images": images }));
    }
    let mut table = Table::with_head(&["IMAGE", "NAMES", "LAYERS", "FILES", "MiB", "SHARED MiB"]);
    for image in images {
        table.row(vec![
            (image.digest.short(), Tone::Plain),
            (names(&image.refs).join(" "), Tone::Plain),
            (image.layers.to_string(), Tone::Quiet),
            (image.entries.to_string(), Tone::Quiet),
            ((image.total_bytes / MEBIBYTE).to_string(), Tone::Plain),
            ((image.shared_bytes / MEBIBYTE).to_string(), Tone::Quiet),
        ]);
    }
    table.print()
}

fn names(refs: &[String]) -> Vec<&str> {
    refs.iter().map(|name| name.strip_prefix("image/").unwrap_or(name)).collect()
}

/// `hornero image inspect`.
pub fn inspect(home: &Path, json_wanted: bool, image: &str) -> Result<(), Failure> {
    let store = bake::store(home)?;
    let digest = named::image(home, &store, image)?;
    let manifest = store.image(&digest)?;
    let record = BakeRecord::of(&store, &digest)?;
    let value = json!({
        "digest": digest,
        "format_epoch": manifest.format_epoch,
        "layers": manifest.layers,
        "config": manifest.config,
        "bake": record,
    });
    if json_wanted {
        return print_json(&value);
    }
    let text = serde_json::to_string_pretty(&value).map_err(|error| Failure::of(&error))?;
    print_text(&format!("{text}\n"))
}

/// `hornero image verify`: hashes everything anew, whatever was recorded before.
pub fn verify(home: &Path, json_wanted: bool, image: &str) -> Result<(), Failure> {
    let store = bake::store(home)?;
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
    let data = json!({ "image": digest, "intact": damaged.is_empty(), "damaged": damaged });
    if !damaged.is_empty() {
        let text = format!(
            "image `{}` is not as it was baked:\n  {}",
            digest.short(),
            damaged.join("\n  ")
        );
        let hint = "`hornero build DIR --verify` bakes anew what is damaged";
        return Err(Failure::new(exit::FAILED, text).hint(hint).with_data(data));
    }
    match json_wanted {
        true => print_json(&data),
        false => print_text(&format!("{} is as it was baked\n", digest.short())),
    }
}
