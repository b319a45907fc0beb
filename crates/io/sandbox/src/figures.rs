//! What control groups have counted, and making everything in one stand still.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use hornero_model::GroupFigures;

use crate::cgroup::{Cgroup, field};

/// Between two looks whether everything stands still; it takes the kernel some tens of microseconds.
const FREEZE_LOOK: Duration = Duration::from_micros(200);
/// Version 1 writes no limit as the largest number of whole pages.
const NO_LIMIT_BYTES: u64 = 1 << 62;

impl Cgroup {
    /// What the group has counted.
    pub fn figures(&self) -> GroupFigures {
        let v2 = |name: &str| self.v2().and_then(|group| number(&group.join(name)));
        let v1 = |controller: &str, name: &str| {
            self.controller(controller).and_then(|group| number(&group.join(name)))
        };
        let usage = self.usage();
        let is_limit = |bytes: &u64| *bytes < NO_LIMIT_BYTES;
        GroupFigures {
            memory_bytes: Some(usage.memory_bytes).filter(|bytes| *bytes > 0),
            memory_peak_bytes: v1("memory", "memory.max_usage_in_bytes")
                .or_else(|| v2("memory.peak")),
            memory_limit_bytes: v1("memory", "memory.limit_in_bytes")
                .or_else(|| v2("memory.max"))
                .filter(is_limit),
            memory_limit_hits: v1("memory", "memory.failcnt")
                .or_else(|| field(&self.v2()?.join("memory.events"), "max")),
            out_of_memory_kills: self.out_of_memory_kills(),
            processor_us: Some(usage.cpu_us).filter(|spent| *spent > 0),
            throttled_us: self.throttled_us(),
            processes: Some(usage.pids).filter(|count| *count > 0),
            pressure: self.pressure(),
        }
    }

    fn throttled_us(&self) -> Option<u64> {
        let v1 = self.controller("cpu").map(|group| group.join("cpu.stat"));
        let nanoseconds = v1.and_then(|path| field(&path, "throttled_time"));
        let v2 = || field(&self.v2()?.join("cpu.stat"), "throttled_usec");
        nanoseconds.map(|nanoseconds| nanoseconds / 1_000).or_else(v2)
    }

    fn pressure(&self) -> BTreeMap<String, String> {
        let Some(group) = self.v2() else { return BTreeMap::new() };
        let read = |what: &str| {
            let text = fs::read_to_string(group.join(format!("{what}.pressure"))).ok()?;
            Some((what.to_owned(), text.trim().to_owned()))
        };
        ["cpu", "memory", "io"].into_iter().filter_map(read).collect()
    }

    /// Makes every process of the group stand still, and waits until they do, at most for `patience`. They can still be
    /// killed. False where the host has no freezer of version 2; version 1's is not used, since what it holds can't be
    /// killed.
    pub fn freeze(&self, patience: Duration) -> io::Result<bool> {
        let Some(group) = self.v2().filter(|group| group.join("cgroup.freeze").exists()) else {
            return Ok(false);
        };
        fs::write(group.join("cgroup.freeze"), "1")?;
        let deadline = Instant::now() + patience;
        while field(&group.join("cgroup.events"), "frozen") != Some(1) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            thread::sleep(FREEZE_LOOK);
        }
        Ok(true)
    }

    /// Lets everything go on. Harmless where nothing stands still.
    pub fn thaw(&self) {
        let file: Option<PathBuf> = self.v2().map(|group| group.join("cgroup.freeze"));
        // A group that is gone has nobody in it.
        file.filter(|file| file.exists()).map(|file| fs::write(file, "0"));
    }

    /// Every process of the group, by its id on the host.
    pub fn processes(&self) -> Vec<u32> {
        let mut ids: Vec<u32> =
            self.members().into_iter().filter_map(|id| id.try_into().ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
