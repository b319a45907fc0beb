//! A Docker daemon of the bench's own: data, sockets and containers under the scratch directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::process::{self, Server};

/// The bridge that swarm mode makes; named after nothing, so it is removed only where it was not there before.
const GATEWAY_BRIDGE: &str = "docker_gwbridge";

/// A daemon; dropping it ends it and removes what it left.
pub struct Docker {
    socket: PathBuf,
    directory: PathBuf,
    cgroup_parent: String,
    bridge_was_there: bool,
    /// None only while dropping.
    daemon: Option<Server>,
}

impl Docker {
    pub fn start(scratch: &Path) -> Result<Self> {
        let directory = scratch.join("docker");
        fs::create_dir_all(&directory)?;
        let at = |name: &str| directory.join(name);
        let socket = at("socket");
        let cgroup_parent = format!("hornero-bench-docker-{}", std::process::id());
        let mut command = Command::new("/usr/sbin/dockerd");
        command
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg(format!("--host=unix://{}", socket.display()))
            .arg(format!("--cgroup-parent={cgroup_parent}"))
            // No bridge and no packet filter rule on the host: nothing that is measured needs them.
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--log-level=warn"]);
        let bridge_was_there = link_exists(GATEWAY_BRIDGE);
        let daemon = Server::start("dockerd", &mut command, &at("log"))?;
        let mut docker =
            Self { socket, directory, cgroup_parent, bridge_was_there, daemon: Some(daemon) };
        let mut version = docker.command(&["version"]);
        if let Some(daemon) = &mut docker.daemon {
            daemon.wait_until(|| process::run(&mut version).is_ok())?;
        }
        Ok(docker)
    }

    /// `docker ARGUMENTS`, not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/docker");
        command.arg("--host").arg(format!("unix://{}", self.socket.display())).args(arguments);
        // Credentials and contexts of whoever runs this are none of the bench's business.
        command.env("DOCKER_CONFIG", self.directory.join("config"));
        command
    }

    /// Runs `docker ARGUMENTS` and returns what it wrote.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        process::run(&mut self.command(arguments))
    }

    /// Makes an image of a tar archive.
    pub fn import(&self, tar: &Path, name: &str) -> Result<()> {
        self.run(&["import", &tar.display().to_string(), name]).map(drop)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Not in swarm mode, or nothing there: both fine.
        let _ = self.run(&["swarm", "leave", "--force"]);
        if let Ok(all) = self.run(&["ps", "--all", "--quiet"]) {
            for id in all.lines() {
                let _ = self.run(&["rm", "--force", id]);
            }
        }
        self.daemon = None;
        if !self.bridge_was_there && link_exists(GATEWAY_BRIDGE) {
            let _ = process::read("ip", &["link", "delete", GATEWAY_BRIDGE]);
        }
        unmount_below(&self.directory);
        remove_cgroups(&self.cgroup_parent);
    }
}

fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

fn unmount_below(directory: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let prefix = format!("{}/", directory.display());
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    // The latest first: mounts may lie on each other.
    for point in points.filter(|point| point.starts_with(&prefix)).collect::<Vec<_>>().iter().rev()
    {
        let _ = process::read("umount", &["--lazy", point]);
    }
}

fn remove_cgroups(parent: &str) {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().filter_map(Result::ok);
    for hierarchy in hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")])
    {
        // Fails where a process is in it still; then it is not ours to remove.
        let _ = fs::remove_dir(hierarchy.join(parent));
    }
}
