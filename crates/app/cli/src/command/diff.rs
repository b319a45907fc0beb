//! `image diff`: what two images have differently, by package, file and configuration.

use std::{collections::BTreeMap, path::Path};

use hornero_model::{Digest, ImageConfig};
use hornero_store::{Aspects, Change, ChangeKind, Entry, EntryKind, Store, StoreError, Tree};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    command::{named, stores},
    failure::Failure,
    harmless::harmless,
    output::{print_json, print_text},
};

/// What two images have differently.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    /// The older image.
    old: Digest,
    /// The newer one.
    new: Digest,
    /// Packages, by name.
    packages: Vec<PackageDifference>,
    /// Files, directories and links, by path.
    files: Vec<FileChange>,
    /// Fields of the run configuration.
    config: Vec<FieldChange>,
}

/// A package that only one image has, or both in different versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
struct PackageDifference {
    /// Its name.
    name: String,
    /// The version in the older image; null where it has none.
    old: Option<String>,
    /// The version in the newer image; null where it has none.
    new: Option<String>,
}

/// A path that two images have differently.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
struct FileChange {
    /// The path, absolute.
    path: String,
    /// `added`, `removed` or `changed`.
    change: &'static str,
    /// In what a changed one differs.
    what: Vec<&'static str>,
    /// What the older image has; absent where it has nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<FileState>,
    /// What the newer image has; absent where it has nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<FileState>,
}

/// What one image has at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
struct FileState {
    /// What it is, such as `file` or `directory`.
    kind: &'static str,
    /// The digest of a file's content.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    /// A file's size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    /// Where a symlink leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// A device's numbers, as `MAJOR:MINOR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// Permission bits in octal digits.
    mode: String,
    /// The number of its user.
    uid: u32,
    /// The number of its group.
    gid: u32,
    /// When it was changed, in seconds since the Unix epoch.
    mtime: u64,
}

/// A field of the configuration that two images have differently.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
struct FieldChange {
    /// Its name.
    field: String,
    /// What the older image has.
    old: Value,
    /// What the newer image has.
    new: Value,
}

/// `hornero image diff`.
pub fn run(home: &Path, json_wanted: bool, old: &str, new: &str) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    let (old, new) = (named::image(home, &store, old)?, named::image(home, &store, new)?);
    let found = difference(&store, &old, &new)?;
    match json_wanted {
        true => print_json(&found),
        false => print_text(&harmless(&text(&found))),
    }
}

fn difference(store: &Store, old: &Digest, new: &Digest) -> Result<Difference, Failure> {
    let (before, after) = (store.tree(old)?, store.tree(new)?);
    let (config, new_config) = (store.image(old)?.config, store.image(new)?.config);
    Ok(Difference {
        old: *old,
        new: *new,
        packages: package_changes(&packages(store, &before)?, &packages(store, &after)?),
        files: Tree::diff(&before, &after).iter().map(file_change).collect(),
        config: field_changes(&config, &new_config)?,
    })
}

/// The packages that are installed in a tree, by name, as dpkg's status says; none where there is no dpkg.
fn packages(store: &Store, tree: &Tree) -> Result<BTreeMap<String, String>, Failure> {
    match store.read_tree_file(tree, "/var/lib/dpkg/status") {
        Ok(status) => Ok(installed(&String::from_utf8_lossy(&status))),
        Err(StoreError::NoPath { .. }) => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

/// The packages of a status file that are installed.
fn installed(status: &str) -> BTreeMap<String, String> {
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

fn package_changes(
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

fn file_change(change: &Change<'_>) -> FileChange {
    let path = change.new.or(change.old).map_or_else(String::new, |entry| entry.path.to_string());
    let (word, what) = match change.kind {
        ChangeKind::Added => ("added", Vec::new()),
        ChangeKind::Removed => ("removed", Vec::new()),
        ChangeKind::Changed(aspects) => ("changed", words(aspects)),
    };
    FileChange { path, change: word, what, old: change.old.map(state), new: change.new.map(state) }
}

fn words(aspects: Aspects) -> Vec<&'static str> {
    let all = [
        ("kind", aspects.kind),
        ("content", aspects.content),
        ("size", aspects.size),
        ("mode", aspects.mode),
        ("owner", aspects.owner),
        ("mtime", aspects.mtime),
        ("xattrs", aspects.xattrs),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(word, _)| word).collect()
}

fn state(entry: &Entry) -> FileState {
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
    FileState {
        kind: entry.kind.word(),
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

fn field_changes(old: &ImageConfig, new: &ImageConfig) -> Result<Vec<FieldChange>, Failure> {
    let value = |config| serde_json::to_value(config).map_err(|error| Failure::of(&error));
    let (old, new) = (value(old)?, value(new)?);
    let fields = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect()
    };
    let mut names = fields(&old);
    names.extend(fields(&new));
    names.sort_unstable();
    names.dedup();
    let changed = names.into_iter().filter(|name| old.get(name) != new.get(name));
    let side = |value: &Value, name: &str| value.get(name).cloned().unwrap_or(json!(null));
    Ok(changed
        .map(|name| FieldChange { old: side(&old, &name), new: side(&new, &name), field: name })
        .collect())
}

/// The difference for people. What differs in nothing but its time is only counted: a file that is made anew on every
/// bake says little.
fn text(found: &Difference) -> String {
    let mut lines = Vec::new();
    for change in &found.packages {
        lines.push(match (&change.old, &change.new) {
            (Some(old), Some(new)) => format!("~ package {} {old} -> {new}", change.name),
            (None, Some(new)) => format!("+ package {} {new}", change.name),
            (old, None) => {
                format!("- package {} {}", change.name, old.as_deref().unwrap_or_default())
            }
        });
    }
    let (timed, files): (Vec<&FileChange>, Vec<&FileChange>) =
        found.files.iter().partition(|change| change.what == ["mtime"]);
    lines.extend(files.into_iter().map(file_line));
    if !timed.is_empty() {
        lines.push(format!("  {} more paths differ in nothing but their time", timed.len()));
    }
    for change in &found.config {
        lines.push(format!("~ config {} {} -> {}", change.field, change.old, change.new));
    }
    if lines.is_empty() {
        return "no difference\n".to_owned();
    }
    lines.join("\n") + "\n"
}

fn file_line(change: &FileChange) -> String {
    let size = |state: &FileState| match state.size_bytes {
        Some(size) => format!("{size} bytes"),
        None => state.kind.to_owned(),
    };
    match (&change.old, &change.new) {
        (None, Some(new)) => format!("+ {} ({})", change.path, size(new)),
        (Some(old), None) => format!("- {} ({})", change.path, size(old)),
        (Some(old), Some(new)) => {
            let details: Vec<String> =
                change.what.iter().map(|what| detail(what, old, new)).collect();
            format!("~ {} ({})", change.path, details.join(", "))
        }
        (None, None) => change.path.clone(),
    }
}

fn detail(what: &str, old: &FileState, new: &FileState) -> String {
    match what {
        "kind" => format!("{} -> {}", old.kind, new.kind),
        "size" => format!(
            "{} -> {} bytes",
            old.size_bytes.unwrap_or_default(),
            new.size_bytes.unwrap_or_default()
        ),
        "mode" => format!("mode {} -> {}", old.mode, new.mode),
        "owner" => format!("owner {}:{} -> {}:{}", old.uid, old.gid, new.uid, new.gid),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use hornero_store::{Layer, Metadata, TreePath};

    use super::*;

    fn entry(path: &str, kind: EntryKind, mode: u32, mtime: u64) -> Entry {
        let path = TreePath::new(path).unwrap();
        Entry { path, kind, metadata: Metadata::root_owned(mode, mtime) }
    }

    fn file(path: &str, text: &str, mode: u32) -> Entry {
        let (digest, size) = (Digest::of(text.as_bytes()), text.len() as u64);
        entry(path, EntryKind::File { digest, size }, mode, 1)
    }

    fn tree(entries: Vec<Entry>) -> Tree {
        Tree::merge([Layer::from_entries(entries).unwrap()])
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "one of every kind")]
    fn every_kind_of_change_is_told() {
        let symlink = |to: &str| EntryKind::Symlink { target: to.as_bytes().into() };
        let mut owned = file("owned", "same", 0o644);
        owned.metadata.uid = 33;
        let old = tree(vec![
            file("gone", "gone", 0o644),
            file("grown", "short", 0o644),
            file("owned", "same", 0o644),
            entry("turned", symlink("/a"), 0o777, 1),
            entry("link", symlink("/a"), 0o777, 1),
            entry("touched", EntryKind::Fifo, 0o600, 1),
            file("kept", "kept", 0o644),
        ]);
        let new = tree(vec![
            file("new", "new", 0o644),
            file("grown", "longer than before", 0o4755),
            owned,
            file("turned", "now a file", 0o644),
            entry("link", symlink("/b"), 0o777, 1),
            entry("touched", EntryKind::Fifo, 0o600, 2),
            file("kept", "kept", 0o644),
        ]);
        let status = |version: &str| {
            format!(
                "Package: nginx\nStatus: install ok installed\nVersion: {version}\n\nPackage: old\n\
                 Status: deinstall ok config-files\nVersion: 1\n"
            )
        };
        let command = |word: &str| ImageConfig { command: vec![word.into()], ..Default::default() };
        let found = Difference {
            old: Digest::of(b"old"),
            new: Digest::of(b"new"),
            packages: package_changes(
                &BTreeMap::from([("gone".to_owned(), "1".to_owned())])
                    .into_iter()
                    .chain(installed(&status("1.22.1-9")))
                    .collect(),
                &installed(&(status("1.22.1-9+deb12u1") + "\nPackage: new\nVersion: 2\n")),
            ),
            files: Tree::diff(&old, &new).iter().map(file_change).collect(),
            config: field_changes(&command("a"), &command("b")).unwrap(),
        };
        expect![[r#"
            - package gone 1
            + package new 2
            ~ package nginx 1.22.1-9 -> 1.22.1-9+deb12u1
            - /gone (4 bytes)
            ~ /grown (content, 5 -> 18 bytes, mode 0644 -> 4755)
            ~ /link (content)
            + /new (3 bytes)
            ~ /owned (owner 0:0 -> 33:0)
            ~ /turned (symlink -> file, mode 0777 -> 0644)
              1 more paths differ in nothing but their time
            ~ config command ["a"] -> ["b"]
        "#]]
        .assert_eq(&text(&found));
        let value = serde_json::to_value(&found).unwrap();
        assert_eq!(value["packages"][0], json!({ "name": "gone", "old": "1", "new": null }));
        let grown =
            &value["files"].as_array().unwrap().iter().find(|file| file["path"] == "/grown");
        expect![[r#"
            {
              "change": "changed",
              "new": {
                "digest": "sha256:178a5b6a25fbfeb5e88220fee8cc7e1a09a5e9e2674040f5ebe16bd04c9eae3f",
                "gid": 0,
                "kind": "file",
                "mode": "4755",
                "mtime": 1,
                "size_bytes": 18,
                "uid": 0
              },
              "old": {
                "digest": "sha256:f9b0078b5df596d2ea19010c001bbd009e651de2c57e8fb7e355f31eb9d3f739",
                "gid": 0,
                "kind": "file",
                "mode": "0644",
                "mtime": 1,
                "size_bytes": 5,
                "uid": 0
              },
              "path": "/grown",
              "what": [
                "content",
                "size",
                "mode"
              ]
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&grown).unwrap());
    }

    #[test]
    fn equal_images_have_no_difference() {
        let same = tree(vec![file("a", "a", 0o644)]);
        assert!(Tree::diff(&same, &same).is_empty());
        let config = ImageConfig::default();
        assert!(field_changes(&config, &config).unwrap().is_empty());
        let (old, new) = (Digest::of(b"same"), Digest::of(b"same"));
        let (packages, files, config) = (Vec::new(), Vec::new(), Vec::new());
        assert_eq!(text(&Difference { old, new, packages, files, config }), "no difference\n");
    }
}
