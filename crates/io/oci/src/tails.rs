//! Reading the tails of an image's blobs: which layers they stand for, and where each content is.

use std::sync::{Mutex, PoisonError};

use hornero_store::Store;

use crate::{
    OciError, Result,
    pack::tail::{Budget, Fault, PACKED_BYTES_MAX, Tail},
    parallel,
    pull::Opened,
    source::Source,
};

/// Requests at the same time: they wait for the other side more than for anything here.
pub(crate) const REQUESTS: usize = 8;

/// The tails of the blobs with a layer that the store lacks, each with its blob's number.
pub(crate) fn missing(
    store: &Store,
    source: &dyn Source,
    opened: &Opened,
) -> Result<Vec<(usize, Tail)>> {
    let mut wanted = blobs(opened);
    wanted.retain(|(_, first, count)| {
        let layers = &opened.manifest.layers[*first..first + count];
        layers.iter().any(|layer| !store.has_layer(layer))
    });
    read(source, opened, &wanted, Budget::default())
}

/// Every blob's tail.
pub(crate) fn all(source: &dyn Source, opened: &Opened) -> Result<Vec<(usize, Tail)>> {
    read(source, opened, &blobs(opened), Budget::default())
}

/// Each blob's number, its first layer's, and how many it has.
fn blobs(opened: &Opened) -> Vec<(usize, usize, usize)> {
    let mut first = 0;
    let blobs = opened.passport.blobs.iter().enumerate().map(|(index, blob)| {
        let here = (index, first, blob.layers);
        first += blob.layers;
        here
    });
    blobs.collect()
}

/// Reads the tails of these blobs; their layers are the image's, or it is an error.
fn read(
    source: &dyn Source,
    opened: &Opened,
    blobs: &[(usize, usize, usize)],
    budget: Budget,
) -> Result<Vec<(usize, Tail)>> {
    let of = |index: usize| opened.passport.blobs[index].tail;
    let total = blobs.iter().try_fold(0_u64, |sum, (index, ..)| sum.checked_add(of(*index)));
    if total.is_none_or(|total| total > PACKED_BYTES_MAX) {
        let reason = "what says where everything is in it is larger than it may be";
        return Err(OciError::refused(source.name(), reason));
    }
    // One after the other is unpacked, so that no more is in memory than the budget says.
    let state = Mutex::new((budget, Vec::with_capacity(blobs.len())));
    parallel::each(REQUESTS, blobs, |_, &(index, first, count)| {
        let (descriptor, codec) = &opened.blobs[index];
        let what = || format!("blob `{}` of {}", descriptor.digest, source.name());
        let members_bytes = descriptor.size.checked_sub(of(index));
        let members_bytes = members_bytes
            .ok_or_else(|| OciError::refused(what(), "its tail is larger than it is"))?;
        let bytes = source.read(&descriptor.digest, members_bytes, of(index))?;
        let damaged = || OciError::Digest { what: what(), expected: descriptor.digest };
        let unhidden = codec.unhide(&bytes).ok_or_else(damaged)?;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (budget, tails) = &mut *state;
        let tail = Tail::decode(&unhidden, members_bytes, budget).map_err(|fault| match fault {
            Fault::Form(_) => damaged(),
            Fault::TooMuch(of_what) => {
                let reason = format!("with it the image has more {of_what} than it may have");
                OciError::refused(what(), reason)
            }
        })?;
        let layers = &opened.manifest.layers[first..first + count];
        if !tail.layers.iter().map(|layer| &layer.digest).eq(layers) {
            return Err(damaged());
        }
        tails.push((index, tail));
        Ok(())
    })?;
    let (_, mut tails) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    tails.sort_unstable_by_key(|(index, _)| *index);
    Ok(tails)
}

#[cfg(test)]
mod tests {
    use hornero_model::{Digest, ImageConfig};
    use hornero_store::ImageManifest;

    use super::*;
    use crate::{
        Compression,
        document::Descriptor,
        pack::passport::{FORMAT, Passport, PassportBlob},
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

    /// Reads the tails of an image of so many blobs, each of which has so many members of a byte.
    fn check(blobs: u64, members: u64) -> Result<usize> {
        let tail = Tail { members: vec![(1, 1); members as usize], ..Tail::default() };
        let hidden = Compression::Gzip.hide(&tail.encode());
        let tail = hidden.len() as u64;
        let descriptor = Descriptor {
            media_type: String::new(),
            digest: Digest::of(b"blob"),
            size: members + tail,
            annotations: None,
            platform: None,
        };
        let manifest = ImageManifest::new(Vec::new(), ImageConfig::default());
        let opened = Opened {
            image: manifest.digest(),
            passport: Passport {
                format: FORMAT,
                image: String::new(),
                blobs: vec![PassportBlob { layers: 0, tail }; blobs as usize],
                blobs_digest: Digest::of(b""),
                attachments: [].into(),
                layers: [].into(),
            },
            manifest,
            blobs: vec![(descriptor, Compression::Gzip); blobs as usize],
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
