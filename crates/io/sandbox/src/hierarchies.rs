//! How a host's control groups are mounted: version 1, version 2 or both at once.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use hornero_model::mount_field;

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
            Self::parse(&mounts, device, |root| {
                fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default()
            })
        })
    }

    /// Reads a `mountinfo` (proc_pid_mountinfo(5)); `device` tells which file system a path leads to, as `major:minor`,
    /// and `controllers` what a cgroup2 mount has.
    ///
    /// A mount that another one covers is listed as well, but its path leads elsewhere. Mounts of the whole hierarchy
    /// come before those of a part of it, such as a container manager may have made for its own use.
    fn parse(
        mountinfo: &str,
        device: impl Fn(&Path) -> Option<String>,
        controllers: impl Fn(&Path) -> String,
    ) -> Self {
        let mut mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(Mount::parse).collect();
        mounts.retain(|mount| device(&mount.target).as_deref() == Some(mount.device));
        // Stable: the order of mountinfo stays otherwise.
        mounts.sort_by_key(|mount| mount.root != "/");
        let mut found = Self { v1: Vec::new(), v2: None };
        for Mount { target, kind, options, .. } in mounts {
            match kind {
                "cgroup2" if found.v2.is_none() => {
                    let text = controllers(&target);
                    let has: Vec<_> = CONTROLLERS
                        .into_iter()
                        .filter(|name| text.split_whitespace().any(|word| word == *name))
                        .collect();
                    found.v2 = Some((target, has));
                }
                "cgroup" => {
                    for name in CONTROLLERS {
                        let known = found.v1.iter().any(|(other, _)| *other == name);
                        if !known && options.split(',').any(|option| option == name) {
                            found.v1.push((name, target.clone()));
                        }
                    }
                }
                _ => {}
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

/// A mount of control groups.
struct Mount<'a> {
    /// `major:minor`.
    device: &'a str,
    /// What of the file system is mounted.
    root: &'a str,
    target: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(2);
        let (device, root, target) = (left.next()?, left.next()?, left.next()?);
        let mut right = right.split(' ');
        let kind = right.next().filter(|kind| kind.starts_with("cgroup"))?;
        let options = right.nth(1).unwrap_or_default();
        let target = OsString::from_vec(mount_field(target.as_bytes())).into();
        Some(Self { device, root, target, kind, options })
    }
}

/// The file system that a path leads to, as `major:minor`.
fn device(path: &Path) -> Option<String> {
    let device = fs::metadata(path).ok()?.dev();
    Some(format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read where every path leads to the mount that is listed last for it, as the kernel has it.
    fn parse(mountinfo: &str, controllers: &'static str) -> Hierarchies {
        let seen = |path: &Path| {
            let mut mounts = mountinfo.lines().rev().filter_map(Mount::parse);
            mounts.find(|mount| mount.target == path).map(|mount| mount.device.to_owned())
        };
        Hierarchies::parse(mountinfo, seen, |_| controllers.to_owned())
    }

    fn parsed(mountinfo: &str, controllers: &'static str) -> (Vec<&'static str>, usize, String) {
        let found = parse(mountinfo, controllers);
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

    #[test]
    fn covered_mounts_are_none() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 c rw\n\
                      31 23 0:31 / /sys/fs/cgroup rw - cgroup c rw,memory,pids\n";
        assert_eq!(parsed(mounts, "memory").2, "control groups of version 1");
        // By something that is no control group at all.
        let of = |path: &Path| (path == Path::new("/a b")).then(|| "0:26".to_owned());
        let mounts = "30 23 0:26 / /a rw - cgroup2 c rw\n31 23 0:26 / /a\\040b rw - cgroup2 c rw\n";
        let found = Hierarchies::parse(mounts, of, |_| String::new());
        assert_eq!(found.v2.unwrap().0, Path::new("/a b"));
        // And on the host that runs the tests.
        let host = Hierarchies::of_host();
        let roots =
            host.v1.iter().map(|(_, root)| root).chain(host.v2.iter().map(|(root, _)| root));
        for root in roots {
            let has = |name: &str| root.join(name).exists();
            assert!(has("cgroup.procs"), "`{}` is no control group", root.display());
        }
    }

    #[test]
    fn the_whole_hierarchy_comes_before_a_part_of_it() {
        let mounts =
            "30 23 0:26 /machine /part rw - cgroup2 c rw\n31 23 0:26 / /whole rw - cgroup2 c rw\n";
        assert_eq!(parse(mounts, "memory").v2.unwrap().0, Path::new("/whole"));
        // Where there is nothing else, the part must do: a container that sees the host's paths.
        let mounts = "30 23 0:26 /machine /part rw - cgroup2 c rw\n";
        assert_eq!(parse(mounts, "memory").v2.unwrap().0, Path::new("/part"));
    }
}
