//! What this host can and can't do for sandboxes, as it was seen by doing it, and what that costs.

use std::{env, ffi::CStr, fs, path::Path, sync::OnceLock};

use hornero_model::{HostFeature, HostState};
use rustix::mount::{FsOpenFlags, fsopen};

use crate::{
    error::StartError,
    hierarchies::Hierarchies,
    module,
    root::{Rung, attempt},
    spec::IdMap,
    user_namespace::UserNamespace,
};

/// The environment variable that names the [`Rung`] to use in place of the best one, for tests.
pub const ROOT_VARIABLE: &str = "HORNERO_ROOT";

/// A range of host ids that nothing lives in, for trying.
const TRIED_IDS: IdMap = IdMap { first: 0x6fff_0000, count: 0x1_0000 };

/// What this host has, tried once.
#[derive(Debug)]
pub struct Support {
    /// Everything that sandboxes need, and how well it is there.
    pub features: Vec<HostFeature>,
    /// The way in which roots are made here; none where there is none.
    pub rung: Option<Rung>,
    /// The better ways, and why they are not taken: what was tried, and the kernel's answer.
    pub refused: Vec<(Rung, String)>,
}

/// What this host can and can't do for sandboxes.
pub fn support() -> &'static Support {
    static HOST: OnceLock<Support> = OnceLock::new();
    HOST.get_or_init(Support::of_host)
}

impl Support {
    fn of_host() -> Self {
        let wanted = env::var(ROOT_VARIABLE).ok().filter(|wanted| !wanted.is_empty());
        let mut features = vec![privileges()];
        let mut ways = Ways::default();
        if features[0].state == HostState::Pass {
            match UserNamespace::new(TRIED_IDS) {
                Ok(namespace) => {
                    features.push(HostFeature::pass("user_namespaces", USER_NAMESPACES, ""));
                    ways = Ways::look(&namespace, wanted.as_deref());
                    features.push(ways.feature(wanted.is_some()));
                }
                Err(error) => {
                    let reason = format!("making one with ids mapped: {error}");
                    let missing = HostFeature::missing("user_namespaces", USER_NAMESPACES, reason)
                        .remedy("sysctl -w user.max_user_namespaces=10000");
                    features.push(missing);
                }
            }
        }
        features.extend(limits(Hierarchies::of_host()));
        Self { features, rung: ways.rung, refused: ways.refused }
    }

    /// Whether sandboxes can be started.
    pub fn is_sufficient(&self) -> bool {
        self.rung.is_some()
    }

    /// The first thing that is missing, if any.
    pub fn first_missing(&self) -> Option<&HostFeature> {
        self.features.iter().find(|feature| feature.state == HostState::Missing)
    }

    /// Every rung that this host can do, best first, whatever is wanted: each is tried now. For tests and measurements.
    pub fn possible_rungs() -> Vec<Rung> {
        let Ok(namespace) = UserNamespace::new(TRIED_IDS) else { return Vec::new() };
        let possible = |rung: &Rung| attempt::attempt(rung.way(), &namespace).is_ok();
        Rung::ALL.into_iter().filter(possible).collect()
    }
}

const USER_NAMESPACES: &str = "root inside is nobody outside";
const ROOTS: &str = "roots from the store";

/// The ways that were tried, from the best on, until one worked.
#[derive(Default)]
struct Ways {
    rung: Option<Rung>,
    refused: Vec<(Rung, String)>,
    /// Why nothing was tried at all.
    not_tried: String,
    /// A module that is not there.
    missing_module: Option<&'static str>,
}

impl Ways {
    fn look(namespace: &UserNamespace, wanted: Option<&str>) -> Self {
        let mut ways = Self::default();
        let rungs = match wanted.map(str::parse::<Rung>) {
            None => Rung::ALL.to_vec(),
            Some(Ok(rung)) => vec![rung],
            Some(Err(reason)) => {
                ways.not_tried = format!("{ROOT_VARIABLE}: {reason}");
                return ways;
            }
        };
        for rung in rungs {
            match attempt::attempt(rung.way(), namespace) {
                Ok(()) => {
                    ways.rung = Some(rung);
                    return ways;
                }
                Err(error) => ways.refused.push((rung, error.one_line())),
            }
        }
        // Trying has had the kernel load what it could.
        ways.missing_module = missing_module();
        ways
    }

    fn feature(&self, forced: bool) -> HostFeature {
        let refused: Vec<String> =
            self.refused.iter().map(|(rung, why)| format!("`{rung}`: {why}")).collect();
        let Some(rung) = self.rung else {
            let missing = HostFeature::missing("root_way", ROOTS, refused.join("; "));
            return match (self.missing_module, forced) {
                _ if !self.not_tried.is_empty() => HostFeature {
                    reason: self.not_tried.clone(),
                    ..missing.remedy(format!("unset {ROOT_VARIABLE}"))
                },
                (_, true) => missing.remedy(format!(
                    "unset {ROOT_VARIABLE}, or name a way that this kernel can do"
                )),
                (Some(module), false) => missing.remedy(module::install_line(module)),
                (None, false) => missing
                    .remedy("boot Linux 5.15 or newer with EROFS, overlayfs and loop devices"),
            };
        };
        if forced {
            let reason = format!("`{rung}`, because {ROOT_VARIABLE} says so");
            return HostFeature::degraded("root_way", ROOTS, reason)
                .costs(rung.cost())
                .remedy(format!("unset {ROOT_VARIABLE}"));
        }
        if refused.is_empty() {
            return HostFeature::pass("root_way", ROOTS, format!("`{rung}`"));
        }
        let reason = format!("`{rung}` is used; {}", refused.join("; "));
        HostFeature::degraded("root_way", ROOTS, reason)
            .costs(rung.cost())
            .remedy("a newer kernel does more of it by itself; nothing has to be done")
    }
}

/// The first of what roots are made from that the kernel has not, not even as a module that it can load.
fn missing_module() -> Option<&'static str> {
    let knows = |system: &CStr| fsopen(system, FsOpenFlags::FSOPEN_CLOEXEC).is_ok();
    if !knows(c"erofs") {
        return Some("erofs");
    }
    if !knows(c"overlay") {
        return Some("overlay");
    }
    (!Path::new("/sys/module/loop").exists()).then_some("loop")
}

fn limits(groups: &Hierarchies) -> Vec<HostFeature> {
    let of = |controller: &str, id: &str, name: &str| {
        if groups.has(controller) {
            return HostFeature::pass(id, name, groups.describe());
        }
        let reason = format!("no `{controller}` controller: {}", groups.describe());
        HostFeature::missing(id, name, reason).remedy(format!(
            "mount control groups (`mount -t cgroup2 cgroup2 /sys/fs/cgroup`) or boot with `cgroup_enable={controller}`"
        ))
    };
    vec![
        of("memory", "memory_limits", "memory limits"),
        of("cpu", "processor_limits", "processor limits"),
        of("pids", "process_limits", "process limits"),
    ]
}

/// Refuses what this host can't do, naming it.
pub(crate) fn require() -> Result<Rung, StartError> {
    let host = support();
    if let Some(rung) = host.rung {
        return Ok(rung);
    }
    let missing = host.first_missing();
    let text =
        |part: fn(&HostFeature) -> &str| missing.map_or(String::new(), |it| part(it).to_owned());
    Err(StartError::Unsupported {
        feature: text(|feature| &feature.name),
        reason: text(|feature| &feature.reason),
        remedy: text(|feature| &feature.remedy),
    })
}

/// Root in the host's user namespace, with the right to mount.
fn privileges() -> HostFeature {
    const SYS_ADMIN: u64 = 1 << 21;
    const NAME: &str = "root of the host";
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let reason = if !rustix::process::geteuid().is_root() {
        "this is not root"
    } else if !whole {
        "this is root of a user namespace only"
    } else if effective.unwrap_or(0) & SYS_ADMIN == 0 {
        "root lacks the right to mount (CAP_SYS_ADMIN)"
    } else {
        return HostFeature::pass("root", NAME, "");
    };
    HostFeature::missing("root", NAME, reason).remedy("run Hornero as root, outside of a container")
}
