//! What memory there is for more sandboxes: what the host has left, and what their parent group is limited to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::hierarchies::Hierarchies;

/// The kernel's word for no limit is a number near the largest there is (version 1), or `max` (version 2).
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// Memory for the sandboxes below one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRoom {
    /// What programs can still get, in bytes: of the host, and of the container that this process is in.
    pub available_bytes: u64,
    /// What all sandboxes of the group may take together, in bytes.
    pub limit_bytes: Option<u64>,
}

/// What memory there is for more sandboxes below the group `parent`; none where this host does not tell.
pub fn memory_room(parent: &str) -> Option<MemoryRoom> {
    let host = field(Path::new("/proc/meminfo"), "MemAvailable:")?.saturating_mul(1_024);
    let Some(groups) = Groups::of_host() else {
        return Some(MemoryRoom { available_bytes: host, limit_bytes: None });
    };
    // The group at the top of what is seen here is a container's own where it has a limit.
    let own = groups.limit(&groups.root);
    let left = own.map(|limit| limit.saturating_sub(groups.used(&groups.root)));
    Some(MemoryRoom {
        available_bytes: left.map_or(host, |left| left.min(host)),
        limit_bytes: groups.limit(&groups.root.join(parent)),
    })
}

/// The groups that limit memory, and the names of their files.
struct Groups {
    root: PathBuf,
    limit: &'static str,
    usage: &'static str,
    unused: &'static str,
}

impl Groups {
    fn of_host() -> Option<Self> {
        let hierarchies = Hierarchies::of_host();
        let v1 = hierarchies.v1.iter().find(|(name, _)| *name == "memory");
        if let Some((_, root)) = v1 {
            return Some(Self {
                root: root.clone(),
                limit: "memory.limit_in_bytes",
                usage: "memory.usage_in_bytes",
                unused: "total_inactive_file",
            });
        }
        let v2 = hierarchies.v2.as_ref().filter(|(_, has)| has.contains(&"memory"))?;
        Some(Self {
            root: v2.0.clone(),
            limit: "memory.max",
            usage: "memory.current",
            unused: "inactive_file",
        })
    }

    fn limit(&self, group: &Path) -> Option<u64> {
        number(&group.join(self.limit)).filter(|limit| *limit < NO_LIMIT_BYTES)
    }

    /// What a group uses that it would not give back at once.
    fn used(&self, group: &Path) -> u64 {
        let unused = field(&group.join("memory.stat"), self.unused).unwrap_or(0);
        number(&group.join(self.usage)).unwrap_or(0).saturating_sub(unused)
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number after a word at the beginning of a line.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let of = |line: &str| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok();
    text.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_versions_are_read() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("home");
        fs::create_dir(&group).unwrap();
        let v1 = Groups {
            root: root.path().to_owned(),
            limit: "memory.limit_in_bytes",
            usage: "memory.usage_in_bytes",
            unused: "total_inactive_file",
        };
        assert_eq!(v1.limit(&group), None, "there is no such group");
        fs::write(group.join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        assert_eq!(v1.limit(&group), None);
        fs::write(group.join("memory.limit_in_bytes"), "67108864\n").unwrap();
        assert_eq!(v1.limit(&group), Some(64 << 20));
        fs::write(group.join("memory.usage_in_bytes"), "5000\n").unwrap();
        fs::write(group.join("memory.stat"), "inactive_file 1\ntotal_inactive_file 2000\n")
            .unwrap();
        assert_eq!(v1.used(&group), 3_000);
        let v2 =
            Groups { limit: "memory.max", usage: "memory.current", unused: "inactive_file", ..v1 };
        fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(v2.limit(&group), None);
        fs::write(group.join("memory.max"), "1048576\n").unwrap();
        fs::write(group.join("memory.current"), "5000\n").unwrap();
        assert_eq!((v2.limit(&group), v2.used(&group)), (Some(1 << 20), 4_999));
    }

    #[test]
    fn this_host_tells_what_it_has() {
        let room = memory_room("hornero-no-such-home").expect("Linux says what is available");
        assert!(room.available_bytes > 1 << 20, "{room:?}");
        assert_eq!(room.limit_bytes, None);
    }
}
