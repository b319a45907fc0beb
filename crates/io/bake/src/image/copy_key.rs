//! The identity of what a `copy` block brings: the bytes that the cache of steps is asked by.
//!
//! Written out word by word, so that no name in the code can be changed into another image's key by accident. The words
//! are those that the first version used; another spelling would bake everything anew that was ever copied.

use hornero_model::Digest;
use hornero_spec::{CopyOwner, CopySource, SourceKind};
use sha2::{Digest as _, Sha256};

use super::copy::{Found, FoundKind};

/// The identity of what is copied, apart from where it lies on the host.
///
/// SHA-256 over parts, each after its length in bytes (8 bytes, little-endian): the place in the image, the words of
/// [`kind_words`] and [`options`] with a space between, then for everything found its path below the source, and
/// `directory`, `symlink` with its target, or `program` or `file` with the 32 bytes of its digest.
pub(crate) fn key(source: &CopySource, found: &[Found]) -> Digest {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(source.to.as_bytes());
    part(format!("{} {}", kind_words(source.kind), options(source)).as_bytes());
    for entry in found {
        part(&entry.path);
        match &entry.kind {
            FoundKind::Directory => part(b"directory"),
            FoundKind::Symlink(target) => {
                part(b"symlink");
                part(target);
            }
            FoundKind::File { executable, digest, .. } => {
                part(if *executable { b"program" } else { b"file" });
                part(digest.as_bytes());
            }
        }
    }
    Digest::from_bytes(hasher.finalize().into())
}

const fn kind_words(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::File => "File",
        SourceKind::Directory => "Directory",
    }
}

/// Mode and owner as they stand in keys and in records of steps.
pub(crate) fn options(source: &CopySource) -> String {
    let mode = match source.mode {
        Some(mode) => format!("Some({mode})"),
        None => "None".to_owned(),
    };
    let CopyOwner { user, group } = &source.owner;
    // Names of accounts have no quote in them: `hornero.hcl` is refused where one has.
    let group = match group {
        Some(group) => format!("Some(\"{group}\")"),
        None => "None".to_owned(),
    };
    format!("{mode} CopyOwner {{ user: \"{user}\", group: {group} }}")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn source(mode: Option<u32>, owner: CopyOwner) -> CopySource {
        let (from, to) = ("public".to_owned(), "/srv/site".to_owned());
        CopySource { from, kind: SourceKind::Directory, to, mode, owner }
    }

    fn found(path: &str, kind: FoundKind) -> Found {
        Found { path: path.as_bytes().to_vec(), kind }
    }

    #[test]
    fn options_are_spelled_as_ever() {
        let plain = source(None, CopyOwner::default());
        assert_eq!(options(&plain), r#"None CopyOwner { user: "root", group: None }"#);
        let owner = CopyOwner { user: "www-data".into(), group: Some("adm".into()) };
        let all = source(Some(0o640), owner);
        assert_eq!(
            options(&all),
            r#"Some(416) CopyOwner { user: "www-data", group: Some("adm") }"#
        );
    }

    #[test]
    fn keys_are_what_they_ever_were() {
        // From the first version: what it baked is found by these.
        let file = |executable| FoundKind::File {
            host: PathBuf::from("/anywhere"),
            executable,
            digest: Digest::of(b"page"),
            size: 4,
        };
        let all = [
            found("", FoundKind::Directory),
            found("index.html", file(false)),
            found("run", file(true)),
            found("latest", FoundKind::Symlink(b"index.html".to_vec())),
        ];
        let directory = source(None, CopyOwner::default());
        assert_eq!(
            key(&directory, &all).hex(),
            "71cc7dc77e35761d0912d314b224cc2ae7701b8781b3e97b3005369cf8bef523"
        );
        let owner = CopyOwner { user: "33".into(), group: Some("adm".into()) };
        let one = CopySource { kind: SourceKind::File, ..source(Some(0o755), owner) };
        assert_eq!(
            key(&one, &all[1..2]).hex(),
            "1cc947c171c9be5df6877900bf09a319ccc64a0a79df930a452db5630ff510de"
        );
    }
}
