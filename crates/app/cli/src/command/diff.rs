//! `image diff`: what two images have differently, by package, file and configuration.

use std::path::Path;

use hornero_api::message::{ImageDifference, ImageFileChange, ImageFileState};
use hornero_control::difference::image_difference;

use crate::{
    command::{named, stores},
    failure::Failure,
    harmless::harmless,
    output::{print_json, print_text},
};

/// `hornero image diff`.
pub fn run(home: &Path, json_wanted: bool, old: &str, new: &str) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    let (old, new) = (named::image(home, &store, old)?, named::image(home, &store, new)?);
    let found = image_difference(&store, &old, &new)?;
    match json_wanted {
        true => print_json(&found),
        false => print_text(&harmless(&text(&found))),
    }
}

/// The difference for people. What differs in nothing but its time is only counted: a file that is made anew on every
/// bake says little.
fn text(found: &ImageDifference) -> String {
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
    let (timed, files): (Vec<&ImageFileChange>, Vec<&ImageFileChange>) =
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

fn file_line(change: &ImageFileChange) -> String {
    let size = |state: &ImageFileState| match state.size_bytes {
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

fn detail(what: &str, old: &ImageFileState, new: &ImageFileState) -> String {
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
    use std::collections::BTreeMap;

    use expect_test::expect;
    use hornero_control::difference::{field_changes, file_change, installed, package_changes};
    use hornero_model::{Digest, ImageConfig};
    use hornero_store::{Entry, EntryKind, Layer, Metadata, Tree, TreePath};
    use serde_json::json;

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
        let found = ImageDifference {
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
            left_off: 0,
            config: field_changes(&command("a"), &command("b")),
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
        assert!(field_changes(&config, &config).is_empty());
        let (old, new) = (Digest::of(b"same"), Digest::of(b"same"));
        let (packages, files, config) = (Vec::new(), Vec::new(), Vec::new());
        assert_eq!(
            text(&ImageDifference { old, new, packages, files, left_off: 0, config }),
            "no difference\n"
        );
    }
}
