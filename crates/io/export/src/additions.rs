//! What an export puts into a root beside the image's own: mount points, and files to be laid over.

use hornero_model::Digest;
use hornero_store::{Entry, EntryKind, Layer, Metadata, Tree, TreePath};

use crate::ExportError;

/// Additions to a tree, by path.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    entries: Vec<Entry>,
}

impl Additions {
    /// A directory, unless something at the path leads to one.
    pub(crate) fn directory(&mut self, tree: &Tree, path: &str) -> Result<(), ExportError> {
        match tree.lookup(path) {
            Ok(entry) if entry.kind.is_directory() => return Ok(()),
            Ok(_) => {
                let reason = "a directory has to be there, and it is none".to_owned();
                return Err(ExportError::Unusable { path: path.to_owned(), reason });
            }
            Err(_) => {}
        }
        let mut at = self.real(tree, path)?;
        let mut missing = Vec::new();
        while tree.get(&at).is_none() && !self.has(&at) {
            let parent = at.parent();
            missing.push(at);
            let Some(parent) = parent else { break };
            at = parent;
        }
        for path in missing {
            let kind = EntryKind::Directory { opaque: false };
            self.entries.push(Entry { path, kind, metadata: Metadata::root_owned(0o755, 0) });
        }
        Ok(())
    }

    /// An empty file to lay another over, unless there is a file; a symlink in its place is replaced.
    pub(crate) fn empty_file(&mut self, tree: &Tree, path: &str) -> Result<(), ExportError> {
        let (directory, name) = path.rsplit_once('/').expect("paths here are absolute");
        self.directory(tree, directory)?;
        let directory = self.real(tree, directory)?;
        let at = directory.join(name.as_bytes()).map_err(|error| unusable(path, &error))?;
        let there = tree.get(&at).is_some_and(|entry| matches!(entry.kind, EntryKind::File { .. }));
        if !there {
            let kind = EntryKind::File { digest: Digest::of(b""), size: 0 };
            self.entries.push(Entry { path: at, kind, metadata: Metadata::root_owned(0o644, 0) });
        }
        Ok(())
    }

    /// Where `path` really is: symlinks of what exists are followed, what does not exist is taken as written.
    pub(crate) fn real(&self, tree: &Tree, path: &str) -> Result<TreePath, ExportError> {
        let mut known = path.trim_end_matches('/');
        let mut rest: Vec<&str> = Vec::new();
        loop {
            match tree.lookup(known) {
                Ok(entry) => {
                    let mut at = entry.path.clone();
                    for name in rest.iter().rev() {
                        at = at.join(name.as_bytes()).map_err(|error| unusable(path, &error))?;
                    }
                    return Ok(at);
                }
                Err(_) => {
                    let (above, name) = known.rsplit_once('/').unwrap_or(("", known));
                    rest.push(name);
                    known = above;
                }
            }
        }
    }

    fn has(&self, path: &TreePath) -> bool {
        self.entries.iter().any(|entry| entry.path == *path)
    }

    /// The paths, sorted.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> =
            self.entries.iter().map(|entry| entry.path.to_string()).collect();
        paths.sort();
        paths
    }

    /// The tree with all of them.
    pub(crate) fn apply(self, tree: &Tree) -> Result<Tree, ExportError> {
        let layer = Layer::from_entries(self.entries).map_err(|source| {
            hornero_store::StoreError::Layer { name: "additions of the export".into(), source }
        })?;
        Ok(tree.clone().with(layer))
    }
}

fn unusable(path: &str, error: &dyn std::error::Error) -> ExportError {
    ExportError::Unusable { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        let path = TreePath::new(path).unwrap();
        Entry { path, kind, metadata: Metadata::root_owned(0o755, 1) }
    }

    #[test]
    fn only_what_is_missing_is_added_where_it_really_is() {
        let directory = || EntryKind::Directory { opaque: false };
        let symlink = |target: &str| EntryKind::Symlink { target: target.as_bytes().into() };
        let file = || EntryKind::File { digest: Digest::of(b"x"), size: 1 };
        let tree = Tree::merge([Layer::from_entries(vec![
            entry("run", directory()),
            entry("var", directory()),
            entry("var/run", symlink("/run")),
            entry("etc", directory()),
            entry("etc/hosts", file()),
            entry("etc/resolv.conf", symlink("../run/resolv.conf")),
        ])
        .unwrap()]);
        let mut additions = Additions::default();
        for path in
            ["/run", "/var/run", "/var/run/nginx/x", "/run/nginx", "/new", "/new/deep/", "/"]
        {
            additions.directory(&tree, path).unwrap();
        }
        for path in ["/etc/hosts", "/etc/resolv.conf", "/srv/file"] {
            additions.empty_file(&tree, path).unwrap();
        }
        assert!(additions.directory(&tree, "/etc/hosts").is_err());
        assert_eq!(
            additions.paths(),
            [
                "/etc/resolv.conf",
                "/new",
                "/new/deep",
                "/run/nginx",
                "/run/nginx/x",
                "/srv",
                "/srv/file"
            ]
        );
        let more = additions.apply(&tree).unwrap();
        assert!(more.lookup("/var/run/nginx/x").unwrap().kind.is_directory());
        assert_eq!(
            more.lookup("/etc/resolv.conf").unwrap().kind,
            EntryKind::File { digest: Digest::of(b""), size: 0 }
        );
    }
}
