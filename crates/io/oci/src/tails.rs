//! Reading the tails of an image's blobs: which layers they stand for, and where each content is.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use hornero_store::Store;

use crate::{
    OciError, Result,
    opened::Opened,
    pack::{
        budget::{Budget, Fault},
        tail::{PACKED_BYTES_MAX, Tail},
    },
    parallel,
    source::Source,
};

/// Requests at the same time: they wait for the other side more than for anything here.
pub(crate) const REQUESTS: usize = 8;

/// What the store lacks of an image, each part of a tail with its blob's number.
pub(crate) fn missing(
    store: &Store,
    source: &dyn Source,
    opened: &Opened,
) -> Result<Vec<(usize, Tail)>> {
    let mut wanted = Vec::new();
    for part in parts(opened) {
        let layers = &opened.manifest.layers[part.layers.clone()];
        if layers.iter().any(|layer| !store.has_layer(layer)) {
            wanted.push(part);
        }
    }
    read(source, opened, &wanted)
}

/// All parts of every blob's tail.
pub(crate) fn all(source: &dyn Source, opened: &Opened) -> Result<Vec<(usize, Tail)>> {
    read(source, opened, &parts(opened))
}

/// A part of a blob's tail, or the tail of an older blob.
struct Part {
    blob: usize,
    /// How far before the blob's end it begins.
    before_end: u64,
    length: u64,
    /// Which of the image's layers it is about.
    layers: Range<usize>,
}

fn parts(opened: &Opened) -> Vec<Part> {
    let (mut all, mut first) = (Vec::new(), 0);
    for (index, blob) in opened.passport.blobs.iter().enumerate() {
        let whole = [blob.tail];
        let (lengths, layers) = match blob.parts.as_slice() {
            [] => (&whole[..], blob.layer_count()),
            parts => (parts, 1),
        };
        let mut before_end = blob.tail_bytes();
        for length in lengths {
            let layers = first..first + layers;
            first = layers.end;
            all.push(Part { blob: index, before_end, length: *length, layers });
            before_end = before_end.saturating_sub(*length);
        }
    }
    all
}

/// Reads parts; their layers are the image's, or it is an error.
fn read(source: &dyn Source, opened: &Opened, parts: &[Part]) -> Result<Vec<(usize, Tail)>> {
    let total = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.length));
    if total.is_none_or(|total| total > PACKED_BYTES_MAX) {
        let reason = "what says where everything is in it is larger than it may be";
        return Err(OciError::refused(source.name(), reason));
    }
    // Neighbours share a request.
    let runs: Vec<&[Part]> = parts
        .chunk_by(|one, next| {
            one.blob == next.blob && one.before_end.checked_sub(one.length) == Some(next.before_end)
        })
        .collect();
    // One after the other is unpacked, so that no more is in memory than the budget says.
    let state = Mutex::new((Budget::default(), BTreeMap::new()));
    parallel::each(REQUESTS, &runs, |_, run| {
        let blob = run[0].blob;
        let (descriptor, codec) = &opened.blobs[blob];
        let what = || format!("blob `{}` of {}", descriptor.digest, source.name());
        let damaged = || OciError::Digest { what: what(), expected: descriptor.digest };
        let larger = || OciError::refused(what(), "its tail is larger than it is");
        let tail_bytes = opened.passport.blobs[blob].tail_bytes();
        let members_bytes = descriptor.size.checked_sub(tail_bytes).ok_or_else(larger)?;
        let start = descriptor.size.checked_sub(run[0].before_end).ok_or_else(larger)?;
        let length = run.iter().map(|part| part.length).sum();
        let bytes = source.read(&descriptor.digest, start, length)?;
        let mut rest = bytes.as_slice();
        for part in *run {
            let (hidden, after) =
                rest.split_at_checked(part.length as usize).ok_or_else(damaged)?;
            rest = after;
            let unhidden = codec.unhide(hidden).ok_or_else(damaged)?;
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let (budget, tails) = &mut *state;
            let tail =
                Tail::decode(&unhidden, members_bytes, budget).map_err(|fault| match fault {
                    Fault::Form(_) => damaged(),
                    Fault::TooMuch(of_what) => {
                        let reason =
                            format!("with it the image has more {of_what} than it may have");
                        OciError::refused(what(), reason)
                    }
                })?;
            let layers = &opened.manifest.layers[part.layers.clone()];
            if !tail.layers.iter().map(|layer| &layer.digest).eq(layers) {
                return Err(damaged());
            }
            tails.insert((part.layers.start, blob), tail);
        }
        Ok(())
    })?;
    let (_, tails) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(tails.into_iter().map(|((_, blob), tail)| (blob, tail)).collect())
}

#[cfg(test)]
mod tests {
    use hornero_model::{Digest, ImageConfig};
    use hornero_store::{ImageManifest, Layer};

    use super::*;
    use crate::{
        Compression,
        document::Descriptor,
        pack::{
            passport::{FORMAT, Passport, PassportBlob},
            tail::TailLayer,
        },
    };

    /// Gives the same bytes for every blob.
    struct Same(Vec<u8>);

    impl Source for Same {
        fn name(&self) -> String {
            "somewhere".into()
        }

        fn top(&self) -> Result<Vec<u8>> {
            unreachable!("only tails are read")
        }

        fn manifest(&self, _: &Digest) -> Result<Vec<u8>> {
            unreachable!("only tails are read")
        }

        fn read(&self, _: &Digest, _: u64, _: u64) -> Result<Vec<u8>> {
            Ok(self.0.clone())
        }

        fn moved(&self) -> u64 {
            0
        }
    }

    /// Reads the tails of an image of so many blobs, each of which is a layer of so many members of a byte.
    fn check(blobs: usize, members: u64) -> Result<usize> {
        let layer = Layer::default();
        let layer = TailLayer { digest: layer.digest(), layer };
        let image = ImageManifest::new(vec![layer.digest; blobs], ImageConfig::default());
        let members = vec![(1, 1); members as usize];
        let part = Tail { members, layers: vec![layer], ..Tail::default() };
        let hidden = Compression::Gzip.hide(&part.encode());
        let length = hidden.len() as u64;
        let descriptor = Descriptor {
            media_type: String::new(),
            digest: Digest::of(b"blob"),
            size: part.members.len() as u64 + length,
            annotations: None,
            platform: None,
        };
        let blob = PassportBlob { parts: vec![length], ..PassportBlob::default() };
        let opened = Opened {
            image: image.digest(),
            passport: Passport {
                format: FORMAT,
                image: String::new(),
                blobs: vec![blob; blobs],
                blobs_digest: Digest::of(b""),
                made_with: None,
                attachments: [].into(),
                layers: [].into(),
            },
            manifest: image,
            blobs: vec![(descriptor, Compression::Gzip); blobs],
        };
        all(&Same(hidden), &opened).map(|tails| tails.len())
    }

    #[test]
    fn many_small_tails_are_refused_together() {
        assert_eq!(check(2, 1_000_000).unwrap(), 2);
        let error = check(999, 4_000).unwrap_err();
        assert!(matches!(error, OciError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("more members than it may have"), "{error}");
    }
}
