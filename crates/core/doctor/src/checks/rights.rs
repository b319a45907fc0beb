//! Who runs the command, and what confines it.

use crate::{
    answer::{CheckAnswer, degraded, missing, pass},
    facts::HostFacts,
};

/// Capabilities without which nothing is baked or started, by their numbers in capabilities(7).
const NEEDED: &[(u32, &str)] = &[
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (3, "CAP_FOWNER"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (12, "CAP_NET_ADMIN"),
    (18, "CAP_SYS_CHROOT"),
    (21, "CAP_SYS_ADMIN"),
    (31, "CAP_SETFCAP"),
];
const CAP_SYS_RESOURCE: u32 = 24;

pub(crate) fn root(facts: &HostFacts) -> CheckAnswer {
    let cost = "namespaces, mounts and the bridge are made by root of the host";
    if facts.rights.user != 0 {
        let observed = format!("user {}", facts.rights.user);
        return missing(observed, cost, "run it with `sudo`");
    }
    if !facts.rights.every_id {
        return missing(
            "root of a user namespace",
            cost,
            "run it on the host itself, outside of rootless containers and `unshare --user`",
        );
    }
    pass("root")
}

pub(crate) fn capabilities(facts: &HostFacts) -> CheckAnswer {
    let Some(held) = facts.rights.capabilities else {
        return pass("not told by this kernel");
    };
    let lacks = |number: u32| held & (1 << number) == 0;
    let lacking: Vec<&str> =
        NEEDED.iter().filter(|(number, _)| lacks(*number)).map(|(_, name)| *name).collect();
    if !lacking.is_empty() {
        return missing(
            format!("without {}", lacking.join(", ")),
            "namespaces, mounts, owners or the bridge can't be made",
            "in a container: give it all capabilities (`docker run --privileged`); as a service: take \
             `CapabilityBoundingSet=` out of its unit",
        );
    }
    if lacks(CAP_SYS_RESOURCE) {
        return degraded(
            "without CAP_SYS_RESOURCE",
            "limits can't be raised over the command's own",
            "start it where root has CAP_SYS_RESOURCE",
        );
    }
    pass("all that are needed")
}

pub(crate) fn container(facts: &HostFacts) -> CheckAnswer {
    let system = &facts.system;
    let machine = system.machine.as_deref();
    match (&system.container, machine) {
        (Some(container), _) => degraded(
            format!("in a container ({container})"),
            "its manager may hold back mounts, modules, control groups and settings below `/proc/sys`; what it \
             holds back is told by the other checks",
            "run Hornero on the host, or in a virtual machine of its own",
        ),
        (None, Some(machine)) => pass(format!("in a virtual machine ({machine})")),
        (None, None) => pass("no container"),
    }
}

pub(crate) fn security_module(facts: &HostFacts) -> CheckAnswer {
    let security = &facts.security;
    let label = security.label.as_deref().unwrap_or_default();
    let free = label.is_empty() || label.contains("unconfined") || label == "kernel";
    if let Some(enforcing) = security.selinux_enforcing {
        let context = label.split(':').nth(2).unwrap_or(label);
        return match (enforcing, free || context == "kernel_t" || context == "initrc_t") {
            (false, _) => pass("SELinux, permissive"),
            (true, true) => {
                pass(format!("SELinux, enforcing; the command is `{}`", shown(context)))
            }
            (true, false) => degraded(
                format!("SELinux, enforcing; the command is `{context}`"),
                "SELinux may refuse mounts, namespaces and sockets",
                "run it as an unconfined user or service (`chcon -t bin_t` on the program, then `runcon -t \
                 unconfined_t`); `ausearch -m avc -ts recent` shows what was refused",
            ),
        };
    }
    if !free && security.apparmor {
        return degraded(
            format!("AppArmor confines the command with `{label}`"),
            "the profile may refuse mounts and namespaces",
            "run it outside of the container, or with the profile `unconfined` (`docker run --security-opt \
             apparmor=unconfined`)",
        );
    }
    if security.filtered {
        return degraded(
            "a system call filter is over the command",
            "it may refuse mounts and namespaces",
            "run it outside of the container, or without its filter (`docker run --security-opt \
             seccomp=unconfined`)",
        );
    }
    pass(if security.apparmor {
        "AppArmor; the command is unconfined"
    } else {
        "nothing confines the command"
    })
}

fn shown(context: &str) -> &str {
    if context.is_empty() { "unlabelled" } else { context }
}
