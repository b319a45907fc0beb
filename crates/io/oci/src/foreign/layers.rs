//! A foreign OCI image, layer by layer.

use hornero_model::Digest;
use hornero_store::{DevicePolicy, Layer, Store, Tree};

use super::{
    configuration,
    reading::{drain, limits, named},
    record::{finish, record},
    stream, whiteout,
};
use crate::{
    ImportOptions, OciError, Pulled, Result, TransferEvent, TransferProgress,
    digest::Hashing,
    document::Descriptor,
    erofs_layer,
    source::{self, BlobReader, Found, Source},
};

/// Takes a foreign OCI image in, layer by layer; layers that came in before are found again.
pub(crate) fn take_in(
    store: &Store,
    source: &dyn Source,
    found: &Found,
    from: &str,
    options: &ImportOptions,
    progress: &dyn TransferProgress,
) -> Result<Pulled> {
    erofs_layer::refuse(&source.name(), &found.manifest)?;
    let configuration = source::configuration(source, &found.manifest)?;
    let (blobs, diff_ids) = (&found.manifest.layers, &configuration.rootfs.diff_ids);
    if blobs.len() != diff_ids.len() {
        let reason = "its manifest and its configuration have different numbers of layers";
        return Err(OciError::refused(source.name(), reason));
    }
    source::check_platform(source, &configuration)?;
    let runtime = configuration.config.clone().unwrap_or_default();
    let config = options.config.clone().map_or_else(|| configuration::config(&runtime), Ok)?;
    let total = blobs.iter().try_fold(0_u64, |sum, blob| sum.checked_add(blob.size));
    let total = total.ok_or_else(|| {
        OciError::refused(source.name(), "its layers have more bytes than can be counted")
    })?;
    progress.event(TransferEvent::TransferStarted { bytes: total });
    let mut taking = Taking { store, source, options, below: Tree::merge([]), bytes: 0, new: 0 };
    let mut layers = Vec::with_capacity(blobs.len());
    // What a layer means depends on those below it, and so does where it is remembered.
    let mut chain = chain_start(options.devices);
    for (index, (blob, diff_id)) in blobs.iter().zip(diff_ids).enumerate() {
        progress.event(TransferEvent::LayerStarted { number: index + 1, count: blobs.len() });
        chain = Digest::of(format!("{chain} {diff_id}").as_bytes());
        let (digest, layer) = match taking.known(&chain)? {
            Some(known) => known,
            None => taking.take(blob, diff_id, &chain)?,
        };
        progress.event(TransferEvent::Transferred { bytes: blob.size });
        let sizes = layer.contents().map(|(_, size)| size);
        taking.bytes = sizes.fold(taking.bytes, u64::saturating_add);
        taking.below = taking.below.with(layer);
        layers.push(digest);
    }
    let layers_moved = taking.new;
    let record = record(from, found.digest, Some(&runtime));
    let (image, _) = finish(store, layers, taking.below, config, record)?;
    Ok(Pulled {
        image,
        manifest: Some(found.digest),
        bytes_moved: source.moved(),
        contents_moved: 0,
        contents_present: 0,
        layers_moved,
        foreign: true,
    })
}

/// Where the chain of keys begins that imported layers are remembered by. Its words never change.
fn chain_start(devices: DevicePolicy) -> Digest {
    let devices = match devices {
        DevicePolicy::Refuse => "Refuse",
        DevicePolicy::Skip => "Skip",
        DevicePolicy::Keep => "Keep",
    };
    Digest::of(format!("hornero-import 1 {devices}\n").as_bytes())
}

/// Layers on their way in.
struct Taking<'a> {
    store: &'a Store,
    source: &'a dyn Source,
    options: &'a ImportOptions,
    below: Tree,
    bytes: u64,
    new: usize,
}

impl Taking<'_> {
    /// A layer that came in before, here or with another image.
    fn known(&self, chain: &Digest) -> Result<Option<(Digest, Layer)>> {
        let Some(value) = self.store.cache_get(chain)? else { return Ok(None) };
        let Some(digest) = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok())
        else {
            return Ok(None);
        };
        if !self.store.is_layer_whole(&digest)? {
            return Ok(None);
        }
        Ok(Some((digest, self.store.layer(&digest)?)))
    }

    fn take(
        &mut self,
        blob: &Descriptor,
        diff_id: &Digest,
        chain: &Digest,
    ) -> Result<(Digest, Layer)> {
        let what = format!("layer {} of {}", blob.digest, self.source.name());
        let ingest = self.store.ingest()?;
        // Unpacked it is no smaller.
        ingest.expect_bytes(blob.size)?;
        let mut packed = BlobReader::new(self.source, blob);
        let raw = {
            let any_ratio = self.options.any_ratio;
            let mut plain = Hashing::new(stream::decompress(&what, &mut packed, any_ratio)?);
            let limits = limits(self.options, self.bytes);
            let raw = ingest.entries_from_tar(&what, &mut plain, &limits, &self.below);
            let raw = raw.map_err(|error| named(error, self.options))?;
            drain(&mut plain, &what)?;
            if plain.finish().0 != *diff_id {
                return Err(OciError::Digest { what, expected: *diff_id });
            }
            raw
        };
        drain(&mut packed, &what)?;
        if self.source.checks_blobs() && packed.finish().0 != blob.digest {
            return Err(OciError::Digest { what, expected: blob.digest });
        }
        let layer = whiteout::apply(&what, raw, &self.below)?;
        let digest = ingest.put_layer(&layer)?;
        ingest.finish()?;
        self.store.cache_put(chain, digest.to_string().as_bytes())?;
        self.new += 1;
        Ok((digest, layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imported_layers_are_found_by_what_they_ever_were() {
        let starts = [DevicePolicy::Refuse, DevicePolicy::Skip, DevicePolicy::Keep];
        assert_eq!(
            starts.map(|devices| chain_start(devices).hex()),
            [
                "b9778a28e7cb01405d1ac352da27205085a5ae989e34cdd16a33b01faa453187",
                "c90a5881f58e88bc9faf8795821f8c3b0f9d5d805f6757be3f50d7ec0688f78b",
                "73a7586db074537711cdad8bf8bcc420507634ba614ab0cc53b501111dc0a2ca",
            ]
        );
    }
}
