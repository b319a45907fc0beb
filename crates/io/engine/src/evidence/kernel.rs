//! What the kernel wrote about an instance: why it killed a process, and where one crashed.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    io::{ErrorKind, Read},
    os::unix::fs::OpenOptionsExt as _,
    time::Instant,
};

use hornero_engine_port::evidence::Evidence;
use hornero_model::{InstanceId, Millis, Timestamp};

/// The last lines that are kept.
const LINES_MAX: usize = 32;
/// The kernel gives one record at a time, and none is larger (its documentation, ABI/testing/dev-kmsg).
const RECORD_BYTES: usize = 8 << 10;
/// Records that are read: more than the kernel keeps by default.
const RECORDS_MAX: usize = 200_000;
/// How much earlier than an instance a line may be that is about it, as clocks are read.
const SLACK_MS: u64 = 1_000;

/// Looks for lines about an instance with these processes that was made then, until the time for it is over.
pub fn observe(
    id: &InstanceId,
    pids: &[u32],
    made: Option<Timestamp>,
    until: Instant,
    evidence: &mut Evidence,
) {
    let mut chosen = Chosen::new(id, pids, made.map_or(0, written_since));
    if let Err(why) = read(&mut chosen, until) {
        evidence.miss("what the kernel wrote", why);
    }
    evidence.kernel = chosen.lines.into();
}

/// Has the lines chosen from what the kernel keeps; the error is why some were not looked at.
fn read(chosen: &mut Chosen<'_>, until: Instant) -> Result<(), String> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/kmsg")
        .map_err(|error| format!("`/dev/kmsg` can't be opened: {error}"))?;
    take_all(file, chosen, until)
}

fn take_all(mut file: impl Read, chosen: &mut Chosen<'_>, until: Instant) -> Result<(), String> {
    let mut record = vec![0; RECORD_BYTES];
    for _ in 0..RECORDS_MAX {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => chosen.take(&String::from_utf8_lossy(&record[..length])),
            // It was overwritten while it was about to be read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(format!("`/dev/kmsg` can't be read: {error}")),
        }
        if Instant::now() > until {
            return Err("the time for it was over; later lines were not looked at".to_owned());
        }
    }
    Ok(())
}

/// What the kernel's clock of its lines showed at a time at the latest, in microseconds since boot.
fn written_since(made: Timestamp) -> u64 {
    let mut clock = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes into the structure that it is given. Where it fails that stays, and every line counts.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut clock) };
    let seconds = u64::try_from(clock.tv_sec).unwrap_or(0);
    let up = Millis(seconds * 1_000 + u64::try_from(clock.tv_nsec).unwrap_or(0) / 1_000_000);
    earliest(up, Timestamp::now().since(made))
}

fn earliest(up: Millis, age: Millis) -> u64 {
    let then = up.0.saturating_sub(age.0);
    // That clock is corrected by nobody: it drifts from all others, by up to one in two thousand.
    then.saturating_sub(SLACK_MS + then / 2_000).saturating_mul(1_000)
}

/// Those of the kernel's lines that are about one instance.
struct Chosen<'a> {
    id: &'a str,
    pids: BTreeSet<u32>,
    /// Ids of processes that were named before, in microseconds since boot, were those of others.
    since: u64,
    lines: VecDeque<String>,
}

impl<'a> Chosen<'a> {
    fn new(id: &'a InstanceId, pids: &[u32], since: u64) -> Self {
        let pids = pids.iter().copied().collect();
        Self { id: id.as_str(), pids, since, lines: VecDeque::new() }
    }

    /// Takes a record where it is about the instance: where it names its control group, or one of its processes.
    fn take(&mut self, record: &str) {
        let Some((head, text)) = record.split_once(';') else { return };
        let written = head.split(',').nth(2).and_then(|time| time.parse::<u64>().ok());
        if written.is_some_and(|written| written < self.since) {
            return;
        }
        let text = text.lines().next().unwrap_or_default();
        let names_group = text.contains(self.id);
        if names_group && let Some(pid) = number_after(text, ",pid=") {
            // The line that follows has the figures and no control group.
            self.pids.insert(pid);
        }
        let crashed = text
            .split_once("]: ")
            .and_then(|(before, _)| before.rsplit_once('[').and_then(|(_, pid)| pid.parse().ok()));
        let killed = number_after(text, "Killed process ");
        let of_process = |pid: Option<u32>| pid.is_some_and(|pid| self.pids.contains(&pid));
        if !names_group && !of_process(crashed) && !of_process(killed) {
            return;
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(text.to_owned());
    }
}

fn number_after(text: &str, words: &str) -> Option<u32> {
    let rest = text.split_once(words)?.1;
    let end = rest.find(|one: char| !one.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_about_the_instance_are_taken() {
        let id = InstanceId::new("site-1-abc").unwrap();
        let mut chosen = Chosen::new(&id, &[42], 3);
        for record in [
            "6,0,2,-;sh[42]: segfault at 8 ip 1 sp 2 error 4 in old[1000,5000+1000]",
            "6,1,3,-;sh[42]: segfault at 0 ip 1 sp 2 error 4 in sh[1000,5000+1000] likely on CPU 1\n SUB=x",
            "6,2,4,-;sh[43]: segfault at 0 ip 1 sp 2 error 4 in sh[1000,5000+1000]",
            "6,3,4,-;oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/hornero-1/site-1-abc,task=sh,pid=77,uid=0",
            "3,4,5,-;Memory cgroup out of memory: Killed process 77 (sh) total-vm:1kB",
            "3,5,6,-;Memory cgroup out of memory: Killed process 78 (sh) total-vm:1kB",
            "nothing of a record",
        ] {
            chosen.take(record);
        }
        let lines: Vec<&str> = chosen.lines.iter().map(|line| &line[..12]).collect();
        assert_eq!(lines, ["sh[42]: segf", "oom-kill:con", "Memory cgrou"]);
        assert!(chosen.lines[0].contains("segfault at 0 "), "an earlier process had its id");
    }

    #[test]
    fn lines_count_from_when_an_instance_was_made() {
        let day = 86_400_000;
        assert_eq!(earliest(Millis(10_000), Millis(2_000)), (8_000 - 1_000 - 4) * 1_000);
        // It drifts: after thirty days by twenty minutes at most.
        assert_eq!(earliest(Millis(30 * day), Millis(0)), (30 * day - 1_000 - 1_296_000) * 1_000);
        assert_eq!(earliest(Millis(1_000), Millis(day)), 0, "made before this boot");
        let now = Timestamp::now();
        assert!(written_since(now) >= written_since(Timestamp(now.0 - 60_000)));
    }

    #[test]
    fn what_was_chosen_before_the_time_was_over_is_kept() {
        let id = InstanceId::new("site-1-abc").unwrap();
        let mut chosen = Chosen::new(&id, &[42], 0);
        let records = &b"6,1,3,-;sh[42]: segfault at 0 ip 1"[..];
        let over = Instant::now();
        while Instant::now() == over {}
        let why = take_all(records, &mut chosen, over).unwrap_err();
        assert!(why.starts_with("the time for it was over"), "{why}");
        assert_eq!(chosen.lines, ["sh[42]: segfault at 0 ip 1"]);
    }
}
