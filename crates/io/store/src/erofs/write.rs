//! Turning a plan into bytes.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
};

use hornero_model::Digest;

use crate::{EntryKind, Result, StoreError, Tree};

use super::{
    disk::{self, BLOCK_LEN, DataLayout, INODE_LEN, Inode, SUPERBLOCK_LEN, SUPERBLOCK_OFFSET},
    plan::{Body, Node, Plan, block_address},
};

/// Opens the content of a file for a plain image.
pub type ObjectReader<'a> = dyn Fn(&Digest) -> Result<Box<dyn Read>> + 'a;

/// Where file contents go.
pub enum Content<'a> {
    /// Nowhere: overlayfs reads them from the store's objects.
    Redirected,
    /// Into the image, equal contents once.
    Embedded(&'a ObjectReader<'a>),
}

/// Where one content lies in a plain image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedContent {
    /// The content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where it begins, in bytes from the beginning of the image; a multiple of the block size.
    pub offset: u64,
}

/// A plain image whose contents are not written yet, for those who can write them in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainImage {
    /// The beginning of the image: everything but contents.
    pub metadata: Vec<u8>,
    /// Every distinct content, by offset; zeros up to the next block follow each.
    pub contents: Vec<PlacedContent>,
    /// Size of the whole image in bytes.
    pub size: u64,
}

/// Lays out the plain image of `tree`: the same one as [`write_image`] writes with embedded contents.
///
/// # Errors
/// When the tree exceeds what EROFS can hold.
pub fn plain_image(tree: &Tree) -> Result<PlainImage> {
    let mut plan = Plan::new(tree, false)?;
    let (contents, block_count) = place_data(&mut plan)?;
    let metadata = metadata_bytes(&plan, block_count, false)?;
    Ok(PlainImage { metadata, contents, size: (block_count * BLOCK_LEN) as u64 })
}

/// Writes the EROFS image of `tree`; its bytes depend on the tree and the kind of content only.
///
/// # Errors
/// When `out` or an object cannot be written or read, or the tree exceeds what EROFS can hold.
pub fn write_image(tree: &Tree, content: &Content<'_>, out: &mut dyn Write) -> Result<()> {
    let redirected = matches!(content, Content::Redirected);
    let mut plan = Plan::new(tree, redirected)?;
    let (data, block_count) = place_data(&mut plan)?;
    let metadata = metadata_bytes(&plan, block_count, redirected)?;
    let failed = |source| StoreError::Source { name: "EROFS image".into(), source };
    out.write_all(&metadata).map_err(failed)?;
    if let Content::Embedded(open) = content {
        for placed in data {
            copy_content(&placed.digest, placed.size, *open, out)?;
        }
    }
    Ok(())
}

/// Gives each distinct content its blocks, in path order; returns them and the image's length in blocks.
fn place_data(plan: &mut Plan<'_>) -> Result<(Vec<PlacedContent>, usize)> {
    let mut next_block = plan.metadata_blocks;
    let mut placed: HashMap<Digest, u32> = HashMap::new();
    let mut contents = Vec::new();
    for node in &mut plan.nodes {
        let (Body::Data(size), EntryKind::File { digest, .. }) = (&node.body, &node.entry.kind)
        else {
            continue;
        };
        node.start_block = match placed.get(digest) {
            Some(block) => *block,
            None => {
                let block = block_address(next_block)?;
                next_block += size.div_ceil(BLOCK_LEN as u64) as usize;
                placed.insert(*digest, block);
                let offset = u64::from(block) * BLOCK_LEN as u64;
                contents.push(PlacedContent { digest: *digest, size: *size, offset });
                block
            }
        };
    }
    block_address(next_block)?;
    Ok((contents, next_block))
}

fn metadata_bytes(plan: &Plan<'_>, block_count: usize, redirected: bool) -> Result<Vec<u8>> {
    let mut bytes = vec![0; plan.metadata_blocks * BLOCK_LEN];
    for (number, index) in plan.order.iter().enumerate() {
        let node = &plan.nodes[*index];
        let inode = inode(node, number as u32 + 1);
        let mut at = node.offset;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(&inode.encode());
        put(&node.xattrs);
        match &node.body {
            Body::Directory(packing) => {
                let target =
                    |index: usize| (plan.nodes[index].number(), plan.nodes[index].file_type());
                let mut block = node.start_block as usize * BLOCK_LEN;
                for full in 0..packing.full_blocks() {
                    let encoded = packing.encode(full, target);
                    bytes[block..block + encoded.len()].copy_from_slice(&encoded);
                    block += BLOCK_LEN;
                }
                let tail = packing.encode(packing.full_blocks(), target);
                let at = if node.inline_len() > 0 { at } else { block };
                bytes[at..at + tail.len()].copy_from_slice(&tail);
            }
            Body::Symlink(target) if node.inline_len() > 0 => put(target),
            Body::Symlink(target) => {
                let block = node.start_block as usize * BLOCK_LEN;
                bytes[block..block + target.len()].copy_from_slice(target);
            }
            // One chunk at the address that means a hole.
            Body::Hole(_) => put(&u32::MAX.to_le_bytes()),
            Body::Data(_) | Body::Nothing => {}
        }
    }
    let root = u16::try_from(plan.nodes[0].number())
        .map_err(|_| StoreError::Erofs("its root has too many attributes".into()))?;
    let incompatible = if redirected { disk::INCOMPAT_CHUNKED_FILE } else { 0 };
    let superblock =
        disk::superblock(root, plan.nodes.len() as u64, block_address(block_count)?, incompatible);
    bytes[SUPERBLOCK_OFFSET..SUPERBLOCK_OFFSET + SUPERBLOCK_LEN].copy_from_slice(&superblock);
    disk::seal(&mut bytes);
    debug_assert!(plan.inode_area_len >= SUPERBLOCK_OFFSET + SUPERBLOCK_LEN + INODE_LEN);
    Ok(bytes)
}

fn inode(node: &Node<'_>, number: u32) -> Inode {
    const DIRECTORY: u32 = 0o040_000;
    const REGULAR: u32 = 0o100_000;
    const SYMLINK: u32 = 0o120_000;
    const FIFO: u32 = 0o010_000;
    const CHAR_DEVICE: u32 = 0o020_000;
    const BLOCK_DEVICE: u32 = 0o060_000;
    let (file_type, device) = match &node.entry.kind {
        EntryKind::Directory { .. } => (DIRECTORY, 0),
        EntryKind::File { .. } => (REGULAR, 0),
        EntryKind::Symlink { .. } => (SYMLINK, 0),
        EntryKind::Fifo => (FIFO, 0),
        EntryKind::Whiteout => (CHAR_DEVICE, 0),
        EntryKind::CharDevice { major, minor } => {
            (CHAR_DEVICE, disk::encode_device(*major, *minor))
        }
        EntryKind::BlockDevice { major, minor } => {
            (BLOCK_DEVICE, disk::encode_device(*major, *minor))
        }
    };
    let by_tail = |size| {
        let layout = if node.inline_len() > 0 { DataLayout::Inline } else { DataLayout::Plain };
        (layout, size, node.start_block)
    };
    let (layout, size, address) = match &node.body {
        Body::Directory(packing) => by_tail(packing.size()),
        Body::Symlink(target) => by_tail(target.len() as u64),
        Body::Hole(size) => (DataLayout::Chunks, *size, disk::hole_chunk_format(*size)),
        Body::Data(size) => (DataLayout::Plain, *size, node.start_block),
        Body::Nothing => (DataLayout::Plain, 0, device),
    };
    let metadata = &node.entry.metadata;
    Inode {
        layout,
        xattr_len: node.xattrs.len(),
        mode: (file_type | metadata.mode) as u16,
        size,
        address,
        number,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
        links: node.links,
    }
}

/// Copies one content, padded to whole blocks; its length has to be what the tree says.
fn copy_content(
    digest: &Digest,
    size: u64,
    open: &ObjectReader<'_>,
    out: &mut dyn Write,
) -> Result<()> {
    let failed = |source| StoreError::Source { name: digest.to_string(), source };
    let mut reader = open(digest)?.take(size);
    if io::copy(&mut reader, out).map_err(failed)? != size {
        return Err(StoreError::Damaged {
            kind: "object",
            digest: *digest,
            damage: crate::Damage::Size,
        });
    }
    let padding = size.next_multiple_of(BLOCK_LEN as u64) - size;
    out.write_all(&[0; BLOCK_LEN][..padding as usize]).map_err(failed)
}
