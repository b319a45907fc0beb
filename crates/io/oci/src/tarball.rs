//! How a layer's entries are named in a tar of layers (OCI image specification, "Representing Changes").

pub(crate) use hornero_store::tarball::{BLOCK, END, padding};
use hornero_store::{Entry, EntryKind, Metadata, tarball};

/// What the name of a file that hides another one begins with.
const WHITEOUT: &[u8] = b".wh.";
/// The name of the marker that hides everything that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The headers of an entry; for a file its content and [`padding`] follow.
pub(crate) fn headers(entry: &Entry) -> Vec<u8> {
    let path = entry.path.as_bytes();
    match &entry.kind {
        EntryKind::Directory { .. } if path.is_empty() => tarball::headers(b"./", entry),
        EntryKind::Whiteout => {
            let name = entry.path.name();
            let directory = &path[..path.len() - name.len()];
            tarball::headers(&[directory, WHITEOUT, name].concat(), entry)
        }
        _ => tarball::headers(path, entry),
    }
}

/// The marker that hides everything that lower layers have in a directory.
pub(crate) fn opaque_marker(directory: &Entry) -> Vec<u8> {
    let mut path = directory.path.as_bytes().to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(OPAQUE);
    let metadata = Metadata::default();
    let marker = Entry { path: directory.path.clone(), kind: EntryKind::Whiteout, metadata };
    tarball::headers(&path, &marker)
}

/// The root directory again, with a record that readers skip: it makes archives that add nothing differ. As long
/// whatever the root's metadata is, of which its attributes are left out.
pub(crate) fn commented_root(metadata: &Metadata, text: &str) -> Vec<u8> {
    let metadata = Metadata { xattrs: Default::default(), ..metadata.clone() };
    tarball::commented_directory(b"./", &metadata, text)
}

/// Whether a tar of layers would take this name for a whiteout.
pub(crate) fn looks_like_whiteout(entry: &Entry) -> bool {
    entry.path.components().any(|name| name.starts_with(WHITEOUT))
}
