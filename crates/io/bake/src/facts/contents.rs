//! Reads what the files of one layer need and give: the first bytes of each, more of those that turn out to matter.

use std::{
    cell::RefCell,
    os::unix::fs::FileExt as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use hornero_model::Digest;
use hornero_rebase::{
    LayerFacts, SCRIPT_LINE_LEN, Script,
    elf::{self, ElfFacts, Unread},
    read_groups, read_users, without_days,
};
use hornero_store::{Entry, EntryKind, Layer, Store, StoreError};

use crate::BakeError;

/// Texts of accounts and library paths; real ones have some kilobytes.
const TEXT_BYTES_MAX: u64 = 8 << 20;
/// The smallest ELF header.
const ELF_BYTES_MIN: u64 = 52;
/// Where neither programs nor libraries are, in any package; only files that are not executable are passed over.
const PASSED_OVER: [&str; 6] = [
    "usr/share/doc/",
    "usr/share/i18n/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/share/zoneinfo/",
];
/// Debug information keeps the headers of the program it was taken from, without what they point to; nobody loads it.
const DEBUG: &str = "usr/lib/debug/";
/// Entries that one thread takes at a time.
const BATCH: usize = 64;
/// Threads that read: files are in the page cache, since the layer was just made.
const THREADS_MAX: usize = 8;

/// Everything but dpkg's status.
pub(super) fn read(store: &Store, layer: &Layer) -> Result<LayerFacts, BakeError> {
    let entries = layer.entries();
    let mut facts = LayerFacts::new();
    let mut found = programs(store, entries)?;
    found.sort_by_key(|(number, _)| *number);
    for (number, program) in found {
        match program {
            Program::Elf(elf) => facts.elf.push((number, elf)),
            Program::Unread => facts.unread.push(number),
            Program::Script(script) => facts.scripts.push((number, script)),
        }
    }
    for (number, entry) in (0_u32..).zip(entries) {
        let EntryKind::File { digest, size } = &entry.kind else { continue };
        let path = entry.path.as_bytes();
        if !path.starts_with(b"etc/") || *size > TEXT_BYTES_MAX {
            continue;
        }
        let text = || -> Result<String, BakeError> {
            let bytes = store.read_object(digest).map_err(BakeError::store)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        match path {
            b"etc/passwd" => facts.users = Some(read_users(&text()?)),
            b"etc/group" => facts.groups = Some(read_groups(&text()?)),
            b"etc/shadow" => {
                facts.undated.push((number, Digest::of(without_days(&text()?).as_bytes())));
            }
            b"etc/ld.so.conf" => facts.library_paths.push((number, text()?)),
            _ if path.starts_with(b"etc/ld.so.conf.d/") => {
                facts.library_paths.push((number, text()?));
            }
            _ => {}
        }
    }
    Ok(facts)
}

enum Program {
    Elf(ElfFacts),
    Unread,
    Script(Script),
}

fn programs(store: &Store, entries: &[Entry]) -> Result<Vec<(u32, Program)>, BakeError> {
    let candidates: Vec<usize> =
        (0..entries.len()).filter(|number| is_candidate(&entries[*number])).collect();
    let batches: Vec<&[usize]> = candidates.chunks(BATCH).collect();
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let outcome: Mutex<Result<Vec<(u32, Program)>, BakeError>> = Mutex::new(Ok(Vec::new()));
    let work = || {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let mut found = Vec::new();
            for number in *batch {
                match program(store, &entries[*number]) {
                    Ok(Some(program)) => found.push((*number as u32, program)),
                    Ok(None) => {}
                    Err(error) => {
                        failed.store(true, Ordering::Relaxed);
                        *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
                        return;
                    }
                }
            }
            if let Ok(all) = &mut *outcome.lock().unwrap_or_else(PoisonError::into_inner) {
                all.extend(found);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS_MAX).min(batches.len());
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn is_candidate(entry: &Entry) -> bool {
    let EntryKind::File { size, .. } = entry.kind else { return false };
    let executable = entry.metadata.mode & 0o111 != 0;
    let path = entry.path.as_bytes();
    let passed_over = || PASSED_OVER.iter().any(|dir| path.starts_with(dir.as_bytes()));
    (executable && size > 2) || (size >= ELF_BYTES_MIN && !passed_over())
}

fn program(store: &Store, entry: &Entry) -> Result<Option<Program>, BakeError> {
    let EntryKind::File { digest, .. } = &entry.kind else { return Ok(None) };
    let file = store.open_object(digest).map_err(BakeError::store)?;
    let window = Window { file, offset: 0, bytes: Vec::new() };
    let window = RefCell::new(window);
    let problem = RefCell::new(None);
    let read_at = |offset: u64, into: &mut [u8]| {
        window.borrow_mut().read_at(offset, into).unwrap_or_else(|error| {
            *problem.borrow_mut() = Some(error);
            0
        })
    };
    let mut head = [0_u8; SCRIPT_LINE_LEN];
    let len = read_at(0, &mut head);
    let program = if head[..len].starts_with(b"\x7fELF") {
        match elf::read(&read_at) {
            Ok(elf) => elf.map(Program::Elf),
            Err(Unread) if entry.path.as_bytes().starts_with(DEBUG.as_bytes()) => None,
            Err(Unread) => Some(Program::Unread),
        }
    } else if entry.metadata.mode & 0o111 != 0 {
        Script::read(&head[..len]).map(Program::Script)
    } else {
        None
    };
    match problem.into_inner() {
        Some(error) => {
            let name = format!("object `{digest}`");
            Err(BakeError::store(StoreError::Source { name, source: error }))
        }
        None => Ok(program),
    }
}

/// The piece of a file that was read last; headers lie close together.
struct Window {
    file: std::fs::File,
    offset: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Read at once: most scripts and all headers of a small program.
    const LEN: usize = 4096;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> std::io::Result<usize> {
        let inside = offset
            .checked_sub(self.offset)
            .and_then(|at| usize::try_from(at).ok())
            .filter(|at| at + into.len() <= self.bytes.len());
        let at = match inside {
            Some(at) => at,
            None => {
                self.bytes.resize(Self::LEN.max(into.len()), 0);
                self.offset = offset;
                let mut len = 0;
                while len < self.bytes.len() {
                    match self.file.read_at(&mut self.bytes[len..], offset + len as u64) {
                        Ok(0) => break,
                        Ok(more) => len += more,
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        // No file is that long.
                        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => break,
                        Err(error) => return Err(error),
                    }
                }
                self.bytes.truncate(len);
                0
            }
        };
        let len = into.len().min(self.bytes.len() - at);
        into[..len].copy_from_slice(&self.bytes[at..at + len]);
        Ok(len)
    }
}
