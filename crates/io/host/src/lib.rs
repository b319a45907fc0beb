//! Reads of this host what decides whether Hornero can run on it; changes nothing.
//!
//! [`collect`] never fails: what can't be read is `None` in the facts, since kernels, containers and distributions lack
//! files that others have. What the facts mean is decided in `hornero-doctor`.

mod files;
mod home;
mod kernel;
mod mounts;
mod security;
mod system;

use std::path::Path;

use hornero_doctor::{ControlFacts, FirewallFacts, HostFacts, NetworkFacts};
use hornero_model::{Timestamp, error_chain};

use files::Files;

/// What only the caller can know of a home.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// What its control process answered.
    pub control: ControlFacts,
    /// The time of the newest event in its ledger.
    pub newest_event: Option<Timestamp>,
}

/// Everything about this host, and the home in this directory, there or not.
pub fn collect(home: &Path, asked: Asked) -> HostFacts {
    let starter = starter(&asked.control);
    let mut facts = from_files(&Files::of_host(), home, &starter);
    facts.sandbox = hornero_sandbox::support().features.clone();
    facts.clock.now = Timestamp::now();
    facts.clock.synchronised = kernel::clock_synchronised();
    facts.clock.newest_event = asked.newest_event;
    facts.control = asked.control;
    facts.limits.open_files = kernel::open_files();
    facts.rights.user = rustix::process::geteuid().as_raw();
    survey_network(&mut facts.network, home);
    // Who may not read it, or has none, is told by other checks.
    facts.firewall.filter = hornero_net::packet_filter().ok();
    facts
}

/// The process that starts servers, as `/proc` names it: control where it runs, else the command, which starts control.
fn starter(control: &ControlFacts) -> String {
    match control {
        ControlFacts::Answers { pid, .. } => pid.to_string(),
        _ => "self".to_owned(),
    }
}

/// What stands in files below `/proc`, `/sys`, `/etc` and the home.
fn from_files(files: &Files, home: &Path, starter: &str) -> HostFacts {
    let mounts = mounts::read(files);
    let system = system::read(files);
    HostFacts {
        rights: security::rights(files),
        security: security::read(files),
        sandbox: Vec::new(),
        modules: kernel::modules(files, &system.kernel),
        namespaces: kernel::namespaces(files),
        control_groups: kernel::control_groups(files, &mounts, starter),
        limits: kernel::limits(files),
        clock: hornero_doctor::ClockFacts::default(),
        home: home::read(home, &mounts),
        control: ControlFacts::Absent,
        network: kernel::network(files, &mounts),
        firewall: FirewallFacts { filter: None, legacy: legacy_rules(files) },
        archive: system::archive(files),
        system,
    }
}

/// Whether the older kind of iptables has a table that drops: looking does not load it.
fn legacy_rules(files: &Files) -> bool {
    let tables = files.text("proc/thread-self/net/ip_tables_names").unwrap_or_default();
    tables.lines().any(|table| table == "filter")
}

fn survey_network(network: &mut NetworkFacts, home: &Path) {
    match hornero_net::survey(home) {
        Ok(survey) => {
            network.bridge = survey.bridge;
            network.bridge_exists = survey.bridge_exists;
            network.subnet = survey.subnet.map(|subnet| subnet.to_string());
            network.overlaps = survey.overlaps;
            network.no_subnet = survey.no_subnet;
            network.uplinks = survey.uplinks;
            network.links_fault = survey.links_fault;
            network.filter_fault = survey.filter_fault;
        }
        Err(error) => network.links_fault = Some(error_chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hornero_doctor::{ModuleState, examine};

    use super::*;

    /// What is read of a host with these files and no others.
    fn read(files: &[(&str, &str)]) -> HostFacts {
        read_for(files, "self")
    }

    fn read_for(files: &[(&str, &str)], starter: &str) -> HostFacts {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        from_files(&Files::below(root.path()), Path::new("/nonexistent/home"), starter)
    }

    /// A login has few processes; control runs in a unit of its own, and starts servers below that.
    #[test]
    fn the_process_limit_is_that_of_whoever_starts_servers() {
        let mount = "30 1 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let files = [
            ("proc/self/mountinfo", mount),
            ("proc/self/cgroup", "0::/user.slice\n"),
            ("proc/377/cgroup", "0::/system.slice/hornero.service\n"),
            ("sys/fs/cgroup/user.slice/pids.max", "2348\n"),
            ("sys/fs/cgroup/system.slice/hornero.service/pids.max", "max\n"),
            ("sys/fs/cgroup/system.slice/pids.max", "90000\n"),
        ];
        let version = String::new();
        let own_version = version.clone();
        let answers = ControlFacts::Answers { version, pid: 377, own_version, witness: None };
        let limit = |starter: &str| read_for(&files, starter).control_groups.own_process_limit;
        assert_eq!(limit(&starter(&ControlFacts::Absent)), Some(2348));
        assert_eq!(limit(&starter(&answers)), Some(90_000));
    }

    #[test]
    fn a_host_without_proc_and_sys_is_read_and_judged() {
        let facts = read(&[]);
        assert_eq!(facts.modules["erofs"], ModuleState::Unknown);
        assert_eq!(facts.limits.pid_max, None);
        assert!(examine(&facts, "0.1.0").text().contains("not told by this"));
    }

    #[test]
    fn files_that_make_no_sense_are_as_good_as_none() {
        let nonsense = "\u{0}\u{fffd}:::: 99999999999999999999\n - \n:";
        let paths = [
            "proc/self/mountinfo",
            "proc/self/status",
            "proc/self/uid_map",
            "proc/self/cgroup",
            "proc/meminfo",
            "proc/cpuinfo",
            "proc/filesystems",
            "proc/sys/kernel/pid_max",
            "proc/sys/kernel/osrelease",
            "proc/1/environ",
            "etc/os-release",
            "etc/apt/sources.list",
            "sys/fs/selinux/enforce",
        ];
        let facts = read(&paths.map(|path| (path, nonsense)));
        examine(&facts, "0.1.0");
        assert_eq!(facts.limits.pid_max, None);
        assert_eq!(facts.system.memory_available_bytes, None);
    }

    #[test]
    fn ubuntu_on_metal_is_read() {
        let facts = read(&[
            ("proc/sys/kernel/osrelease", "5.15.0-119-generic\n"),
            ("proc/filesystems", "nodev\ttmpfs\n\text4\n"),
            ("lib/modules/5.15.0-119-generic/modules.dep", "kernel/fs/overlayfs/overlay.ko.zst:\n"),
            ("lib/modules/5.15.0-119-generic/modules.builtin", "kernel/drivers/block/loop.ko\n"),
            (
                "etc/os-release",
                "NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\nPRETTY_NAME=\"Ubuntu 22.04.4 LTS\"\n",
            ),
            (
                "proc/self/mountinfo",
                "30 1 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
            ),
            ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n"),
            ("sys/fs/cgroup/cgroup.procs", "1\n"),
            ("proc/self/cgroup", "0::/user.slice/a.scope\n"),
            ("sys/fs/cgroup/user.slice/pids.max", "4000\n"),
            ("sys/fs/cgroup/user.slice/a.scope/pids.max", "max\n"),
            ("run/systemd/system/.keep", ""),
            ("etc/systemd/system/hornero.service", "[Unit]\n"),
            ("etc/systemd/system/multi-user.target.wants/hornero.service", ""),
            ("etc/apt/sources.list", "# deb no\ndeb https://mirror/ubuntu jammy main\n"),
            ("usr/share/keyrings/debian-archive-keyring.gpg", ""),
        ]);
        assert_eq!(facts.modules["overlay"], ModuleState::Loadable);
        assert_eq!(facts.modules["loop"], ModuleState::Present);
        assert_eq!(facts.modules["erofs"], ModuleState::Absent);
        assert!(facts.system.distribution.is("debian"));
        assert_eq!(facts.control_groups.description, "version 2");
        assert_eq!(facts.control_groups.controllers, ["memory", "cpu", "pids"]);
        assert_eq!(facts.control_groups.own_process_limit, Some(4000));
        let systemd = facts.system.systemd.unwrap();
        assert!(systemd.unit_installed && systemd.unit_enabled && !systemd.unit_active);
        assert!(facts.archive.sources && facts.archive.keyring);
    }

    #[test]
    fn containers_are_told_apart() {
        let kind = |files: &[(&str, &str)]| read(files).system.container;
        assert_eq!(kind(&[(".dockerenv", "")]).as_deref(), Some("docker"));
        assert_eq!(kind(&[("run/systemd/container", "lxc\n")]).as_deref(), Some("lxc"));
        assert_eq!(
            kind(&[("proc/1/environ", "A=b\0container=podman\0")]).as_deref(),
            Some("podman")
        );
        assert_eq!(
            kind(&[("proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2")]).as_deref(),
            Some("WSL")
        );
        assert_eq!(kind(&[("proc/sys/kernel/osrelease", "6.1.0")]), None);
    }
}
