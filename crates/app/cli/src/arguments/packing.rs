//! How layers are compressed on their way.

use clap::ValueEnum;
use hornero_oci::Compression;

/// How layers are compressed on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Packing {
    /// Not at all
    None,
    /// Read by every program
    Gzip,
    /// Smaller and faster; Docker from 23
    Zstd,
}

impl From<Packing> for Compression {
    fn from(packing: Packing) -> Self {
        match packing {
            Packing::None => Self::None,
            Packing::Gzip => Self::Gzip,
            Packing::Zstd => Self::Zstd,
        }
    }
}
