//! Pushing an image: blobs the registry lacks, then the manifest that names them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hornero_model::Digest;
use hornero_store::Store;
use ureq::http::{Method, header};

use super::{
    Access, Client,
    upload::{BlobOutcome, Payload, Uploads},
};
use crate::{
    OciError, PackOptions, Reference, Result, TransferEvent, TransferProgress, document::MANIFEST,
    pack, parallel,
};

/// Uploads at the same time: more than one hides round trips, many would hide nothing more.
const UPLOADS: usize = 4;

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the OCI manifest.
    pub manifest: Digest,
    /// Bytes of bodies that went out, the manifest included.
    pub bytes_moved: u64,
    /// Bytes of all blobs and documents together.
    pub bytes_total: u64,
    /// Blobs that went out.
    pub blobs_moved: usize,
    /// Blobs that the registry had, in this repository or in the one to mount from.
    pub blobs_present: usize,
}

/// Pushes an image; `mount_from` is a repository of the same registry that may have some of its blobs.
///
/// # Errors
/// [`OciError::Denied`] when the registry wants other credentials, [`OciError::PlainHttp`] when it would be reached
/// without encryption, [`OciError::Http`] when every attempt failed; what has arrived stays there.
pub fn push(
    store: &Store,
    image: &Digest,
    reference: &Reference,
    access: &Access,
    options: &PackOptions,
    mount_from: Option<&str>,
    progress: &dyn TransferProgress,
) -> Result<Pushed> {
    let client = Client::new(reference, access)?;
    let packed = pack::pack(store, image, options.compression, options.cache.as_deref(), progress)?;
    let manifest = Digest::of(&packed.manifest);
    if reference.digest().is_some_and(|digest| *digest != manifest) {
        let reason = format!("its manifest has the digest `{manifest}`");
        return Err(OciError::refused(reference.to_string(), reason));
    }
    let uploads = Uploads { client: &client, progress, mount_from, moved: AtomicU64::new(0) };
    let config_digest = Digest::of(&packed.config);
    let total: u64 = packed.blobs.iter().map(|blob| blob.size).sum();
    progress.event(TransferEvent::TransferStarted { bytes: total });
    let blobs_moved = AtomicUsize::new(0);
    let count = |outcome| {
        if outcome == BlobOutcome::Moved {
            blobs_moved.fetch_add(1, Ordering::Relaxed);
        }
    };
    parallel::each(UPLOADS, &packed.blobs, |_, blob| {
        let path = packed.path(&blob.digest);
        uploads.blob(&blob.digest, blob.size, &Payload::File(&path)).map(count)
    })?;
    let config = Payload::Bytes(&packed.config);
    count(uploads.blob(&config_digest, packed.config.len() as u64, &config)?);
    let address = client.address(&format!("manifests/{}", reference.selector()));
    client.insist(&address, progress, |_| {
        let headers = [(header::CONTENT_TYPE, MANIFEST.to_owned())];
        let answer = client.send(&Method::PUT, &address, &headers, Some(&packed.manifest))?;
        match answer.status().as_u16() {
            201 => Ok(()),
            _ => Err(client.unexpected(&address, answer).into()),
        }
    })?;
    let documents = packed.manifest.len() as u64;
    let blobs_moved = blobs_moved.into_inner();
    Ok(Pushed {
        manifest,
        bytes_moved: uploads.moved.into_inner() + documents,
        bytes_total: total + packed.config.len() as u64 + documents,
        blobs_moved,
        blobs_present: packed.blobs.len() + 1 - blobs_moved,
    })
}
