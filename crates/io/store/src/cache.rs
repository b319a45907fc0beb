//! Small values by key, such as which layer a build step gave: lost or damaged ones count as never put.

use std::{io, path::PathBuf};

use hornero_model::Digest;

use crate::{Result, Store, StoreError, format::CACHE, store::read_limited};

/// Values name layers and record needs; contents belong into objects.
pub const CACHE_VALUE_BYTES_MAX: u64 = 64 << 20;

impl Store {
    /// Remembers `value` under `key`, replacing what was there.
    ///
    /// Not synced, so put what it names into the store first; power loss may lose it, nothing else.
    pub fn cache_put(&self, key: &Digest, value: &[u8]) -> Result<()> {
        if value.len() as u64 > CACHE_VALUE_BYTES_MAX {
            let name = format!("cache value of `{key}`");
            return Err(StoreError::TooLarge { name, limit_bytes: CACHE_VALUE_BYTES_MAX });
        }
        let mut bytes = Vec::with_capacity(32 + value.len());
        bytes.extend_from_slice(checksum(key, value).as_bytes());
        bytes.extend_from_slice(value);
        self.staging().replace(&self.cache_path(key), &bytes, false)
    }

    /// What was put under `key`; none when nothing was, or when it is damaged.
    pub fn cache_get(&self, key: &Digest) -> Result<Option<Vec<u8>>> {
        let path = self.cache_path(key);
        let bytes = match read_limited(&path, CACHE_VALUE_BYTES_MAX + 32) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", path, error)),
        };
        let Some((sum, value)) = bytes.split_at_checked(32) else { return Ok(None) };
        Ok((checksum(key, value).as_bytes() == sum).then(|| value.to_vec()))
    }

    fn cache_path(&self, key: &Digest) -> PathBuf {
        self.dir().join(CACHE).join(key.hex())
    }
}

/// Covers the key as well: a value under another's name is damage too.
fn checksum(key: &Digest, value: &[u8]) -> Digest {
    let mut bytes = Vec::with_capacity(32 + value.len());
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(value);
    Digest::of(&bytes)
}
