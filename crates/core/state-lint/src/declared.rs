//! What can be known before anything runs: from the declaration and the image.

use crate::{
    facts::StateFacts,
    finding::{StateFinding, StateFindingKind, StatePlace},
    known,
    paths::{is_in, name, overlap},
    remedy,
};

/// Last parts of scratch directories that say themselves that they hold data.
const DATA_NAMES: &[&str] = &["data", "database", "databases", "db"];

/// Places of which the declaration and the image say that they hold data, and that have no volume; each once.
pub(crate) fn findings(facts: &StateFacts) -> Vec<StateFinding> {
    let mut found: Vec<StateFinding> = Vec::new();
    let all = packages(facts).into_iter().chain(image_volumes(facts));
    for finding in all.chain(database_files(facts)).chain(data_directories(facts)) {
        let path = finding.path.as_str();
        let is_out = has_volume(facts, path) || is_no_state(facts, path);
        if !is_out && !found.iter().any(|other| overlap(&other.path, path)) {
            found.push(finding);
        }
    }
    found
}

/// Whether a volume has what lies at a path, or a part of it.
pub(crate) fn has_volume(facts: &StateFacts, path: &str) -> bool {
    facts.mounts.iter().any(|mount| overlap(mount, path))
}

/// Whether the service declares that what lies at a path is no data.
pub(crate) fn is_no_state(facts: &StateFacts, path: &str) -> bool {
    facts.not_state.iter().any(|of| is_in(path, of))
}

fn place(facts: &StateFacts, path: &str) -> StatePlace {
    match facts.scratch.iter().any(|scratch| overlap(scratch, path)) {
        true => StatePlace::Scratch,
        false => StatePlace::ReadOnly,
    }
}

fn found(facts: &StateFacts, kind: StateFindingKind, path: &str, holder: String) -> StateFinding {
    let place = place(facts, path);
    let lost = match place {
        StatePlace::Scratch => "all of it, whenever a server is replaced or ends: it is scratch",
        StatePlace::ReadOnly => {
            "whatever it should keep: nothing can be written there, as the root is read-only"
        }
    };
    StateFinding {
        service: facts.service.clone(),
        kind,
        path: path.to_owned(),
        place,
        holder,
        lost: lost.to_owned(),
        written: None,
        remedy: remedy::remedy(facts, path, 0),
    }
}

fn packages(facts: &StateFacts) -> Vec<StateFinding> {
    let holders = known::holders(facts).into_iter();
    let one = |(holder, package): (&known::StateHolder, &str)| {
        let text = format!("{} (package `{package}`)", holder.data);
        let finding = found(facts, StateFindingKind::Package, holder.directory, text);
        // Where nothing can be written the package may be there for its client alone, and a service with volumes was told to keep
        // its data in one of those.
        let may_write = finding.place == StatePlace::Scratch
            || facts.mounts.is_empty() && holder.is_started_by(&facts.command);
        may_write.then_some(finding)
    };
    holders.filter_map(one).collect()
}

fn image_volumes(facts: &StateFacts) -> Vec<StateFinding> {
    let one = |path: &String| {
        let text = "what the image was made to keep in a volume (`VOLUME`)".to_owned();
        found(facts, StateFindingKind::ImageVolume, path.trim_end_matches('/'), text)
    };
    facts.image_volumes.iter().filter(|path| path.len() > 1).map(one).collect()
}

/// Directories of a root that data lies in.
const TOP_NAMES: [&str; 10] =
    ["app", "data", "home", "mnt", "opt", "run", "srv", "tmp", "usr", "var"];

/// Addresses such as `sqlite:///var/lib/app/data.db`.
fn database_files(facts: &StateFacts) -> Vec<StateFinding> {
    let one = |(variable, value): (&String, &String)| {
        let (scheme, address) = value.strip_prefix("jdbc:").unwrap_or(value).split_once(':')?;
        let is_sqlite = matches!(scheme.split('+').next(), Some("sqlite" | "sqlite3"));
        let file = address.split('?').next().filter(|_| is_sqlite)?;
        let file = absolute(file)?;
        let directory = crate::paths::parent(&file);
        let text = format!("the SQLite database `{file}` (`{variable}`)");
        (directory != "/").then(|| found(facts, StateFindingKind::DatabaseFile, directory, text))
    };
    facts.env.iter().filter_map(one).collect()
}

/// The file of an address where it is absolute. Libraries differ about three slashes: for some the path begins at the third, for
/// others it is one below the working directory, unless there are four.
fn absolute(address: &str) -> Option<String> {
    let path = address.trim_start_matches('/');
    let top = path.split('/').next().unwrap_or_default();
    match address.len() - path.len() {
        1 | 4 => Some(format!("/{path}")),
        3 if TOP_NAMES.contains(&top) => Some(format!("/{path}")),
        _ => None,
    }
}

/// Where nothing can be written nothing is lost: these are told where they are scratch.
fn data_directories(facts: &StateFacts) -> Vec<StateFinding> {
    let own = facts.data_directories.iter().map(|directory| {
        let text = format!("a directory for data of user {}", directory.uid);
        found(facts, StateFindingKind::DataDirectory, &directory.path, text)
    });
    let named = facts.scratch.iter().filter(|path| DATA_NAMES.contains(&name(path)));
    let named = named.map(|path| {
        found(facts, StateFindingKind::DataDirectory, path, "data, by its name".to_owned())
    });
    own.chain(named).filter(|finding| finding.place == StatePlace::Scratch).collect()
}
