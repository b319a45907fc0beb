//! Registries by the OCI distribution specification 1.1, as `docker-registry` and every public one speak it.

mod access;
mod answer;
mod challenge;
mod client;
mod credentials;
mod push;
mod redirect;
mod trust;
mod upload;

use std::{
    io::Read,
    sync::atomic::{AtomicU64, Ordering},
};

use hornero_model::Digest;
use ureq::http::{Method, header};

pub use access::{Access, Patience};
pub use credentials::Credentials;
pub use push::{Pushed, push};

use crate::{
    OciError, Reference, Result, TransferProgress,
    document::{DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, MANIFEST_BYTES_MAX},
    source::{self, Source},
};
use answer::{Answer, AttemptFailure};
use client::Client;

/// An image of a registry.
pub(crate) struct Registry<'a> {
    client: Client,
    reference: Reference,
    progress: &'a dyn TransferProgress,
    moved: AtomicU64,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(
        reference: &Reference,
        access: &Access,
        progress: &'a dyn TransferProgress,
    ) -> Result<Self> {
        let client = Client::new(reference, access)?;
        Ok(Self { client, reference: reference.clone(), progress, moved: AtomicU64::new(0) })
    }

    fn fetch_manifest(&self, selector: &str) -> Result<Vec<u8>> {
        let address = self.client.address(&format!("manifests/{selector}"));
        let accepted = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX].join(", ");
        self.client.insist(&address, self.progress, |_| {
            let headers = [(header::ACCEPT, accepted.clone())];
            let answer = self.client.send(&Method::GET, &address, &headers, None)?;
            if answer.status() != 200 {
                return Err(self.missing(&address, answer).into());
            }
            let bytes = answer::body(answer, MANIFEST_BYTES_MAX)?;
            self.moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            Ok(bytes)
        })
    }

    /// What is not there is named as a person would.
    fn missing(&self, address: &str, answer: Answer) -> OciError {
        match answer.status().as_u16() {
            404 => OciError::Missing(self.reference.to_string()),
            _ => self.client.unexpected(address, answer),
        }
    }

    /// Appends to `out` what is missing of a blob's piece; what arrived before a break stays.
    fn attempt(
        &self,
        address: &str,
        start: u64,
        length: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), AttemptFailure> {
        let from = start + out.len() as u64;
        let range = format!("bytes={from}-{}", start + length - 1);
        let headers = [(header::RANGE, range)];
        let answer = self.client.send(&Method::GET, address, &headers, None)?;
        let skipped = match answer.status().as_u16() {
            206 => {
                let said = answer.headers().get(header::CONTENT_RANGE);
                let said = said.and_then(|value| value.to_str().ok()).unwrap_or_default();
                if !said.starts_with(&format!("bytes {from}-")) {
                    return Err(AttemptFailure::Again("it answered with another range".into()));
                }
                0
            }
            // A registry that knows no ranges sends the blob from its beginning.
            200 => from,
            416 => {
                let what = format!("`{address}`");
                return Err(OciError::refused(what, "it is shorter than its manifest says").into());
            }
            _ => return Err(self.client.unexpected(address, answer).into()),
        };
        let again = |error: std::io::Error| AttemptFailure::Again(error.to_string());
        let mut reader = answer.into_body().into_with_config().limit(u64::MAX).reader();
        let passed = std::io::copy(&mut reader.by_ref().take(skipped), &mut std::io::sink());
        self.moved.fetch_add(passed.map_err(again)?, Ordering::Relaxed);
        let mut buffer = vec![0; 64 << 10];
        while (out.len() as u64) < length {
            let most = buffer.len().min((length - out.len() as u64) as usize);
            let count = reader.read(&mut buffer[..most]).map_err(again)?;
            if count == 0 {
                return Err(AttemptFailure::Again("the connection broke off".into()));
            }
            out.extend_from_slice(&buffer[..count]);
            self.moved.fetch_add(count as u64, Ordering::Relaxed);
        }
        // To its end, or the connection could not be used again; a server that sends more loses it.
        let _ = std::io::copy(&mut reader.take(1), &mut std::io::sink());
        Ok(())
    }
}

impl Source for Registry<'_> {
    fn name(&self) -> String {
        format!("`{}`", self.reference)
    }

    fn top(&self) -> Result<Vec<u8>> {
        let bytes = self.fetch_manifest(&self.reference.selector())?;
        if let Some(digest) = self.reference.digest() {
            source::check(&format!("manifest of {}", self.name()), digest, &bytes)?;
        }
        Ok(bytes)
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.fetch_manifest(&digest.to_string())
    }

    fn read(&self, blob: &Digest, start: u64, length: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        if length == 0 {
            return Ok(out);
        }
        let address = self.client.address(&format!("blobs/{blob}"));
        self.client.insist(&address, self.progress, |advanced| {
            let before = out.len();
            let done = self.attempt(&address, start, length, &mut out);
            *advanced = out.len() > before;
            done
        })?;
        Ok(out)
    }

    fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }
}
