//! EROFS images of a tree, written in one pass by plain code of our own, byte for byte the same everywhere.
//!
//! Two kinds share all of the layout. In a *metadata image* each regular file has its size, owner and
//! attributes but no data; overlayfs takes the data from the store's objects, as composefs does
//! (`metacopy` and `redirect` attributes, kernel Documentation/filesystems/overlayfs.rst, "Data-only
//! lower layers"). In a *plain image* the contents follow the metadata. Small files are not
//! put into the metadata image: equal files of different images would no longer share disk and page cache.
//!
//! On-disk format: kernel Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h. Extended inodes
//! everywhere (they carry their own mtime), no compression, attributes inline.

mod crc32c;
mod directory;
mod disk;
mod plan;
mod write;
mod xattr;

pub use plan::family;
pub use write::{Content, ObjectReader, PlacedContent, PlainImage, plain_image, write_image};
