//! File contents by digest: where they lie, whether they are there, whether their bytes are right.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use hornero_model::Digest;
use rustix::fs::{FileType, Mode, OFlags, RawDir, openat};
use sha2::{Digest as _, Sha256};

use crate::{
    Damage, EntryKind, Result, StoreError,
    files::{is_not_plain, is_unreadable, open_plain_at},
    format::OBJECTS,
    records::FileState,
};

/// Reading in pieces of this size keeps hashing busy without a page fault storm.
pub(crate) const CHUNK_LEN: usize = 256 * 1024;

/// Room for the names of some 300 objects a system call.
const LIST_BUFFER_LEN: usize = 32 * 1024;

/// A content that is, or at the end of its ingest will be, in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl From<Stored> for EntryKind {
    fn from(Stored { digest, size }: Stored) -> Self {
        Self::File { digest, size }
    }
}

/// The `objects` directory with its 256 shards kept open for fast lookups.
#[derive(Debug)]
pub(crate) struct Objects {
    dir: PathBuf,
    shards: Box<[OnceLock<OwnedFd>; 256]>,
}

impl Objects {
    pub(crate) fn new(store: &Path) -> Self {
        Self { dir: store.join(OBJECTS), shards: Box::new([const { OnceLock::new() }; 256]) }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(relative(digest))
    }

    pub(crate) fn shard_dir(&self, shard: u8) -> PathBuf {
        self.dir.join(format!("{shard:02x}"))
    }

    pub(crate) fn shard(&self, shard: u8) -> Result<BorrowedFd<'_>> {
        let slot = &self.shards[usize::from(shard)];
        if slot.get().is_none() {
            let path = self.shard_dir(shard);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = openat(rustix::fs::CWD, &path, flags, Mode::empty())
                .map_err(|errno| StoreError::io("open", &path, errno))?;
            // Another thread may have been faster; its descriptor is as good.
            let _ = slot.set(opened);
        }
        Ok(slot.get().expect("set above").as_fd())
    }

    /// What stat(2) says of the object; none when it is not there.
    pub(crate) fn state(&self, digest: &Digest) -> Result<Option<FileState>> {
        let hex = digest.hex();
        let shard = self.shard(digest.as_bytes()[0])?;
        FileState::at(shard, &hex[2..]).map_err(|errno| self.failed("stat", digest, errno.into()))
    }

    /// Opens the object for reading; its bytes are not checked here.
    pub(crate) fn open(&self, digest: &Digest) -> Result<File> {
        let shard = self.shard(digest.as_bytes()[0])?;
        let opened = open_plain_at(shard, &digest.hex()[2..]);
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { kind: "object", digest: *digest },
            _ if is_not_plain(&error) => {
                let damage = Damage::NotAFile;
                StoreError::Damaged { kind: "object", digest: *digest, damage }
            }
            _ => self.failed("open", digest, error),
        })
    }

    /// Why a file operation failed: what the disk refuses to give is damage.
    fn failed(&self, action: &'static str, digest: &Digest, error: io::Error) -> StoreError {
        match is_unreadable(&error) {
            true => {
                StoreError::Damaged { kind: "object", digest: *digest, damage: Damage::Unreadable }
            }
            false => StoreError::io(action, self.path(digest), error),
        }
    }

    /// Hashes the object's bytes; gives the state it had before and after, or none when it changed meanwhile,
    /// and the digest its bytes have. What the disk cannot give is [`StoreError::Damaged`].
    pub(crate) fn hash(
        &self,
        digest: &Digest,
        went_on: impl Fn(),
    ) -> Result<(Option<FileState>, Digest)> {
        let before = self.state(digest)?;
        let file = Watched { file: self.open(digest)?, went_on };
        let found = hash_reader(file, None).map_err(|error| self.failed("read", digest, error))?;
        let after = self.state(digest)?;
        Ok((after.filter(|_| before == after), found.0))
    }

    /// Objects of one shard with their inode numbers, in no order; other files are left out.
    pub(crate) fn list_shard(&self, shard: u8) -> Result<Vec<(Digest, u64)>> {
        let path = self.shard_dir(shard);
        let failed = |errno| StoreError::io("list", &path, errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(self.shard(shard)?, ".", flags, Mode::empty()).map_err(failed)?;
        // Without a string and an allocation for each of a million names.
        let mut buffer = vec![std::mem::MaybeUninit::uninit(); LIST_BUFFER_LEN];
        let mut entries = RawDir::new(dir, &mut buffer);
        let mut hex = *b"0000000000000000000000000000000000000000000000000000000000000000";
        hex[..2].copy_from_slice(format!("{shard:02x}").as_bytes());
        let mut found = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            // A directory is nobody's content; fsck names it if something needs what should be there.
            if name.len() != 62 || entry.file_type() == FileType::Directory {
                continue;
            }
            hex[2..].copy_from_slice(name);
            let digest = std::str::from_utf8(&hex).ok().and_then(|hex| Digest::from_hex(hex).ok());
            found.extend(digest.map(|digest| (digest, entry.ino())));
        }
        Ok(found)
    }

    /// All objects, in no order; files whose name is no digest are passed to `stray`.
    pub(crate) fn list(&self, mut stray: impl FnMut(PathBuf)) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for shard in 0..=255_u8 {
            let dir = self.shard_dir(shard);
            let entries =
                fs::read_dir(&dir).map_err(|error| StoreError::io("list", &dir, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| StoreError::io("list", &dir, error))?;
                let name = entry.file_name();
                let digest = name
                    .to_str()
                    .and_then(|name| Digest::from_hex(&format!("{shard:02x}{name}")).ok());
                match digest {
                    Some(digest) => found.push(digest),
                    None => stray(entry.path()),
                }
            }
        }
        Ok(found)
    }
}

/// Where the content with this digest lies below a store's directory of objects. Its bytes are what they were when they
/// came in, unless somebody changed them: whoever relies on that compares the digest.
pub fn object_path(objects: &Path, digest: &Digest) -> PathBuf {
    objects.join(relative(digest))
}

/// `ab/cdef…`, below the `objects` directory and in the redirect attribute of metadata images.
pub(crate) fn relative(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{}/{}", &hex[..2], &hex[2..])
}

/// A file that says when some of it was read.
struct Watched<F> {
    file: File,
    went_on: F,
}

impl<F: Fn()> Read for Watched<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.went_on)();
        self.file.read(buffer)
    }
}

/// Digest and size of all that a reader gives, also written to `copy` if there is one.
pub(crate) fn hash_reader(
    mut reader: impl Read,
    mut copy: Option<&mut dyn io::Write>,
) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        let len = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&chunk[..len]);
        size += len as u64;
        if let Some(copy) = &mut copy {
            copy.write_all(&chunk[..len])?;
        }
    }
    Ok((Digest::from_bytes(hasher.finalize().into()), size))
}
