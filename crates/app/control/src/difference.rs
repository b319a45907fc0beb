//! What two images have differently, by package, file and configuration.

use std::collections::BTreeMap;

use hornero_api::message::{
    ImageDifference, ImageFieldChange, ImageFileChange, ImageFileState, PackageDifference,
};
use hornero_model::{Digest, ImageConfig};
use hornero_store::{Aspects, Change, ChangeKind, Entry, EntryKind, Store, StoreError, Tree};
use serde_json::{Value, json};

/// What two images of a store have differently.
///
/// # Errors
/// Where one of them is not there, or can't be read.
pub fn image_difference(
    store: &Store,
    old: &Digest,
    new: &Digest,
) -> Result<ImageDifference, StoreError> {
    let (before, after) = (store.tree(old)?, store.tree(new)?);
    let (config, new_config) = (store.image(old)?.config, store.image(new)?.config);
    Ok(ImageDifference {
        old: *old,
        new: *new,
        packages: package_changes(&packages(store, &before)?, &packages(store, &after)?),
        files: Tree::diff(&before, &after).iter().map(file_change).collect(),
        left_off: 0,
        config: field_changes(&config, &new_config),
    })
}

/// The packages that are installed in a tree, by name, as dpkg's status says; none where there is no dpkg.
fn packages(store: &Store, tree: &Tree) -> Result<BTreeMap<String, String>, StoreError> {
    match store.read_tree_file(tree, "/var/lib/dpkg/status") {
        Ok(status) => Ok(installed(&String::from_utf8_lossy(&status))),
        Err(StoreError::NoPath { .. }) => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// The packages of dpkg's status file that are installed, with their versions.
pub fn installed(status: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for stanza in status.split("\n\n") {
        let field = |name: &str| {
            stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let (Some(name), Some(version)) = (field("Package"), field("Version")) else { continue };
        if field("Status").is_none_or(|status| status.ends_with(" installed")) {
            found.insert(name.to_owned(), version.to_owned());
        }
    }
    found
}

/// What package lists have differently, by name.
pub fn package_changes(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<PackageDifference> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| PackageDifference {
            name: name.clone(),
            old: old.get(name).cloned(),
            new: new.get(name).cloned(),
        })
        .collect()
}

/// A path that differs, as it is told.
pub fn file_change(change: &Change<'_>) -> ImageFileChange {
    let path = change.new.or(change.old).map_or_else(String::new, |entry| entry.path.to_string());
    let (word, what) = match change.kind {
        ChangeKind::Added => ("added", Vec::new()),
        ChangeKind::Removed => ("removed", Vec::new()),
        ChangeKind::Changed(aspects) => ("changed", words(aspects)),
    };
    ImageFileChange {
        path,
        change: word.to_owned(),
        what,
        old: change.old.map(state),
        new: change.new.map(state),
    }
}

fn words(aspects: Aspects) -> Vec<String> {
    let all = [
        ("kind", aspects.kind),
        ("content", aspects.content),
        ("size", aspects.size),
        ("mode", aspects.mode),
        ("owner", aspects.owner),
        ("mtime", aspects.mtime),
        ("xattrs", aspects.xattrs),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(word, _)| word.to_owned()).collect()
}

fn state(entry: &Entry) -> ImageFileState {
    let (mut digest, mut size_bytes, mut target, mut device) = (None, None, None, None);
    match &entry.kind {
        EntryKind::File { digest: content, size } => {
            (digest, size_bytes) = (Some(*content), Some(*size));
        }
        EntryKind::Symlink { target: to } => {
            target = Some(String::from_utf8_lossy(to).into_owned());
        }
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            device = Some(format!("{major}:{minor}"));
        }
        EntryKind::Directory { .. } | EntryKind::Fifo | EntryKind::Whiteout => {}
    }
    let metadata = &entry.metadata;
    ImageFileState {
        kind: entry.kind.word().to_owned(),
        digest,
        size_bytes,
        target,
        device,
        mode: format!("{:04o}", metadata.mode),
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
    }
}

/// The fields of configurations that differ.
pub fn field_changes(old: &ImageConfig, new: &ImageConfig) -> Vec<ImageFieldChange> {
    // Invariant: a configuration is a struct, whose maps have texts as keys.
    let value = |config| serde_json::to_value(config).unwrap_or_default();
    let (old, new): (Value, Value) = (value(old), value(new));
    let fields = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect()
    };
    let mut names = fields(&old);
    names.extend(fields(&new));
    names.sort_unstable();
    names.dedup();
    let changed = names.into_iter().filter(|name| old.get(name) != new.get(name));
    let side = |value: &Value, name: &str| value.get(name).cloned().unwrap_or(json!(null));
    changed
        .map(|name| ImageFieldChange {
            old: side(&old, &name),
            new: side(&new, &name),
            field: name,
        })
        .collect()
}
