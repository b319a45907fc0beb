//! What the processes of a step have of the home: and a way out where it is declared.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use hornero_apt::files;
use hornero_model::{Digest, InstanceId, Resources};
use hornero_net::{Attachment, HomeNetwork};
use hornero_sandbox::{CgroupSpec, Network, Running, SandboxSpec, StartError, Stdio};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{BakeError, workdir::WorkDir};

/// Enough for compilers; one runaway step must not take the host down.
pub(crate) const MEMORY_BYTES: u64 = 8 << 30;
/// As above, for processes and threads.
const PIDS: u32 = 8_192;

/// Why a step has no way out.
pub(crate) type NoNetwork = Box<dyn std::error::Error + Send + Sync>;

/// The place of one sandbox.
pub(crate) struct Place {
    /// Its limits.
    pub cgroup: CgroupSpec,
    network: Option<StepNetwork>,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Place {
    /// One with or without a way out, given back when dropped. The error is why there is no way out.
    pub(crate) fn new(home: &Path, network: bool) -> Result<Self, NoNetwork> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bake-{}-{number}", std::process::id());
        let network = if network { Some(StepNetwork::open(home, &name)?) } else { None };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let cpu_millis = u32::try_from(cores * 1_000).unwrap_or(u32::MAX);
        let resources = Resources { memory_bytes: MEMORY_BYTES, cpu_millis, pids: PIDS };
        let cgroup = CgroupSpec { parent: cgroup_parent(home), name, resources };
        Ok(Self { cgroup, network })
    }

    /// The contents of `/etc/resolv.conf` where it has a network.
    pub(crate) fn resolvers(&self) -> Option<&str> {
        self.network.as_ref().map(|network| network.resolvers.as_str())
    }

    /// Starts a sandbox in it.
    pub(crate) fn start(&self, spec: &SandboxSpec, stdio: Stdio) -> Result<Running, StartError> {
        let Some(network) = &self.network else {
            return hornero_sandbox::start(spec, stdio, Network::Isolated);
        };
        let mut attach = |netns: std::os::fd::BorrowedFd<'_>| {
            network.attach(netns).map_err(|error| error.to_string())
        };
        hornero_sandbox::start(spec, stdio, Network::Attach(&mut attach))
    }
}

/// The control group of a home's build steps.
pub(crate) fn cgroup_parent(home: &Path) -> String {
    let path: PathBuf = std::fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
    let digest = Digest::of(path.as_os_str().as_encoded_bytes()).hex();
    format!("hornero-bake-{}", &digest[..8])
}

/// Removes what bakes of this home that were killed left behind: work directories and control groups.
///
/// A bake does so when it begins; this is for those that free room or take a home down.
///
/// # Errors
/// [`BakeError`] when a work directory can't be removed.
pub fn clean(home: &Path) -> Result<(), BakeError> {
    let tmp = home.join("tmp");
    WorkDir::clean(&tmp).map_err(|error| BakeError::file(&tmp, error))?;
    clean_leftovers(home);
    Ok(())
}

/// Removes the groups that steps of dead bakes left, and the parent where nothing is left in it; gives their addresses
/// back.
pub(crate) fn clean_leftovers(home: &Path) {
    let parent = cgroup_parent(home);
    for name in hornero_sandbox::groups_below(&parent) {
        if !owner_of(&name).is_some_and(|owner| is_at_work(home, owner)) {
            // What cannot be removed now is tried again by the next bake.
            let _ = hornero_sandbox::Cgroup::at(&parent, &name).remove();
        }
    }
    hornero_sandbox::remove_parent(&parent);
    // A home whose steps never had a way out needs no network because of this.
    let Some(network) = HomeNetwork::existing(home) else { return };
    for (id, _) in network.held_addresses().unwrap_or_default() {
        if owner_of(id.as_str()).is_some_and(|owner| !is_at_work(home, owner)) {
            let _ = network.detach(&id);
            let _ = network.release_address(&id);
        }
    }
}

/// The process of whose bake a name is; none where it is no build step's.
fn owner_of(name: &str) -> Option<&str> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|of| of.is_ascii_digit());
    let (owner, number) = name.strip_prefix("bake-")?.split_once('-')?;
    (is_number(owner) && is_number(number)).then_some(owner)
}

/// Whether the process that had this id when it made a group still bakes: each step runs in a work directory, which
/// stays locked. A process of that id alone says nothing, as ids are used again.
fn is_at_work(home: &Path, owner: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(home.join("tmp")) else { return false };
    let prefix = format!("bake-{owner}-");
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let is_lock =
            name.to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(".lock"));
        is_lock
            && std::fs::File::open(entry.path()).is_ok_and(|lock| {
                let locked = flock(&lock, FlockOperation::NonBlockingLockShared);
                locked == Err(Errno::WOULDBLOCK)
            })
    })
}

/// A step's way to the outside; given back when dropped.
struct StepNetwork {
    network: HomeNetwork,
    attachment: Attachment,
    resolvers: String,
}

impl StepNetwork {
    /// Opens one for a step.
    fn open(home: &Path, name: &str) -> Result<Self, NoNetwork> {
        let resolvers = host_resolvers()?;
        let mut network = HomeNetwork::open(home)?;
        network.up()?;
        let instance = InstanceId::new(name)?;
        let address = network.allocate_address(&instance)?;
        let attachment = Attachment { instance, address, egress: true };
        Ok(Self { network, attachment, resolvers })
    }

    fn attach(&self, netns: std::os::fd::BorrowedFd<'_>) -> Result<(), hornero_net::Error> {
        self.network.attach(netns, &self.attachment)
    }
}

impl Drop for StepNetwork {
    fn drop(&mut self) {
        // An address that is not given back now expires with its id, which is used once.
        let _ = self.network.detach(&self.attachment.instance);
        let _ = self.network.release_address(&self.attachment.instance);
    }
}

/// The host's name servers that can be reached from a namespace of its own: those on loopback cannot, and what they
/// forward to is asked instead where systemd-resolved says so.
fn host_resolvers() -> Result<String, String> {
    /// resolv.conf files are a few hundred bytes.
    const RESOLV_CONF_BYTES: u64 = 64 << 10;
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    for file in files {
        let Ok(text) = files::read_text(file.as_ref(), RESOLV_CONF_BYTES) else { continue };
        let kept: Vec<&str> = text
            .lines()
            .filter(|line| {
                let mut words = line.split_whitespace();
                match (words.next(), words.next()) {
                    (Some("nameserver"), Some(address)) => address
                        .parse::<IpAddr>()
                        .is_ok_and(|address| address.is_ipv4() && !address.is_loopback()),
                    (Some("search" | "options" | "domain"), Some(_)) => true,
                    _ => false,
                }
            })
            .collect();
        if kept.iter().any(|line| line.starts_with("nameserver")) {
            return Ok(kept.join("\n") + "\n");
        }
    }
    Err("this host has no name server that is not on its own loopback".to_owned())
}
