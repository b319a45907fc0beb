//! The Debian packages that the bench compares with, installed when they are missing.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::process;

/// Package and why.
type Peer = (&'static str, &'static str);

pub const EDGE: &[Peer] = &[
    ("nginx-light", "the upstream of all, and a proxy to compare with"),
    ("haproxy", "a proxy to compare with"),
    ("wrk", "makes as much load as a proxy takes"),
];
pub const CONTAINERS: &[Peer] = &[
    ("runc", "starts a container, to compare with"),
    ("docker.io", "starts and replaces containers, to compare with"),
    ("mmdebstrap", "makes the root that they start from"),
];
pub const ROOTS: &[Peer] = &[("mmdebstrap", "makes the root that servers start from")];
pub const BAKERS: &[Peer] = &[
    ("mmdebstrap", "bakes a base, to compare with"),
    ("debootstrap", "bakes a base, to compare with"),
    ("mkosi", "bakes a base, to compare with"),
    ("systemd-container", "what mkosi runs scripts in"),
    ("docker.io", "adds packages to a base, to compare with"),
];
pub const VERIFIERS: &[Peer] = &[
    ("aide", "compares files with a database, to compare with"),
    ("debootstrap", "makes the root that is compared"),
];

/// Asked by packages whether their services may be started on installation.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing, without starting any service of it.
pub fn install(peers: &[Peer]) -> Result<()> {
    let missing: Vec<&Peer> = peers.iter().filter(|(name, _)| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (name, why) in &missing {
        eprintln!("bench: installing `{name}`: {why}");
    }
    let _policy = Policy::forbid()?;
    let names = missing.iter().map(|(name, _)| *name);
    apt(&["update"])?;
    apt(&["install", "--no-install-recommends"].into_iter().chain(names).collect::<Vec<_>>())
}

fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]).output();
    query.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-y", "-q"]).args(arguments);
    process::run(&mut apt).map(drop).context("hint: installing needs root and a mirror in /etc/apt")
}

/// Refuses services their start until it is dropped; a policy that is there already stays.
struct Policy(bool);

impl Policy {
    fn forbid() -> Result<Self> {
        let path = Path::new(POLICY);
        if path.exists() {
            return Ok(Self(false));
        }
        fs::write(path, "#!/bin/sh\nexit 101\n")?;
        let policy = Self(true);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.0
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("bench: cannot remove `{POLICY}`: {error}");
        }
    }
}
