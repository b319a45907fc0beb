//! Paths where an image's layers and the base meet: what the image replaces, deletes or hides must be the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    entry::{self, Entry, Kind},
    layer::Layer,
    refusal::{RebaseRefusal, RefusalKind},
    view::{self, At, Tree, View},
};

/// A path that differs between two bases; None where there is nothing.
#[derive(Debug)]
struct Change {
    was: Option<Entry>,
    is: Option<Entry>,
    /// Whether a layer of the old base lists it, not only files below it.
    was_listed: bool,
}

/// Every difference between two bases.
#[derive(Debug)]
pub(crate) struct Changes {
    /// By path with `/` as NUL, so that a subtree is one run.
    by_key: BTreeMap<Vec<u8>, Change>,
    by_path: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Every directory with a difference somewhere below it.
    above: BTreeSet<Vec<u8>>,
}

/// Where one layer meets the differences of two bases.
#[derive(Debug)]
pub(crate) struct Touched {
    entries: Vec<u32>,
    implied: Vec<Vec<u8>>,
}

/// Files that only building reads, or that are hints beside what they hint at, and dpkg's status, which is made anew.
fn may_differ(path: &[u8]) -> bool {
    const FILES: [&str; 6] = [
        "etc/ld.so.cache",
        "etc/.pwd.lock",
        "var/cache/ldconfig/aux-cache",
        "var/lib/dpkg/available",
        "var/lib/dpkg/status",
        "var/lib/dpkg/lock",
    ];
    const BELOW: [&str; 4] =
        ["var/cache/apt/", "var/cache/debconf/", "var/lib/apt/lists/", "var/log/"];
    const BACKUPS: [&str; 7] = [
        "etc/group-",
        "etc/gshadow-",
        "etc/passwd-",
        "etc/shadow-",
        "etc/subgid-",
        "etc/subuid-",
        "var/lib/dpkg/lock-frontend",
    ];
    FILES.iter().chain(&BACKUPS).any(|file| path == file.as_bytes())
        || BELOW.iter().any(|dir| path.starts_with(dir.as_bytes()))
        || (path.starts_with(b"var/lib/dpkg/") && path.ends_with(b"-old"))
}

impl Changes {
    pub fn between(old: &Tree, new: &Tree) -> Self {
        let mut by_key = BTreeMap::new();
        let look = |at: At<'_>, key: &[u8]| match at {
            At::Entry(found) => found.entry().clone(),
            At::Implied => Entry::implied(&view::path_of(key)),
        };
        for (key, at) in old.nodes() {
            let path = view::path_of(key);
            let other = new.get(&path);
            if !other.is_some_and(|other| is_same(at, other)) && !may_differ(&path) {
                let (was, is) = (Some(look(at, key)), other.map(|at| look(at, key)));
                let was_listed = matches!(at, At::Entry(_));
                by_key.insert(key.to_vec(), Change { was, is, was_listed });
            }
        }
        for (key, at) in new.nodes() {
            let path = view::path_of(key);
            if old.get(&path).is_none() && !may_differ(&path) {
                let (was, is) = (None, Some(look(at, key)));
                by_key.insert(key.to_vec(), Change { was, is, was_listed: false });
            }
        }
        let mut above = BTreeSet::new();
        for key in by_key.keys() {
            let path = view::path_of(key);
            let mut dir = entry::parent(&path);
            while let Some(path) = dir {
                if !above.insert(path.to_vec()) {
                    break;
                }
                dir = entry::parent(path);
            }
        }
        let by_path = by_key.keys().map(|key| (view::path_of(key), key.clone())).collect();
        Self { by_key, by_path, above }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    fn get(&self, path: &[u8]) -> Option<&Change> {
        self.by_path.get(path).and_then(|key| self.by_key.get(key))
    }

    /// Where a layer meets the differences.
    pub fn touched(&self, layer: &Layer) -> Touched {
        let meets = |entry: &Entry| {
            self.by_path.contains_key(&*entry.path)
                || (!matches!(entry.kind, Kind::Directory { opaque: false })
                    && self.above.contains(&*entry.path))
        };
        let entries = (0_u32..)
            .zip(layer.entries())
            .filter(|(_, entry)| meets(entry))
            .map(|(number, _)| number)
            .collect();
        let implied = layer
            .implied()
            .filter(|path| self.by_path.contains_key(*path))
            .map(<[u8]>::to_vec)
            .collect();
        Touched { entries, implied }
    }

    /// What of the differences an image's layers can't stand.
    pub fn refusals<'t>(
        &self,
        view: &View<'_>,
        touched: impl Iterator<Item = (&'t Layer, &'t Touched)>,
    ) -> Vec<RebaseRefusal> {
        let mut refusals: BTreeMap<Vec<u8>, RebaseRefusal> = BTreeMap::new();
        for (layer, touched) in touched {
            for number in &touched.entries {
                let entry = layer.entry(*number);
                if let Some(change) = self.get(&entry.path)
                    && let Some(refusal) = at_path(view, layer, entry, change)
                {
                    refusals.entry(entry.path.to_vec()).or_insert(refusal);
                }
                if !matches!(entry.kind, Kind::Directory { opaque: false }) {
                    for (key, change) in self.by_key.range(view::below(&entry.path)) {
                        let path = view::path_of(key);
                        if let Some(refusal) = hidden(layer, entry, &path, change) {
                            refusals.entry(path).or_insert(refusal);
                        }
                    }
                }
            }
            for path in &touched.implied {
                if let Some(change) = self.get(path)
                    && let Some(refusal) = above_files(view, layer, path, change)
                {
                    refusals.entry(path.clone()).or_insert(refusal);
                }
            }
        }
        refusals.into_values().collect()
    }
}

/// Symlinks of an image that led somewhere on the old base and do not on the new one; documentation is nobody's need.
pub(crate) fn broken_links(old: &View<'_>, new: &View<'_>) -> Vec<RebaseRefusal> {
    let mut refusals = Vec::new();
    for layer in new.own() {
        for entry in layer.entries() {
            let Kind::Symlink { target } = &entry.kind else { continue };
            let leads = |view: &View<'_>| view.resolve(&entry.path).is_some();
            if entry.path.starts_with(b"usr/share/doc/") || leads(new) || !leads(old) {
                continue;
            }
            let shows = matches!(new.get(&entry.path),
                Some(At::Entry(found)) if std::ptr::eq(found.layer, &**layer));
            if shows {
                let target = String::from_utf8_lossy(target);
                let need = format!("`{target}`, where it leads");
                let (kind, digest) = (RefusalKind::LinkBroken, Some(layer.digest));
                refusals.push(RebaseRefusal::of_file(
                    kind,
                    &entry.path,
                    digest,
                    need,
                    "nothing there",
                ));
            }
        }
    }
    refusals
}

fn is_same(one: At<'_>, other: At<'_>) -> bool {
    match (one, other) {
        (At::Entry(one), At::Entry(other)) => {
            let undated = one.layer.undated(one.number);
            let (a, b) = (one.entry(), other.entry());
            if undated.is_some() && undated == other.layer.undated(other.number) {
                return (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid);
            }
            a.is_same(b)
        }
        (At::Implied, At::Implied) => true,
        (At::Entry(found), At::Implied) | (At::Implied, At::Entry(found)) => {
            let entry = found.entry();
            entry.is_same(&Entry::implied(&entry.path))
        }
    }
}

/// An image's own entry at a path that changed.
fn at_path(
    view: &View<'_>,
    layer: &Layer,
    entry: &Entry,
    change: &Change,
) -> Option<RebaseRefusal> {
    let digest = Some(layer.digest);
    let verb = if entry.kind == Kind::Whiteout { "deletes" } else { "replaces" };
    // Where the image shows exactly what the new base has there is nothing to lose.
    let shown = match view.get(&entry.path) {
        Some(At::Entry(found)) if found.own => Some(found.entry()),
        _ => None,
    };
    if let (Some(shown), Some(is)) = (shown, &change.is)
        && shown.is_same(is)
    {
        return None;
    }
    match (&change.was, &change.is) {
        (Some(was), Some(is)) => {
            // Directories merge; only what the image's own directory says of itself can matter.
            let (was, is) = entry::differ(was, is);
            let need = format!("{was}, which it {verb}");
            Some(RebaseRefusal::of_file(RefusalKind::PathChanged, &entry.path, digest, need, is))
        }
        (Some(was), None) => {
            if entry.kind == Kind::Whiteout || (was.is_directory() && entry.is_directory()) {
                return None;
            }
            let need = format!("{}, which it {verb}", was.kind);
            Some(RebaseRefusal::of_file(
                RefusalKind::PathChanged,
                &entry.path,
                digest,
                need,
                "nothing",
            ))
        }
        (None, Some(is)) => {
            let need = match entry.kind {
                Kind::Whiteout => "nothing, as it deletes the path".to_owned(),
                _ => format!("nothing, as it has {} itself", entry.kind),
            };
            let found = match (&entry.kind, &is.kind) {
                (Kind::Directory { .. }, Kind::Directory { .. }) => {
                    let (_, is) = entry::differ(entry, is);
                    format!("a new directory with {is}")
                }
                _ => format!("now {}", is.kind),
            };
            Some(RebaseRefusal::of_file(RefusalKind::PathBrought, &entry.path, digest, need, found))
        }
        (None, None) => None,
    }
}

/// A path that changed, hidden by an image's entry above it.
fn hidden(layer: &Layer, above: &Entry, path: &[u8], change: &Change) -> Option<RebaseRefusal> {
    let is = change.is.as_ref()?;
    let by = entry::shown(&above.path);
    let (kind, need, found) = match &change.was {
        Some(was) => {
            let (was, is) = entry::differ(was, is);
            (RefusalKind::PathChanged, format!("{was}, which it hides by `{by}`"), is)
        }
        None => {
            let need = format!("nothing, as it hides what is below `{by}`");
            (RefusalKind::PathBrought, need, format!("now {}", is.kind))
        }
    };
    Some(RebaseRefusal::of_file(kind, path, Some(layer.digest), need, found))
}

/// A directory of the base that the image has files in without having the directory itself.
fn above_files(
    view: &View<'_>,
    layer: &Layer,
    path: &[u8],
    change: &Change,
) -> Option<RebaseRefusal> {
    let digest = Some(layer.digest);
    // Another own layer may have the directory.
    if matches!(view.get(path), Some(At::Entry(found)) if found.own) {
        return None;
    }
    let kind = match &change.was {
        Some(_) => RefusalKind::PathChanged,
        None => RefusalKind::PathBrought,
    };
    let found = match (&change.was, &change.is) {
        (_, Some(is)) if is.is_directory() => return None,
        (_, Some(is)) => is.kind.to_string(),
        // Whatever the base had there for others to add to looks there no more.
        (Some(was), None) if change.was_listed || !was.is_same(&Entry::implied(path)) => {
            "nothing".to_owned()
        }
        (_, None) => return None,
    };
    let need = "a directory, in which it has files";
    Some(RebaseRefusal::of_file(kind, path, digest, need, found))
}
