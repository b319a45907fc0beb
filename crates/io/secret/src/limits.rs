//! How large a value may be.

/// Bytes of a value: more than a private key or a bundle of certificates has, and each lies in memory for each instance.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
