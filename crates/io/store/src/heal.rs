//! Replacing what is damaged by the same bytes from elsewhere: checked before they are seen, in one step.

use std::{error::Error, io::Read, path::PathBuf};

use hornero_model::{Digest, error_chain};

use crate::{
    Finding, Result, Store, StoreError, Stored,
    import::{decode_image, decode_layer},
    pins::image_of,
    sync,
};

/// What a source of good bytes says: them, none when it does not have them, or why it failed.
pub type Found<T> = Result<Option<T>, Box<dyn Error + Send + Sync>>;

/// Where good bytes can come from: a registry, the package cache, another store.
///
/// What it gives need not be trusted: it is checked against the digest.
pub trait HealSource {
    /// A content; the finding names the layers and paths that have it, for sources that know by those.
    fn content<'a>(&'a mut self, wanted: Stored, finding: &Finding) -> Found<Box<dyn Read + 'a>>;

    /// The canonical bytes of a layer.
    fn layer(&mut self, digest: &Digest) -> Found<Vec<u8>> {
        let _ = digest;
        Ok(None)
    }

    /// The canonical bytes of an image's manifest.
    fn image(&mut self, digest: &Digest) -> Found<Vec<u8>> {
        let _ = digest;
        Ok(None)
    }
}

/// How healing one damage ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healing {
    /// The good bytes are in place, durably.
    Mended,
    /// No source has it.
    NoSource,
    /// Sources failed, or gave something else; each with its words.
    Failed(Vec<String>),
    /// Nothing uses it: collecting deletes it.
    Unused,
}

impl Store {
    /// Heals one damage from the first source that has the right bytes.
    ///
    /// Nothing that is in place is touched before good bytes are on disk. Attachments and names have no copies: they
    /// are made again by whoever made them, so that of a damaged one that can be read from the contents only the
    /// damage goes.
    ///
    /// # Errors
    /// Only of this store; what sources fail at, and what cannot be written, is told by [`Healing::Failed`].
    pub fn heal(&self, finding: &Finding, sources: &mut [&mut dyn HealSource]) -> Result<Healing> {
        if finding.kind == "object" && finding.size.is_none() {
            return Ok(Healing::Unused);
        }
        let mut failures = Vec::new();
        match self.heal_alone(finding) {
            Ok(true) => return Ok(Healing::Mended),
            Ok(false) => {}
            Err(error) => failures.push(error_chain(&error)),
        }
        for source in sources {
            match self.heal_from(finding, *source) {
                Ok(true) => return Ok(Healing::Mended),
                Ok(false) => {}
                Err(error) if is_of_source(&error) => failures.push(error_chain(&error)),
                Err(error) => return Err(error),
            }
        }
        match failures.is_empty() {
            true => Ok(Healing::NoSource),
            false => Ok(Healing::Failed(failures)),
        }
    }

    /// Looks at everything and heals what can be healed: images first, then their layers, then contents, since
    /// only what is described can be missed. Gives every damage that was found and what became of it.
    pub fn heal_all(&self, sources: &mut [&mut dyn HealSource]) -> Result<Vec<(Finding, Healing)>> {
        // What is found stays until it is healed.
        let _lease = self.lease_to_read()?;
        let mut done: Vec<(Finding, Healing)> = Vec::new();
        // An image that is healed may miss layers; those of a second round miss nothing described any more.
        for _ in 0..2 {
            for finding in self.fsck_described()? {
                if !done.iter().any(|(known, _)| *known == finding) {
                    let healing = self.heal(&finding, sources)?;
                    done.push((finding, healing));
                }
            }
        }
        for finding in self.fsck()? {
            if !done.iter().any(|(known, _)| *known == finding) {
                let healing = self.heal(&finding, sources)?;
                done.push((finding, healing));
            }
        }
        Ok(done)
    }

    /// Heals what needs no source; says whether it is healed.
    fn heal_alone(&self, finding: &Finding) -> Result<bool> {
        match (finding.kind, finding.uses.first()) {
            ("reference", _) => self.heal_pin(finding),
            ("attachment", Some((subject, kind))) => self.drop_derived(subject, kind.as_deref()),
            _ => Ok(false),
        }
    }

    /// Writes a pin anew, whose name says what it was of; other references have no copies.
    fn heal_pin(&self, finding: &Finding) -> Result<bool> {
        let name = finding.uses.first().and_then(|(_, name)| name.as_deref());
        match name.and_then(image_of).filter(|image| self.has_image(image)) {
            Some(image) => self.pin(&image).map(|_| true),
            None => Ok(false),
        }
    }

    /// Whether the source had it.
    fn heal_from(&self, finding: &Finding, source: &mut dyn HealSource) -> Result<bool> {
        let digest = finding.digest;
        let failed =
            |source| StoreError::HealSource { kind: finding.kind, digest: finding.digest, source };
        match finding.kind {
            "object" => {
                let wanted = Stored { digest, size: finding.size.unwrap_or_default() };
                let Some(reader) = source.content(wanted, finding).map_err(failed)? else {
                    return Ok(false);
                };
                let ingest = self.ingest()?;
                ingest.put_expected(wanted, &format!("object `{digest}`"), reader)?;
                ingest.finish().map(|_| true)
            }
            "layer" => {
                let Some(bytes) = source.layer(&digest).map_err(failed)? else { return Ok(false) };
                decode_layer(&digest, &bytes)?;
                self.put_in_place(&bytes, self.layer_path(&digest))
            }
            "image" => {
                let Some(bytes) = source.image(&digest).map_err(failed)? else { return Ok(false) };
                decode_image(&digest, &bytes)?;
                self.put_in_place(&bytes, self.image_path(&digest))
            }
            _ => Ok(false),
        }
    }

    /// Good bytes over whatever lies there, durably.
    fn put_in_place(&self, bytes: &[u8], target: PathBuf) -> Result<bool> {
        let _lease = self.lease()?;
        let staged = self.staging().write(bytes)?;
        sync::file(&staged)?;
        self.staging().publish_over(&staged, &target)?;
        target.parent().map_or(Ok(()), sync::directory)?;
        Ok(true)
    }
}

/// Whether another source may do better.
fn is_of_source(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::HealSource { .. }
            | StoreError::Source { .. }
            | StoreError::OtherContent { .. }
            | StoreError::TooLarge { .. }
            | StoreError::Layer { .. }
            | StoreError::BadManifest { .. }
            // A full disk may have room for the next; and what else is damaged is to be named, too.
            | StoreError::Io { .. }
    )
}
