//! The image's own kernel, and the modules of it that a disk needs to find its root and the network.

use std::{collections::HashMap, io::Read};

use hornero_store::{EntryKind, StoreError, TreePath};

use super::machine::HERE;
use crate::{ExportError, init_config::Driver, work::ExportWork};

/// Drivers by what they are for; those a kernel does not have are left out, but for the root's file system.
const WANTED: &[&str] = &[
    // Buses and disks of virtual and usual real machines.
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "nvme",
    "ahci",
    "xen_blkfront",
    "hv_storvsc",
    "vmw_pvscsi",
    "sd_mod",
    // Network cards.
    "virtio_net",
    "e1000",
    "e1000e",
    "igb",
    "xen_netfront",
    "hv_netvsc",
    "vmxnet3",
    "ena",
    "gve",
    // A source of random numbers, which servers wait for.
    "virtio_rng",
    ROOT_FILE_SYSTEM,
];
const ROOT_FILE_SYSTEM: &str = "erofs";
/// Uncompressed, a large driver has a few megabytes; more is no module.
const MODULE_LEN_MAX: u64 = 64 << 20;

/// A kernel and what goes with it into the initramfs.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Such as `6.1.0-56-cloud-amd64`.
    pub(super) release: String,
    pub(super) image: Vec<u8>,
    /// The files of all drivers, each once.
    pub(super) modules: Vec<Module>,
    pub(super) drivers: Vec<Driver>,
}

/// A kernel module.
#[derive(Debug)]
pub(super) struct Module {
    /// Its absolute path in the initramfs.
    pub(super) place: String,
    pub(super) bytes: Vec<u8>,
}

/// The newest kernel of the image.
pub(super) fn find(work: &ExportWork<'_>) -> Result<Kernel, ExportError> {
    let boot = TreePath::new("boot").expect("a short path");
    let mut releases: Vec<String> = work
        .tree
        .below(&boot)
        .iter()
        .filter(|entry| matches!(entry.kind, EntryKind::File { .. }))
        .filter_map(|entry| entry.path.as_bytes().strip_prefix(b"boot/vmlinuz-"))
        .filter_map(|release| String::from_utf8(release.to_vec()).ok())
        .filter(|release| work.tree.lookup(&format!("/lib/modules/{release}/modules.dep")).is_ok())
        .collect();
    releases.sort_by_cached_key(|release| order(release));
    let Some(release) = releases.pop() else {
        return Err(ExportError::Needs {
            what: "kernel with modules (`/boot/vmlinuz-*` and `/lib/modules`)".into(),
            why: "a disk boots with",
            remedy: format!(
                "add `{}` (or `{}`) and `systemd-boot-efi` to the image's packages",
                HERE.kernels[0], HERE.kernels[1]
            ),
        });
    };
    let image = work.store.read_tree_file(work.tree, &format!("/boot/vmlinuz-{release}"))?;
    let (modules, drivers) = modules(work, &release)?;
    Ok(Kernel { release, image, modules, drivers })
}

/// Numbers compare as numbers: `6.1.0-9` is older than `6.1.0-10`.
fn order(release: &str) -> Vec<(u64, String)> {
    let mut parts = Vec::new();
    let mut rest = release;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[..digits].parse().unwrap_or(0);
        rest = &rest[digits..];
        let letters = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        parts.push((number, rest[..letters].to_owned()));
        rest = &rest[letters..];
    }
    parts
}

fn modules(
    work: &ExportWork<'_>,
    release: &str,
) -> Result<(Vec<Module>, Vec<Driver>), ExportError> {
    let base = format!("/lib/modules/{release}");
    let listed = text(work, &format!("{base}/modules.dep"))?;
    let aliases = text(work, &format!("{base}/modules.alias"))?;
    let built_in = text(work, &format!("{base}/modules.builtin"))?;
    let wanted = wanted(&listed);
    if !wanted.iter().any(|(want, _)| *want == ROOT_FILE_SYSTEM)
        && !built_in.lines().any(|path| name(path) == ROOT_FILE_SYSTEM)
    {
        return Err(ExportError::Needs {
            what: format!("`{ROOT_FILE_SYSTEM}` in its kernel `{release}`"),
            why: "is the file system of the disk's root",
            remedy: format!("use another kernel package, such as `{}`", HERE.kernels[0]),
        });
    }
    let mut modules: Vec<Module> = Vec::new();
    let mut drivers = Vec::new();
    for (want, paths) in wanted {
        for path in &paths {
            if modules.iter().all(|module| module.place != place(path)) {
                modules.push(module(work, &base, path)?);
            }
        }
        let devices = devices(&aliases, want);
        drivers.push(Driver { files: paths.iter().map(|path| place(path)).collect(), devices });
    }
    Ok((modules, drivers))
}

/// The wanted modules that `modules.dep` lists, each with the paths to load, in order.
///
/// Its lines are `PATH: NEEDED NEEDED …`, where what is needed by others stands behind them.
fn wanted(listed: &str) -> Vec<(&'static str, Vec<&str>)> {
    let by_name: HashMap<String, (&str, &str)> = listed
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (name(path), (path, needs)))
        .collect();
    WANTED
        .iter()
        .filter_map(|want| {
            let (path, needs) = by_name.get(*want)?;
            Some((*want, needs.split_ascii_whitespace().rev().chain([*path]).collect()))
        })
        .collect()
}

/// The patterns of the devices that a module is for; none for the root's file system, which always is needed.
fn devices(aliases: &str, module: &str) -> Vec<String> {
    if module == ROOT_FILE_SYSTEM {
        return Vec::new();
    }
    let mut found = Vec::new();
    for line in aliases.lines() {
        // `alias PATTERN MODULE`; a pattern may have spaces.
        let parts = line.strip_prefix("alias ").and_then(|rest| rest.rsplit_once(' '));
        if let Some((pattern, for_module)) = parts
            && name(for_module) == module
        {
            found.push(pattern.to_owned());
        }
    }
    if found.is_empty() {
        // A driver that no device asks for by name is not tried.
        found.push(String::new());
    }
    found
}

fn place(path: &str) -> String {
    format!("/modules/{}.ko", name(path))
}

/// `kernel/fs/erofs/erofs.ko.xz` is `erofs`; `-` and `_` are the same.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

fn text(work: &ExportWork<'_>, path: &str) -> Result<String, ExportError> {
    let bytes = work.store.read_tree_file(work.tree, path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn module(work: &ExportWork<'_>, base: &str, path: &str) -> Result<Module, ExportError> {
    let full = format!("{base}/{path}");
    let stored = work.store.read_tree_file(work.tree, &full)?;
    let unusable = |reason: String| ExportError::Unusable { path: full.clone(), reason };
    let mut bytes = Vec::new();
    let read = match path.rsplit('.').next() {
        Some("ko") => {
            bytes = stored;
            Ok(0)
        }
        Some("gz") => limited(flate2::read::GzDecoder::new(&stored[..]), &mut bytes),
        Some("xz") => limited(liblzma::read::XzDecoder::new(&stored[..]), &mut bytes),
        Some("zst") => zstd::stream::read::Decoder::new(&stored[..])
            .and_then(|decoder| limited(decoder, &mut bytes)),
        _ => return Err(unusable("its compression is not known".into())),
    };
    read.map_err(|error| unusable(error.to_string()))?;
    if bytes.len() as u64 > MODULE_LEN_MAX {
        return Err(unusable("it is larger than 64 MiB".into()));
    }
    Ok(Module { place: place(path), bytes })
}

fn limited(reader: impl Read, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    reader.take(MODULE_LEN_MAX + 1).read_to_end(bytes)
}

/// A file of the image that the disk cannot do without.
pub(super) fn read_needed(
    work: &ExportWork<'_>,
    path: &str,
    why: &'static str,
    package: &str,
) -> Result<Vec<u8>, ExportError> {
    work.store.read_tree_file(work.tree, path).map_err(|error| match error {
        StoreError::NoPath { .. } => ExportError::Needs {
            what: format!("`{path}`"),
            why,
            remedy: format!("add `{package}` to the image's packages"),
        },
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_is_last() {
        let mut releases =
            ["6.1.0-10-amd64", "6.1.0-9-amd64", "6.12.1-1-amd64", "6.1.0-9-cloud-amd64"];
        releases.sort_by_cached_key(|release| order(release));
        assert_eq!(
            releases,
            ["6.1.0-9-amd64", "6.1.0-9-cloud-amd64", "6.1.0-10-amd64", "6.12.1-1-amd64"]
        );
    }

    #[test]
    fn modules_come_after_what_they_need() {
        let listed = "kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz\n\
            kernel/lib/libcrc32c.ko.xz:\n\
            kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko\n\
            kernel/sound/loud.ko:\n\
            kernel/drivers/net/xen-netfront.ko:\n";
        let virtio = "kernel/drivers/virtio";
        assert_eq!(
            wanted(listed),
            [
                (
                    "virtio_blk",
                    vec![
                        &*format!("{virtio}/virtio_ring.ko"),
                        &*format!("{virtio}/virtio.ko"),
                        "kernel/drivers/block/virtio_blk.ko",
                    ]
                ),
                ("xen_netfront", vec!["kernel/drivers/net/xen-netfront.ko"]),
                ("erofs", vec!["kernel/lib/libcrc32c.ko.xz", "kernel/fs/erofs/erofs.ko.xz"]),
            ]
        );
    }

    #[test]
    fn devices_of_a_module() {
        let aliases = "# Aliases\nalias virtio:d00000002v* virtio_blk\nalias xen:vif xen_netfront\n\
            alias platform:a b xen-netfront\nalias fs-erofs erofs\n";
        assert_eq!(devices(aliases, "virtio_blk"), ["virtio:d00000002v*"]);
        assert_eq!(devices(aliases, "xen_netfront"), ["xen:vif", "platform:a b"]);
        assert_eq!(devices(aliases, "erofs"), [""; 0]);
        assert_eq!(devices(aliases, "sd_mod"), [""]);
    }
}
