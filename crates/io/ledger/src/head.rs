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
    thread,
    time::{Duration, Instant},
};

use hornero_home::Opening;
use hornero_model::Digest;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{Head, Keys, LedgerError, VerifyingKey, chain::Domain};

/// `2 ` (`1 ` in format 1), 20 digits, 64 and 128 hex digits with a space before each, a newline.
const LINE_BYTES: usize = 2 + 20 + 1 + 64 + 1 + 128 + 1;

/// How long a lock is waited for. A process that the last writer forked just before it ended holds the lock with it, until
/// it runs its own program.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

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
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(LedgerError::InUse { path: database.to_owned() });
                }
                Err(errno) => return Err(failed("lock", &path, errno.into())),
            }
        }
        let empty = file.metadata().map_err(|source| failed("read", &path, source))?.len() == 0;
        Ok((Self { path, file }, empty))
    }

    /// Puts `head` into the file, signed.
    pub(crate) fn write(&self, head: Head, keys: &Keys) -> Result<(), LedgerError> {
        let line = head_line(head, keys);
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
        self.write(Head::genesis(), keys)?;
        self.sync()?;
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        fs::File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| failed("sync", parent, source))
    }
}

/// The line that says how far a ledger goes, signed by the home's key.
pub fn head_line(head: Head, keys: &Keys) -> String {
    let signature = keys.sign_event(Domain::Head, head.sequence, &head.hash);
    format!("2 {:020} {} {}\n", head.sequence, head.hash.hex(), hex::encode(signature))
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
    key: &VerifyingKey,
) -> Result<Result<KnownHead, &'static str>, LedgerError> {
    match good_line(database, key)? {
        Looked::Good(_, known) => Ok(Ok(known)),
        Looked::Missing => {
            Ok(Err("should be there: the file with the last sealed head is missing"))
        }
        Looked::Bad => Ok(Err(UNREADABLE)),
    }
}

/// The bytes of a good head file; none where there is none.
pub(crate) fn text(database: &Path, key: &VerifyingKey) -> Result<Option<String>, LedgerError> {
    match good_line(database, key)? {
        Looked::Good(text, _) => Ok(Some(text)),
        Looked::Missing | Looked::Bad => Ok(None),
    }
}

/// What is in a head file.
enum Looked {
    /// A line that the home's key signed, and what it says.
    Good(String, KnownHead),
    /// No file.
    Missing,
    /// Anything else.
    Bad,
}

/// Reads the head file. It is overwritten in place, so a reader may come in between and looks again.
fn good_line(database: &Path, key: &VerifyingKey) -> Result<Looked, LedgerError> {
    /// A line is written by one call: a second look finds it whole.
    const LOOKS: usize = 100;
    let path = head_path(database);
    for _ in 0..LOOKS {
        let opened = match hornero_home::open(&path, Opening::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Looked::Missing),
            opened => opened.map_err(|source| failed("open", &path, source))?,
        };
        let mut bytes = Vec::with_capacity(LINE_BYTES + 1);
        opened
            .take(LINE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| failed("read", &path, source))?;
        if let Ok(text) = String::from_utf8(bytes)
            && let Some(known) = parse(&text, key)
        {
            return Ok(Looked::Good(text, known));
        }
    }
    Ok(Looked::Bad)
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
pub fn parse_head(line: &str, key: &VerifyingKey) -> Option<Head> {
    parse(line, key).map(|known| known.head)
}

fn parse(text: &str, key: &VerifyingKey) -> Option<KnownHead> {
    let mut parts = text.strip_suffix('\n')?.split(' ');
    let mut next = || parts.next();
    let domain = match next()? {
        "1" => Domain::SealOrHead,
        "2" => Domain::Head,
        _ => return None,
    };
    let sequence = next()?.parse().ok()?;
    let hash = Digest::from_hex(next()?).ok()?;
    let seal = hex::decode(next()?).ok()?;
    let good = parts.next().is_none() && key.signed_event(domain, sequence, &hash, &seal);
    good.then_some(KnownHead { head: Head { sequence, hash }, domain })
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> LedgerError {
    LedgerError::File { action, path: path.to_owned(), source: Arc::new(source) }
}
