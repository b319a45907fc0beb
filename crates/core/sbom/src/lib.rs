//! Bills of materials: which package or source every file of an image belongs to, as SPDX and CycloneDX.
//!
//! A [`Bill`] is what is known of an image; [`spdx`] writes it as SPDX 2.3 and [`cyclonedx`] as CycloneDX 1.6, both as
//! JSON. Equal images give equal documents: nothing in them depends on when and where they are written.

mod bill;
mod cyclonedx;
mod spdx;

pub use bill::{
    Bill, BillError, Component, Distribution, File, FileKind, Package, Sha1, Source, SourceKind,
};
pub use cyclonedx::cyclonedx;
pub use spdx::spdx;
