//! `image rebase`: an image moved onto another base without baking it, where it is proven to hold there.

use std::{path::Path, sync::Arc};

use hornero_bake::{BakeRecord, RebaseError, RebaseOptions, RebaseRefusal};
use hornero_model::Digest;

use crate::{
    command::{named, names, sign, stores},
    failure::{Failure, exit},
    harmless::harmless,
    output::{print_json, print_text},
    reports::RefusedBase,
};

/// `hornero image rebase`.
pub fn rebase(
    home: &Path,
    json_wanted: bool,
    image: &str,
    base: &str,
    force: bool,
) -> Result<(), Failure> {
    let store = Arc::new(stores::known_store(home)?);
    let _lease = store.lease()?;
    let app = named::image(home, &store, image)?;
    let base = named::image(home, &store, base)?;
    let moved = hornero_bake::rebase(&store, &app, &base, RebaseOptions { force })
        .map_err(|error| refused(error, &app, &base))?;
    sign::moved(home, &store, &[app, base], &moved.image)?;
    // The name goes with the image, as in a patch.
    let record = BakeRecord::of(&store, &moved.image).map_err(Failure::from)?;
    if let Some(record) = record {
        let name = format!("image/{}", record.name);
        let here = std::env::current_dir()?;
        if names::of(home, &here, record.name.as_str()).is_some_and(|named| named.image == app) {
            names::lead(home, &store, &here, &record.name, &moved.image)?;
        } else if names::leads(&store, &name)? == Some(app) {
            store.set_ref(&name, &moved.image)?;
        } else {
            store.set_ref(&format!("{}{}", names::REBASED, record.name), &moved.image)?;
        }
    }
    if json_wanted {
        return print_json(&moved);
    }
    print_text(&format!(
        "{} is {} on base {}\n",
        app.short(),
        moved.image.short(),
        moved.new_base.short()
    ))?;
    moved
        .refusals
        .iter()
        .try_for_each(|refusal| print_text(&harmless(&format!("  forced: {refusal}\n"))))
}

/// A refusal with every reason.
fn refused(error: RebaseError, app: &Digest, base: &Digest) -> Failure {
    let refusals = error.refusals();
    if refusals.is_empty() {
        return Failure::of(&error);
    }
    let text = format!("image {} does not hold on base {}", app.short(), base.short());
    let data = RefusedBase { image: Some(app), base: Some(base), refusals };
    does_not_hold(&text, refusals)
        .hint(
            "bake it on that base instead (`hornero build`), or give `--force`, which is recorded",
        )
        .with_data(data)
}

/// A base that the proof refuses, with every reason.
pub fn does_not_hold(text: &str, refusals: &[RebaseRefusal]) -> Failure {
    let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    Failure::new(exit::REFUSED, format!("{text}:\n  {}", lines.join("\n  ")))
        .word("rebase_refused")
        .with_data(RefusedBase { image: None, base: None, refusals })
}
