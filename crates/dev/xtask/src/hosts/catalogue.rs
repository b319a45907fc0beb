//! Which machines there are: a Debian release, one of its kernels, and what Hornero must do there.

/// What a machine must do with Hornero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Everything works.
    Serves,
    /// The kernel is older than the floor: `doctor` and `up` say so at once, and nothing changes.
    Refuses,
}

/// A machine to boot.
#[derive(Debug)]
pub struct MachineKind {
    /// What it is called on the command line and in the summary.
    pub name: &'static str,
    /// The Debian release whose root it has.
    pub suite: &'static str,
    /// The release that the kernel comes from.
    pub kernel_suite: &'static str,
    /// The package that depends on the newest kernel of its series.
    pub kernel: &'static str,
    /// What Hornero must do there.
    pub expected: Expected,
    /// Whether it is tried where no machine is named; the others are for `--all`.
    pub by_default: bool,
}

/// Every machine, those that are tried by default first.
pub const MACHINES: &[MachineKind] = &[
    MachineKind {
        name: "6.1",
        suite: "bookworm",
        kernel_suite: "bookworm",
        kernel: "linux-image-amd64",
        expected: Expected::Serves,
        by_default: true,
    },
    MachineKind {
        name: "6.12",
        suite: "bookworm",
        kernel_suite: "bookworm",
        kernel: "linux-image-6.12-amd64",
        expected: Expected::Serves,
        by_default: true,
    },
    MachineKind {
        name: "debian-13",
        suite: "trixie",
        kernel_suite: "trixie",
        kernel: "linux-image-amd64",
        expected: Expected::Serves,
        by_default: false,
    },
    // The only kernel of the 5 series that Debian still has; Hornero's floor is 5.15. The root is newer, for the C
    // library that programs built here need.
    MachineKind {
        name: "5.10",
        suite: "bookworm",
        kernel_suite: "bullseye",
        kernel: "linux-image-amd64",
        expected: Expected::Refuses,
        by_default: false,
    },
];

/// What a root has beside Debian's essential packages and apt: what a server installed by hand has as well.
pub const ROOT_PACKAGES: &[&str] = &[
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "iproute2",
    "nftables",
    "procps",
    "netbase",
    "ca-certificates",
    "curl",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_machines_are_tried_by_default_and_names_differ() {
        let always = MACHINES.iter().filter(|kind| kind.by_default).count();
        assert_eq!(always, 2);
        for kind in MACHINES {
            assert_eq!(MACHINES.iter().filter(|other| other.name == kind.name).count(), 1);
        }
    }
}
