//! Moving only the contents that a store lacks, by the tails of blobs that say where each one is.

use std::{
    borrow::Borrow,
    collections::HashSet,
    io::{self, Read},
};

use hornero_model::Digest;
use hornero_store::{Ingest, Store};

use crate::{
    Compression, Event, OciError, Progress, Result,
    carried::Carried,
    document::Descriptor,
    pack::{
        passport::Attachment,
        tail::{MEMBER_BYTES_MAX, Tail},
        travels, travels_with_layer,
    },
    parallel,
    pull::Opened,
    source::{PIECE_BYTES, Source},
    tails::{self, REQUESTS},
};

/// Bytes between two wanted members that are cheaper to take than another request with its headers.
const GAP_BYTES: u64 = 1 << 10;
/// What has arrived is made durable after so many bytes, so that a pull that is killed goes on from there.
const BATCH_BYTES: u64 = 32 << 20;

/// What moved.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) contents_moved: u64,
    pub(crate) contents_present: u64,
    pub(crate) layers_moved: usize,
}

/// Brings a Hornero image into the store.
pub(crate) fn pull(
    store: &Store,
    source: &dyn Source,
    opened: &Opened,
    progress: &dyn Progress,
) -> Result<Moved> {
    let tails = tails::missing(store, source, opened)?;
    let mut moved = Moved::default();
    let mut wanted: Vec<Fetch> = Vec::new();
    let mut seen = HashSet::new();
    for (blob, tail) in &tails {
        let mut lacking = Vec::new();
        for layer in tail.layers.iter().filter(|layer| !store.has_layer(&layer.digest)) {
            moved.layers_moved += 1;
            for (digest, size) in layer.layer.contents().filter(|(digest, _)| seen.insert(*digest))
            {
                match store.has_object(&digest)? {
                    true => moved.contents_present += 1,
                    false if size == 0 => drop(store.put_object(io::empty())?),
                    false => lacking.push((digest, size)),
                }
            }
        }
        moved.contents_moved += lacking.len() as u64;
        wanted.extend(Blob::new(*blob, opened, tail).fetches(&lacking)?);
    }
    progress.event(Event::TransferStarted { bytes: wanted.iter().map(Fetch::packed).sum() });
    fetch(store, source, &wanted, progress)?;
    let ingest = store.ingest()?;
    let new = |tail: &Tail| -> Result<()> {
        let lacking = tail.layers.iter().filter(|layer| !store.has_layer(&layer.digest));
        lacking.into_iter().try_for_each(|layer| ingest.put_layer(&layer.layer).map(drop))?;
        Ok(())
    };
    tails.iter().try_for_each(|(_, tail)| new(tail))?;
    ingest.finish()?;
    attach(store, opened)?;
    store.put_image(&opened.manifest)?;
    Ok(moved)
}

/// One content; its reader gives bytes that are not checked.
pub(crate) fn content<'a>(
    source: &'a dyn Source,
    opened: &Opened,
    blob: usize,
    tail: &Tail,
    digest: Digest,
    size: u64,
) -> Result<impl Read + use<'a>> {
    let fetch = Blob::new(blob, opened, tail).fetches(&[(digest, size)])?.remove(0);
    let skip = fetch.wanted[0].at - fetch.start.1;
    let mut reader = MemberReader::new(source, fetch);
    let skipped = io::copy(&mut reader.by_ref().take(skip), &mut io::sink());
    skipped.map_err(|error| OciError::refused(source.name(), error))?;
    Ok(reader.take(size))
}

/// A blob with where its members are.
pub(crate) struct Blob<'a> {
    descriptor: &'a Descriptor,
    codec: Compression,
    tail: &'a Tail,
    /// Where each member begins, compressed and uncompressed, and where the last one ends.
    starts: Vec<(u64, u64)>,
}

impl<'a> Blob<'a> {
    pub(crate) fn new(index: usize, opened: &'a Opened, tail: &'a Tail) -> Self {
        let (descriptor, codec) = &opened.blobs[index];
        let mut starts = Vec::with_capacity(tail.members.len() + 1);
        let mut at = tail.start;
        starts.push(at);
        for (packed, length) in &tail.members {
            at = (at.0 + packed, at.1 + length);
            starts.push(at);
        }
        Self { descriptor, codec: *codec, tail, starts }
    }

    /// The reads that bring these contents.
    pub(crate) fn fetches(&self, contents: &[(Digest, u64)]) -> Result<Vec<Fetch>> {
        let mut wanted: Vec<Wanted> = Vec::with_capacity(contents.len());
        for (digest, size) in contents {
            let at = self.tail.contents.get(digest).copied().unwrap_or(u64::MAX);
            let inside = self.starts[0].1..=self.starts[self.starts.len() - 1].1;
            let end = at.checked_add(*size);
            let end = end.filter(|end| inside.contains(&at) && inside.contains(end));
            let Some(end) = end else {
                let what = format!("blob `{}`", self.descriptor.digest);
                return Err(OciError::refused(
                    what,
                    format!("content `{digest}` lies beyond its end"),
                ));
            };
            wanted.push(Wanted { digest: *digest, size: *size, at, end });
        }
        wanted.sort_unstable_by_key(|wanted| (wanted.at, wanted.end));
        let mut fetches: Vec<Fetch> = Vec::new();
        for wanted in wanted {
            let first = self.starts.partition_point(|(_, start)| *start <= wanted.at) - 1;
            let last = self.starts.partition_point(|(_, start)| *start < wanted.end).max(first + 1);
            match fetches.last_mut().filter(|fetch| self.is_near(fetch, first, last)) {
                Some(fetch) => {
                    fetch.last = fetch.last.max(last);
                    fetch.wanted.push(wanted);
                }
                None => fetches.push(Fetch {
                    blob: self.descriptor.digest,
                    codec: self.codec,
                    first,
                    last,
                    members: Vec::new(),
                    start: self.starts[first],
                    wanted: vec![wanted],
                }),
            }
        }
        for fetch in &mut fetches {
            fetch.members = self.tail.members[fetch.first..fetch.last].to_vec();
        }
        Ok(fetches)
    }

    /// Whether members are worth the same request as those of `fetch`.
    fn is_near(&self, fetch: &Fetch, first: usize, last: usize) -> bool {
        let gap = self.starts[first].0.saturating_sub(self.starts[fetch.last].0);
        let packed = self.starts[last.max(fetch.last)].0 - self.starts[fetch.first].0;
        let length = self.starts[last.max(fetch.last)].1 - self.starts[fetch.first].1;
        gap <= GAP_BYTES && packed <= PIECE_BYTES && length <= MEMBER_BYTES_MAX
    }
}

/// A content in the tar of a blob.
struct Wanted {
    digest: Digest,
    size: u64,
    at: u64,
    end: u64,
}

/// Members that are read together, and the contents in them.
pub(crate) struct Fetch {
    blob: Digest,
    codec: Compression,
    /// The members: from this one up to, not with, that one.
    first: usize,
    last: usize,
    members: Vec<(u64, u64)>,
    /// Where the first one begins, compressed and uncompressed.
    start: (u64, u64),
    wanted: Vec<Wanted>,
}

impl Fetch {
    fn packed(&self) -> u64 {
        self.members.iter().map(|(packed, _)| packed).sum()
    }

    fn length(&self) -> u64 {
        self.members.iter().map(|(_, length)| length).sum()
    }
}

/// Brings contents in, durable after each batch.
fn fetch(store: &Store, source: &dyn Source, all: &[Fetch], progress: &dyn Progress) -> Result<()> {
    let mut rest = all;
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest.iter().take_while(|fetch| {
            let before = bytes;
            bytes += fetch.packed();
            before < BATCH_BYTES
        });
        let (batch, after) = rest.split_at(count.count());
        let ingest = store.ingest()?;
        parallel::each(REQUESTS, batch, |_, fetch| {
            take(&ingest, source, fetch)?;
            progress.event(Event::Transferred { bytes: fetch.packed() });
            Ok::<(), OciError>(())
        })?;
        ingest.finish()?;
        rest = after;
    }
    Ok(())
}

/// Reads members and takes their contents in; every byte is checked first.
fn take(ingest: &Ingest<'_>, source: &dyn Source, fetch: &Fetch) -> Result<()> {
    if fetch.length() > MEMBER_BYTES_MAX {
        // A large content: never all of it in memory.
        return fetch.wanted.iter().try_for_each(|wanted| {
            let mut reader = MemberReader::new(source, fetch);
            let skip = wanted.at - fetch.start.1;
            let failed = |error: io::Error| refused_or_damaged(source, wanted, error);
            io::copy(&mut reader.by_ref().take(skip), &mut io::sink()).map_err(failed)?;
            let stored = ingest.put(&wanted.digest.to_string(), reader.take(wanted.size));
            let stored = stored.map_err(|error| match error {
                hornero_store::StoreError::Source { source: error, .. } => failed(error),
                error => error.into(),
            })?;
            is_expected(source, wanted, stored.digest)
        });
    }
    let packed = source.read(&fetch.blob, fetch.start.0, fetch.packed())?;
    let damaged = |wanted: &Wanted| refused_or_damaged(source, wanted, io::Error::other("damaged"));
    let length = fetch.length();
    let plain = fetch.codec.open(&packed, length).map_err(|_| damaged(&fetch.wanted[0]))?;
    for wanted in &fetch.wanted {
        let start = wanted.at.saturating_sub(fetch.start.1).min(length) as usize;
        let bytes = &plain[start..start + wanted.size as usize];
        is_expected(source, wanted, Digest::of(bytes))?;
        ingest.put_bytes(bytes)?;
    }
    Ok(())
}

fn is_expected(source: &dyn Source, wanted: &Wanted, found: Digest) -> Result<()> {
    if found == wanted.digest {
        return Ok(());
    }
    let what = format!("a content from {}", source.name());
    Err(OciError::Digest { what, expected: wanted.digest })
}

/// An error of the source itself stays; bytes that cannot be unpacked are damaged.
fn refused_or_damaged(source: &dyn Source, wanted: &Wanted, error: io::Error) -> OciError {
    match error.downcast::<OciError>() {
        Ok(error) => error,
        Err(_) => OciError::Digest {
            what: format!("a content from {}", source.name()),
            expected: wanted.digest,
        },
    }
}

/// Reads members one after the other.
pub(crate) struct MemberReader<'a, F> {
    source: &'a dyn Source,
    fetch: F,
    next: usize,
    /// Where the next member begins, compressed.
    at: u64,
    plain: io::Cursor<Vec<u8>>,
}

impl<'a, F: Borrow<Fetch>> MemberReader<'a, F> {
    fn new(source: &'a dyn Source, fetch: F) -> Self {
        let at = fetch.borrow().start.0;
        Self { source, fetch, next: 0, at, plain: io::Cursor::default() }
    }
}

impl<F: Borrow<Fetch>> Read for MemberReader<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let fetch = self.fetch.borrow();
        let Some((packed, length)) = fetch.members.get(self.next) else { return Ok(0) };
        let bytes = self.source.read(&fetch.blob, self.at, *packed).map_err(io::Error::other)?;
        let plain = fetch.codec.open(&bytes, *length).map_err(io::Error::other)?;
        self.plain = io::Cursor::new(plain);
        self.next += 1;
        self.at += packed;
        self.plain.read(buffer)
    }
}

/// Keeps what is known about the image and of the images below. What a rebase takes for true of a layer is none of
/// it: that is read from the contents, which have to be those of their digests.
fn attach(store: &Store, opened: &Opened) -> Result<()> {
    let passport = &opened.passport;
    let mut all: Vec<(Digest, &String, &Attachment)> = Vec::new();
    for (kind, attachment) in passport.attachments.iter().filter(|(kind, _)| travels(kind)) {
        all.push((opened.image, kind, attachment));
    }
    for (number, attachments) in &passport.layers {
        let Some(layer) = opened.manifest.layers.get(*number) else { continue };
        for (kind, attachment) in attachments.iter().filter(|(kind, _)| travels_with_layer(kind)) {
            all.push((*layer, kind, attachment));
        }
    }
    let mut carried = Carried::new(store, opened.image);
    for (subject, kind, attachment) in all {
        let bytes = attachment.bytes().ok_or_else(|| {
            OciError::refused(format!("attachment {kind}"), "it is not what its form says")
        })?;
        carried.add(subject, kind, bytes)?;
    }
    carried.attach()
}
