//! The canonical bytes of a layer, whose SHA-256 is the layer's identity.
//!
//! `hornero-layer\n`, a version byte, the entry count, then each entry: kind byte, path, and, but for a
//! whiteout, mode, uid, gid, mtime, xattrs (count, then name and value each), and what the kind adds
//! (file: size and 32 digest bytes; symlink: target; device: major and minor). Numbers are
//! unsigned LEB128 in their shortest form, byte strings carry their length before them.

use std::collections::BTreeMap;

use hornero_model::Digest;

use crate::{
    Entry, EntryKind, Layer, LayerError, Metadata, TreePath,
    layer::{ENTRY_COUNT_MAX, XATTR_COUNT_MAX, XATTR_VALUE_LEN_MAX},
    path_rules::PATH_LEN_MAX,
};

const MAGIC: &[u8] = b"hornero-layer\n";
const VERSION: u8 = 1;
/// Largest encoding that is read: a thousand bytes for each of two million entries is out of any proportion.
pub const LAYER_BYTES_MAX: u64 = 1 << 30;

const DIRECTORY: u8 = 1;
const OPAQUE_DIRECTORY: u8 = 2;
const FILE: u8 = 3;
const SYMLINK: u8 = 4;
const FIFO: u8 = 5;
const CHAR_DEVICE: u8 = 6;
const BLOCK_DEVICE: u8 = 7;
const WHITEOUT: u8 = 8;

impl Layer {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.entries().len() * 112);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        put_number(&mut out, self.entries().len() as u64);
        for entry in self.entries() {
            put_entry(&mut out, entry);
        }
        out
    }

    /// Reads canonical bytes; any other bytes are refused, so that one layer has one encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, LayerError> {
        let mut reader = Reader { bytes, offset: 0 };
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(LayerError::Encoding { offset: 0, rule: "it does not begin like a layer" });
        }
        if reader.byte()? != VERSION {
            return Err(reader.error("only version 1 is known"));
        }
        let count = reader.number()?;
        if count > ENTRY_COUNT_MAX as u64 {
            return Err(LayerError::TooMany);
        }
        // Reserve only what the bytes at hand can hold: the count itself is not trusted.
        let mut entries = Vec::with_capacity((count as usize).min(bytes.len() / 3));
        for _ in 0..count {
            entries.push(reader.entry()?);
        }
        if reader.offset != bytes.len() {
            return Err(reader.error("bytes follow the last entry"));
        }
        Self::from_sorted(entries)
    }
}

/// Calls `each` with path, digest and size of every file of canonical bytes, much faster than decoding them.
///
/// For bytes that were checked against their digest: of the rules only those are looked at that reading needs.
pub(crate) fn scan_contents(
    bytes: &[u8],
    mut each: impl FnMut(&[u8], Digest, u64),
) -> Result<(), LayerError> {
    let mut reader = Reader { bytes, offset: 0 };
    if reader.take(MAGIC.len())? != MAGIC || reader.byte()? != VERSION {
        return Err(LayerError::Encoding { offset: 0, rule: "it does not begin like a layer" });
    }
    for _ in 0..reader.number()? {
        let kind = reader.byte()?;
        let path = reader.string(PATH_LEN_MAX)?;
        if kind == WHITEOUT {
            continue;
        }
        // Mode, owner, group and time.
        for _ in 0..4 {
            reader.number()?;
        }
        // Name and value of each extended attribute.
        for _ in 0..reader.number()?.saturating_mul(2) {
            reader.string(XATTR_VALUE_LEN_MAX)?;
        }
        match kind {
            FILE => {
                let size = reader.number()?;
                let mut digest = [0; 32];
                digest.copy_from_slice(reader.take(32)?);
                each(path, Digest::from_bytes(digest), size);
            }
            SYMLINK => drop(reader.string(PATH_LEN_MAX)?),
            CHAR_DEVICE | BLOCK_DEVICE => {
                reader.number()?;
                reader.number()?;
            }
            DIRECTORY | OPAQUE_DIRECTORY | FIFO => {}
            _ => return Err(reader.error("an entry has an unknown kind")),
        }
    }
    Ok(())
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    out.push(match entry.kind {
        EntryKind::Directory { opaque: false } => DIRECTORY,
        EntryKind::Directory { opaque: true } => OPAQUE_DIRECTORY,
        EntryKind::File { .. } => FILE,
        EntryKind::Symlink { .. } => SYMLINK,
        EntryKind::Fifo => FIFO,
        EntryKind::CharDevice { .. } => CHAR_DEVICE,
        EntryKind::BlockDevice { .. } => BLOCK_DEVICE,
        EntryKind::Whiteout => WHITEOUT,
    });
    put_bytes(out, entry.path.as_bytes());
    if entry.kind == EntryKind::Whiteout {
        return;
    }
    let metadata = &entry.metadata;
    put_number(out, metadata.mode.into());
    put_number(out, metadata.uid.into());
    put_number(out, metadata.gid.into());
    put_number(out, metadata.mtime);
    put_number(out, metadata.xattrs.len() as u64);
    for (name, value) in &metadata.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    match &entry.kind {
        EntryKind::File { digest, size } => {
            put_number(out, *size);
            out.extend_from_slice(digest.as_bytes());
        }
        EntryKind::Symlink { target } => put_bytes(out, target),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            put_number(out, (*major).into());
            put_number(out, (*minor).into());
        }
        EntryKind::Directory { .. } | EntryKind::Fifo | EntryKind::Whiteout => {}
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, rule: &'static str) -> LayerError {
        LayerError::Encoding { offset: self.offset, rule }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], LayerError> {
        let rest = &self.bytes[self.offset..];
        let taken = rest.get(..len).ok_or_else(|| self.error("it ends too early"))?;
        self.offset += len;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, LayerError> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u64, LayerError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(self.error("a number exceeds 64 bits"));
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.error("a number is not in its shortest form"));
                }
                return Ok(number);
            }
        }
        Err(self.error("a number exceeds 64 bits"))
    }

    fn small(&mut self) -> Result<u32, LayerError> {
        let number = self.number()?;
        u32::try_from(number).map_err(|_| self.error("a number exceeds 32 bits"))
    }

    fn string(&mut self, max: usize) -> Result<&'a [u8], LayerError> {
        let len = self.number()?;
        if len > max as u64 {
            return Err(self.error("a byte string is longer than its limit"));
        }
        self.take(len as usize)
    }

    fn entry(&mut self) -> Result<Entry, LayerError> {
        let kind = self.byte()?;
        let path = TreePath::new(self.string(PATH_LEN_MAX)?)?;
        if kind == WHITEOUT {
            return Ok(Entry { path, kind: EntryKind::Whiteout, metadata: Metadata::default() });
        }
        let metadata = self.metadata()?;
        let kind = match kind {
            DIRECTORY => EntryKind::Directory { opaque: false },
            OPAQUE_DIRECTORY => EntryKind::Directory { opaque: true },
            FILE => {
                let size = self.number()?;
                let mut digest = [0; 32];
                digest.copy_from_slice(self.take(32)?);
                EntryKind::File { digest: Digest::from_bytes(digest), size }
            }
            SYMLINK => EntryKind::Symlink { target: self.string(PATH_LEN_MAX)?.into() },
            FIFO => EntryKind::Fifo,
            CHAR_DEVICE => EntryKind::CharDevice { major: self.small()?, minor: self.small()? },
            BLOCK_DEVICE => EntryKind::BlockDevice { major: self.small()?, minor: self.small()? },
            _ => return Err(self.error("an entry has an unknown kind")),
        };
        Ok(Entry { path, kind, metadata })
    }

    fn metadata(&mut self) -> Result<Metadata, LayerError> {
        let (mode, uid, gid, mtime) = (self.small()?, self.small()?, self.small()?, self.number()?);
        let count = self.number()?;
        if count > XATTR_COUNT_MAX as u64 {
            return Err(self.error("an entry has more than 64 extended attributes"));
        }
        let mut xattrs = BTreeMap::new();
        for _ in 0..count {
            let name: Box<[u8]> = self.string(XATTR_VALUE_LEN_MAX)?.into();
            let value = self.string(XATTR_VALUE_LEN_MAX)?.into();
            if xattrs.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return Err(self.error("extended attributes are out of order"));
            }
            xattrs.insert(name, value);
        }
        Ok(Metadata { mode, uid, gid, mtime, xattrs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection, prelude::*};

    fn metadata() -> impl Strategy<Value = Metadata> {
        let xattr = ("(user|trusted|security)\\.[a-z]{1,8}", collection::vec(any::<u8>(), 0..40));
        (0..=0o7777_u32, any::<u32>(), any::<u32>(), 0..=1_u64 << 40, collection::vec(xattr, 0..3))
            .prop_map(|(mode, uid, gid, mtime, xattrs)| {
                let xattrs = xattrs
                    .into_iter()
                    .map(|(name, value)| (name.into_bytes().into(), value.into()))
                    .collect();
                Metadata { mode, uid, gid, mtime, xattrs }
            })
    }

    fn kind() -> impl Strategy<Value = EntryKind> {
        prop_oneof![
            any::<bool>().prop_map(|opaque| EntryKind::Directory { opaque }),
            (any::<[u8; 32]>(), 0..=1_u64 << 50).prop_map(|(bytes, size)| EntryKind::File {
                digest: Digest::from_bytes(bytes),
                size
            }),
            collection::vec(1..=255_u8, 1..80)
                .prop_map(|target| EntryKind::Symlink { target: target.into() }),
            Just(EntryKind::Fifo),
            (1..4096_u32, 0..1_u32 << 20)
                .prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
            (0..4096_u32, 0..1_u32 << 20)
                .prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
            Just(EntryKind::Whiteout),
        ]
    }

    fn layer() -> impl Strategy<Value = Layer> {
        let entry = ("[a-c]{1,2}(/[a-cé]{1,2}){0,2}", kind(), metadata());
        collection::vec(entry, 0..24).prop_map(|raw| {
            let mut entries = BTreeMap::new();
            for (path, kind, metadata) in raw {
                let path = TreePath::new(path).unwrap();
                let metadata =
                    if kind == EntryKind::Whiteout { Metadata::default() } else { metadata };
                entries.insert(path.clone(), Entry { path, kind, metadata });
            }
            let solid: Vec<_> = entries
                .values()
                .filter(|entry| !entry.kind.is_directory())
                .map(|entry| entry.path.clone())
                .collect();
            let kept = entries
                .into_values()
                .filter(|entry| !solid.iter().any(|above| entry.path.is_below(above)))
                .collect();
            Layer::from_entries(kept).unwrap()
        })
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(layer in layer()) {
            let bytes = layer.encode();
            let mut scanned = Vec::new();
            scan_contents(&bytes, |_, digest, size| scanned.push((digest, size))).unwrap();
            prop_assert_eq!(scanned, layer.contents().collect::<Vec<_>>());
            prop_assert_eq!(Layer::decode(&bytes).unwrap(), layer);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_canonical(bytes in collection::vec(any::<u8>(), 0..200)) {
            let mut framed = MAGIC.to_vec();
            framed.push(VERSION);
            framed.extend_from_slice(&bytes);
            for input in [&bytes, &framed] {
                if let Ok(layer) = Layer::decode(input) {
                    prop_assert_eq!(&layer.encode(), input);
                }
            }
        }

        #[test]
        fn changed_bytes_are_refused_or_canonical(
            layer in layer(), at in any::<prop::sample::Index>(), flip in 1..=255_u8,
        ) {
            let mut bytes = layer.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(changed) = Layer::decode(&bytes) {
                prop_assert_eq!(changed.encode(), bytes);
            }
        }
    }

    #[test]
    fn refuses_what_is_out_of_order_or_twice() {
        let entry = |path: &str, kind| Entry {
            path: TreePath::new(path).unwrap(),
            kind,
            metadata: Metadata::default(),
        };
        let twice = vec![entry("a", EntryKind::Fifo), entry("a", EntryKind::Fifo)];
        assert!(matches!(Layer::from_entries(twice), Err(LayerError::Order(_))));
        let swapped = vec![entry("b", EntryKind::Fifo), entry("a", EntryKind::Fifo)];
        assert!(matches!(Layer::from_sorted(swapped), Err(LayerError::Order(_))));
        let below = vec![entry("a", EntryKind::Fifo), entry("a/b", EntryKind::Fifo)];
        assert!(matches!(Layer::from_entries(below), Err(LayerError::Entry { .. })));
        let whiteout = vec![entry("", EntryKind::Whiteout)];
        assert!(matches!(Layer::from_entries(whiteout), Err(LayerError::Entry { .. })));
    }
}
