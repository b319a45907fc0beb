//! What the kernel has and allows: modules, namespaces, control groups, limits, network settings, the clock.

use std::{collections::BTreeMap, path::Path};

use hornero_doctor::{ControlGroupFacts, LimitFacts, ModuleState, NamespaceFacts, NetworkFacts};

use crate::{
    files::Files,
    mounts::{self, Mount},
};

/// The modules that are asked for. The network's are tried instead, by `hornero_net::survey`.
const MODULES: &[&str] = &["erofs", "overlay", "loop"];
const FILE_SYSTEMS: &[&str] = &["erofs", "overlay"];

pub(crate) fn modules(files: &Files, release: &str) -> BTreeMap<&'static str, ModuleState> {
    let systems = files.text("proc/filesystems");
    let knows = |name: &str| {
        let lines = systems.iter().flat_map(|text| text.lines());
        lines.map(|line| line.trim_start_matches("nodev").trim()).any(|system| system == name)
    };
    let directory = format!("lib/modules/{release}");
    let listed = ["modules.dep", "modules.builtin"]
        .map(|list| files.text(&format!("{directory}/{list}")).unwrap_or_default());
    let lists_are_there = files.exists(&format!("{directory}/modules.dep"));
    let state = |name: &str| {
        let there = knows(name)
            || files.exists(&format!("sys/module/{name}"))
            || (name == "loop" && files.exists("dev/loop-control"));
        if there || lists(&listed[1], name) {
            return ModuleState::Present;
        }
        if lists(&listed[0], name) {
            return ModuleState::Loadable;
        }
        // A kernel that has file systems in itself lists them; other modules without any sign are not told.
        match (lists_are_there, FILE_SYSTEMS.contains(&name) && systems.is_some()) {
            (true, _) => ModuleState::Absent,
            (false, true) if !files.exists("lib/modules") => ModuleState::Absent,
            (false, _) => ModuleState::Unknown,
        }
    };
    MODULES.iter().map(|name| (*name, state(name))).collect()
}

/// Whether `modules.dep` or `modules.builtin` has a module; both begin each line with its path.
fn lists(text: &str, module: &str) -> bool {
    text.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        name.split('.').next().is_some_and(|stem| stem.replace('-', "_") == module)
    })
}

pub(crate) fn namespaces(files: &Files) -> NamespaceFacts {
    NamespaceFacts {
        user: files.exists("proc/self/ns").then(|| files.exists("proc/self/ns/user")),
        user_max: files.number("proc/sys/user/max_user_namespaces"),
        unprivileged: files.flag("proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restricts: files.flag("proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
    }
}

/// The controllers that limit a sandbox.
const CONTROLLERS: &[&str] = &["memory", "cpu", "pids"];

/// `starter` is the process that starts servers, as `/proc` names it: their groups lie below its own.
pub(crate) fn control_groups(files: &Files, mounts: &[Mount], starter: &str) -> ControlGroupFacts {
    let mut facts = ControlGroupFacts::default();
    let (mut first, mut second) = (false, None);
    for mount in mounts {
        // The table also lists mounts that another one covers.
        let shows = |name: &str| files.exists(&below(&mount.target, name));
        if !shows("cgroup.procs") {
            continue;
        }
        let controllers: Vec<&str> = match mount.kind.as_str() {
            "cgroup" => mount.options.iter().map(String::as_str).collect(),
            "cgroup2" => {
                let path = below(&mount.target, "cgroup.controllers");
                let text = files.text(&path).unwrap_or_default();
                let found: Vec<&str> = CONTROLLERS
                    .iter()
                    .copied()
                    .filter(|name| text.split_whitespace().any(|word| word == *name))
                    .collect();
                second = Some(second.unwrap_or(0) + found.len());
                found
            }
            _ => continue,
        };
        let limits: Vec<&str> =
            CONTROLLERS.iter().copied().filter(|name| controllers.contains(name)).collect();
        first |= mount.kind == "cgroup" && !limits.is_empty();
        facts.read_only |= mount.has("ro") && !limits.is_empty();
        for name in limits {
            if !facts.controllers.iter().any(|known| known == name) {
                facts.controllers.push(name.to_owned());
            }
        }
    }
    facts.description = match (first, second) {
        (false, None) => "no control groups",
        (true, None) => "version 1",
        (false, Some(_)) => "version 2",
        (true, Some(0)) => "version 1 beside an empty version 2",
        (true, Some(_)) => "versions 1 and 2",
    }
    .to_owned();
    facts.own_process_limit = own_process_limit(files, mounts, starter);
    facts
}

fn below(target: &Path, name: &str) -> String {
    target.join(name).to_string_lossy().trim_start_matches('/').to_owned()
}

/// The smallest `pids.max` from a process's own group up to the root.
fn own_process_limit(files: &Files, mounts: &[Mount], process: &str) -> Option<u64> {
    let groups = files.text(&format!("proc/{process}/cgroup"))?;
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        let of_first = controllers.split(',').any(|name| name == "pids");
        if !of_first && !controllers.is_empty() {
            continue;
        }
        let fits = |mount: &&Mount| match of_first {
            true => mount.kind == "cgroup" && mount.has("pids"),
            false => mount.kind == "cgroup2",
        };
        let Some(mount) = mounts.iter().find(fits) else { continue };
        // From outside of the namespace a group begins with `/../`, which leads nowhere here.
        for ancestor in Path::new(group.trim_start_matches('/')).ancestors() {
            let path = below(&mount.target.join(ancestor), "pids.max");
            least = files.number(&path).into_iter().chain(least).min();
        }
    }
    least
}

pub(crate) fn limits(files: &Files) -> LimitFacts {
    LimitFacts {
        open_files: None,
        host_files: files.number("proc/sys/fs/file-max"),
        pid_max: files.number("proc/sys/kernel/pid_max"),
        threads_max: files.number("proc/sys/kernel/threads-max"),
    }
}

/// The command's hard limit of open files.
pub(crate) fn open_files() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    Some(limit.maximum.unwrap_or(u64::MAX))
}

/// The settings of the network that stand in files.
pub(crate) fn network(files: &Files, mounts: &[Mount]) -> NetworkFacts {
    let settings = Path::new("/proc/sys/net/ipv4/conf");
    NetworkFacts {
        settings_writable: mounts::of_path(mounts, settings).map(|mount| !mount.has("ro")),
        forward: files.flag("proc/sys/net/ipv4/ip_forward"),
        bridge_filtered: files.flag("proc/sys/net/bridge/bridge-nf-call-iptables"),
        ipv6_disabled: files.flag("proc/sys/net/ipv6/conf/all/disable_ipv6"),
        ..NetworkFacts::default()
    }
}

/// Whether the kernel knows its clock to be kept in step (adjtimex(2)).
pub(crate) fn clock_synchronised() -> Option<bool> {
    // SAFETY: all zeros is a valid `timex`, and asks for nothing to be changed.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `state` is a `timex` that the kernel may write to.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    (answer >= 0).then_some(state.status & libc::STA_UNSYNC == 0)
}
