//! Directories that a configuration names and its layers lack: other programs make them when a container starts, which
//! a root that cannot be written to does not allow.

use std::collections::BTreeMap;

use hornero_store::{Entry, EntryKind, Layer, Metadata, Tree, TreePath};

/// A layer with those of these directories that the tree has not; none when it has all.
///
/// Nothing is made below what is no directory: whoever starts such an image is told.
pub(super) fn missing<'a>(
    tree: &Tree,
    directories: impl IntoIterator<Item = &'a String>,
) -> Option<Layer> {
    let mut made: BTreeMap<TreePath, Entry> = BTreeMap::new();
    for directory in directories {
        for path in lacking(tree, directory) {
            let kind = EntryKind::Directory { opaque: false };
            let metadata = Metadata::root_owned(0o755, 0);
            made.insert(path.clone(), Entry { path, kind, metadata });
        }
    }
    // Links that lead to each other may name a path twice, a directory and not; then none is made.
    Layer::from_sorted(made.into_values().collect())
        .ok()
        .filter(|layer| !layer.entries().is_empty())
}

/// The paths on the way to a directory that are not there, from the top down, links followed.
fn lacking(tree: &Tree, directory: &str) -> Vec<TreePath> {
    let Ok(whole) = TreePath::from_loose(directory.as_bytes()) else { return Vec::new() };
    if whole.is_root() {
        return Vec::new();
    }
    let mut walked = TreePath::root();
    let mut names = whole.components();
    while let Some(name) = names.next() {
        let Ok(next) = walked.join(name) else { return Vec::new() };
        match tree.resolve(next.as_bytes(), true) {
            Ok(found) if found.kind.is_directory() => walked = found.path.clone(),
            // A file, or a link to nowhere: neither can become a directory.
            _ if tree.get(&next).is_some() => return Vec::new(),
            _ => {
                let mut paths = vec![next];
                for name in names {
                    let Ok(next) = paths[paths.len() - 1].join(name) else { return Vec::new() };
                    paths.push(next);
                }
                return paths;
            }
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use hornero_model::Digest;

    use super::*;

    fn check(directories: &[&str], expected: &[&str]) {
        let entry = |path: &str, kind| Entry {
            path: TreePath::new(path).unwrap(),
            kind,
            metadata: Metadata::default(),
        };
        let link = |target: &str| EntryKind::Symlink { target: target.as_bytes().into() };
        let layer = Layer::from_entries(vec![
            entry("data", EntryKind::Directory { opaque: false }),
            entry("file", EntryKind::File { digest: Digest::of(b""), size: 0 }),
            entry("linked", link("data")),
            entry("nowhere", link("none")),
        ]);
        let tree = Tree::merge([layer.unwrap()]);
        let directories: Vec<String> = directories.iter().map(|name| (*name).into()).collect();
        let layer = missing(&tree, &directories).unwrap_or_default();
        let paths: Vec<String> = layer.entries().iter().map(|one| one.path.to_string()).collect();
        assert_eq!(paths, expected, "{directories:?}");
    }

    #[test]
    fn what_lacks_is_made_where_links_lead() {
        check(&["", "/", "/data", "data/", "/linked"], &[]);
        check(&["/app"], &["/app"]);
        check(&["/app/x", "/data/a", "/app/y"], &["/app", "/app/x", "/app/y", "/data/a"]);
        check(&["/linked/a"], &["/data/a"]);
        check(&["/file", "/file/a", "/nowhere", "/nowhere/a", "../x"], &[]);
    }
}
