//! What the kernel has: sandboxes, modules, namespaces, control groups.

use hornero_model::HostState;

use crate::{
    answer::{CheckAnswer, degraded, missing, pass},
    facts::{HostFacts, ModuleState},
};

/// Fewer user namespaces than this may be too few for a home's instances.
const USER_NAMESPACES_MIN: u64 = 1_000;

/// What the sandbox sees of the controllers that limit it.
const LIMITS: [&str; 3] = ["memory_limits", "processor_limits", "process_limits"];

pub(crate) fn sandbox(facts: &HostFacts) -> CheckAnswer {
    // Where control groups are not as they should be, their own check says so, and what to do.
    let told_elsewhere = !control_groups(facts).passes();
    let own = facts
        .sandbox
        .iter()
        .filter(|feature| !(told_elsewhere && LIMITS.contains(&feature.id.as_str())));
    // Worst first, and of equals the first: the others follow from it.
    let worst = own.rev().max_by_key(|feature| feature.state);
    let Some(feature) = worst else { return pass("not tried") };
    let linux = format!("Linux {}", facts.system.kernel);
    let observed = format!("{linux}: {}: {}", feature.name, feature.reason);
    match feature.state {
        HostState::Missing => missing(observed, "no sandbox starts", feature.remedy.clone()),
        HostState::Degraded => degraded(observed, feature.cost.clone(), feature.remedy.clone()),
        HostState::Pass => {
            let way = facts.sandbox.iter().find(|feature| feature.id == "root_way");
            pass(way.map_or(linux.clone(), |way| format!("{linux}, roots by {}", way.reason)))
        }
    }
}

/// The line that brings a module that is not there.
pub(super) fn module_hint(facts: &HostFacts, modules: &str) -> String {
    let system = &facts.system;
    if system.container.is_some() {
        return format!("modprobe {modules}, on the host of this container");
    }
    let mut words: Vec<&str> = vec![&system.distribution.id];
    words.extend(system.distribution.like.iter().map(String::as_str));
    let there = system.kernel_modules == Some(true);
    hornero_model::install_line(&words, &system.kernel, modules, there)
}

fn module(facts: &HostFacts, name: &'static str) -> ModuleState {
    facts.modules.get(name).copied().unwrap_or_default()
}

/// What to say where a module is there in some way.
const fn presence(state: ModuleState) -> &'static str {
    match state {
        ModuleState::Present => "there",
        ModuleState::Loadable => "loaded when it is first used",
        ModuleState::Unknown => "not told by this host",
        ModuleState::Absent => "absent",
    }
}

pub(crate) fn erofs(facts: &HostFacts) -> CheckAnswer {
    match module(facts, "erofs") {
        ModuleState::Absent => {
            missing("absent", "images can't be mounted", module_hint(facts, "erofs"))
        }
        state => pass(presence(state)),
    }
}

pub(crate) fn overlay(facts: &HostFacts) -> CheckAnswer {
    match module(facts, "overlay") {
        ModuleState::Absent => {
            missing("absent", "roots can't be put together", module_hint(facts, "overlay"))
        }
        state => pass(presence(state)),
    }
}

pub(crate) fn loop_devices(facts: &HostFacts) -> CheckAnswer {
    // Kernels that mount images from files do without.
    let needed = facts.sandbox.iter().any(|feature| feature.state != HostState::Pass);
    match module(facts, "loop") {
        ModuleState::Absent if needed => degraded(
            "absent",
            "kernels before 6.12 mount images through it",
            module_hint(facts, "loop"),
        ),
        state => pass(presence(state)),
    }
}

pub(crate) fn modules(facts: &HostFacts) -> CheckAnswer {
    match facts.system.kernel_modules {
        Some(true) => pass("those of the running kernel are there"),
        None => pass("not shown by this host"),
        Some(false) => degraded(
            format!("none of the running kernel, {}", facts.system.kernel),
            "what is not loaded yet can't be loaded: the kernel was probably upgraded or removed since the last boot",
            "reboot",
        ),
    }
}

pub(crate) fn user_namespaces(facts: &HostFacts) -> CheckAnswer {
    let namespaces = &facts.namespaces;
    let cost = "root in a server would be root outside, so none starts";
    if namespaces.user == Some(false) {
        return missing("none in this kernel", cost, "boot a kernel with CONFIG_USER_NS");
    }
    match namespaces.user_max {
        Some(0) => {
            return missing("turned off", cost, "sysctl -w user.max_user_namespaces=65536");
        }
        Some(count) if count < USER_NAMESPACES_MIN => {
            return degraded(
                format!("at most {count}"),
                "each server takes one, and those without don't start",
                "sysctl -w user.max_user_namespaces=65536",
            );
        }
        Some(_) | None => {}
    }
    // Both hold back only who lacks CAP_SYS_ADMIN, and control has it.
    if namespaces.apparmor_restricts == Some(true) || namespaces.unprivileged == Some(false) {
        return pass("there; held back from others than root, which costs nothing here");
    }
    pass("there")
}

pub(crate) fn control_groups(facts: &HostFacts) -> CheckAnswer {
    let groups = &facts.control_groups;
    let lacking: Vec<&str> = ["memory", "cpu", "pids"]
        .into_iter()
        .filter(|name| !groups.controllers.iter().any(|has| has == name))
        .collect();
    let cost = "no server starts without its limits";
    if groups.read_only {
        return missing(
            format!("{}, read-only", groups.description),
            cost,
            "mount -o remount,rw /sys/fs/cgroup (in a container: run it with `--privileged`)",
        );
    }
    match lacking.as_slice() {
        [] => pass(groups.description.clone()),
        lacking if lacking.len() == 3 => {
            missing(groups.description.clone(), cost, "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
        }
        ["memory"] => missing(
            format!("{} without memory", groups.description),
            cost,
            "add `cgroup_enable=memory` to the kernel's command line and reboot",
        ),
        lacking => missing(
            format!("{} without {}", groups.description, lacking.join(", ")),
            cost,
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        ),
    }
}
