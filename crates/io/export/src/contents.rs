//! Contents from the store to their places in a file, on a few threads.

use std::{
    fs::File,
    io::{self, Read},
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use hornero_model::Digest;
use hornero_store::{Damage, Store, StoreError, erofs::PlacedContent};
use rustix::{fs::copy_file_range, io::Errno};

use crate::{ExportError, ExportEvent, ExportProgress, output::Output};

/// Small contents are gathered to runs of about this size, each written at once.
const RUN_LEN: u64 = 1 << 20;
/// From this size on the kernel copies: on btrfs and XFS without copying any bytes.
const WHOLE_LEN: u64 = 256 << 10;
/// What the kernel is asked to copy at a time, so that progress is seen and an error of another thread ends it.
const COPY_LEN: usize = 8 << 20;
/// Writers of one file take turns anyway; more threads only help to read.
const THREADS_MAX: usize = 4;

/// Writes `contents`, which are sorted by offset and don't overlap, shifted by `base`.
///
/// What lies between one content and the next may be overwritten with zeros.
pub(crate) fn write(
    store: &Store,
    contents: &[PlacedContent],
    base: u64,
    output: &Output,
    progress: &dyn ExportProgress,
) -> Result<(), ExportError> {
    let runs = runs(contents);
    let (next, stop, failure) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    let work = || {
        let mut buffer = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let run = &contents[run.clone()];
            let result = match run {
                [large] if large.size >= WHOLE_LEN => copy(store, large, base, output, &stop),
                small => gather(store, small, base, output, &mut buffer),
            };
            if let Err(error) = result {
                stop.store(true, Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                return;
            }
            progress.event(ExportEvent::Written {
                bytes: run.iter().map(|content| content.size).sum(),
            });
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    thread::scope(|scope| {
        for _ in 1..threads.min(runs.len()) {
            scope.spawn(work);
        }
        work();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Neighbours to be written together.
fn runs(contents: &[PlacedContent]) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    for (index, content) in contents.iter().enumerate() {
        if content.size >= WHOLE_LEN {
            if start < index {
                runs.push(start..index);
            }
            runs.push(index..index + 1);
            start = index + 1;
        } else if content.offset + content.size - contents[start].offset > RUN_LEN {
            runs.push(start..index);
            start = index;
        }
    }
    if start < contents.len() {
        runs.push(start..contents.len());
    }
    runs
}

fn gather(
    store: &Store,
    run: &[PlacedContent],
    base: u64,
    output: &Output,
    buffer: &mut Vec<u8>,
) -> Result<(), ExportError> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return Ok(());
    };
    buffer.clear();
    buffer.resize((last.offset + last.size - first.offset) as usize, 0);
    for content in run {
        let at = (content.offset - first.offset) as usize;
        let file = store.open_object(&content.digest)?;
        read_whole(file, &content.digest, &mut buffer[at..at + content.size as usize])?;
    }
    output.write_at(buffer, base + first.offset)
}

/// Fills `buffer`; the content has to have exactly its length.
fn read_whole(mut file: File, digest: &Digest, buffer: &mut [u8]) -> Result<(), ExportError> {
    let failed = |source| StoreError::Source { name: digest.to_string(), source };
    match file.read_exact(buffer) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged(digest)),
        Err(error) => return Err(failed(error).into()),
    }
    Ok(())
}

/// The contents were checked before; one that changed since is refused.
pub(crate) fn damaged(digest: &Digest) -> ExportError {
    StoreError::Damaged { kind: "object", digest: *digest, damage: Damage::Size }.into()
}

fn copy(
    store: &Store,
    content: &PlacedContent,
    base: u64,
    output: &Output,
    stop: &AtomicBool,
) -> Result<(), ExportError> {
    let file = store.open_object(&content.digest)?;
    let (mut from, mut to) = (0, base + content.offset);
    while from < content.size && !stop.load(Ordering::Relaxed) {
        let len = COPY_LEN.min((content.size - from) as usize);
        match copy_file_range(&file, Some(&mut from), output.file(), Some(&mut to), len) {
            Ok(0) => return Err(damaged(&content.digest)),
            Ok(_) | Err(Errno::INTR) => {}
            // Between file systems of different kinds, or of a kind that has no such call.
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_by_hand(file, content, from, to, output);
            }
            Err(errno) => return Err(output.failed(errno)),
        }
    }
    Ok(())
}

fn copy_by_hand(
    file: File,
    content: &PlacedContent,
    mut from: u64,
    mut to: u64,
    output: &Output,
) -> Result<(), ExportError> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; RUN_LEN as usize];
    while from < content.size {
        let part = &mut buffer[..RUN_LEN.min(content.size - from) as usize];
        match file.read_exact_at(part, from) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged(&content.digest));
            }
            Err(source) => {
                return Err(StoreError::Source { name: content.digest.to_string(), source }.into());
            }
        }
        output.write_at(part, to)?;
        from += part.len() as u64;
        to += part.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_gather_small_neighbours_and_leave_large_ones_alone() {
        let mut offset = 0;
        let mut contents = Vec::new();
        for size in
            [100, WHOLE_LEN, 5, 6, WHOLE_LEN - 1, WHOLE_LEN - 1, WHOLE_LEN - 1, WHOLE_LEN - 1, 3]
        {
            contents.push(PlacedContent { digest: Digest::of(b""), size, offset });
            offset += size.next_multiple_of(4096);
        }
        assert_eq!(runs(&contents), [0..1, 1..2, 2..7, 7..9]);
        assert_eq!(runs(&[]), [0..0; 0]);
    }
}
