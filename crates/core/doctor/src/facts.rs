//! What was read of a host, in words that do not depend on how it was read.
//!
//! `None` stands for what could not be read: old kernels, containers and other distributions lack files that others have.

use std::collections::BTreeMap;

use crate::firewall::PacketFilter;
use hornero_model::{HostFeature, Timestamp};

/// Everything known about a host and a home on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostFacts {
    /// What the command may do.
    pub rights: RightsFacts,
    /// Kernel, distribution and what it runs in.
    pub system: SystemFacts,
    /// What the sandbox found that it can and can't do.
    pub sandbox: Vec<HostFeature>,
    /// Kernel modules by name, with `-` as `_`.
    pub modules: BTreeMap<&'static str, ModuleState>,
    /// Namespaces and what holds them back.
    pub namespaces: NamespaceFacts,
    /// Control groups.
    pub control_groups: ControlGroupFacts,
    /// AppArmor, SELinux and system call filters.
    pub security: SecurityFacts,
    /// Files, processes, memory.
    pub limits: LimitFacts,
    /// The clock.
    pub clock: ClockFacts,
    /// The home's directory.
    pub home: HomeFacts,
    /// The home's control process.
    pub control: ControlFacts,
    /// Links, forwarding, subnets.
    pub network: NetworkFacts,
    /// Firewalls of other programs.
    pub firewall: FirewallFacts,
    /// Where Debian bases come from.
    pub archive: ArchiveFacts,
}

/// Firewalls of other programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirewallFacts {
    /// The host's nf_tables rules, Hornero's own included; `None` where they can't be read.
    pub filter: Option<PacketFilter>,
    /// Whether the older kind of iptables has rules, which are not read.
    pub legacy: bool,
}

/// What the command may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RightsFacts {
    /// The effective user id.
    pub user: u32,
    /// Whether the user namespace has every id of the host.
    pub every_id: bool,
    /// The effective capabilities as bits, by their numbers in capabilities(7).
    pub capabilities: Option<u64>,
}

/// A distribution as os-release(5) names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `ID`, such as `ubuntu`.
    pub id: String,
    /// `ID_LIKE`, such as `debian`.
    pub like: Vec<String>,
    /// `PRETTY_NAME`.
    pub name: String,
}

impl Distribution {
    /// Whether its packages are those of `family`, such as `debian` or `fedora`.
    pub fn is(&self, family: &str) -> bool {
        self.id == family || self.like.iter().any(|like| like == family)
    }
}

/// Kernel, distribution and what it runs in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemFacts {
    /// The kernel's release, such as `6.1.0-31-amd64`.
    pub kernel: String,
    /// The distribution, where it says.
    pub distribution: Distribution,
    /// Whether modules of the running kernel are there; `None` where this host shows no modules of any kernel.
    pub kernel_modules: Option<bool>,
    /// The kind of container, such as `docker`.
    pub container: Option<String>,
    /// The kind of virtual machine, such as `KVM`.
    pub machine: Option<String>,
    /// systemd, where it is what started this host.
    pub systemd: Option<SystemdFacts>,
    /// Memory that programs can still get, in bytes.
    pub memory_available_bytes: Option<u64>,
}

/// systemd and Hornero's unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemdFacts {
    /// Whether a unit is installed.
    pub unit_installed: bool,
    /// Whether it is started at boot.
    pub unit_enabled: bool,
    /// Whether it runs.
    pub unit_active: bool,
}

/// Whether the kernel has a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModuleState {
    /// It is loaded, or part of the kernel.
    Present,
    /// It is loaded when it is first used.
    Loadable,
    /// It is neither there nor can it be loaded.
    Absent,
    /// This host does not tell.
    #[default]
    Unknown,
}

/// Namespaces and what holds them back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Whether the kernel has user namespaces.
    pub user: Option<bool>,
    /// `user.max_user_namespaces`.
    pub user_max: Option<u64>,
    /// `kernel.unprivileged_userns_clone` of Debian's and Ubuntu's kernels.
    pub unprivileged: Option<bool>,
    /// `kernel.apparmor_restrict_unprivileged_userns` of Ubuntu's kernels.
    pub apparmor_restricts: Option<bool>,
}

/// Control groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlGroupFacts {
    /// How they are mounted, in words.
    pub description: String,
    /// The controllers that can limit a sandbox, of all hierarchies.
    pub controllers: Vec<String>,
    /// Whether any of their mounts is read-only.
    pub read_only: bool,
    /// The smallest process limit of the groups of whoever starts servers: control where it runs, else the command.
    pub own_process_limit: Option<u64>,
}

/// AppArmor, SELinux and system call filters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityFacts {
    /// Whether AppArmor is on.
    pub apparmor: bool,
    /// Whether SELinux is on, and whether it enforces.
    pub selinux_enforcing: Option<bool>,
    /// The command's own label, such as `unconfined` or `docker-default (enforce)`.
    pub label: Option<String>,
    /// Whether the command itself is under a system call filter.
    pub filtered: bool,
}

/// Files and processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitFacts {
    /// The hard limit of open files; `u64::MAX` for none.
    pub open_files: Option<u64>,
    /// `fs.file-max`: open files of the whole host.
    pub host_files: Option<u64>,
    /// `kernel.pid_max`.
    pub pid_max: Option<u64>,
    /// `kernel.threads-max`.
    pub threads_max: Option<u64>,
}

/// The clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClockFacts {
    /// What it shows.
    pub now: Timestamp,
    /// Whether the kernel knows it to be synchronised.
    pub synchronised: Option<bool>,
    /// The time of the newest event in the home's ledger.
    pub newest_event: Option<Timestamp>,
}

/// Something wrong with who may change a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathFault {
    /// The directory.
    pub path: String,
    /// Its owner, where that is not root.
    pub owner: Option<u32>,
    /// Whether others than its owner may write in it and replace what is there.
    pub writable: bool,
}

/// The home's directory, or what is to become it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HomeFacts {
    /// Its path.
    pub path: String,
    /// Whether it exists.
    pub exists: bool,
    /// What exists in its place and is no directory, such as `a file`.
    pub obstacle: Option<String>,
    /// What is wrong with the owner or mode of the home itself.
    pub fault: Option<PathFault>,
    /// The same for the directories that lead to it.
    pub faults_above: Vec<PathFault>,
    /// The kind of its file system, such as `ext4`.
    pub file_system: Option<String>,
    /// Where that is mounted.
    pub mount: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// Which of `noexec`, `nodev` and `nosuid` it is mounted with.
    pub mount_options: Vec<String>,
    /// Bytes that root can still write.
    pub free_bytes: Option<u64>,
    /// Files that can still be made; `None` also where the file system has no such limit.
    pub free_inodes: Option<u64>,
    /// Whether it keeps extended attributes.
    pub attributes: Option<bool>,
    /// Whether its directories tell what kind their entries are (XFS: `ftype=1`).
    pub entry_kinds: Option<bool>,
}

/// The home's control process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ControlFacts {
    /// There is no socket: none was started, or it was ended.
    #[default]
    Absent,
    /// There is a socket that nobody listens on.
    Stale,
    /// Somebody listens and does not answer in time.
    Silent,
    /// It could not be asked, for this reason.
    Unreachable(String),
    /// It answers.
    Answers {
        /// Its version.
        version: String,
        /// Its process id.
        pid: u32,
        /// The command's version.
        own_version: String,
        /// The witness of the ledger; none where none is declared.
        witness: Option<WitnessFacts>,
    },
}

/// The witness of the ledger, by what control says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessFacts {
    /// Where it is.
    pub place: String,
    /// Why it does not take the ledger's newest head; none where it does.
    pub fault: Option<String>,
}

/// Links, forwarding, subnets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFacts {
    /// The home's bridge, there or not.
    pub bridge: String,
    /// Whether that bridge is there.
    pub bridge_exists: bool,
    /// The home's subnet, where it has one.
    pub subnet: Option<String>,
    /// Networks of the host that overlap the home's subnet; of a home without one, why none is free.
    pub overlaps: Vec<String>,
    /// Whether no subnet is left for the home.
    pub no_subnet: bool,
    /// The links that default routes leave by, and whether they forward.
    pub uplinks: Vec<(String, Option<bool>)>,
    /// Why bridges and pairs of links can't be made; `None` where they can or this was not tried.
    pub links_fault: Option<String>,
    /// Why the packet filter can't be used; `None` where it can or this was not tried.
    pub filter_fault: Option<String>,
    /// Whether `/proc/sys` can be written, which forwarding needs.
    pub settings_writable: Option<bool>,
    /// `net.ipv4.ip_forward`.
    pub forward: Option<bool>,
    /// `net.bridge.bridge-nf-call-iptables`; `None` without the module.
    pub bridge_filtered: Option<bool>,
    /// Whether IPv6 is turned off; `None` where the kernel has none.
    pub ipv6_disabled: Option<bool>,
}

/// Where Debian bases come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveFacts {
    /// Whether this host has apt sources.
    pub sources: bool,
    /// Whether a keyring of Debian's archive is there.
    pub keyring: bool,
}
