//! The home's directory: what it is, whose, and on which file system.

use crate::{
    answer::{CheckAnswer, degraded, missing, pass},
    facts::{HomeFacts, HostFacts, PathFault},
};

const MIB: u64 = 1 << 20;
/// Under this not even a ledger and its journal are safe from a full disk.
const BYTES_MISSING: u64 = 64 * MIB;
/// A Debian base, its packages and an image on it take some 500 MB; two of them and their logs fit.
const BYTES_DEGRADED: u64 = 2048 * MIB;
/// A small Debian base has about 6,000 files, an image with a language's runtime 30,000.
const INODES_DEGRADED: u64 = 50_000;
const INODES_MISSING: u64 = 1_000;

/// File systems that have no owners, modes or attributes to hold a store.
const UNFIT: &[&str] =
    &["vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "hfsplus", "iso9660"];
/// File systems of other machines: the ledger's shared memory and locks are not safe there.
const OF_NETWORK: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "afs",
    "ceph",
    "fuse.sshfs",
    "fuse.glusterfs",
    "virtiofs",
];
/// File systems in memory.
const OF_MEMORY: &[&str] = &["tmpfs", "ramfs"];

pub(crate) fn path(facts: &HostFacts) -> CheckAnswer {
    let home = &facts.home;
    if let Some(obstacle) = &home.obstacle {
        return missing(
            format!("`{}` is {obstacle}", home.path),
            "there is no place for a home",
            "`--home` or HORNERO_HOME names another directory",
        );
    }
    if home.exists {
        return pass(format!("`{}`", home.path));
    }
    pass(format!("`{}`, made when it is first needed", home.path))
}

pub(crate) fn owner(facts: &HostFacts) -> CheckAnswer {
    let home = &facts.home;
    if let Some(fault) = &home.fault {
        return missing(
            told(fault),
            "they can replace images, keys and the ledger, and with them what root runs",
            mend(fault),
        );
    }
    if !home.faults_above.is_empty() {
        let faults: Vec<String> = home.faults_above.iter().map(told).collect();
        let lines: Vec<String> = home.faults_above.iter().map(mend).collect();
        return degraded(
            faults.join("; "),
            "they can put another directory in the home's place",
            lines.join("\n"),
        );
    }
    pass("root's, up to `/`")
}

fn told(fault: &PathFault) -> String {
    match (fault.owner, fault.writable) {
        (Some(owner), true) => {
            format!("`{}` belongs to user {owner}, and others may write in it", fault.path)
        }
        (Some(owner), false) => format!("`{}` belongs to user {owner}", fault.path),
        (None, _) => format!("others than root may write in `{}`", fault.path),
    }
}

fn mend(fault: &PathFault) -> String {
    match (fault.owner, fault.writable) {
        (Some(_), true) => format!("chown root: {0} && chmod go-w {0}", quoted(&fault.path)),
        (Some(_), false) => format!("chown root: {}", quoted(&fault.path)),
        (None, _) => format!("chmod go-w {}", quoted(&fault.path)),
    }
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte));
    if plain { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

pub(crate) fn mount(facts: &HostFacts) -> CheckAnswer {
    let home = &facts.home;
    if home.read_only {
        return missing(
            format!("`{}` is mounted read-only", home.mount),
            "nothing can be recorded, so nothing is changed",
            format!(
                "mount -o remount,rw {}; where the kernel did it after an error, `dmesg` says which, and the disk needs fsck",
                quoted(&home.mount)
            ),
        );
    }
    if home.mount_options.is_empty() {
        return pass(format!("`{}`, writable", home.mount));
    }
    pass(format!(
        "`{}`, writable, {}: mounts of roots have options of their own, so it costs nothing",
        home.mount,
        home.mount_options.join(" and ")
    ))
}

pub(crate) fn file_system(facts: &HostFacts) -> CheckAnswer {
    let home = &facts.home;
    let kind = home.file_system.as_deref().unwrap_or("unknown");
    let elsewhere = "put the home on ext4, XFS or btrfs: `--home` or HORNERO_HOME names it";
    if UNFIT.contains(&kind) {
        return missing(kind, "it keeps no owners, modes and attributes", elsewhere);
    }
    if home.entry_kinds == Some(false) {
        return missing(
            format!("{kind} whose directories do not tell what their entries are (`ftype=0`)"),
            "the kernel puts no roots together on it",
            "make the file system anew (`mkfs.xfs -n ftype=1`), or put the home elsewhere",
        );
    }
    if OF_NETWORK.contains(&kind) {
        return degraded(
            kind,
            "another machine's file system: the ledger is not safe from two writers and lost connections",
            elsewhere,
        );
    }
    if OF_MEMORY.contains(&kind) {
        return degraded(kind, "everything of the home is gone after a reboot", elsewhere);
    }
    if home.attributes == Some(false) {
        return degraded(
            format!("{kind} without extended attributes"),
            "what is verified by attributes is hashed instead",
            elsewhere,
        );
    }
    pass(kind)
}

pub(crate) fn space(facts: &HostFacts) -> CheckAnswer {
    let home = &facts.home;
    let free = free(home);
    let low = |bytes_limit: u64, inodes_limit: u64| {
        home.free_bytes.is_some_and(|bytes| bytes < bytes_limit)
            || home.free_inodes.is_some_and(|inodes| inodes < inodes_limit)
    };
    if low(BYTES_MISSING, INODES_MISSING) {
        return missing(
            free,
            "the ledger can't record what happens, and no image can be written",
            "hornero image gc --dry-run shows what may go, `hornero image gc` deletes it; or give the disk room",
        );
    }
    if low(BYTES_DEGRADED, INODES_DEGRADED) {
        return degraded(
            free,
            "a bake may fill the disk, and then nothing is recorded any more",
            "hornero image gc --dry-run shows what may go, `hornero image gc` deletes it; or give the disk room",
        );
    }
    pass(free)
}

fn free(home: &HomeFacts) -> String {
    match (home.free_bytes, home.free_inodes) {
        (None, _) => "not told by this file system".to_owned(),
        (Some(bytes), None) => format!("{} free", size(bytes)),
        (Some(bytes), Some(inodes)) => format!("{} and {inodes} inodes free", size(bytes)),
    }
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes >= GIB {
        return format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB);
    }
    format!("{} MiB", bytes / MIB)
}
