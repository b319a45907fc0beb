//! The on-disk structures: superblock and extended inode.

/// Block size of images; the page size of every platform of ours, as older kernels demand.
pub(super) const BLOCK_LEN: usize = 4096;
pub(super) const BLOCK_BITS: u8 = 12;
/// Inode numbers count slots of this size from the beginning of the image.
pub(super) const SLOT_LEN: usize = 32;
pub(super) const SUPERBLOCK_OFFSET: usize = 1024;
pub(super) const SUPERBLOCK_LEN: usize = 128;
pub(super) const INODE_LEN: usize = 64;
/// Largest file: 2^31 blocks, what one chunk can span.
pub(super) const FILE_LEN_MAX: u64 = 1 << (12 + 31);

const MAGIC: u32 = 0xE0F5_E1E2;
const COMPAT_CHECKSUM: u32 = 1;
const COMPAT_MTIME: u32 = 2;
pub(super) const INCOMPAT_CHUNKED_FILE: u32 = 4;

/// Where an inode's data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// Whole blocks from a start block.
    Plain = 0,
    /// Whole blocks from a start block, the last part behind the inode.
    Inline = 2,
    /// A list of chunk addresses behind the inode; all of ours are holes.
    Chunks = 4,
}

/// `struct erofs_super_block`, its checksum left zero.
pub(super) fn superblock(
    root: u16,
    inodes: u64,
    blocks: u32,
    incompatible: u32,
) -> [u8; SUPERBLOCK_LEN] {
    let mut raw = [0; SUPERBLOCK_LEN];
    raw[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    raw[8..12].copy_from_slice(&(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
    raw[12] = BLOCK_BITS;
    raw[14..16].copy_from_slice(&root.to_le_bytes());
    raw[16..24].copy_from_slice(&inodes.to_le_bytes());
    raw[36..40].copy_from_slice(&blocks.to_le_bytes());
    raw[80..84].copy_from_slice(&incompatible.to_le_bytes());
    raw
}

/// Writes the checksum into the finished first block.
pub(super) fn seal(first_block: &mut [u8]) {
    let sum = super::crc32c::crc32c(&first_block[SUPERBLOCK_OFFSET..BLOCK_LEN]);
    first_block[SUPERBLOCK_OFFSET + 4..SUPERBLOCK_OFFSET + 8].copy_from_slice(&sum.to_le_bytes());
}

/// `struct erofs_inode_extended`.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) layout: DataLayout,
    pub(super) xattr_len: usize,
    /// File type and permissions as in stat(2).
    pub(super) mode: u16,
    pub(super) size: u64,
    /// Start block, device number or chunk format, by file type and layout.
    pub(super) address: u32,
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: u64,
    pub(super) links: u32,
}

impl Inode {
    pub(super) fn encode(&self) -> [u8; INODE_LEN] {
        let mut raw = [0; INODE_LEN];
        let format = 1 | (self.layout as u16) << 1;
        raw[0..2].copy_from_slice(&format.to_le_bytes());
        raw[2..4].copy_from_slice(&super::xattr::count_field(self.xattr_len).to_le_bytes());
        raw[4..6].copy_from_slice(&self.mode.to_le_bytes());
        raw[8..16].copy_from_slice(&self.size.to_le_bytes());
        raw[16..20].copy_from_slice(&self.address.to_le_bytes());
        raw[20..24].copy_from_slice(&self.number.to_le_bytes());
        raw[24..28].copy_from_slice(&self.uid.to_le_bytes());
        raw[28..32].copy_from_slice(&self.gid.to_le_bytes());
        raw[32..40].copy_from_slice(&self.mtime.to_le_bytes());
        raw[44..48].copy_from_slice(&self.links.to_le_bytes());
        raw
    }
}

/// The kernel's `new_encode_dev`.
pub(super) fn encode_device(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

/// The chunk format word of a file that is one hole: log2 of the chunk size in blocks.
pub(super) fn hole_chunk_format(size: u64) -> u32 {
    let bits = u64::BITS - (size.max(1) - 1).leading_zeros();
    bits.saturating_sub(u32::from(BLOCK_BITS))
}
