//! Moving only the contents that a store lacks, by the tails of blobs that say where each one is.

use std::{
    collections::HashSet,
    io::{self, Read as _},
};

use hornero_model::Digest;
use hornero_store::{Ingest, Store};

use crate::{
    ImportOptions, OciError, Result, TransferEvent, TransferProgress,
    carried::Carried,
    members::{Blob, Fetch, MemberReader, Wanted},
    opened::Opened,
    pack::{
        passport::Attachment,
        tail::{MEMBER_BYTES_MAX, Tail},
        travels, travels_with_layer,
    },
    parallel,
    source::Source,
    tails::{self, REQUESTS},
};

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
    options: &ImportOptions,
    progress: &dyn TransferProgress,
) -> Result<Moved> {
    let tails = tails::missing(store, source, opened)?;
    let mut moved = Moved::default();
    let mut wanted: Vec<Fetch<'_>> = Vec::new();
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
    let sizes = wanted.iter().flat_map(|fetch| &fetch.wanted).map(|content| content.size);
    let lacking_bytes = sizes.fold(0, u64::saturating_add);
    options.check_size(source.name(), lacking_bytes)?;
    store.ingest()?.expect_bytes(lacking_bytes)?;
    progress.event(TransferEvent::TransferStarted {
        bytes: wanted.iter().map(|fetch| fetch.packed()).sum(),
    });
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

/// Brings contents in, durable after each batch.
fn fetch(
    store: &Store,
    source: &dyn Source,
    all: &[Fetch<'_>],
    progress: &dyn TransferProgress,
) -> Result<()> {
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
            progress.event(TransferEvent::Transferred { bytes: fetch.packed() });
            Ok::<(), OciError>(())
        })?;
        ingest.finish()?;
        rest = after;
    }
    Ok(())
}

/// Reads members and takes their contents in; every byte is checked first.
fn take(ingest: &Ingest<'_>, source: &dyn Source, fetch: &Fetch<'_>) -> Result<()> {
    if fetch.length() > MEMBER_BYTES_MAX || fetch.packed() > MEMBER_BYTES_MAX {
        // A large content, or a small one in many members: never all of it in memory.
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

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::{Compression, document::Descriptor};

    /// A blob of zstd members, and the most that was read of it at once.
    struct Recorded(Vec<u8>, AtomicU64);

    impl Source for Recorded {
        fn name(&self) -> String {
            "somewhere".into()
        }

        fn top(&self) -> Result<Vec<u8>> {
            unreachable!("only members are read")
        }

        fn manifest(&self, _: &Digest) -> Result<Vec<u8>> {
            unreachable!("only members are read")
        }

        fn read(&self, _: &Digest, start: u64, length: u64) -> Result<Vec<u8>> {
            self.1.fetch_max(length, Ordering::Relaxed);
            Ok(self.0[start as usize..(start + length) as usize].to_vec())
        }

        fn moved(&self) -> u64 {
            0
        }
    }

    const CODEC: Compression = Compression::Zstd;

    /// Reads contents of these bytes from members of which each has so many bytes and, packed, some that say nothing.
    fn check(
        plain: &[u8],
        length: usize,
        nothing: usize,
        contents: &[(usize, usize)],
    ) -> Result<u64> {
        let hidden = CODEC.hide(&vec![0; nothing]);
        let (mut bytes, mut tail) = (Vec::new(), Tail::default());
        for part in plain.chunks(length) {
            let member = [CODEC.member(part), hidden.clone()].concat();
            tail.members.push((member.len() as u64, part.len() as u64));
            bytes.extend(member);
        }
        let of = |&(at, end): &(usize, usize)| (Digest::of(&plain[at..end]), at as u64);
        tail.contents = contents.iter().map(of).collect::<HashMap<_, _>>();
        let descriptor = Descriptor::new("", Digest::of(b"blob"), bytes.len() as u64);
        let source = Recorded(bytes, AtomicU64::new(0));
        let blob = Blob::of(&descriptor, CODEC, &tail);
        let wanted: Vec<_> = contents
            .iter()
            .map(|(at, end)| (Digest::of(&plain[*at..*end]), (end - at) as u64))
            .collect();
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path().join("store")).unwrap();
        fetch(&store, &source, &blob.fetches(&wanted)?, &crate::Quiet)?;
        for (digest, _) in wanted {
            assert!(store.has_object(&digest).unwrap());
        }
        Ok(source.1.into_inner())
    }

    #[test]
    fn a_small_content_in_large_members_is_not_in_memory_as_a_whole() {
        let plain: Vec<u8> = (0..40).collect();
        let most = check(&plain, 1, 1 << 20, &[(0, 40)]).unwrap();
        assert!((1 << 20..2 << 20).contains(&most), "{most}");
        // Real ones share requests.
        let most = check(&plain, 10, 100, &[(0, 15), (15, 25), (25, 40)]).unwrap();
        assert!(most > 400, "{most}");
    }

    #[test]
    fn contents_of_one_large_member_are_read_with_it() {
        let plain: Vec<u8> = (0..40).collect();
        let contents: Vec<_> = (0..40).map(|at| (at, at + 1)).collect();
        let most = check(&plain, 40, 9 << 20, &contents).unwrap();
        assert!(most > 9 << 20, "{most}");
    }

    #[test]
    fn contents_in_one_another_are_refused() {
        let plain: Vec<u8> = (0..40).collect();
        check(&plain, 10, 0, &[(0, 20), (20, 40)]).unwrap();
        let error = check(&plain, 10, 0, &[(0, 20), (19, 40)]).unwrap_err();
        assert!(error.to_string().contains("lies in another"), "{error}");
    }
}
