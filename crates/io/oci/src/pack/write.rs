//! Reading contents, compressing members on all processors, and writing each blob in order.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Write},
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
    sync::{Mutex, PoisonError},
};

use hornero_model::Digest;
use hornero_store::{Store, Stored};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::{
    plan::{Member, Piece, Plan, Section},
    tail::{Tail, TailLayer},
};
use crate::{Compression, OciError, Result, TransferEvent, TransferProgress, parallel};

/// A blob to be made.
pub(super) struct Job {
    pub(super) plan: Plan,
    pub(super) hidden: Hidden,
}

/// What a blob ends in.
pub(super) enum Hidden {
    /// The layers it stands for, one for each section of the plan.
    Layers(Vec<TailLayer>),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// What a blob became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// Of its bytes.
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Of the stream that it unpacks to.
    pub(crate) diff_id: Digest,
    /// How many of its last bytes are hidden: in each part of them.
    pub(crate) parts: Vec<u64>,
}

/// Writes all blobs into `dir`, each named by its digest.
pub(super) fn write(
    store: &Store,
    jobs: Vec<Job>,
    compression: Compression,
    dir: &Path,
    progress: &dyn TransferProgress,
) -> Result<Vec<Written>> {
    let pieces: Vec<(usize, usize)> = jobs
        .iter()
        .enumerate()
        .flat_map(|(job, Job { plan, .. })| {
            (0..plan.members.len()).map(move |member| (job, member))
        })
        .collect();
    let sinks: Vec<Mutex<Sink>> = jobs.iter().map(|_| Mutex::default()).collect();
    parallel::each(parallel::processors(), &pieces, |_, &(job, member)| {
        let plain = read(store, &jobs[job].plan.members[member])?;
        progress.event(TransferEvent::Packed { bytes: plain.len() as u64 });
        let packed = (compression != Compression::None).then(|| compression.member(&plain));
        let mut sink = sinks[job].lock().unwrap_or_else(PoisonError::into_inner);
        sink.pending.insert(member, (plain, packed));
        sink.advance(&jobs[job], compression, dir)
    })?;
    let written = sinks
        .into_iter()
        .map(|sink| sink.into_inner().unwrap_or_else(PoisonError::into_inner).written)
        .map(|written| written.expect("every member of every job was compressed"));
    Ok(written.collect())
}

/// The bytes of a member; its contents are checked against their digests.
fn read(store: &Store, member: &Member) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(member.length as usize);
    for piece in &member.pieces {
        let (digest, start, length, size) = match piece {
            Piece::Bytes(bytes) => {
                out.extend_from_slice(bytes);
                continue;
            }
            Piece::Content { digest, start, length, size } => (digest, *start, *length, *size),
        };
        let file = store.open_object(digest)?;
        let begin = out.len();
        out.resize(begin + length as usize, 0);
        let read = file.read_exact_at(&mut out[begin..], start);
        let whole = match length == size {
            true => read.is_ok() && Digest::of(&out[begin..]) == *digest,
            // The store remembers what it hashed; once for each content.
            false => {
                read.is_ok()
                    && (start > 0 || store.is_content_whole(Stored { digest: *digest, size })?)
            }
        };
        if !whole {
            let what = format!("object `{digest}` of the store");
            return Err(OciError::Digest { what, expected: *digest });
        }
    }
    Ok(out)
}

/// A blob as far as it is written.
#[derive(Default)]
struct Sink {
    /// Members that were compressed before an earlier one was: plain, and compressed if that differs.
    pending: BTreeMap<usize, (Vec<u8>, Option<Vec<u8>>)>,
    sizes: Vec<(u64, u64)>,
    file: Option<BufWriter<NamedTempFile>>,
    packed: Sha256,
    plain: Sha256,
    size: u64,
    written: Option<Written>,
}

impl Sink {
    fn advance(&mut self, job: &Job, compression: Compression, dir: &Path) -> Result<()> {
        while let Some((plain, packed)) = self.pending.remove(&self.sizes.len()) {
            if packed.is_some() {
                self.plain.update(&plain);
            }
            let bytes = packed.as_ref().unwrap_or(&plain);
            self.put(bytes, dir)?;
            self.sizes.push((bytes.len() as u64, plain.len() as u64));
        }
        if self.sizes.len() == job.plan.members.len() {
            self.finish(job, compression, dir)?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], dir: &Path) -> Result<()> {
        let failed = |error| OciError::io("write a blob into", dir, error);
        if self.file.is_none() {
            let file = NamedTempFile::with_prefix_in(".blob-", dir).map_err(failed)?;
            self.file = Some(BufWriter::with_capacity(1 << 20, file));
        }
        self.packed.update(bytes);
        self.size += bytes.len() as u64;
        let file = self.file.as_mut().expect("made above");
        file.write_all(bytes).map_err(failed)
    }

    fn finish(&mut self, job: &Job, compression: Compression, dir: &Path) -> Result<()> {
        let hidden = match &job.hidden {
            Hidden::Bytes(bytes) => vec![bytes.clone()],
            Hidden::Layers(layers) => {
                let layers = layers.iter().zip(&job.plan.sections);
                layers.map(|(layer, section)| self.part(layer, section).encode()).collect()
            }
        };
        let mut parts = Vec::with_capacity(hidden.len());
        for part in hidden {
            let part = compression.hide(&part);
            parts.push(part.len() as u64);
            self.put(&part, dir)?;
        }
        let failed = |error| OciError::io("write a blob into", dir, error);
        let file = self.file.take().expect("a tail was written").into_inner();
        let file = file.map_err(|error| failed(error.into_error()))?;
        let digest = Digest::from_bytes(self.packed.finalize_reset().into());
        let diff_id = match compression {
            Compression::None => digest,
            _ => Digest::from_bytes(self.plain.finalize_reset().into()),
        };
        let mode = fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(failed)?;
        file.persist(dir.join(digest.hex())).map_err(|error| failed(error.error))?;
        self.written = Some(Written { digest, size: self.size, diff_id, parts });
        Ok(())
    }

    /// Where everything of a layer is.
    fn part(&self, layer: &TailLayer, section: &Section) -> Tail {
        let before = &self.sizes[..section.members.start];
        Tail {
            start: (before.iter().map(|(packed, _)| packed).sum(), section.start),
            members: self.sizes[section.members.clone()].to_vec(),
            layers: vec![layer.clone()],
            contents: section.contents.clone(),
        }
    }
}
