//! `reproduce` and `build --twice`: images made again from what was recorded of them, and what differs.

use std::{path::Path, sync::Arc};

use hornero_bake::{BakeContext, FileDifference, LayerSource, Reproduction};
use hornero_doctor::Need;
use hornero_model::Digest;
use serde_json::Value;

use crate::{
    command::{doctor, named, sign, stores},
    failure::{Failure, exit},
    output::{print_json, print_text},
    progress::Teller,
    reports::{ReproductionReport, TwiceReport},
};

/// `hornero reproduce`.
pub fn reproduce(home: &Path, json_wanted: bool, image: &str) -> Result<(), Failure> {
    let store = Arc::new(stores::known_store(home)?);
    doctor::before(home, Need::Bake, false)?;
    let digest = named::image(home, &store, image)?;
    let _lease = store.lease()?;
    // What is recorded is executed: nobody's word counts for it but that of this home.
    let vouched = |image: &Digest| {
        sign::vouched(home, &store, image).map_err(|refusal| {
            refusal.hint(format!(
                "what is recorded of `{}` would be executed, and this home does not vouch for it: bake it here, or \
                 bring it in by `hornero image import`, which vouches for it",
                image.short()
            ))
        })
    };
    vouched(&digest)?;
    hornero_bake::recorded_elsewhere(&store, &digest)?.iter().try_for_each(vouched)?;
    let teller = Teller::new(home, false);
    let context = BakeContext::new(home, &teller);
    let again = hornero_bake::reproduce(&context, &store, &digest)?;
    let data = report(&again);
    if !again.is_same() {
        return Err(differs(std::slice::from_ref(&again)).with_data(data));
    }
    if json_wanted {
        return print_json(&data);
    }
    print_text(&format!(
        "{} was made again, byte for byte, in {:.1} s\n",
        digest.short(),
        again.seconds
    ))
}

/// Bakes images that were just baked here a second time, without the cache; all that differ are told at once.
pub fn twice(home: &Path, images: &[Digest]) -> Result<(), Failure> {
    let store = Arc::new(stores::known_store(home)?);
    let _lease = store.lease()?;
    let teller = Teller::new(home, false);
    let context = BakeContext::new(home, &teller);
    let mut differing = Vec::new();
    for image in images {
        let again = hornero_bake::reproduce(&context, &store, image)?;
        if !again.is_same() {
            differing.push(again);
        }
    }
    if differing.is_empty() {
        return Ok(());
    }
    let twice = differing.iter().map(report).collect();
    Err(differs(&differing).with_data(TwiceReport { twice }))
}

fn report(again: &Reproduction) -> ReproductionReport<'_> {
    ReproductionReport { again, same: again.is_same() }
}

/// Every file that differs, in what, and whose it is.
fn differs(all: &[Reproduction]) -> Failure {
    let texts = all.iter().map(|again| {
        let files: Vec<String> = again.differences.iter().map(line).collect();
        format!(
            "the recorded inputs gave {} instead of {}:\n  {}",
            again.made.short(),
            again.image.short(),
            files.join("\n  ")
        )
    });
    let failure = Failure::new(exit::FAILED, texts.collect::<Vec<_>>().join("\n"));
    match all.iter().all(|again| again.networked.is_empty()) {
        true => failure,
        false => failure.hint("steps with a network may give something else at any time"),
    }
}

fn line(file: &FileDifference) -> String {
    let what = serde_json::to_value(&file.what).unwrap_or_default();
    let words: Vec<&str> =
        what.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let owner = file.owner.as_ref().map(|owner| format!(" ({})", source(owner)));
    format!("{}: {}{}", file.path, words.join(", "), owner.unwrap_or_default())
}

/// Whose a file is, for people.
fn source(source: &LayerSource) -> String {
    match source {
        LayerSource::Package(package) => format!("package {} {}", package.name, package.version),
        LayerSource::Database => "the packages' database".to_owned(),
        LayerSource::Configured => "configuring packages".to_owned(),
        LayerSource::Copy { from } => format!("copy `{from}`"),
        LayerSource::Run { command } => {
            format!("run `{}`", command.chars().take(60).collect::<String>())
        }
        LayerSource::Provision { title } => title.clone(),
        LayerSource::Imported { from } => format!("import of {from}"),
    }
}
