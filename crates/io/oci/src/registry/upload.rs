//! Bringing blobs into a registry: only those it lacks, in chunks, taken up again where a connection broke.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use hornero_model::Digest;
use ureq::http::{Method, header};

use super::{
    answer::{Answer, AttemptFailure},
    challenge::escape,
    client::Client,
};
use crate::{OciError, Result, TransferEvent, TransferProgress};

/// Larger chunks would be lost to a broken connection, smaller ones cost round trips.
const CHUNK_BYTES: u64 = 8 << 20;

/// A blob on its way; its bytes are in a file or in memory.
pub(super) enum Payload<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

/// Where uploads go.
pub(super) struct Uploads<'a> {
    pub(super) client: &'a Client,
    pub(super) progress: &'a dyn TransferProgress,
    /// A repository of the same registry that may have the blobs.
    pub(super) mount_from: Option<&'a str>,
    pub(super) moved: AtomicU64,
}

/// How a blob came to be in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlobOutcome {
    Present,
    Mounted,
    Moved,
}

/// An upload that the registry knows of.
struct Session {
    /// Where the next request goes.
    location: String,
    /// Bytes that the registry has.
    offset: u64,
}

impl Uploads<'_> {
    pub(super) fn blob(
        &self,
        digest: &Digest,
        size: u64,
        payload: &Payload<'_>,
    ) -> Result<BlobOutcome> {
        if self.is_there(digest)? {
            self.progress.event(TransferEvent::BlobPresent { digest: *digest });
            return Ok(BlobOutcome::Present);
        }
        let address = self.client.address("blobs/uploads/");
        let mut session: Option<Session> = None;
        // Only bytes beyond all that ever arrived are progress: an upload that begins anew repeats what was there.
        let mut furthest = 0;
        self.client.insist(&address, self.progress, |advanced| {
            let mut open = match session.take() {
                // A broken connection: the registry says how much it has. One that does not know begins anew.
                Some(lost) => match self.resume(&lost)? {
                    Some(resumed) => resumed,
                    None => match self.begin(&address, None)? {
                        Some(begun) => begun,
                        None => return Ok(BlobOutcome::Mounted),
                    },
                },
                None => match self.begin(&address, Some(digest))? {
                    Some(begun) => begun,
                    None => return Ok(BlobOutcome::Mounted),
                },
            };
            let done = self.send_all(&mut open, digest, size, payload);
            *advanced = open.offset > furthest;
            furthest = furthest.max(open.offset);
            session = Some(open);
            done.map(|()| BlobOutcome::Moved)
        })
    }

    fn is_there(&self, digest: &Digest) -> Result<bool> {
        let address = self.client.address(&format!("blobs/{digest}"));
        self.client.insist(&address, self.progress, |_| {
            let answer = self.client.send(&Method::HEAD, &address, &[], None)?;
            match answer.status().as_u16() {
                200 => Ok(true),
                404 => Ok(false),
                _ => Err(self.client.unexpected(&address, answer).into()),
            }
        })
    }

    /// Begins an upload; none when the registry took the blob from the other repository.
    fn begin(
        &self,
        address: &str,
        mount: Option<&Digest>,
    ) -> Result<Option<Session>, AttemptFailure> {
        let address = match (mount, self.mount_from) {
            (Some(digest), Some(from)) => {
                format!("{address}?mount={}&from={}", escape(&digest.to_string()), escape(from))
            }
            _ => address.to_owned(),
        };
        let answer = self.client.send(&Method::POST, &address, &[], Some(b""))?;
        match answer.status().as_u16() {
            201 => Ok(None),
            202 => Ok(Some(Session { location: self.location(&address, &answer)?, offset: 0 })),
            _ => Err(self.client.unexpected(&address, answer).into()),
        }
    }

    /// Asks how much of an upload has arrived; none when the registry has given it up.
    fn resume(&self, lost: &Session) -> Result<Option<Session>, AttemptFailure> {
        let answer = self.client.send(&Method::GET, &lost.location, &[], None)?;
        match answer.status().as_u16() {
            204 => {
                let offset = arrived(&answer).unwrap_or(0);
                let location =
                    self.location(&lost.location, &answer).unwrap_or(lost.location.clone());
                Ok(Some(Session { location, offset }))
            }
            _ => Ok(None),
        }
    }

    fn send_all(
        &self,
        session: &mut Session,
        digest: &Digest,
        size: u64,
        payload: &Payload<'_>,
    ) -> Result<(), AttemptFailure> {
        if session.offset > size {
            return Err(AttemptFailure::Again("the registry has more than was sent".into()));
        }
        while size - session.offset > CHUNK_BYTES {
            let end = session.offset + CHUNK_BYTES;
            let chunk = payload.read(session.offset, CHUNK_BYTES)?;
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_RANGE, format!("{}-{}", session.offset, end - 1)),
            ];
            let answer =
                self.client.send(&Method::PATCH, &session.location, &headers, Some(&chunk))?;
            if answer.status() != 202 {
                return Err(self.broken(&session.location, answer));
            }
            self.count(CHUNK_BYTES);
            session.location = self.location(&session.location, &answer)?;
            session.offset = arrived(&answer).unwrap_or(end);
            if session.offset != end {
                return Err(AttemptFailure::Again(
                    "the registry took only a part of a chunk".into(),
                ));
            }
        }
        let rest = payload.read(session.offset, size - session.offset)?;
        let separator = if session.location.contains('?') { '&' } else { '?' };
        let address =
            format!("{}{separator}digest={}", session.location, escape(&digest.to_string()));
        let headers = [(header::CONTENT_TYPE, "application/octet-stream".to_owned())];
        let answer = self.client.send(&Method::PUT, &address, &headers, Some(&rest))?;
        if answer.status() != 201 {
            return Err(self.broken(&session.location, answer));
        }
        self.count(rest.len() as u64);
        session.offset = size;
        Ok(())
    }

    fn count(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        self.progress.event(TransferEvent::Transferred { bytes });
    }

    /// Refusals of one chunk may come from an upload that broke before: worth another try.
    fn broken(&self, address: &str, answer: Answer) -> AttemptFailure {
        match answer.status().as_u16() {
            400 | 404 | 416 => {
                AttemptFailure::Again(self.client.unexpected(address, answer).to_string())
            }
            _ => self.client.unexpected(address, answer).into(),
        }
    }

    fn location(&self, address: &str, answer: &Answer) -> Result<String, AttemptFailure> {
        let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let refused = || OciError::refused(address, "its answer names no place for the upload");
        self.client.absolute(location.ok_or_else(refused)?)
    }
}

/// Bytes that have arrived, by the `Range` of an answer; `0-0` means none.
fn arrived(answer: &Answer) -> Option<u64> {
    let range = answer.headers().get(header::RANGE)?.to_str().ok()?;
    let last: u64 = range.trim_start_matches("bytes=").split_once('-')?.1.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

impl Payload<'_> {
    fn read(&self, start: u64, length: u64) -> Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes[start as usize..(start + length) as usize].to_vec()),
            Self::File(path) => {
                let failed = |error| OciError::io("read", *path, error);
                let mut out = vec![0; length as usize];
                File::open(path)
                    .and_then(|file| file.read_exact_at(&mut out, start))
                    .map_err(failed)?;
                Ok(out)
            }
        }
    }
}
