//! Where contents lie in the members of a blob, and reading them.

use std::{
    io::{self, Read},
    slice,
};

use hornero_model::Digest;

use crate::{
    Compression, OciError, Result,
    document::Descriptor,
    opened::Opened,
    pack::tail::{MEMBER_BYTES_MAX, Tail},
    source::{PIECE_BYTES, Source},
};

/// Bytes between two wanted members that are cheaper to take than another request with its headers.
const GAP_BYTES: u64 = 1 << 10;

/// One content; its reader gives bytes that are not checked.
pub(crate) fn content<'a>(
    source: &'a dyn Source,
    opened: &'a Opened,
    blob: usize,
    tail: &'a Tail,
    digest: Digest,
    size: u64,
) -> Result<impl Read + use<'a>> {
    let fetch = Blob::new(blob, opened, tail).fetches(&[(digest, size)])?.remove(0);
    let skip = fetch.wanted[0].at - fetch.start.1;
    let mut reader = MemberReader::new(source, &fetch);
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
        Self::of(descriptor, *codec, tail)
    }

    pub(crate) fn of(descriptor: &'a Descriptor, codec: Compression, tail: &'a Tail) -> Self {
        let mut starts = Vec::with_capacity(tail.members.len() + 1);
        let mut at = tail.start;
        starts.push(at);
        for (packed, length) in &tail.members {
            at = (at.0 + packed, at.1 + length);
            starts.push(at);
        }
        Self { descriptor, codec, tail, starts }
    }

    /// The reads that bring these contents.
    pub(crate) fn fetches(&self, contents: &[(Digest, u64)]) -> Result<Vec<Fetch<'a>>> {
        let refused = |digest: &Digest, reason: &str| {
            let what = format!("blob `{}`", self.descriptor.digest);
            OciError::refused(what, format!("content `{digest}` {reason}"))
        };
        let mut wanted: Vec<Wanted> = Vec::with_capacity(contents.len());
        for (digest, size) in contents {
            let at = self.tail.contents.get(digest).copied().unwrap_or(u64::MAX);
            let inside = self.starts[0].1..=self.starts[self.starts.len() - 1].1;
            let end = at.checked_add(*size);
            let end = end.filter(|end| inside.contains(&at) && inside.contains(end));
            let end = end.ok_or_else(|| refused(digest, "lies beyond its end"))?;
            wanted.push(Wanted { digest: *digest, size: *size, at, end });
        }
        wanted.sort_unstable_by_key(|wanted| (wanted.at, wanted.end));
        // Else the same members would be read for each of any number of contents.
        if let Some(pair) = wanted.windows(2).find(|pair| pair[1].at < pair[0].end) {
            return Err(refused(&pair[1].digest, "lies in another one"));
        }
        let mut fetches: Vec<Fetch<'a>> = Vec::new();
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
                    members: &[],
                    start: self.starts[first],
                    end: self.starts[last],
                    wanted: vec![wanted],
                }),
            }
        }
        for fetch in &mut fetches {
            fetch.members = &self.tail.members[fetch.first..fetch.last];
            fetch.end = self.starts[fetch.last];
        }
        Ok(fetches)
    }

    /// Whether members are worth the same request as those of `fetch`.
    fn is_near(&self, fetch: &Fetch<'_>, first: usize, last: usize) -> bool {
        let gap = self.starts[first].0.saturating_sub(self.starts[fetch.last].0);
        let packed = self.starts[last.max(fetch.last)].0 - self.starts[fetch.first].0;
        let length = self.starts[last.max(fetch.last)].1 - self.starts[fetch.first].1;
        // What is read anyway is not read a second time.
        let packed_max = if last <= fetch.last { MEMBER_BYTES_MAX } else { PIECE_BYTES };
        gap <= GAP_BYTES && packed <= packed_max && length <= MEMBER_BYTES_MAX
    }
}

/// A content in the tar of a blob.
pub(crate) struct Wanted {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Where it begins and ends in the tar, uncompressed.
    pub(crate) at: u64,
    end: u64,
}

/// Members that are read together, and the contents in them.
pub(crate) struct Fetch<'t> {
    pub(crate) blob: Digest,
    pub(crate) codec: Compression,
    /// The members: from this one up to, not with, that one.
    first: usize,
    last: usize,
    members: &'t [(u64, u64)],
    /// Where the first one begins and the last one ends, compressed and uncompressed.
    pub(crate) start: (u64, u64),
    end: (u64, u64),
    pub(crate) wanted: Vec<Wanted>,
}

impl Fetch<'_> {
    pub(crate) fn packed(&self) -> u64 {
        self.end.0 - self.start.0
    }

    pub(crate) fn length(&self) -> u64 {
        self.end.1 - self.start.1
    }
}

/// Reads members one after the other.
pub(crate) struct MemberReader<'a> {
    source: &'a dyn Source,
    blob: Digest,
    codec: Compression,
    members: slice::Iter<'a, (u64, u64)>,
    /// Where the next member begins, compressed.
    at: u64,
    plain: io::Cursor<Vec<u8>>,
}

impl<'a> MemberReader<'a> {
    pub(crate) fn new(source: &'a dyn Source, fetch: &Fetch<'a>) -> Self {
        let Fetch { blob, codec, members, start, .. } = fetch;
        let (members, at) = (members.iter(), start.0);
        Self { source, blob: *blob, codec: *codec, members, at, plain: io::Cursor::default() }
    }
}

impl Read for MemberReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let Some((packed, length)) = self.members.next() else { return Ok(0) };
        let bytes = self.source.read(&self.blob, self.at, *packed).map_err(io::Error::other)?;
        let plain = self.codec.open(&bytes, *length).map_err(io::Error::other)?;
        self.plain = io::Cursor::new(plain);
        self.at += packed;
        self.plain.read(buffer)
    }
}
