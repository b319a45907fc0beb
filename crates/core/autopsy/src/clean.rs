//! Takes out of a whole bundle what nobody may read.

use std::{collections::BTreeMap, mem};

use hornero_engine_port::evidence::ObservedProcess;
use hornero_model::ExitCause;

use crate::{bundle::BundleContents, redact::Redactor};

/// What stands where a text was left out.
const LEFT_OUT: &str = "left out: it may have a secret";
/// Why a file is not kept that has a secret.
const HAS_SECRET: &str = "it has the value of a secret";
/// Why one is not kept whose path differs from another's only by a secret.
const SAME_NAME: &str = "without values of secrets its path is another one's";

/// Takes values of secrets out of all that people and programs gave a name or wrote, and cuts lines of logs afterwards.
pub fn redact(contents: &mut BundleContents, redactor: &Redactor) {
    let replace = |text: &mut String| *text = redactor.text(text);
    let manifest = &mut contents.manifest;
    replace(&mut manifest.why);
    if let Some(ExitCause::NotStarted(why)) = &mut manifest.exit {
        replace(why);
    }
    for missed in &mut manifest.missed {
        replace(&mut missed.what);
        replace(&mut missed.why);
    }
    contents.processes.iter_mut().for_each(|process| redact_process(process, redactor));
    let named = contents.sockets.iter_mut().filter(|of| of.kind == "unix");
    named.for_each(|socket| replace(&mut socket.local));
    redact_files(contents, redactor);
    contents.kernel.iter_mut().for_each(replace);
    contents.health.iter_mut().filter_map(|seen| seen.error.as_mut()).for_each(replace);
    contents.log.iter_mut().for_each(|line| line.text = redactor.line(&line.text));
}

fn redact_process(process: &mut ObservedProcess, redactor: &Redactor) {
    process.name = redactor.text(&process.name);
    process.command = redactor.command(&process.command);
    for thread in &mut process.threads {
        thread.name = redactor.text(&thread.name);
    }
    for file in process.files.values_mut() {
        *file = redactor.text(file);
    }
    for (path, bytes) in mem::take(&mut process.mapped) {
        *process.mapped.entry(redactor.text(&path)).or_default() += bytes;
    }
}

fn redact_files(contents: &mut BundleContents, redactor: &Redactor) {
    let mut kept: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (path, bytes) in mem::take(&mut contents.files) {
        let shown = redactor.text(&path);
        let left_out = match redactor.file(&bytes) {
            Err(_) => HAS_SECRET,
            Ok(()) if kept.contains_key(&shown) => SAME_NAME,
            Ok(()) => {
                kept.insert(shown, bytes);
                continue;
            }
        };
        for entry in contents.scratch.iter_mut().filter(|entry| entry.path == path) {
            // A digest of a few bytes would tell which they are.
            entry.digest = None;
            entry.left_out = Some(left_out.to_owned());
        }
    }
    contents.files = kept;
    for entry in &mut contents.scratch {
        entry.path = redactor.text(&entry.path);
        entry.target = entry.target.as_deref().map(|target| redactor.text(target));
    }
}

/// Leaves out everything that may have a secret, where nobody knows which ones there are: what stays are figures, addresses and
/// states.
pub fn withhold(contents: &mut BundleContents) {
    let mut whole = mem::replace(contents, BundleContents::new(contents.manifest.clone()));
    contents.manifest.why = LEFT_OUT.to_owned();
    if let Some(ExitCause::NotStarted(why)) = &mut contents.manifest.exit {
        *why = LEFT_OUT.to_owned();
    }
    whole.sockets.retain(|socket| socket.kind != "unix");
    whole.health.iter_mut().for_each(|seen| seen.error = None);
    contents.sockets = whole.sockets;
    contents.group = whole.group;
    contents.health = whole.health;
    contents.edge = whole.edge;
}

#[cfg(test)]
mod tests;
