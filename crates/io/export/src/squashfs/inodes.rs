//! The tables of inodes and directories.
//!
//! A directory names where its inodes are, so children are written before their directory: the tree from its end.

use hornero_store::{Entry, EntryKind};

use crate::ExportError;

use super::{
    data::{Data, Placed},
    format::seconds,
    metadata::{Owners, Table},
};

/// Names that one header of a directory can have.
const NAMES_MAX: usize = 256;

/// Both tables, and the root's inode.
pub(super) struct Tables {
    pub(super) inodes: Vec<u8>,
    pub(super) directories: Vec<u8>,
    pub(super) root: u64,
}

/// An inode in its table.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    block: u32,
    offset: u16,
}

pub(super) fn tables(
    entries: &[Entry],
    data: &Data,
    attributes: &[u32],
    owners: &mut Owners,
) -> Result<Tables, ExportError> {
    let (parents, children) = hornero_store::erofs::family(entries);
    let (mut inodes, mut directories) = (Table::default(), Table::default());
    let mut positions = vec![Position::default(); entries.len()];
    for (index, entry) in entries.iter().enumerate().rev() {
        let mut inode = head(entry, index, owners)?;
        let body = match &entry.kind {
            EntryKind::Directory { .. } => {
                let (block, offset) = directories.position();
                let listing = listing(entries, &children[index], &positions);
                directories.put(&listing);
                // The kernel counts three bytes more, for `.` and `..`; the root's parent is beyond all.
                let parent = if index == 0 { entries.len() } else { parents[index] } as u32 + 1;
                let below = children[index].iter().filter(|at| entries[**at].kind.is_directory());
                let size = u32::try_from(listing.len() + 3).map_err(|_| {
                    ExportError::TooLarge(format!("directory `{}` has too many names", entry.path))
                })?;
                let mut body = (2 + below.count() as u32).to_le_bytes().to_vec();
                body.extend_from_slice(&size.to_le_bytes());
                body.extend_from_slice(&block.to_le_bytes());
                body.extend_from_slice(&parent.to_le_bytes());
                // No index of names.
                body.extend_from_slice(&0_u16.to_le_bytes());
                body.extend_from_slice(&offset.to_le_bytes());
                body.extend_from_slice(&attributes[index].to_le_bytes());
                body
            }
            EntryKind::File { digest, size } => {
                let empty = Placed::default();
                file(data.placed.get(digest).unwrap_or(&empty), *size, attributes[index])
            }
            EntryKind::Symlink { target } => {
                let mut body = 1_u32.to_le_bytes().to_vec();
                body.extend_from_slice(&(target.len() as u32).to_le_bytes());
                body.extend_from_slice(target);
                body.extend_from_slice(&attributes[index].to_le_bytes());
                body
            }
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                let device = minor & 0xff | major << 8 | (minor & !0xff) << 12;
                [1, device, attributes[index]].iter().flat_map(|word| word.to_le_bytes()).collect()
            }
            // Merged trees have no whiteouts.
            EntryKind::Fifo | EntryKind::Whiteout => {
                [1, attributes[index]].iter().flat_map(|word| word.to_le_bytes()).collect()
            }
        };
        inode.extend_from_slice(&body);
        let (block, offset) = inodes.position();
        positions[index] = Position { block, offset };
        inodes.put(&inode);
    }
    let root = u64::from(positions[0].block) << 16 | u64::from(positions[0].offset);
    Ok(Tables { inodes: inodes.finish().0, directories: directories.finish().0, root })
}

/// The kind as a directory names it; the extended inode of it has seven more.
fn kind(entry: &Entry) -> u16 {
    match entry.kind {
        EntryKind::Directory { .. } => 1,
        EntryKind::File { .. } => 2,
        EntryKind::Symlink { .. } => 3,
        EntryKind::BlockDevice { .. } => 4,
        EntryKind::CharDevice { .. } => 5,
        EntryKind::Fifo | EntryKind::Whiteout => 6,
    }
}

/// What every inode begins with.
fn head(entry: &Entry, index: usize, owners: &mut Owners) -> Result<Vec<u8>, ExportError> {
    let metadata = &entry.metadata;
    let mut head = Vec::with_capacity(64);
    head.extend_from_slice(&(kind(entry) + 7).to_le_bytes());
    head.extend_from_slice(&(metadata.mode as u16).to_le_bytes());
    head.extend_from_slice(&owners.place(metadata.uid)?.to_le_bytes());
    head.extend_from_slice(&owners.place(metadata.gid)?.to_le_bytes());
    head.extend_from_slice(&seconds(entry).to_le_bytes());
    head.extend_from_slice(&(index as u32 + 1).to_le_bytes());
    Ok(head)
}

fn file(placed: &Placed, size: u64, attributes: u32) -> Vec<u8> {
    let mut body = placed.start.to_le_bytes().to_vec();
    body.extend_from_slice(&size.to_le_bytes());
    // No holes; one link.
    body.extend_from_slice(&0_u64.to_le_bytes());
    body.extend_from_slice(&1_u32.to_le_bytes());
    body.extend_from_slice(&placed.fragment.to_le_bytes());
    body.extend_from_slice(&placed.offset.to_le_bytes());
    body.extend_from_slice(&attributes.to_le_bytes());
    body.extend(placed.blocks.iter().flat_map(|size| size.to_le_bytes()));
    body
}

/// Names by byte order, under headers that say which block of inodes they share.
fn listing(entries: &[Entry], children: &[usize], positions: &[Position]) -> Vec<u8> {
    let mut children = children.to_vec();
    children.sort_unstable_by(|one, two| entries[*one].path.name().cmp(entries[*two].path.name()));
    let mut listing = Vec::new();
    let mut rest = &children[..];
    while let Some(first) = rest.first() {
        let block = positions[*first].block;
        let count = rest
            .iter()
            .take(NAMES_MAX)
            .take_while(|child| {
                positions[**child].block == block
                    && i16::try_from(**child as i64 - *first as i64).is_ok()
            })
            .count();
        let (now, later) = rest.split_at(count);
        listing.extend_from_slice(&(count as u32 - 1).to_le_bytes());
        listing.extend_from_slice(&block.to_le_bytes());
        listing.extend_from_slice(&(*first as u32 + 1).to_le_bytes());
        for child in now {
            let name = entries[*child].path.name();
            listing.extend_from_slice(&positions[*child].offset.to_le_bytes());
            listing.extend_from_slice(&((*child as i64 - *first as i64) as i16).to_le_bytes());
            listing.extend_from_slice(&kind(&entries[*child]).to_le_bytes());
            listing.extend_from_slice(&(name.len() as u16 - 1).to_le_bytes());
            listing.extend_from_slice(name);
        }
        rest = later;
    }
    listing
}
