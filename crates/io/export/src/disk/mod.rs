//! Disks that boot by UEFI: a partition with one unified kernel image, and the root as read-only EROFS.
//!
//! Nothing on the disk is ever written to: what a server writes goes to memory and ends with it.

mod boot;
mod cpio;
mod fat;
mod gpt;
mod guid;
mod kernel;
mod machine;
mod pe;
mod qcow2;

use hornero_store::erofs::plain_image;

use crate::{
    ExportError, ExportEvent,
    additions::Additions,
    contents,
    init_config::Place,
    launch,
    output::Output,
    work::{ExportWork, FormatNotes},
};

use qcow2::Region;

/// What holds the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Raw,
    Qcow2,
}

/// Partitions begin and end at multiples of this, as partitioning tools do.
const ALIGNMENT: u64 = 1 << 20;
/// Kept for the partition tables, at the beginning and at the end.
const TABLE_LEN: u64 = 34 * gpt::SECTOR_LEN;
/// Beside the kernel: for one that is twice as large, should somebody put it there by hand.
const BOOT_SPARE: u64 = 16 << 20;

pub(crate) fn export(
    work: &ExportWork<'_>,
    container: Container,
    output: &Output,
) -> Result<FormatNotes, ExportError> {
    let kernel = kernel::find(work)?;
    let additions = additions(work)?;
    let added = additions.paths();
    let tree = additions.apply(work.tree)?;
    let root = plain_image(&tree)?;

    let label = root_label(work);
    let image = boot::unified_image(work, &kernel, config(work, &label, &kernel)?)?;
    let boot = fat::Volume::new(&image, serial(work));
    let boot_len = (boot.len_min() + BOOT_SPARE).next_multiple_of(ALIGNMENT);
    let root_start = ALIGNMENT + boot_len;
    let root_len = root.size.next_multiple_of(ALIGNMENT);
    let disk_len = root_start + root_len + ALIGNMENT;
    let parts = gpt::Table {
        seed: *work.image,
        disk_len,
        partitions: vec![
            gpt::Partition {
                kind: gpt::BOOT,
                name: "EFI system".into(),
                start: ALIGNMENT,
                len: boot_len,
            },
            gpt::Partition {
                kind: machine::HERE.root,
                name: label,
                start: root_start,
                len: root_len,
            },
        ],
    };
    let boot_pieces = boot.pieces(boot_len);
    let boot_used = boot_pieces.iter().map(|(offset, bytes)| offset + bytes.len() as u64).max();
    let regions = [
        Region { start: 0, len: TABLE_LEN },
        Region { start: ALIGNMENT, len: boot_used.unwrap_or(0) },
        Region { start: root_start, len: root.size },
        Region { start: disk_len - TABLE_LEN, len: TABLE_LEN },
    ];
    // How far each region lies from its place on the disk.
    let file_offsets = match container {
        Container::Raw => {
            output.set_len(disk_len)?;
            regions.map(|region| region.start)
        }
        Container::Qcow2 => qcow2::write_tables(output, disk_len, &regions)?,
    };
    work.progress.event(ExportEvent::Started {
        bytes: root.contents.iter().map(|content| content.size).sum(),
    });
    let [front, boot_at, root_at, back] = file_offsets;
    for (offset, bytes) in parts.front() {
        output.write_at(&bytes, front + offset)?;
    }
    for (offset, bytes) in boot_pieces {
        output.write_at(&bytes, boot_at + offset)?;
    }
    output.write_at(&root.metadata, root_at)?;
    contents::write(work.store, &root.contents, root_at, output, work.progress)?;
    output.write_at(&parts.back(), back + TABLE_LEN - parts.back().len() as u64)?;
    Ok(FormatNotes { added, left_out: Vec::new() })
}

/// The root's partition is found by its name: no two images have the same.
fn root_label(work: &ExportWork<'_>) -> String {
    // A name has up to 36 letters.
    format!("hornero-{}", &work.image.hex()[..28])
}

fn serial(work: &ExportWork<'_>) -> u32 {
    let bytes = work.image.as_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn config(
    work: &ExportWork<'_>,
    label: &str,
    kernel: &kernel::Kernel,
) -> Result<crate::init_config::Config, ExportError> {
    let place = Place::Disk { label: label.to_owned(), drivers: kernel.drivers.clone() };
    let mut config = launch::config(work, place)?;
    if config.command.is_empty() {
        if !launch::has_init(work) {
            return Err(ExportError::Needs {
                what: "command and no `/sbin/init`".into(),
                why: "a disk has to start",
                remedy: "give the image a `command`, or add a package such as `systemd-sysv`"
                    .into(),
            });
        }
        config.handover = launch::IMAGE_INIT.to_owned();
    }
    Ok(config)
}

/// A read-only root can get no mount points later.
fn additions(work: &ExportWork<'_>) -> Result<Additions, ExportError> {
    let mut additions = Additions::default();
    for path in ["/dev", "/proc", "/sys", "/tmp", "/run"] {
        additions.directory(work.tree, path)?;
    }
    let mut scratch: Vec<&str> =
        work.config.scratch.iter().map(|scratch| scratch.path.as_str()).collect();
    scratch.sort_unstable();
    for path in scratch {
        additions.directory(work.tree, path)?;
    }
    for path in ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"] {
        additions.empty_file(work.tree, path)?;
    }
    Ok(additions)
}
