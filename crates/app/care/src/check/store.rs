//! The store: its names, and whether what images need is there.

use hornero_model::error_chain;
use hornero_store::Store;

use super::finding::{HomeFindings, Severity};
use crate::{CareError, parts};

impl HomeFindings<'_> {
    pub(super) fn store(&mut self, full: bool) {
        let path = self.home.join("store");
        if !path.join("format").exists() {
            return;
        }
        let store = match Store::open(&path) {
            Ok(store) => store,
            Err(error) => {
                let run = error.hint().map(|hint| hint.to_string()).unwrap_or_default();
                return self.add(Severity::Error, "store_unavailable", error_chain(&error), run);
            }
        };
        self.store_names(&store);
        self.store_parts(&store);
        if !full {
            return;
        }
        let fsck = self.command("image fsck");
        match store.fsck() {
            Ok(damages) => {
                for damage in damages {
                    let text =
                        format!("{} {}: {}", damage.kind, damage.digest.short(), damage.damage);
                    self.add(Severity::Error, "store_damaged", text, fsck.clone());
                }
            }
            Err(error) => self.add(Severity::Error, "store_damaged", error_chain(&error), fsck),
        }
    }

    pub(super) fn store_names(&mut self, store: &Store) {
        let fsck = self.command("image fsck");
        let listing = match store.ref_listing() {
            Ok(listing) => listing,
            Err(error) => {
                return self.add(Severity::Error, "store_unavailable", error_chain(&error), fsck);
            }
        };
        for name in listing.damaged {
            let text = format!("the name `{name}` of the store holds no digest any more");
            let run = format!(
                "`hornero build` writes it anew; `hornero image untag {name}` takes it away"
            );
            self.add(Severity::Error, "name_damaged", text, run);
        }
        for (name, image) in listing.refs {
            if !store.has_image(&image) {
                let text = format!("`{name}` leads to image {}, which is not there", image.short());
                self.add(Severity::Warning, "image_missing", text, fsck.clone());
            }
        }
    }

    /// Whether every file is there that the images need; none is read.
    pub(super) fn store_parts(&mut self, store: &Store) {
        let fsck = self.command("image fsck");
        let parts = store
            .images()
            .map_err(CareError::from)
            .and_then(|images| parts::of_images(store, &images.into_iter().collect()));
        let parts = match parts {
            Ok(parts) => parts,
            Err(error) => {
                return self.add(Severity::Error, "store_damaged", error_chain(&error), fsck);
            }
        };
        for text in parts.damaged {
            self.add(Severity::Error, "store_damaged", text, fsck.clone());
        }
        for file in parts.files.iter().filter(|file| !store.dir().join(file).is_file()) {
            let text = format!("`store/{}` is missing", file.display());
            self.add(Severity::Error, "store_damaged", text, fsck.clone());
        }
    }
}
