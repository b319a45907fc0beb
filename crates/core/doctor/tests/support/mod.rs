//! Hosts as their facts look, collected from the kinds of machines that people have.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

use hornero_doctor::firewall::PacketFilter;
use hornero_doctor::{
    ArchiveFacts, ClockFacts, ControlFacts, ControlGroupFacts, Distribution, FirewallFacts,
    HomeFacts, HostFacts, LimitFacts, ModuleState, NamespaceFacts, NetworkFacts, RightsFacts,
    SecurityFacts, SystemFacts, SystemdFacts,
};
use hornero_model::{HostFeature, Timestamp};

const EVERY_CAPABILITY: u64 = (1 << 41) - 1;
const GIB: u64 = 1 << 30;
/// In November 2026.
const NOW: Timestamp = Timestamp(1_795_800_000_000);

/// A server with Debian 12, systemd, Hornero's package, and its unit enabled and running.
pub fn debian_12() -> HostFacts {
    HostFacts {
        rights: RightsFacts { user: 0, every_id: true, capabilities: Some(EVERY_CAPABILITY) },
        system: SystemFacts {
            kernel: "6.12.57+deb12-amd64".into(),
            distribution: distribution("debian", "", "Debian GNU/Linux 12 (bookworm)"),
            kernel_modules: Some(true),
            container: None,
            machine: Some("KVM".into()),
            systemd: Some(SystemdFacts {
                unit_installed: true,
                unit_enabled: true,
                unit_active: true,
            }),
            memory_available_bytes: Some(3 * GIB),
        },
        sandbox: vec![
            HostFeature::pass("root", "root of the host", ""),
            HostFeature::pass("root_way", "roots from the store", "`detached`"),
        ],
        modules: [
            ("erofs", ModuleState::Loadable),
            ("overlay", ModuleState::Loadable),
            ("loop", ModuleState::Loadable),
        ]
        .into(),
        namespaces: NamespaceFacts {
            user: Some(true),
            user_max: Some(15_000),
            unprivileged: Some(true),
            apparmor_restricts: None,
        },
        control_groups: ControlGroupFacts {
            description: "version 2".into(),
            controllers: ["cpu", "memory", "pids"].map(str::to_owned).into(),
            read_only: false,
            own_process_limit: Some(4_500),
        },
        security: SecurityFacts {
            apparmor: true,
            selinux_enforcing: None,
            label: Some("unconfined".into()),
            filtered: false,
        },
        limits: LimitFacts {
            open_files: Some(524_288),
            host_files: Some(u64::MAX / 2),
            pid_max: Some(4_194_304),
            threads_max: Some(31_000),
        },
        clock: ClockFacts {
            now: NOW,
            synchronised: Some(true),
            newest_event: Some(Timestamp(NOW.0 - 60_000)),
        },
        home: HomeFacts {
            path: "/var/lib/hornero".into(),
            exists: true,
            file_system: Some("ext4".into()),
            mount: "/".into(),
            free_bytes: Some(30 * GIB),
            free_inodes: Some(2_000_000),
            attributes: Some(true),
            entry_kinds: Some(true),
            ..HomeFacts::default()
        },
        control: ControlFacts::Answers {
            version: "0.1.0".into(),
            pid: 812,
            own_version: "0.1.0".into(),
            witness: None,
        },
        network: NetworkFacts {
            bridge: "hrn5b3c7a10".into(),
            bridge_exists: true,
            subnet: Some("10.112.0.0/16".into()),
            uplinks: vec![("ens3".into(), Some(true))],
            settings_writable: Some(true),
            forward: Some(false),
            bridge_filtered: None,
            ipv6_disabled: Some(false),
            ..NetworkFacts::default()
        },
        firewall: FirewallFacts { filter: Some(PacketFilter::default()), legacy: false },
        archive: ArchiveFacts { sources: true, keyring: true },
    }
}

/// Ubuntu 22.04 with its own kernel, nothing of Hornero installed, and no modules beside the common ones.
pub fn ubuntu_22_04() -> HostFacts {
    let mut facts = debian_12();
    facts.system.kernel = "5.15.0-119-generic".into();
    facts.system.distribution = distribution("ubuntu", "debian", "Ubuntu 22.04.4 LTS");
    facts.system.systemd = Some(SystemdFacts::default());
    facts.modules.insert("erofs", ModuleState::Absent);
    facts.namespaces.unprivileged = Some(true);
    facts.archive = ArchiveFacts { sources: true, keyring: false };
    fresh(&mut facts);
    facts
}

/// RHEL 9 with SELinux enforcing, run from root's shell.
pub fn rhel_9() -> HostFacts {
    let mut facts = debian_12();
    facts.system.kernel = "5.14.0-427.el9.x86_64".into();
    facts.system.distribution =
        distribution("rhel", "fedora", "Red Hat Enterprise Linux 9.4 (Plow)");
    facts.security = SecurityFacts {
        apparmor: false,
        selinux_enforcing: Some(true),
        label: Some("unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023".into()),
        filtered: false,
    };
    facts.namespaces =
        NamespaceFacts { user: Some(true), user_max: Some(14_000), ..NamespaceFacts::default() };
    facts.home.file_system = Some("xfs".into());
    facts.archive = ArchiveFacts::default();
    facts
}

/// A container of Docker's, without any privilege beyond its defaults.
pub fn docker_container() -> HostFacts {
    let mut facts = debian_12();
    facts.rights.capabilities = Some(0xa804_25fb);
    facts.system.container = Some("docker".into());
    facts.system.systemd = None;
    facts.system.kernel_modules = None;
    facts.modules = Default::default();
    facts.security.label = Some("docker-default (enforce)".into());
    facts.security.filtered = true;
    facts.control_groups.read_only = true;
    facts.network.settings_writable = Some(false);
    facts.home.file_system = Some("overlay".into());
    fresh(&mut facts);
    facts
}

/// A kernel of which nothing can be read: no `/proc`, no `/sys`.
pub fn nothing_known() -> HostFacts {
    HostFacts {
        rights: RightsFacts { user: 0, every_id: true, capabilities: None },
        clock: ClockFacts { now: NOW, ..ClockFacts::default() },
        ..HostFacts::default()
    }
}

/// No home yet, and nothing of it running.
pub fn fresh(facts: &mut HostFacts) {
    facts.home.exists = false;
    facts.control = ControlFacts::Absent;
    facts.clock.newest_event = None;
    facts.network.bridge_exists = false;
    facts.network.subnet = None;
}

fn distribution(id: &str, like: &str, name: &str) -> Distribution {
    Distribution {
        id: id.into(),
        like: like.split_whitespace().map(str::to_owned).collect(),
        name: name.into(),
    }
}
