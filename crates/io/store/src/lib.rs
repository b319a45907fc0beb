//! The content-addressed image store: objects, layers, images and their EROFS metadata.
//!
//! Under its directory: `format` (version and features), `objects/ab/cdef…` (file contents by SHA-256),
//! `layers/HEX`, `images/HEX` (manifests), `metadata/HEX.erofs` and `.index` (derived when servers first start
//! from a tree, dropped when none does any more), `attachments/HEX/KIND` (what is known about an image or a layer), `refs/…` (pins are
//! `refs/pin/HEX`), `cache/HEX`, `verified` (what objects looked like when last hashed), `staging/` (files in
//! the making) and `locks/`.
//!
//! Order of visibility: contents, then the layers that name them, then the image, then references; each
//! is on disk before what leads to it. So whatever can be seen is whole, after `kill -9` and power loss.
//! Collecting deletes in the opposite order, under the exclusive lock (see [`Store::collect`]).

mod acl;
mod archive;
mod attachments;
mod attribute;
mod cache;
mod capture;
mod collect;
mod derivations;
mod derived;
mod diff;
mod encoding;
pub mod erofs;
mod error;
mod files;
mod format;
mod fsck;
mod graph;
mod heal;
mod images;
mod import;
mod ingest;
mod layer;
mod lock;
mod manifest;
mod metadata;
mod objects;
mod parallel;
mod path;
mod path_rules;
mod pins;
mod records;
mod refs;
mod room;
mod root;
mod staging;
mod store;
mod sync;
pub mod tarball;
mod tarstream;
mod tree;
mod turn;
mod usage;
mod users;
mod verify;

pub use archive::ArchiveLimits;
pub use attachments::{ATTACHMENT_BYTES_MAX, ATTACHMENT_KIND_LEN_MAX};
pub use cache::{CACHE_KEPT_BYTES, CACHE_KEPT_DAYS, CACHE_VALUE_BYTES_MAX};
pub use capture::{CaptureOptions, DevicePolicy};
pub use collect::{
    CeilingReport, CollectOptions, CollectProgress, CollectReport, CollectTeller, Deleted,
    DeletedImage, KeptImage, Protection, Reason, Root, Tally, Unneeded,
};
pub use diff::{Aspects, Change, ChangeKind};
pub use encoding::LAYER_BYTES_MAX;
pub use error::{AttachmentKindError, Damage, RefNameError, Result, StoreError};
pub use fsck::Finding;
pub use heal::{HealSource, Healing};
pub use ingest::{Ingest, IngestReport};
pub use layer::{
    ENTRY_COUNT_MAX, Entry, EntryKind, Layer, LayerError, MODE_MASK, MTIME_MAX, Metadata,
    SYMLINK_LEN_MAX, XATTR_COUNT_MAX, XATTR_NAME_LEN_MAX, XATTR_VALUE_LEN_MAX, is_storable_xattr,
};
pub use lock::StoreLease;
pub use manifest::{FORMAT_EPOCH, ImageManifest, LAYER_COUNT_MAX, MANIFEST_BYTES_MAX};
pub use objects::{Stored, object_path};
pub use path::TreePath;
pub use path_rules::{NAME_LEN_MAX, PATH_LEN_MAX};
pub use refs::{RefListing, reference_text};
pub use room::check_room;
pub use root::RootFiles;
pub use store::Store;
pub use tarstream::{TarEntry, TarReader};
pub use tree::Tree;
pub use usage::{ImageUse, StoreUse};
pub use users::User;
pub use verify::VerifyReport;
