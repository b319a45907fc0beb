//! What a machine boots from: a Debian root on a disk, one of Debian's kernels, and a small initial root.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{
    archive::Archive,
    cached,
    catalogue::{MachineKind, ROOT_PACKAGES},
};
use crate::run;

/// Rises with every change of how roots and disks are made here.
const RECIPE: u32 = 1;
/// The disk's size; a sparse file. The site's images and packages need 1 GB, tests some more.
const DISK_SIZE: &str = "8G";
/// Modules for hardware that no such machine has: without them a disk is made in a third of the time.
const LEFT_OUT: &[&str] = &[
    "sound",
    "drivers/ata",
    "drivers/bluetooth",
    "drivers/comedi",
    "drivers/gpu",
    "drivers/hid",
    "drivers/hwmon",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/input",
    "drivers/isdn",
    "drivers/media",
    "drivers/mtd",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/platform",
    "drivers/scsi",
    "drivers/staging",
    "drivers/usb",
];
/// What the initial root loads to find the disk.
const FIRST_MODULES: &[&str] = &["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];

/// Files to boot a machine from.
#[derive(Clone, Debug)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial root.
    pub initrd: PathBuf,
    /// The root disk, which nothing writes to: machines take copies.
    pub disk: PathBuf,
    /// The kernel's release, as `uname -r` says it.
    pub release: String,
}

/// The image of a machine, made or taken from `cache`.
pub fn image(kind: &MachineKind, cache: &Path) -> Result<Image> {
    let open = |suite: &str| Archive::open(&cache.join("apt").join(suite), suite);
    let archive = open(kind.kernel_suite)?;
    let package = archive.kernel_package(kind.kernel)?;
    let release = package.trim_start_matches("linux-image-").to_owned();
    let root = root(kind.suite, &open(kind.suite)?, cache)?;
    let state = fs::read_to_string(root.join("made-from"))?;
    let key = format!("{state}\nkernel {package}\n{}", include_str!("initrd.sh"));
    let dir = cached::directory(&cache.join("images").join(kind.name), &key, |dir| {
        eprintln!("hosts: making the disk of `{}` with {package}", kind.name);
        let scratch = tempfile::tempdir_in(dir)?;
        let file = archive.download(&package, scratch.path())?;
        let unpacked = scratch.path().join("unpacked");
        run::check(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&unpacked))?;
        fs::copy(unpacked.join(format!("boot/vmlinuz-{release}")), dir.join("kernel"))?;
        put_modules(&unpacked, &root.join("root"), &release)?;
        make_initrd(&root.join("root"), &release, scratch.path(), &dir.join("initrd"))?;
        make_disk(&root.join("root"), &dir.join("disk"))
    })?;
    Ok(Image {
        kernel: dir.join("kernel"),
        initrd: dir.join("initrd"),
        disk: dir.join("disk"),
        release,
    })
}

/// A directory whose `root` is Debian with systemd and the agent.
fn root(suite: &str, archive: &Archive, cache: &Path) -> Result<PathBuf> {
    let agent = [include_str!("agent.sh"), include_str!("agent.service")].join("\n");
    let key =
        format!("recipe {RECIPE}\n{}\n{}\n{agent}", ROOT_PACKAGES.join(" "), archive.state()?);
    cached::directory(&cache.join("roots").join(suite), &key, |dir| {
        eprintln!("hosts: making a root of {suite}");
        let root = dir.join("root");
        let log = dir.join("mmdebstrap.log");
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap
            .args(["--variant=minbase", "--mode=root", "--format=directory", "--quiet"])
            .arg(format!("--include={}", ROOT_PACKAGES.join(",")))
            .args([suite.as_ref(), root.as_os_str(), archive.sources().as_os_str()])
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log)?);
        run::check(&mut mmdebstrap)
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        set_up(&root)
    })
}

/// What makes the root a machine: a name, mounts, an address, the agent.
fn set_up(root: &Path) -> Result<()> {
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    };
    write("etc/hostname", "host\n")?;
    write("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 host\n::1 localhost\n")?;
    write("etc/machine-id", "uninitialized\n")?;
    fs::create_dir_all(root.join("payload"))?;
    write("etc/fstab", "/dev/vda / ext4 rw 0 1\n/dev/vdb /payload ext4 ro,noload 0 0\n")?;
    write(
        "etc/systemd/network/10-link.network",
        "[Match]\nDriver=virtio_net\n\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nLinkLocalAddressing=no\n",
    )?;
    write("etc/systemd/system/test-agent.service", include_str!("agent.service"))?;
    write("usr/local/sbin/test-agent", include_str!("agent.sh"))?;
    fs::set_permissions(root.join("usr/local/sbin/test-agent"), fs::Permissions::from_mode(0o755))?;
    let wanted = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wanted)?;
    symlink("/etc/systemd/system/test-agent.service", wanted.join("test-agent.service"))?;
    symlink(
        "/lib/systemd/system/systemd-networkd.service",
        wanted.join("systemd-networkd.service"),
    )?;
    Ok(())
}

/// Puts a kernel's modules and configuration into `root` in place of those of another.
fn put_modules(unpacked: &Path, root: &Path, release: &str) -> Result<()> {
    // Since Debian 13 packages have the merged names.
    let inside = ["usr/lib/modules", "lib/modules"].map(|name| unpacked.join(name).join(release));
    let from = inside.iter().find(|path| path.is_dir());
    let from = from.with_context(|| format!("the kernel's package has no modules of {release}"))?;
    for name in LEFT_OUT {
        let path = from.join("kernel").join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
    }
    let modules = root.join("usr/lib/modules");
    if modules.exists() {
        fs::remove_dir_all(&modules)?;
    }
    fs::create_dir_all(&modules)?;
    run::check(Command::new("cp").arg("-a").arg(from).arg(&modules))?;
    let config = format!("boot/config-{release}");
    fs::copy(unpacked.join(&config), root.join(&config))?;
    run::check(Command::new("chroot").arg(root).args(["depmod", release]))
}

fn make_initrd(root: &Path, release: &str, scratch: &Path, to: &Path) -> Result<()> {
    let initial = scratch.join("initial");
    for name in ["bin", "dev", "root", "modules"] {
        fs::create_dir_all(initial.join(name))?;
    }
    fs::copy("/bin/busybox", initial.join("bin/busybox"))
        .context("cannot copy `/bin/busybox`, which busybox-static brings")?;
    let mut order: Vec<String> = Vec::new();
    for module in FIRST_MODULES {
        let mut modprobe = Command::new("chroot");
        modprobe.arg(root).args(["modprobe", "-S", release, "--show-depends", module]);
        // A module that is built into the kernel is listed as such, or not at all.
        for line in run::read(&mut modprobe)?.lines() {
            let Some(path) = line.strip_prefix("insmod ") else { continue };
            let path = path.trim().trim_start_matches('/');
            let name = path.rsplit('/').next().unwrap_or(path).to_owned();
            if !order.contains(&name) {
                fs::copy(root.join(path), initial.join("modules").join(&name))?;
                order.push(name);
            }
        }
    }
    fs::write(initial.join("modules/order"), order.join("\n") + "\n")?;
    fs::write(initial.join("init"), include_str!("initrd.sh"))?;
    fs::set_permissions(initial.join("init"), fs::Permissions::from_mode(0o755))?;
    let pack = "set -e -o pipefail; find . | /bin/busybox cpio -o -H newc 2>/dev/null | gzip -1";
    let mut shell = Command::new("bash");
    shell.args(["-c", pack]).current_dir(&initial).stdout(fs::File::create(to)?);
    run::check(&mut shell)
}

/// An ext4 file system with the files of `root`, owners included.
pub fn make_disk(root: &Path, to: &Path) -> Result<()> {
    make_file_system(root, to, DISK_SIZE)
}

/// An ext4 file system of `size` with the files of `root`.
pub fn make_file_system(root: &Path, to: &Path, size: &str) -> Result<()> {
    let mut mke2fs = Command::new("mke2fs");
    mke2fs
        .args(["-q", "-t", "ext4", "-E", "root_owner=0:0,lazy_itable_init=1", "-d"])
        .args([root, to])
        .arg(size);
    run::check(&mut mke2fs)?;
    ensure!(to.is_file(), "`{}` was not made", to.display());
    Ok(())
}
