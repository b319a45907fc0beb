//! What is known about an image or a layer beside its bytes: small files by subject and kind.
//!
//! `attachments/HEX/KIND`: a checksum over subject, kind and bytes, then the bytes. Unlike the cache they may not
//! be lost: each is on disk when attaching returns, replaced whole, and deleted with what it is about.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use hornero_model::Digest;

use crate::{
    Result, Store, StoreError,
    error::AttachmentKindError,
    files::{is_not_plain, is_unreadable, list_digests, read_limited},
    format::ATTACHMENTS,
    sync,
};

/// A record of a bake or the facts of a large package take some MiB at most; contents belong into objects.
pub const ATTACHMENT_BYTES_MAX: u64 = 64 << 20;
/// Kinds are words, some with a key's short name behind them.
pub const ATTACHMENT_KIND_LEN_MAX: usize = 64;
/// Signatures of many keys are attachments each; a listing beyond this is no work of ours.
const ATTACHMENT_COUNT_MAX: usize = 4096;
const CHECKSUM_LEN: usize = 32;
/// Kinds that say nothing but what the contents of their subject do: whoever needs one that is gone reads those.
const DERIVED: [&str; 1] = ["facts"];
/// From this many on, one syncfs(2) is cheaper than flushing each.
const SYNC_EACH_MAX: usize = 8;

impl Store {
    /// Keeps `bytes` about an image or a layer under `kind`, durably and in one step; replaces what was there.
    ///
    /// Attach before a reference leads to the subject, or under the lease that brought it in: an attachment
    /// whose subject is not stored is garbage.
    ///
    /// # Errors
    /// [`StoreError::AttachmentKind`] for a kind that is no name, [`StoreError::TooLarge`] above
    /// [`ATTACHMENT_BYTES_MAX`].
    pub fn attach(&self, subject: &Digest, kind: &str, bytes: &[u8]) -> Result<()> {
        self.attach_all(&[(*subject, kind, bytes)])
    }

    /// As [`Store::attach`] for many, synced together.
    pub fn attach_all(&self, attachments: &[(Digest, &str, &[u8])]) -> Result<()> {
        for (subject, kind, bytes) in attachments {
            check_kind(kind)?;
            if bytes.len() as u64 > ATTACHMENT_BYTES_MAX {
                let name = format!("attachment `{kind}` of `{subject}`");
                return Err(StoreError::TooLarge { name, limit_bytes: ATTACHMENT_BYTES_MAX });
            }
        }
        if attachments.is_empty() {
            return Ok(());
        }
        // Whoever deletes would take a directory that is still empty for a leftover.
        let _lease = self.lease()?;
        let root = self.dir().join(ATTACHMENTS);
        let made_root = make_directory(&root)?;
        let mut staged = Vec::with_capacity(attachments.len());
        let published = self.publish_attachments(attachments, &mut staged);
        if published.is_err() {
            // Best effort: the staging directory as a whole goes when the store is closed.
            staged.iter().for_each(|(path, _)| drop(fs::remove_file(path)));
        }
        published?;
        if made_root {
            sync::directory(self.dir())?;
        }
        Ok(())
    }

    fn publish_attachments(
        &self,
        attachments: &[(Digest, &str, &[u8])],
        staged: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<()> {
        let root = self.dir().join(ATTACHMENTS);
        let many = attachments.len() > SYNC_EACH_MAX;
        for (subject, kind, bytes) in attachments {
            let mut framed = Vec::with_capacity(CHECKSUM_LEN + bytes.len());
            framed.extend_from_slice(checksum(subject, kind, bytes).as_bytes());
            framed.extend_from_slice(bytes);
            staged.push((self.staging().write(&framed)?, self.attachment_path(subject, kind)));
        }
        match many {
            true => sync::filesystem(&root)?,
            false => staged.iter().try_for_each(|(path, _)| sync::file(path))?,
        }
        let mut directories = BTreeSet::new();
        for (path, target) in staged.iter() {
            if let Some(parent) = target.parent() {
                self.make_attachments_dir(parent)?;
                directories.insert(parent);
            }
            self.staging().publish_over(path, target)?;
        }
        if many {
            return sync::filesystem(&root);
        }
        directories.into_iter().try_for_each(sync::directory)?;
        sync::directory(&root)
    }

    /// Makes the directory of a subject, in place of whatever else lies there: attaching mends.
    fn make_attachments_dir(&self, directory: &Path) -> Result<()> {
        if !make_directory(directory)? && !is_directory(directory) {
            self.staging().discard(directory)?;
            make_directory(directory)?;
        }
        Ok(())
    }

    /// What is kept about `subject` under `kind`.
    ///
    /// # Errors
    /// [`StoreError::DamagedAttachment`] when its bytes are not what was attached, or can't be read any more.
    pub fn attachment(&self, subject: &Digest, kind: &str) -> Result<Option<Vec<u8>>> {
        check_kind(kind)?;
        let path = self.attachment_path(subject, kind);
        let bytes = match read_limited(&path, ATTACHMENT_BYTES_MAX + CHECKSUM_LEN as u64) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error)
                if is_not_plain(&error)
                    || is_unreadable(&error)
                    || error.kind() == io::ErrorKind::NotADirectory =>
            {
                let kind = kind.to_owned();
                return Err(StoreError::DamagedAttachment { subject: *subject, kind });
            }
            Err(error) => return Err(StoreError::io("read", path, error)),
        };
        let damaged = || StoreError::DamagedAttachment { subject: *subject, kind: kind.to_owned() };
        let (sum, value) = bytes.split_at_checked(CHECKSUM_LEN).ok_or_else(damaged)?;
        match checksum(subject, kind, value).as_bytes() == sum {
            true => Ok(Some(value.to_vec())),
            false => Err(damaged()),
        }
    }

    /// The kinds of everything kept about `subject`, sorted; none where something else lies in the place of their
    /// directory, which [`Store::fsck`] names.
    pub fn attachments(&self, subject: &Digest) -> Result<Vec<String>> {
        if self.is_attachments_place_taken(subject) {
            return Ok(Vec::new());
        }
        let dir = self.attachments_dir(subject);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io("list", dir, error)),
        };
        let mut kinds = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| StoreError::io("list", &dir, error))?;
            kinds.extend(entry.file_name().into_string().ok().filter(|kind| is_kind(kind)));
            if kinds.len() > ATTACHMENT_COUNT_MAX {
                let reason = io::Error::other("it holds more files than attachments can be");
                return Err(StoreError::io("list", dir, reason));
            }
        }
        kinds.sort_unstable();
        Ok(kinds)
    }

    /// Removes what is kept about `subject` under `kind`, durably; says whether it was there.
    pub fn detach(&self, subject: &Digest, kind: &str) -> Result<bool> {
        check_kind(kind)?;
        let removed = self.staging().discard(&self.attachment_path(subject, kind))?;
        if removed {
            sync::directory(&self.attachments_dir(subject))?;
        }
        Ok(removed)
    }

    /// Drops a damaged attachment that can be made again from what is stored, durably; says whether it is one.
    ///
    /// What lies in the place of the directory of a layer goes as well: layers have nothing else attached.
    pub(crate) fn drop_derived(&self, subject: &Digest, kind: Option<&str>) -> Result<bool> {
        let _lease = self.lease()?;
        match kind {
            Some(kind) if DERIVED.contains(&kind) => self.detach(subject, kind).map(|_| true),
            None if self.has_layer(subject) && self.is_attachments_place_taken(subject) => {
                self.staging().discard(&self.attachments_dir(subject))?;
                sync::directory(&self.dir().join(ATTACHMENTS)).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Whether something that is no directory lies where a subject's attachments belong.
    pub(crate) fn is_attachments_place_taken(&self, subject: &Digest) -> bool {
        let there = fs::symlink_metadata(self.attachments_dir(subject));
        there.is_ok_and(|metadata| !metadata.is_dir())
    }

    /// Everything that anything is attached to, sorted; whether it is stored or not.
    pub(crate) fn attached_subjects(&self) -> Result<Vec<Digest>> {
        match list_digests(&self.dir().join(ATTACHMENTS)) {
            // Stores of before attachments have no such directory.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            listed => listed,
        }
    }

    pub(crate) fn attachments_dir(&self, subject: &Digest) -> PathBuf {
        self.dir().join(ATTACHMENTS).join(subject.hex())
    }

    pub(crate) fn attachment_path(&self, subject: &Digest, kind: &str) -> PathBuf {
        self.attachments_dir(subject).join(kind)
    }
}

/// Itself, not what a link leads to.
fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Makes a directory; says whether it was missing.
fn make_directory(path: &Path) -> Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(StoreError::io("create", path, error)),
    }
}

fn is_kind(kind: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    (1..=ATTACHMENT_KIND_LEN_MAX).contains(&kind.len())
        && !kind.starts_with('.')
        && kind.bytes().all(allowed)
}

fn check_kind(kind: &str) -> Result<(), AttachmentKindError> {
    match is_kind(kind) {
        true => Ok(()),
        false => Err(AttachmentKindError(kind.chars().take(80).collect())),
    }
}

/// Covers subject and kind as well: bytes under another's name are damage too.
fn checksum(subject: &Digest, kind: &str, bytes: &[u8]) -> Digest {
    let mut covered = Vec::with_capacity(33 + kind.len() + bytes.len());
    covered.extend_from_slice(subject.as_bytes());
    covered.extend_from_slice(kind.as_bytes());
    // No kind holds this byte, so that kind and bytes cannot run into each other.
    covered.push(b'\n');
    covered.extend_from_slice(bytes);
    Digest::of(&covered)
}
