//! What a control group uses now, for whoever keeps figures of it by time.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use hornero_model::{GroupFigures, InstanceUsage, Pressure};

use crate::cgroup::Cgroup;

/// Processes of one group whose descriptors are counted: a server with more has them uncounted, so that a look at a
/// thousand servers stays cheap.
const COUNTED_PROCESSES: usize = 64;
/// Descriptors that are counted one by one on kernels before 6.2, which don't tell their number.
const COUNTED_DESCRIPTORS: usize = 4_096;

impl Cgroup {
    /// What the group uses now; none where it is not there.
    pub fn consumption(&self) -> Option<InstanceUsage> {
        if !self.exists() {
            return None;
        }
        let figures = self.figures();
        Some(InstanceUsage {
            memory_bytes: figures.memory_bytes.unwrap_or(0),
            memory_peak_bytes: figures.memory_peak_bytes,
            cpu_us: figures.processor_us.unwrap_or(0),
            throttled_us: figures.throttled_us,
            processes: figures.processes.unwrap_or(0),
            descriptors: self.descriptors(),
            out_of_memory_kills: figures.out_of_memory_kills,
            pressure: pressure(&figures),
        })
    }

    /// Open descriptors of its processes; none where there are too many to count.
    fn descriptors(&self) -> Option<u64> {
        let processes = self.processes();
        if processes.len() > COUNTED_PROCESSES {
            return None;
        }
        // One that has ended meanwhile has none.
        Some(processes.into_iter().filter_map(descriptors_of).sum())
    }
}

fn descriptors_of(process: u32) -> Option<u64> {
    let path = PathBuf::from(format!("/proc/{process}/fd"));
    // Since Linux 6.2 the directory's size is how many there are (proc_pid_fd(5)).
    match fs::metadata(&path).ok()?.size() {
        0 => Some(fs::read_dir(path).ok()?.take(COUNTED_DESCRIPTORS).count() as u64),
        size => Some(size),
    }
}

/// The pressure of a group; none where the kernel keeps none.
fn pressure(figures: &GroupFigures) -> Option<Pressure> {
    let some = |name: &str| stalled_us(figures.pressure.get(name)?);
    Some(Pressure { cpu_us: some("cpu")?, memory_us: some("memory")?, io_us: some("io")? })
}

/// The total of the line `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn stalled_us(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split(' ').find_map(|word| word.strip_prefix("total="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_the_time_that_something_waited() {
        let text = "some avg10=1.00 avg60=0.50 avg300=0.10 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(stalled_us(text), Some(123_456));
        assert_eq!(stalled_us("full avg10=0.00 total=7\n"), None);
        assert_eq!(stalled_us(""), None);
    }

    #[test]
    fn own_descriptors_are_counted() {
        let own = std::process::id();
        let before = descriptors_of(own).unwrap();
        let _files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests of this process open and close some meanwhile.
        assert!(descriptors_of(own).unwrap() >= before + 25);
        assert_eq!(descriptors_of(u32::MAX), None);
    }
}
