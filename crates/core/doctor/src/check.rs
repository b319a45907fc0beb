//! The table of checks: each with a stable name, what it is about, what needs it, and what it costs to fail it.

use crate::{
    answer::CheckAnswer,
    checks::{control, firewall, home, kernel, limits, network, rights},
    facts::HostFacts,
    finding::{Area, HostFinding},
};

/// What needs a check to be passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// To bake, and everything else.
    Bake,
    /// To run servers.
    Run,
}

/// One check.
pub struct HostCheck {
    /// Its stable name.
    pub id: &'static str,
    /// What it is about.
    pub area: Area,
    /// What can't be done while it is missing.
    pub need: Need,
    /// Whether `up` says a line where it is degraded.
    pub told: bool,
    /// What it looks at, for the reference.
    pub looks_at: &'static str,
    /// When it is degraded and when missing, for the reference.
    pub meaning: &'static str,
    decide: fn(&HostFacts) -> CheckAnswer,
}

impl HostCheck {
    /// Runs it.
    pub fn run(&self, facts: &HostFacts) -> HostFinding {
        let CheckAnswer { state, observed, cost, hint } = (self.decide)(facts);
        HostFinding { id: self.id.to_owned(), area: self.area, state, observed, cost, hint }
    }
}

macro_rules! check {
    ($id:literal, $area:ident, $need:ident, $told:literal, $decide:path, $looks_at:literal, $meaning:literal) => {
        HostCheck {
            id: $id,
            area: Area::$area,
            need: Need::$need,
            told: $told,
            looks_at: $looks_at,
            meaning: $meaning,
            decide: $decide,
        }
    };
}

/// Every check, what everything else stands on first: the first that is missing is the one to mend first.
pub const CHECKS: &[HostCheck] = &[
    check!(
        "root",
        Rights,
        Bake,
        false,
        rights::root,
        "the command's user, and whether its user namespace has every id of the host",
        "missing unless it is root of the host itself"
    ),
    check!(
        "capabilities",
        Rights,
        Bake,
        false,
        rights::capabilities,
        "the effective capabilities",
        "missing without one that namespaces, mounts or owners need; degraded without `CAP_SYS_RESOURCE`"
    ),
    check!(
        "container",
        Rights,
        Bake,
        false,
        rights::container,
        "whether this runs in a container or a virtual machine",
        "degraded in a container: its manager may hold back mounts, modules and control groups"
    ),
    check!(
        "security_module",
        Rights,
        Bake,
        false,
        rights::security_module,
        "AppArmor, SELinux, and system call filters over the command",
        "degraded where one confines the command"
    ),
    check!(
        "sandbox",
        Kernel,
        Bake,
        false,
        kernel::sandbox,
        "what the sandbox saw the kernel do",
        "missing where no sandbox starts; degraded where isolation, sharing or time is lost"
    ),
    check!(
        "erofs",
        Kernel,
        Bake,
        false,
        kernel::erofs,
        "the kernel's `erofs`: images are mounted with it",
        "missing where it is neither there nor can be loaded"
    ),
    check!(
        "overlay",
        Kernel,
        Bake,
        false,
        kernel::overlay,
        "the kernel's `overlay`: roots are put together with it",
        "missing where it is neither there nor can be loaded"
    ),
    check!(
        "loop",
        Kernel,
        Bake,
        false,
        kernel::loop_devices,
        "the kernel's `loop`: kernels before 6.12 mount images through it",
        "degraded where it is neither there nor can be loaded"
    ),
    check!(
        "kernel_modules",
        Kernel,
        Bake,
        false,
        kernel::modules,
        "the modules of the running kernel below `/lib/modules`",
        "degraded where only those of other kernels are there"
    ),
    check!(
        "user_namespaces",
        Kernel,
        Bake,
        true,
        kernel::user_namespaces,
        "user namespaces, `user.max_user_namespaces`, and what Debian, Ubuntu and AppArmor hold back",
        "missing where there are none, degraded where there are few"
    ),
    check!(
        "control_groups",
        Kernel,
        Bake,
        false,
        kernel::control_groups,
        "control groups of version 1, 2 or both, and the controllers `memory`, `cpu` and `pids`",
        "missing where a controller is: no server starts without limits"
    ),
    check!(
        "links",
        Network,
        Run,
        false,
        network::links,
        "whether the kernel makes bridges and pairs of links (`bridge`, `veth`)",
        "missing where it does not"
    ),
    check!(
        "packet_filter",
        Network,
        Run,
        false,
        network::packet_filter,
        "whether the kernel takes the home's nf_tables rules (`nf_tables` and what they use)",
        "missing where it does not"
    ),
    check!(
        "forwarding",
        Network,
        Run,
        true,
        network::forwarding,
        "`/proc/sys`, the default route, and whether its link forwards",
        "missing where `/proc/sys/net` is read-only; degraded where servers and build steps with a way out reach nothing outside"
    ),
    check!(
        "firewall_forward",
        Network,
        Run,
        true,
        firewall::forward,
        "what the host's firewalls (nf_tables, iptables over it: Docker, ufw, firewalld) do to a connection from a server to the outside",
        "degraded where one drops it"
    ),
    check!(
        "firewall_input",
        Network,
        Run,
        true,
        firewall::input,
        "what they do to a server's questions for names, and to its connections to services of the home",
        "degraded where one drops them"
    ),
    check!(
        "bridge_filter",
        Network,
        Run,
        false,
        network::bridge_filter,
        "`net.bridge.bridge-nf-call-iptables`",
        "never: servers of a home never talk over its bridge"
    ),
    check!(
        "subnet",
        Network,
        Run,
        true,
        network::subnet,
        "the home's subnet against the host's addresses and routes, VPNs included",
        "degraded where both have the same addresses; missing where none is free"
    ),
    check!(
        "ipv6",
        Network,
        Run,
        false,
        network::ipv6,
        "whether the host has IPv6",
        "never: servers have IPv4; only routes that listen on an IPv6 address need it"
    ),
    check!(
        "home_path",
        Home,
        Bake,
        false,
        home::path,
        "whether the home is, or can become, a directory",
        "missing where something else is in its place"
    ),
    check!(
        "home_owner",
        Home,
        Bake,
        false,
        home::owner,
        "who may change the home and the directories that lead to it",
        "missing where others may change the home, degraded where they may replace it"
    ),
    check!(
        "home_mount",
        Home,
        Bake,
        false,
        home::mount,
        "how the home's file system is mounted",
        "missing where it is read-only"
    ),
    check!(
        "home_file_system",
        Home,
        Bake,
        true,
        home::file_system,
        "the kind of the home's file system, extended attributes, and whether directories tell kinds (XFS: `ftype=1`)",
        "missing where it can't hold a store; degraded where it forgets or loses"
    ),
    check!(
        "home_space",
        Home,
        Bake,
        true,
        home::space,
        "free bytes and inodes below the home",
        "missing under 64 MiB or 1,000 inodes, degraded under 2 GiB or 50,000 inodes"
    ),
    check!(
        "open_files",
        Limits,
        Run,
        false,
        limits::open_files,
        "the hard limit of open files, and `fs.file-max`",
        "degraded under 16,384 files, missing under 256"
    ),
    check!(
        "processes",
        Limits,
        Run,
        false,
        limits::processes,
        "`kernel.pid_max`, `kernel.threads-max`, and the process limit of the control groups of whoever starts servers",
        "degraded under 4,096"
    ),
    check!(
        "memory",
        Limits,
        Run,
        false,
        limits::memory,
        "memory that programs can still get",
        "degraded under 256 MiB"
    ),
    check!(
        "clock",
        Clock,
        Bake,
        true,
        limits::clock,
        "the year, and the newest event of the home's ledger",
        "degraded where the clock is behind the ledger or before 2026"
    ),
    check!(
        "clock_synchronised",
        Clock,
        Bake,
        false,
        limits::clock_synchronised,
        "whether the kernel knows the clock to be kept in step (adjtimex)",
        "degraded where it is not"
    ),
    check!(
        "control_process",
        Control,
        Run,
        false,
        control::process,
        "the home's control socket, and the version of the process behind it",
        "degraded where nobody listens on it, or a process of another version does"
    ),
    check!(
        "witness",
        Control,
        Run,
        true,
        control::witness,
        "the witness that gets the ledger's heads, where control was told of one",
        "degraded where it does not take the newest"
    ),
    check!(
        "boot",
        Control,
        Run,
        false,
        control::boot,
        "systemd and the unit `hornero.service`",
        "degraded where nothing starts again after a reboot"
    ),
    check!(
        "debian_archive",
        Bake,
        Bake,
        false,
        control::archive,
        "apt sources and the keyring of Debian's archive, which bases are baked from",
        "degraded without them: `hornero.hcl` has to name a mirror and a keyring"
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_given_once_and_stay_plain() {
        let mut ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
        assert!(ids.iter().all(|id| {
            id.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
        }));
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn checks_of_one_area_stand_together() {
        let mut areas: Vec<Area> = CHECKS.iter().map(|check| check.area).collect();
        areas.dedup();
        assert!(areas.is_sorted(), "{areas:?}");
    }
}
