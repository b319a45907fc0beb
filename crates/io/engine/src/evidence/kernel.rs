//! What the kernel wrote about an instance: why it killed a process, and where one crashed.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    io::{ErrorKind, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    time::Instant,
};

use hornero_model::InstanceId;

/// The last lines that are kept.
const LINES_MAX: usize = 32;
/// The kernel gives one record at a time, and none is larger (its documentation, ABI/testing/dev-kmsg).
const RECORD_BYTES: usize = 8 << 10;
/// Records that are read: more than the kernel keeps by default.
const RECORDS_MAX: usize = 200_000;

/// Lines about an instance with these processes, or why they can't be read.
pub fn lines(id: &InstanceId, pids: &[u32], until: Instant) -> Result<Vec<String>, String> {
    let mut file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/kmsg")
        .map_err(|error| format!("`/dev/kmsg` can't be opened: {error}"))?;
    let mut chosen = Chosen::new(id, pids);
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
            return Err("the time for it was over".to_owned());
        }
    }
    Ok(chosen.lines.into())
}

/// Those of the kernel's lines that are about one instance.
struct Chosen<'a> {
    id: &'a str,
    pids: BTreeSet<u32>,
    lines: VecDeque<String>,
}

impl<'a> Chosen<'a> {
    fn new(id: &'a InstanceId, pids: &[u32]) -> Self {
        Self { id: id.as_str(), pids: pids.iter().copied().collect(), lines: VecDeque::new() }
    }

    /// Takes a record where it is about the instance: where it names its control group, or one of its processes.
    fn take(&mut self, record: &str) {
        let Some((_, text)) = record.split_once(';') else { return };
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
        let mut chosen = Chosen::new(&id, &[42]);
        for record in [
            "6,1,2,-;sh[42]: segfault at 0 ip 1 sp 2 error 4 in sh[1000,5000+1000] likely on CPU 1\n SUB=x",
            "6,2,3,-;sh[43]: segfault at 0 ip 1 sp 2 error 4 in sh[1000,5000+1000]",
            "6,3,4,-;oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/hornero-1/site-1-abc,task=sh,pid=77,uid=0",
            "3,4,5,-;Memory cgroup out of memory: Killed process 77 (sh) total-vm:1kB",
            "3,5,6,-;Memory cgroup out of memory: Killed process 78 (sh) total-vm:1kB",
            "nothing of a record",
        ] {
            chosen.take(record);
        }
        let lines: Vec<&str> = chosen.lines.iter().map(|line| &line[..12]).collect();
        assert_eq!(lines, ["sh[42]: segf", "oom-kill:con", "Memory cgrou"]);
    }
}
