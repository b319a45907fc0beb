//! The system packages that tests and demo need, and why each.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{apt::apt, backports, run};

/// A Debian package and why it is needed. CONTRIBUTING.md mirrors these tables; a test compares them.
pub struct Package {
    /// Its name in Debian.
    pub name: &'static str,
    /// What it is needed for.
    pub why: &'static str,
}

/// What tests and demo need beside cargo, gcc and git.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "debian-archive-keyring",
        why: "the keys that sign the Debian archive: a base is baked from it",
    },
    Package { name: "ca-certificates", why: "a mirror may be reached by https" },
    Package { name: "busybox-static", why: "tests make small roots to start instances from" },
    Package { name: "chromium", why: "tests look at the dashboard in it" },
    Package { name: "age", why: "tests let it read the secrets that Hornero encrypts" },
    Package { name: "ansible-core", why: "tests bake images with real playbooks" },
    Package {
        name: "docker-registry",
        why: "tests push images to it and pull them back, through connections that break",
    },
    Package {
        name: "docker.io",
        why: "tests let Docker run what Hornero pushed, and Hornero what Docker built",
    },
    Package {
        name: "erofs-utils",
        why: "tests check Hornero's EROFS images with fsck.erofs and make some with mkfs.erofs",
    },
    Package { name: "curl", why: "tests ask the edge with it, by HTTP/1.1 and HTTP/2" },
    Package { name: "faketime", why: "tests bake under other clocks and compare" },
    Package {
        name: "haproxy",
        why: "tests let it speak the PROXY protocol with the edge, in front of it and behind",
    },
    Package {
        name: "incus-base",
        why: "tests import exported images into it and start them; Debian 12 has it in its backports",
    },
    Package { name: "iproute2", why: "tests look at interfaces from outside Hornero" },
    Package { name: "iptables", why: "tests set rules as Docker and ufw have them" },
    Package {
        name: "e2fsprogs",
        why: "makes the disks of the machines of `cargo xtask hosts` with mke2fs",
    },
    Package { name: "nginx", why: "tests let it speak the PROXY protocol with the edge, too" },
    Package { name: "libnginx-mod-stream", why: "nginx sends PROXY headers for TCP alone" },
    Package { name: "nghttp2-client", why: "tests ask the edge with nghttp and h2load" },
    Package { name: "nftables", why: "tests set up firewalls that drop" },
    Package { name: "prometheus-alertmanager", why: "tests have it take alerts" },
    Package { name: "openssl", why: "tests make certificates for the edge's TLS" },
    Package { name: "ovmf", why: "the firmware that starts exported disks in tests" },
    Package { name: "podman", why: "tests let Podman run what Hornero pushed" },
    Package { name: "procps", why: "tests end processes with kill" },
    Package {
        name: "prometheus",
        why: "tests let it discover and scrape servers, and its promtool read rules and what is exposed",
    },
    Package {
        name: "python3-pip",
        why: "tests fetch public libraries that read SBOMs and speak gRPC and WebSockets with it, by pinned hashes",
    },
    Package { name: "qemu-system-x86", why: "tests boot exported disks in it" },
    Package { name: "qemu-utils", why: "tests check qcow2 files with qemu-img" },
    Package { name: "runc", why: "tests run containers with it" },
    Package {
        name: "skopeo",
        why: "tests let it look into Hornero's images and copy them between registries",
    },
    Package { name: "squashfs-tools", why: "tests list exported squashfs images with unsquashfs" },
    Package { name: "systemd", why: "tests have its systemd-analyze read the unit" },
];

/// Installs what is missing of `packages`, and says what it does.
pub fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<&Package> =
        packages.iter().filter(|package| !installed(package.name)).collect();
    if missing.is_empty() {
        eprintln!("setup: every system package is there");
        return Ok(());
    }
    for package in &missing {
        eprintln!("setup: installing `{}`: {}", package.name, package.why);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let by_hand = format!("apt-get update && apt-get install {}", names.join(" "));
    if run::read(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("only root can install packages\nhint: run this as root, or let root run: {by_hand}");
    }
    if Command::new("apt-get").arg("--version").output().is_err() {
        bail!(
            "there is no apt-get here; Hornero is developed on Debian 12\n\
             hint: install what your system calls {}",
            names.join(", ")
        );
    }
    let result = install_named(&names).and_then(|()| {
        // Where a package conflicts with another release of one that was there, apt removes that one.
        let removed: Vec<&str> = packages.iter().map(|package| package.name).collect();
        let removed: Vec<&str> = removed.into_iter().filter(|name| !installed(name)).collect();
        if removed.is_empty() { Ok(()) } else { install_named(&removed) }
    });
    if let Err(error) = result {
        bail!("{error}\nhint: are the mirrors in /etc/apt reachable? By hand: {by_hand}");
    }
    Ok(())
}

fn install_named(names: &[&str]) -> Result<()> {
    apt(&["update"])?;
    let later = backports::needed(names)?;
    let now: Vec<&str> = names.iter().copied().filter(|name| !later.contains(name)).collect();
    if !now.is_empty() {
        apt(&[&["install", "--no-install-recommends"], now.as_slice()].concat())?;
    }
    if later.is_empty() { Ok(()) } else { backports::install(&later) }
}

fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]).output();
    query.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contributing_names_every_package_and_why() {
        let text = std::fs::read_to_string(run::root().join("CONTRIBUTING.md")).unwrap();
        for package in PACKAGES.iter().chain(crate::package::PACKAGES) {
            let row = format!("| `{}` | {} |", package.name, package.why);
            assert!(text.contains(&row), "CONTRIBUTING.md lacks the row\n{row}");
        }
        let rows = text.lines().filter(|line| line.starts_with("| `")).count();
        assert!(rows >= PACKAGES.len());
    }
}
