//! Changes a store's metadata image in memory: raises owners, and covers the names of the objects' directories.
//!
//! Source: the kernel's `fs/erofs/erofs_fs.h`. Only what our store writes is understood: blocks of 4 KiB, extended inodes,
//! attributes behind their inodes. The image was checked against its layers before, but nothing here relies on it:
//! whatever does not fit is an error, never a panic or an endless loop.

use std::collections::HashSet;

const BLOCK: usize = 4096;
const SLOT: usize = 32;
const SUPERBLOCK: usize = 1024;
const INODE: usize = 64;
const MAGIC: u32 = 0xE0F5_E1E2;
const COMPAT_CHECKSUM: u32 = 1;
const DIRENT: usize = 12;
const ATTRIBUTES_HEADER: usize = 12;

const LAYOUT_PLAIN: u16 = 0;
const LAYOUT_INLINE: u16 = 2;
const MODE_KIND: u16 = 0o170_000;
const MODE_DIRECTORY: u16 = 0o040_000;
const MODE_CHAR_DEVICE: u16 = 0o020_000;
const TYPE_DIRECTORY: u8 = 2;
const TYPE_CHAR_DEVICE: u8 = 3;

const INDEX_ACL_ACCESS: u8 = 2;
const INDEX_ACL_DEFAULT: u8 = 3;
const INDEX_TRUSTED: u8 = 4;
const ACL_USER: u16 = 0x02;
const ACL_GROUP: u16 = 0x08;

/// A store has its objects in directories of these names: two hexadecimal digits.
const SHARDS: u16 = 256;

/// What to change.
pub(crate) struct Change {
    /// Added to every owner and group.
    pub owners_by: u32,
    /// Whether the names of the objects' directories are covered.
    pub cover: bool,
}

type Result<T> = std::result::Result<T, &'static str>;

/// The changed image.
pub(crate) fn rewrite(bytes: Vec<u8>, change: &Change) -> Result<Vec<u8>> {
    let mut image = Image::new(bytes)?;
    if change.owners_by != 0 {
        image.raise_owners(change.owners_by)?;
    }
    if change.cover {
        image.cover_shards(change.owners_by)?;
    }
    image.finish()
}

struct Image {
    bytes: Vec<u8>,
    /// Where inode 0 would be.
    inodes: usize,
    root: u64,
}

/// A name in a directory.
struct DirectoryEntry {
    name: Vec<u8>,
    inode: u64,
    kind: u8,
}

impl Image {
    fn new(bytes: Vec<u8>) -> Result<Self> {
        let mut image = Self { bytes, inodes: 0, root: 0 };
        if image.u32(SUPERBLOCK)? != MAGIC {
            return Err("it is no EROFS image");
        }
        if image.u8(SUPERBLOCK + 12)? != 12 || !image.bytes.len().is_multiple_of(BLOCK) {
            return Err("its blocks are not of 4096 bytes");
        }
        image.root = image.u16(SUPERBLOCK + 14)?.into();
        image.inodes = image.u32(SUPERBLOCK + 40)? as usize * BLOCK;
        Ok(image)
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        let blocks = u32::try_from(self.bytes.len() / BLOCK).map_err(|_| "it is too large")?;
        self.put(SUPERBLOCK + 36, &blocks.to_le_bytes())?;
        // The copy is read by the kernel that runs, from memory: a sum of its own would say nothing.
        let features = self.u32(SUPERBLOCK + 8)? & !COMPAT_CHECKSUM;
        self.put(SUPERBLOCK + 8, &features.to_le_bytes())?;
        Ok(self.bytes)
    }

    fn raise_owners(&mut self, by: u32) -> Result<()> {
        let mut seen = HashSet::from([self.root]);
        let mut waiting = vec![self.root];
        while let Some(inode) = waiting.pop() {
            let at = self.inode(inode)?;
            for field in [24, 28] {
                let raised =
                    self.u32(at + field)?.checked_add(by).ok_or("an owner is too large")?;
                self.put(at + field, &raised.to_le_bytes())?;
            }
            self.raise_lists(at, by)?;
            if self.u16(at + 4)? & MODE_KIND == MODE_DIRECTORY {
                let entries = self.entries(at)?;
                waiting.extend(
                    entries.iter().map(|entry| entry.inode).filter(|inode| seen.insert(*inode)),
                );
            }
        }
        Ok(())
    }

    /// Raises the users and groups that access control lists name.
    fn raise_lists(&mut self, inode: usize, by: u32) -> Result<()> {
        let end = inode + INODE + self.attributes_len(inode)?;
        let mut at = inode + INODE + ATTRIBUTES_HEADER;
        while at < end {
            let (name, index) = (usize::from(self.u8(at)?), self.u8(at + 1)?);
            let value_len = usize::from(self.u16(at + 2)?);
            let value = at + 4 + name;
            if [INDEX_ACL_ACCESS, INDEX_ACL_DEFAULT].contains(&index) {
                // `struct posix_acl_xattr_header`, then tag, permissions and id of each entry.
                for entry in (value + 4..value + value_len).step_by(8) {
                    if [ACL_USER, ACL_GROUP].contains(&self.u16(entry)?) {
                        let id = self.u32(entry + 4)?;
                        let raised = id.checked_add(by).ok_or("an id in a list is too large")?;
                        self.put(entry + 4, &raised.to_le_bytes())?;
                    }
                }
            }
            at = (value + value_len).next_multiple_of(4);
        }
        Ok(())
    }

    /// Sees to it that nothing of an objects' directory below shows in the root.
    fn cover_shards(&mut self, owner: u32) -> Result<()> {
        let root = self.inode(self.root)?;
        let mut entries = self.entries_with_dots(root)?;
        let whiteout = self.append_whiteout(owner)?;
        for shard in 0..SHARDS {
            let name = format!("{shard:02x}").into_bytes();
            match entries.iter_mut().find(|entry| entry.name == name) {
                Some(entry) if entry.kind == TYPE_DIRECTORY => {
                    entry.inode = self.append_opaque(entry.inode)?;
                }
                // What is no directory hides what is below.
                Some(_) => {}
                None => {
                    entries.push(DirectoryEntry { name, inode: whiteout, kind: TYPE_CHAR_DEVICE });
                }
            }
        }
        entries.sort_unstable_by(|one, two| one.name.cmp(&two.name));
        let data = directory(&entries)?;
        let size = data.len() as u64;
        let block = self.append(&data)? / BLOCK;
        self.put_plain(root, block, size)
    }

    /// One device with the number 0, which is what overlayfs takes for a whiteout; all names share it.
    fn append_whiteout(&mut self, owner: u32) -> Result<u64> {
        let mut raw = [0; INODE];
        raw[0..2].copy_from_slice(&1_u16.to_le_bytes());
        raw[4..6].copy_from_slice(&MODE_CHAR_DEVICE.to_le_bytes());
        raw[24..28].copy_from_slice(&owner.to_le_bytes());
        raw[28..32].copy_from_slice(&owner.to_le_bytes());
        raw[44..48].copy_from_slice(&u32::from(SHARDS).to_le_bytes());
        self.append_inode(&raw)
    }

    /// A copy of a directory that is opaque: nothing below it shows.
    fn append_opaque(&mut self, inode: u64) -> Result<u64> {
        let at = self.inode(inode)?;
        let attributes_len = self.attributes_len(at)?;
        let data = self.data(at)?;
        let mut raw = self.slice(at, INODE + attributes_len)?.to_vec();
        if attributes_len == 0 {
            raw.extend_from_slice(&[0; ATTRIBUTES_HEADER]);
        }
        let name = b"overlay.opaque";
        raw.extend_from_slice(&[name.len() as u8, INDEX_TRUSTED, 1, 0]);
        raw.extend_from_slice(name);
        raw.push(b'y');
        raw.resize(raw.len().next_multiple_of(4), 0);
        let count = (raw.len() - INODE - ATTRIBUTES_HEADER) / 4 + 1;
        let count = u16::try_from(count).map_err(|_| "a directory has too many attributes")?;
        raw[2..4].copy_from_slice(&count.to_le_bytes());
        let size = data.len() as u64;
        let block = self.append(&data)? / BLOCK;
        let copy = self.append_inode(&raw)?;
        let at = self.inode(copy)?;
        self.put_plain(at, block, size)?;
        Ok(copy)
    }

    fn append_inode(&mut self, raw: &[u8]) -> Result<u64> {
        let at = self.append(raw)?;
        let from = at.checked_sub(self.inodes).ok_or("its inodes begin behind its end")?;
        Ok((from / SLOT) as u64)
    }

    /// Puts bytes into blocks of their own behind all others; gives where.
    fn append(&mut self, bytes: &[u8]) -> Result<usize> {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(at)
    }

    /// Makes the data of an inode whole blocks from `block` on.
    fn put_plain(&mut self, inode: usize, block: usize, size: u64) -> Result<()> {
        let block = u32::try_from(block).map_err(|_| "it is too large")?;
        let format = self.u16(inode)? & !(7 << 1) | LAYOUT_PLAIN << 1;
        self.put(inode, &format.to_le_bytes())?;
        self.put(inode + 8, &size.to_le_bytes())?;
        self.put(inode + 16, &block.to_le_bytes())
    }

    /// Where an inode is.
    fn inode(&self, number: u64) -> Result<usize> {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_mul(SLOT));
        let at =
            at.and_then(|at| at.checked_add(self.inodes)).ok_or("an inode is out of bounds")?;
        if self.u16(at)? & 1 != 1 {
            return Err("an inode is of the short form, which our store does not write");
        }
        self.slice(at, INODE).map(|_| at)
    }

    fn attributes_len(&self, inode: usize) -> Result<usize> {
        let count = usize::from(self.u16(inode + 2)?);
        if count == 0 {
            return Ok(0);
        }
        if self.u8(inode + INODE + 4)? != 0 {
            return Err("attributes are shared, which our store does not do");
        }
        Ok(ATTRIBUTES_HEADER + (count - 1) * 4)
    }

    /// The content of a directory.
    fn data(&self, inode: usize) -> Result<Vec<u8>> {
        let size = usize::try_from(self.u64(inode + 8)?).map_err(|_| "a directory is too large")?;
        let start = self.u32(inode + 16)? as usize * BLOCK;
        match self.u16(inode)? >> 1 & 7 {
            LAYOUT_PLAIN => Ok(self.slice(start, size)?.to_vec()),
            LAYOUT_INLINE => {
                let tail = size % BLOCK;
                let mut data = match size - tail {
                    0 => Vec::new(),
                    whole => self.slice(start, whole)?.to_vec(),
                };
                let behind = inode + INODE + self.attributes_len(inode)?;
                data.extend_from_slice(self.slice(behind, tail)?);
                Ok(data)
            }
            _ => Err("a directory is stored in a way that our store does not use"),
        }
    }

    /// The entries of a directory but itself and its parent.
    fn entries(&self, inode: usize) -> Result<Vec<DirectoryEntry>> {
        let mut entries = self.entries_with_dots(inode)?;
        entries.retain(|entry| entry.name != b"." && entry.name != b"..");
        Ok(entries)
    }

    fn entries_with_dots(&self, inode: usize) -> Result<Vec<DirectoryEntry>> {
        let mut entries = Vec::new();
        for block in self.data(inode)?.chunks(BLOCK) {
            let short = "a directory's block is damaged";
            let word = |at: usize| {
                block
                    .get(at..at + 2)
                    .map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]])))
            };
            let count = word(8).ok_or(short)? / DIRENT;
            for index in 0..count {
                let at = index * DIRENT;
                let begin = word(at + 8).ok_or(short)?;
                let end = match index + 1 < count {
                    true => word(at + DIRENT + 8).ok_or(short)?,
                    false => block.len(),
                };
                let name = block.get(begin..end).ok_or(short)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
                let mut number = [0; 8];
                number.copy_from_slice(block.get(at..at + 8).ok_or(short)?);
                let kind = *block.get(at + 10).ok_or(short)?;
                entries.push(DirectoryEntry { name, inode: u64::from_le_bytes(number), kind });
            }
        }
        Ok(entries)
    }

    fn slice(&self, at: usize, len: usize) -> Result<&[u8]> {
        let end = at.checked_add(len).ok_or("it points outside of itself")?;
        self.bytes.get(at..end).ok_or("it points outside of itself")
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(at, N)?);
        Ok(array)
    }

    fn u8(&self, at: usize) -> Result<u8> {
        self.array(at).map(u8::from_le_bytes)
    }

    fn u16(&self, at: usize) -> Result<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Result<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Result<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let place =
            self.bytes.get_mut(at..at + bytes.len()).ok_or("it points outside of itself")?;
        place.copy_from_slice(bytes);
        Ok(())
    }
}

/// The blocks of a directory with these entries, which are sorted; the last is as long as it has to be.
fn directory(entries: &[DirectoryEntry]) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        let mut used = 0;
        let fitting = rest
            .iter()
            .take_while(|entry| {
                used += DIRENT + entry.name.len();
                used <= BLOCK
            })
            .count();
        if fitting == 0 {
            return Err("a name is too long");
        }
        let (block, others) = rest.split_at(fitting);
        let mut name_at = block.len() * DIRENT;
        for entry in block {
            data.extend_from_slice(&entry.inode.to_le_bytes());
            data.extend_from_slice(&(name_at as u16).to_le_bytes());
            data.extend_from_slice(&[entry.kind, 0]);
            name_at += entry.name.len();
        }
        block.iter().for_each(|entry| data.extend_from_slice(&entry.name));
        rest = others;
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: &[u8] = include_bytes!("probe.erofs");

    fn names(image: &Image, inode: u64) -> Vec<(String, u64, u8)> {
        let at = image.inode(inode).unwrap();
        let entries = image.entries_with_dots(at).unwrap();
        entries
            .into_iter()
            .map(|entry| (String::from_utf8(entry.name).unwrap(), entry.inode, entry.kind))
            .collect()
    }

    fn changed(owners_by: u32, cover: bool) -> Image {
        let bytes = rewrite(PROBE.to_vec(), &Change { owners_by, cover }).unwrap();
        Image::new(bytes).unwrap()
    }

    #[test]
    fn nothing_to_change_changes_the_sum_only() {
        let image = changed(0, false);
        let differing = image.bytes.iter().zip(PROBE).filter(|(one, two)| one != two).count();
        assert_eq!((image.bytes.len(), differing), (PROBE.len(), 1));
    }

    #[test]
    fn every_owner_is_raised_once() {
        let (before, after) = (changed(0, false), changed(300_000, false));
        let root = names(&before, before.root);
        assert_eq!(root, names(&after, after.root));
        for (_, inode, _) in root {
            let at = before.inode(inode).unwrap();
            for field in [24, 28] {
                let (old, new) = (before.u32(at + field).unwrap(), after.u32(at + field).unwrap());
                assert_eq!(new, old + 300_000);
            }
        }
    }

    #[test]
    fn names_of_shards_are_covered_and_the_images_own_are_opaque() {
        let (before, after) = (changed(0, false), changed(7, true));
        let own: Vec<_> = names(&before, before.root);
        let covered = names(&after, after.root);
        assert!(covered.is_sorted_by(|one, two| one.0 < two.0));
        let shards = covered.iter().filter(|(name, ..)| name.len() == 2 && name != "..");
        assert_eq!(shards.count(), 256);
        for (name, inode, kind) in own {
            let found = covered.iter().find(|entry| entry.0 == name).unwrap();
            assert_eq!(found.2, kind, "{name}");
            // The probe has one directory with the name of a shard.
            assert_eq!(found.1 != inode, name == "db", "{name}");
            if name == "db" {
                assert_eq!(names(&after, found.1), names(&before, inode));
                let at = after.inode(found.1).unwrap();
                let attributes = after.attributes_len(at).unwrap();
                let text =
                    String::from_utf8_lossy(&after.bytes[at..at + INODE + attributes]).into_owned();
                assert!(text.contains("overlay.opaquey"), "{text:?}");
            }
        }
    }

    /// What is cut off, or has any one byte changed, is refused or becomes something of bounded size.
    #[test]
    fn damage_is_never_a_panic() {
        for length in (0..PROBE.len()).step_by(61) {
            let _ = rewrite(PROBE[..length].to_vec(), &Change { owners_by: 5, cover: true });
        }
        // Behind its inodes the image is empty.
        let used = PROBE.iter().rposition(|byte| *byte != 0).unwrap();
        for at in SUPERBLOCK..=used {
            for byte in [0, 0xff, 0x80] {
                let mut bytes = PROBE.to_vec();
                bytes[at] = byte;
                if let Ok(bytes) = rewrite(bytes, &Change { owners_by: 5, cover: true }) {
                    assert!(bytes.len() < 64 * PROBE.len());
                }
            }
        }
    }
}
