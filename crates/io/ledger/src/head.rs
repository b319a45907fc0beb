//! The file beside the database that holds the newest seal, so that a cut-off end is noticed.
//!
//! It is one line of fixed length, overwritten in place after every commit without a sync of its own: after a
//! power loss it may be older than the database, never newer. It also carries the lock of the one writer.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use hornero_home::Opening;
use hornero_model::Digest;

use crate::{
    Head, Keys, LedgerError, PublicKey,
    chain::Domain,
    keys::{from_hex, to_hex},
};

/// `2 ` (`1 ` in format 1), 20 digits, 64 and 128 hex digits with a space before each, a newline.
const LINE_BYTES: usize = 2 + 20 + 1 + 64 + 1 + 128 + 1;

/// The head file of `database`.
pub(crate) fn head_path(database: &Path) -> PathBuf {
    database.with_extension("head")
}

/// The head file, open and locked by the one writer.
pub(crate) struct HeadFile {
    path: PathBuf,
    file: fs::File,
}

impl HeadFile {
    /// Opens and locks the head file, and makes it where there is none. The second value says whether it was made.
    pub(crate) fn lock(database: &Path) -> Result<(Self, bool), LedgerError> {
        let path = head_path(database);
        let file = hornero_home::open(&path, Opening::Create)
            .map_err(|source| failed("open", &path, source))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LedgerError::InUse { path: database.to_owned() });
            }
            Err(errno) => return Err(failed("lock", &path, errno.into())),
        }
        let empty = file.metadata().map_err(|source| failed("read", &path, source))?.len() == 0;
        Ok((Self { path, file }, empty))
    }

    /// Puts `head` into the file, signed.
    pub(crate) fn write(&self, head: Head, keys: &Keys) -> Result<(), LedgerError> {
        let signature = keys.sign_event(Domain::Head, head.sequence, &head.hash);
        let line = format!("2 {:020} {} {}\n", head.sequence, head.hash.hex(), to_hex(&signature));
        debug_assert_eq!(line.len(), LINE_BYTES);
        self.file
            .write_all_at(line.as_bytes(), 0)
            .map_err(|source| failed("write", &self.path, source))
    }

    /// Makes the file as durable as the database.
    pub(crate) fn sync(&self) -> Result<(), LedgerError> {
        self.file.sync_all().map_err(|source| failed("sync", &self.path, source))
    }

    /// Writes the head of an empty ledger, durably.
    pub(crate) fn begin(&self, keys: &Keys) -> Result<(), LedgerError> {
        let head = Head { sequence: 0, hash: crate::genesis() };
        self.write(head, keys)?;
        self.sync()?;
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        fs::File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| failed("sync", parent, source))
    }
}

/// How far the ledger went by the head file, and in which domain that is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownHead {
    pub(crate) head: Head,
    pub(crate) domain: Domain,
}

impl KnownHead {
    /// What is wrong with a head of format 1 beside a last event that is sealed in `seal`'s domain: since format 2 every
    /// append writes the head anew first, so only an event's seal that was copied looks so.
    pub(crate) fn fault_beside(self, seal: Domain) -> Option<&'static str> {
        (self.domain == Domain::SealOrHead && seal == Domain::Seal).then_some(COPIED)
    }
}

/// What is said of a head that somebody made of an event's own seal.
const COPIED: &str = "should be there: the file with the last sealed head is older than the events, or was made of one";

/// What the head file says; an inner error is what is wrong with it, for people.
pub(crate) fn read(
    database: &Path,
    key: &PublicKey,
) -> Result<Result<KnownHead, &'static str>, LedgerError> {
    let path = head_path(database);
    let mut text = String::new();
    let opened = match hornero_home::open(&path, Opening::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err("should be there: the file with the last sealed head is missing"));
        }
        opened => opened.map_err(|source| failed("open", &path, source))?,
    };
    match opened.take(LINE_BYTES as u64 + 1).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(Err(UNREADABLE)),
        Err(error) => return Err(failed("read", &path, error)),
    }
    Ok(parse(&text, key).ok_or(UNREADABLE))
}

/// The bytes of a good head file; none where there is none. It is overwritten in place, so a reader may come in between.
pub(crate) fn text(database: &Path, key: &PublicKey) -> Result<Option<String>, LedgerError> {
    /// A line is written by one call: a second look finds it whole.
    const LOOKS: usize = 100;
    let path = head_path(database);
    for _ in 0..LOOKS {
        let text = match hornero_home::open(&path, Opening::Read).and_then(io::read_to_string) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|source| failed("read", &path, source))?,
        };
        if parse(&text, key).is_some() {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// Writes a head file beside the copy of a database.
pub(crate) fn put(database: &Path, text: &str) -> Result<(), LedgerError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = head_path(database);
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    made.and_then(|file| file.write_all_at(text.as_bytes(), 0).and_then(|()| file.sync_all()))
        .map_err(|source| failed("write", &path, source))
}

const UNREADABLE: &str = "should be there: the file with the last sealed head was changed";

/// The head that a line of a head file says, if `key` signed it; also of a copy that was kept elsewhere.
pub fn parse_head(line: &str, key: &PublicKey) -> Option<Head> {
    parse(line, key).map(|known| known.head)
}

fn parse(text: &str, key: &PublicKey) -> Option<KnownHead> {
    let mut parts = text.strip_suffix('\n')?.split(' ');
    let mut next = || parts.next();
    let domain = match next()? {
        "1" => Domain::SealOrHead,
        "2" => Domain::Head,
        _ => return None,
    };
    let sequence = next()?.parse().ok()?;
    let hash = Digest::from_hex(next()?).ok()?;
    let seal = from_hex(next()?)?;
    let good = parts.next().is_none() && key.signed_event(domain, sequence, &hash, &seal);
    good.then_some(KnownHead { head: Head { sequence, hash }, domain })
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> LedgerError {
    LedgerError::File { action, path: path.to_owned(), source: Arc::new(source) }
}
