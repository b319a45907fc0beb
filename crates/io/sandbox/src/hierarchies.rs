//! How a host's control groups are mounted: version 1, version 2 or both at once.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The controllers that a sandbox is limited or measured by. Not every host has all of them.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];

/// How this host's control groups are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    /// The mount of each version 1 controller, in the order of `CONTROLLERS`; one mount may serve several.
    pub(crate) v1: Vec<(&'static str, PathBuf)>,
    /// The cgroup2 mount and the controllers it has.
    pub(crate) v2: Option<(PathBuf, Vec<&'static str>)>,
}

impl Hierarchies {
    /// What this host has; read once.
    pub fn of_host() -> &'static Self {
        static HOST: OnceLock<Hierarchies> = OnceLock::new();
        HOST.get_or_init(|| {
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            Self::parse(&mounts, |root| {
                fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default()
            })
        })
    }

    /// Reads a `mountinfo` (proc_pid_mountinfo(5)); `controllers` tells what a cgroup2 mount has.
    fn parse(mountinfo: &str, controllers: impl Fn(&Path) -> String) -> Self {
        let mut found = Self { v1: Vec::new(), v2: None };
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(target) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
            match kind {
                Some("cgroup2") if found.v2.is_none() => {
                    let text = controllers(Path::new(target));
                    let has: Vec<_> = CONTROLLERS
                        .into_iter()
                        .filter(|name| text.split_whitespace().any(|word| word == *name))
                        .collect();
                    found.v2 = Some((target.into(), has));
                }
                Some("cgroup") => {
                    for name in CONTROLLERS {
                        let known = found.v1.iter().any(|(other, _)| *other == name);
                        if !known && options.split(',').any(|option| option == name) {
                            found.v1.push((name, target.into()));
                        }
                    }
                }
                Some(_) | None => {}
            }
        }
        found
    }

    /// Whether `controller` can limit a sandbox here.
    pub fn has(&self, controller: &str) -> bool {
        self.v1.iter().any(|(name, _)| *name == controller)
            || self.v2.as_ref().is_some_and(|(_, has)| has.contains(&controller))
    }

    /// In words, such as `hybrid`.
    pub fn describe(&self) -> &'static str {
        match (self.v1.is_empty(), &self.v2) {
            (true, None) => "no control groups",
            (false, None) => "control groups of version 1",
            (true, Some(_)) => "control groups of version 2",
            (false, Some((_, has))) if has.is_empty() => {
                "control groups of version 1 beside an empty version 2"
            }
            (false, Some(_)) => "control groups of both versions",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(mountinfo: &str, controllers: &'static str) -> (Vec<&'static str>, usize, String) {
        let found = Hierarchies::parse(mountinfo, |_| controllers.to_owned());
        let v1 = found.v1.iter().map(|(name, _)| *name).collect();
        let v2 = found.v2.as_ref().map_or(0, |(_, has)| has.len());
        (v1, v2, found.describe().to_owned())
    }

    #[test]
    fn every_kind_of_host_is_understood() {
        let pure = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            parsed(pure, "cpuset cpu io memory pids\n"),
            (vec![], 3, "control groups of version 2".to_owned())
        );
        let old = "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                   32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(
            parsed(old, ""),
            (vec!["cpu", "cpuacct", "memory"], 0, "control groups of version 1".to_owned())
        );
        let hybrid = format!("{old}33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 c rw\n");
        assert_eq!(parsed(&hybrid, "").2, "control groups of version 1 beside an empty version 2");
        assert_eq!(parsed("", "").2, "no control groups");
        assert_eq!(parsed("nonsense\n1 2 - \n - cgroup2", "").2, "no control groups");
    }
}
