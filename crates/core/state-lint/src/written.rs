//! What servers that run have written to memory that goes with them, and which of it is no data.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{InstanceId, WrittenFile};

use crate::{
    declared::{has_volume, is_no_state},
    facts::{StateFacts, StateLook},
    finding::{StateFinding, StateFindingKind, StatePlace, WrittenState},
    paths::{is_fleeting, is_in, name, parent},
    remedy,
};

/// Paths that are listed of a place.
const LISTED: usize = 10;
/// Directories that nginx lays requests and answers down in.
const HARMLESS_BELOW: &[&str] = &[
    "/var/lib/nginx/body",
    "/var/lib/nginx/proxy",
    "/var/lib/nginx/fastcgi",
    "/var/lib/nginx/uwsgi",
    "/var/lib/nginx/scgi",
];
/// Names of directories for what can be made again.
const HARMLESS_NAMES: &[&str] =
    &["cache", "caches", ".cache", "log", "logs", "tmp", "temp", "run", "__pycache__"];
/// Ends of names of process numbers, locks, logs and what is half written.
const HARMLESS_ENDS: &[&str] =
    &[".pid", ".lock", ".lck", ".log", ".sock", ".socket", ".tmp", ".swp", ".pyc", ".opts"];
/// Names of locks and process numbers.
const HARMLESS_FILES: &[&str] = &["lock", "LOCK", "pid"];

/// What was written to one directory that goes with its server.
pub(crate) struct WrittenGroup {
    pub directory: String,
    pub state: WrittenState,
}

/// What all servers of a service have written and would lose, by directory.
pub(crate) fn groups(facts: &StateFacts, looks: &[StateLook]) -> Vec<WrittenGroup> {
    let mut by_directory: BTreeMap<String, Vec<SeenFile>> = BTreeMap::new();
    for look in looks {
        let sizes: BTreeMap<&str, u64> =
            look.before.files.iter().map(|file| (file.path.as_str(), file.bytes)).collect();
        for file in look.after.files.iter().filter(|file| is_state(facts, file)) {
            let before = sizes.get(file.path.as_str()).copied().unwrap_or(0);
            let seen = SeenFile {
                instance: look.after.id.clone(),
                grown_bytes: file.bytes.saturating_sub(before),
                file: file.clone(),
            };
            by_directory.entry(directory_of(facts, &file.path)).or_default().push(seen);
        }
    }
    let one = |(directory, files): (String, Vec<SeenFile>)| {
        Some(WrittenGroup { directory, state: summary(files)? })
    };
    by_directory.into_iter().filter_map(one).collect()
}

/// That something was written which nothing else gave away.
pub(crate) fn finding(facts: &StateFacts, group: WrittenGroup) -> StateFinding {
    let format = group.state.largest.iter().find_map(|file| file.format);
    let holder = match format {
        Some(format) => format!("a {}, and what lies beside it", format.words()),
        None => "what a server has written".to_owned(),
    };
    StateFinding {
        service: facts.service.clone(),
        kind: StateFindingKind::Written,
        remedy: remedy::remedy(facts, &group.directory, group.state.bytes),
        path: group.directory,
        place: StatePlace::Scratch,
        holder,
        lost: "all of it, whenever a server is replaced or ends: it is scratch".to_owned(),
        written: Some(group.state),
    }
}

struct SeenFile {
    instance: InstanceId,
    grown_bytes: u64,
    file: WrittenFile,
}

/// Whether a file would be missed.
fn is_state(facts: &StateFacts, file: &WrittenFile) -> bool {
    if file.bytes == 0 || has_volume(facts, &file.path) || is_no_state(facts, &file.path) {
        return false;
    }
    // A database is one wherever it lies.
    file.format.is_some() || !is_harmless(&file.path)
}

fn is_harmless(path: &str) -> bool {
    let file = name(path);
    let mut directories = parent(path).split('/');
    is_fleeting(path)
        || HARMLESS_BELOW.iter().any(|directory| is_in(path, directory))
        || directories.any(|part| HARMLESS_NAMES.contains(&part))
        || HARMLESS_FILES.contains(&file)
        || HARMLESS_ENDS.iter().any(|end| file.ends_with(end))
        || file.contains(".log.")
}

/// The directory that a volume would have to lie over: the scratch it lies in, or, in places for what is fleeting, its own.
fn directory_of(facts: &StateFacts, path: &str) -> String {
    let scratch = facts.scratch.iter().filter(|scratch| is_in(path, scratch));
    match scratch.max_by_key(|scratch| scratch.len()) {
        Some(scratch) if !is_fleeting(scratch) => scratch.clone(),
        Some(_) | None => parent(path).to_owned(),
    }
}

fn summary(mut files: Vec<SeenFile>) -> Option<WrittenState> {
    files.sort_by(|a, b| (b.file.bytes, &a.file.path).cmp(&(a.file.bytes, &b.file.path)));
    let newest = files.iter().map(|seen| &seen.file).max_by_key(|file| file.modified)?.clone();
    let instances: BTreeSet<InstanceId> = files.iter().map(|seen| seen.instance.clone()).collect();
    let open: BTreeSet<String> =
        files.iter().filter(|seen| seen.file.open).map(|seen| seen.file.path.clone()).collect();
    Some(WrittenState {
        instances: instances.into_iter().collect(),
        files: files.len() as u64,
        bytes: total(files.iter().map(|seen| seen.file.bytes)),
        grown_bytes: total(files.iter().map(|seen| seen.grown_bytes)),
        newest,
        open: open.into_iter().take(LISTED).collect(),
        largest: files.into_iter().take(LISTED).map(|seen| seen.file).collect(),
    })
}

/// Sizes are what a server says: their sum has an end.
fn total(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}
