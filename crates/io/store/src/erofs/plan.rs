//! Placement: which slot each inode gets, and where the blocks behind the inodes begin.

use crate::{Entry, EntryKind, Result, StoreError, Tree, objects};

use super::{
    directory::{FileType, Name, Packing},
    disk::{BLOCK_LEN, FILE_LEN_MAX, INODE_LEN, SLOT_LEN, SUPERBLOCK_LEN, SUPERBLOCK_OFFSET},
    xattr,
};

/// A last directory block with more than this goes into a block of its own: behind its inode it
/// would waste about as much, since it must not cross a block boundary.
const INLINE_LEN_MAX: usize = 2048;

/// An inode and what follows it.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) entry: &'a Entry,
    pub(super) xattrs: Vec<u8>,
    pub(super) body: Body<'a>,
    pub(super) links: u32,
    /// Offset in the image.
    pub(super) offset: usize,
    /// First block of its data, for bodies that have blocks.
    pub(super) start_block: u32,
}

/// What an inode stands for.
#[derive(Debug)]
pub(super) enum Body<'a> {
    Directory(Packing<'a>),
    /// A file whose data overlayfs takes from elsewhere.
    Hole(u64),
    /// A file with data in this image.
    Data(u64),
    Symlink(&'a [u8]),
    /// No data: empty files, fifos, devices.
    Nothing,
}

impl Node<'_> {
    /// The inode number that the kernel shows.
    pub(super) fn number(&self) -> u64 {
        (self.offset / SLOT_LEN) as u64
    }

    pub(super) fn file_type(&self) -> FileType {
        match self.entry.kind {
            EntryKind::Directory { .. } => FileType::Directory,
            EntryKind::File { .. } => FileType::Regular,
            EntryKind::Symlink { .. } => FileType::Symlink,
            EntryKind::Fifo => FileType::Fifo,
            // Merged trees have no whiteouts; on disk one would be this.
            EntryKind::CharDevice { .. } | EntryKind::Whiteout => FileType::CharDevice,
            EntryKind::BlockDevice { .. } => FileType::BlockDevice,
        }
    }

    fn header_len(&self) -> usize {
        INODE_LEN + self.xattrs.len()
    }

    /// Bytes behind inode and attributes that must lie within one block.
    pub(super) fn inline_len(&self) -> usize {
        match &self.body {
            Body::Directory(packing) if packing.tail_len <= INLINE_LEN_MAX => packing.tail_len,
            Body::Symlink(target) if target.len() <= INLINE_LEN_MAX => target.len(),
            _ => 0,
        }
    }

    fn chunk_list_len(&self) -> usize {
        if matches!(self.body, Body::Hole(_)) { 4 } else { 0 }
    }

    /// Blocks outside the inode area that are written with the metadata.
    fn block_count(&self) -> usize {
        match &self.body {
            Body::Directory(packing) => packing.full_blocks() + usize::from(self.inline_len() == 0),
            Body::Symlink(_) => usize::from(self.inline_len() == 0),
            Body::Hole(_) | Body::Data(_) | Body::Nothing => 0,
        }
    }
}

/// The whole image but the file contents.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// One for each entry of the tree, in its order.
    pub(super) nodes: Vec<Node<'a>>,
    /// Indexes of `nodes` in the order of their inodes on disk.
    pub(super) order: Vec<usize>,
    /// Length of superblock and inodes, in whole blocks' bytes.
    pub(super) inode_area_len: usize,
    /// Number of blocks of inodes, directories and symlinks.
    pub(super) metadata_blocks: usize,
}

impl<'a> Plan<'a> {
    pub(super) fn new(tree: &'a Tree, redirected: bool) -> Result<Self> {
        let entries = tree.entries();
        let (parents, children) = family(entries);
        let mut nodes = Vec::with_capacity(entries.len());
        for (index, children) in children.iter().enumerate() {
            nodes.push(node(entries, index, parents[index], children, redirected)?);
        }
        let order = breadth_first(&children);
        let mut cursor = SUPERBLOCK_OFFSET + SUPERBLOCK_LEN;
        for index in &order {
            cursor = place(&mut nodes[*index], cursor);
        }
        let inode_area_len = cursor.next_multiple_of(BLOCK_LEN);
        let mut next_block = inode_area_len / BLOCK_LEN;
        for index in &order {
            let node = &mut nodes[*index];
            let count = node.block_count();
            if count > 0 {
                node.start_block = block_address(next_block)?;
                next_block += count;
            }
        }
        Ok(Self { nodes, order, inode_area_len, metadata_blocks: next_block })
    }
}

/// A block number as the format stores it.
pub(super) fn block_address(block: usize) -> Result<u32> {
    // All ones means a hole.
    u32::try_from(block)
        .ok()
        .filter(|block| *block != u32::MAX)
        .ok_or_else(|| StoreError::Erofs("it would be larger than 16 TiB".into()))
}

fn node<'a>(
    entries: &'a [Entry],
    index: usize,
    parent: usize,
    children: &[usize],
    redirected: bool,
) -> Result<Node<'a>> {
    let entry = &entries[index];
    let mut links = 1;
    let mut redirect = None;
    let body = match &entry.kind {
        EntryKind::Directory { .. } => {
            let mut names = Vec::with_capacity(children.len() + 2);
            names.push(Name { bytes: b".", target: index });
            names.push(Name { bytes: b"..", target: parent });
            names.extend(
                children
                    .iter()
                    .map(|child| Name { bytes: entries[*child].path.name(), target: *child }),
            );
            let directories = children.iter().filter(|child| entries[**child].kind.is_directory());
            links = 2 + directories.count() as u32;
            Body::Directory(Packing::new(names))
        }
        EntryKind::File { size: 0, .. } => Body::Nothing,
        EntryKind::File { size, .. } if *size > FILE_LEN_MAX => {
            return Err(StoreError::Erofs(format!("`{}` is larger than 8 TiB", entry.path)));
        }
        EntryKind::File { digest, size } if redirected => {
            redirect = Some(objects::relative(digest));
            Body::Hole(*size)
        }
        EntryKind::File { size, .. } => Body::Data(*size),
        EntryKind::Symlink { target } => Body::Symlink(target),
        EntryKind::Fifo
        | EntryKind::CharDevice { .. }
        | EntryKind::BlockDevice { .. }
        | EntryKind::Whiteout => Body::Nothing,
    };
    let xattrs = xattr::encode(&entry.path, &entry.metadata, redirect.as_deref())?;
    Ok(Node { entry, xattrs, body, links, offset: 0, start_block: 0 })
}

/// Sets the node's offset to the next fitting slot and returns where the slot after it begins.
fn place(node: &mut Node<'_>, cursor: usize) -> usize {
    let inline_len = node.inline_len();
    let mut offset = cursor.next_multiple_of(SLOT_LEN);
    // At most one block of slots is skipped: the inline part is never longer than half a block.
    while (offset + node.header_len()) % BLOCK_LEN + inline_len > BLOCK_LEN {
        offset += SLOT_LEN;
    }
    node.offset = offset;
    offset + node.header_len() + inline_len + node.chunk_list_len()
}

/// The parent of each entry of a tree (the root is its own) and the children of each, both as indexes.
pub fn family(entries: &[Entry]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut parents = Vec::with_capacity(entries.len());
    let mut children = vec![Vec::new(); entries.len()];
    let mut open: Vec<usize> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        while open.last().is_some_and(|top| !entry.path.is_below(&entries[*top].path)) {
            open.pop();
        }
        let parent = open.last().copied().unwrap_or(index);
        parents.push(parent);
        if parent != index {
            children[parent].push(index);
        }
        if entry.kind.is_directory() {
            open.push(index);
        }
    }
    (parents, children)
}

/// The root first (its number must fit 16 bits), then directory by directory, so that what is listed
/// together lies together.
fn breadth_first(children: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(children.len());
    order.push(0);
    let mut next = 0;
    while let Some(index) = order.get(next).copied() {
        order.extend_from_slice(&children[index]);
        next += 1;
    }
    order
}
