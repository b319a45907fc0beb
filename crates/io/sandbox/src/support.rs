//! What this host can and can't do for sandboxes, and what is done instead.

use std::{fs, path::Path, sync::OnceLock};

use crate::{
    error::StartError,
    hierarchies::Hierarchies,
    spec::{Root, SandboxSpec},
};

/// Something that sandboxes use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// What, in a few words.
    pub name: &'static str,
    /// Whether it is there.
    pub available: bool,
    /// Why not, and what happens instead; empty where it is there.
    pub reason: &'static str,
}

/// What this host has, looked at once.
#[derive(Debug)]
pub struct Support {
    /// Everything that sandboxes use.
    pub features: Vec<Feature>,
    kernel: (u32, u32),
    root: bool,
    erofs: bool,
    user_namespaces: bool,
}

/// Linux 6.12 mounts EROFS images from files without a loop device.
const EROFS_FROM_FILES: (u32, u32) = (6, 12);
/// Linux 6.8 takes overlay layers one by one (`lowerdir+`, `datadir+`), data-only ones included.
const OVERLAY_LAYERS: (u32, u32) = (6, 8);
/// Linux 6.3 maps the ids of tmpfs; EROFS and overlay layers came before.
const IDMAPPED_LAYERS: (u32, u32) = (6, 3);
/// Linux 6.15 takes detached mounts as overlay layers.
const DETACHED_LAYERS: (u32, u32) = (6, 15);

/// What this host can and can't do for sandboxes.
pub fn support() -> &'static Support {
    static HOST: OnceLock<Support> = OnceLock::new();
    HOST.get_or_init(Support::of_host)
}

impl Support {
    fn of_host() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel = version(&release);
        let systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let knows = |name: &str| {
            systems.lines().any(|line| line.trim_start_matches("nodev").trim() == name)
        };
        let namespaces = fs::read_to_string("/proc/sys/user/max_user_namespaces");
        let groups = Hierarchies::of_host();
        let root = has_all_rights();
        // A module that was not loaded yet is not listed, but is loaded when first used.
        let module = |name: &str| {
            Path::new(&format!("/lib/modules/{}/kernel/fs/{name}", release.trim())).exists()
        };
        let erofs = (knows("erofs") || module("erofs")) && kernel >= EROFS_FROM_FILES;
        let user_namespaces = Path::new("/proc/self/ns/user").exists()
            && namespaces.is_ok_and(|text| text.trim() != "0")
            && kernel >= IDMAPPED_LAYERS;
        let feature = |name, available, reason| Feature {
            name,
            available,
            reason: if available { "" } else { reason },
        };
        let features = vec![
            feature(
                "root",
                root,
                "sandboxes can't be started: run as root, outside of a container",
            ),
            feature(
                "overlay layers",
                (knows("overlay") || module("overlayfs")) && kernel >= OVERLAY_LAYERS,
                "images can't be started: Linux 6.8 with overlayfs is needed",
            ),
            feature(
                "EROFS from files",
                erofs,
                "images can't be started: Linux 6.12 with EROFS is needed",
            ),
            feature(
                "user namespaces with mapped layers",
                user_namespaces,
                "root inside is root outside, held by capabilities and the system call filter only: Linux 6.3 is \
                 needed, and `sysctl user.max_user_namespaces` must not be 0",
            ),
            feature(
                "detached layers",
                kernel >= DETACHED_LAYERS,
                "a private mount namespace is used for each start: Linux 6.15 is needed",
            ),
            feature(
                "memory limits",
                groups.has("memory"),
                "mount the memory control group controller",
            ),
            feature(
                "processor limits",
                groups.has("cpu"),
                "mount the cpu control group controller",
            ),
            feature(
                "process limits",
                groups.has("pids"),
                "mount the pids control group controller",
            ),
        ];
        Self { features, kernel, root, erofs, user_namespaces }
    }

    /// Whether root inside a sandbox can be nobody outside. Without it, start sandboxes with no id map.
    pub fn user_namespaces(&self) -> bool {
        self.user_namespaces
    }
}

pub(crate) fn detached_layers() -> bool {
    support().kernel >= DETACHED_LAYERS
}

/// Refuses what this host can't do, naming it.
pub(crate) fn require(spec: &SandboxSpec) -> Result<(), StartError> {
    let host = support();
    let missing = |feature, remedy| Err(StartError::Unsupported { feature, remedy });
    if !host.root {
        return missing("root", "run Hornero as root, outside of a container");
    }
    if host.kernel < OVERLAY_LAYERS {
        return missing("Linux 6.8 or newer", "boot a newer kernel");
    }
    let composed = matches!(&spec.root, Root::Composed(_) | Root::Build { lower: Some(_), .. });
    if composed && !host.erofs {
        return missing(
            "EROFS from files",
            "boot Linux 6.12 or newer with EROFS (`modprobe erofs`)",
        );
    }
    if spec.id_map.is_some() && !host.user_namespaces {
        return missing(
            "user namespaces with mapped layers",
            "boot Linux 6.3 or newer, and `sysctl user.max_user_namespaces=10000`",
        );
    }
    Ok(())
}

/// Root in the host's user namespace, with the right to mount.
fn has_all_rights() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    whole && rustix::process::geteuid().is_root() && effective.unwrap_or(0) & SYS_ADMIN != 0
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers =
        release.split(['.', '-', '+', '~']).map(|part| part.trim().parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_read() {
        assert_eq!(version("6.12.94+deb13-amd64\n"), (6, 12));
        assert_eq!(version("6.18.0"), (6, 18));
        assert_eq!(version("7-rc1"), (7, 0));
        assert_eq!(version(""), (0, 0));
    }
}
