//! Processes as the kernel shows them: state, stacks, limits, open files and what is mapped. No environment, no memory.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::Path,
    time::Instant,
};

use hornero_engine_port::evidence::{Evidence, ObservedProcess, ObservedThread};

/// Processes of one instance that are looked at: more tell nothing more.
const PROCESSES_MAX: usize = 256;
/// Threads of each.
const THREADS_MAX: usize = 64;
/// Open files of each.
const FILES_MAX: usize = 256;
/// Mapped files of each.
const MAPPED_MAX: usize = 128;
/// Of one file of `/proc`: what maps many thousand files tells nothing more.
const TEXT_BYTES: u64 = 1 << 20;

/// Looks at these processes, until then.
pub fn observe(pids: &[u32], until: Instant, evidence: &mut Evidence) {
    for pid in pids.iter().take(PROCESSES_MAX) {
        if Instant::now() > until {
            let left = pids.len() - evidence.processes.len();
            return evidence.miss(format!("{left} processes"), "the time for it was over");
        }
        // One that has ended meanwhile is none.
        evidence.processes.extend(process(*pid));
    }
    if pids.len() > PROCESSES_MAX {
        let why = format!("only the first {PROCESSES_MAX} are looked at");
        evidence.miss(format!("{} processes", pids.len() - PROCESSES_MAX), why);
    }
}

fn process(pid: u32) -> Option<ObservedProcess> {
    let place = Path::new("/proc").join(pid.to_string());
    let status = status(&place)?;
    let of = |name: &str| status.get(name).cloned().unwrap_or_default();
    let command = text(&place.join("cmdline")).unwrap_or_default();
    let command = command.split('\0').filter(|word| !word.is_empty()).map(str::to_owned);
    let kilobytes = of("VmRSS").split(' ').next().and_then(|number| number.parse::<u64>().ok());
    Some(ObservedProcess {
        pid,
        parent: of("PPid").parse().unwrap_or(0),
        name: of("Name"),
        state: letter(&of("State")),
        command: command.collect(),
        resident_bytes: kilobytes.unwrap_or(0) << 10,
        threads: threads(&place),
        limits: limits(&place),
        files: files(&place),
        mapped: mapped(&place),
    })
}

/// The lines of `status` by their names.
fn status(place: &Path) -> Option<BTreeMap<String, String>> {
    let text = text(&place.join("status"))?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    Some(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

fn letter(state: &str) -> String {
    state.chars().take(1).collect()
}

fn threads(place: &Path) -> Vec<ObservedThread> {
    let one = |id: u32| {
        let place = place.join("task").join(id.to_string());
        let status = status(&place)?;
        let waits_in = text(&place.join("wchan")).unwrap_or_default();
        let stack = text(&place.join("stack")).unwrap_or_default();
        let frame = |line: &str| line.rsplit(' ').next().unwrap_or_default().to_owned();
        Some(ObservedThread {
            id,
            name: status.get("Name").cloned().unwrap_or_default(),
            state: letter(status.get("State").map_or("", String::as_str)),
            waits_in: if waits_in == "0" { String::new() } else { waits_in },
            stack: stack.lines().map(frame).collect(),
        })
    };
    numbers(&place.join("task")).into_iter().take(THREADS_MAX).filter_map(one).collect()
}

fn limits(place: &Path) -> Vec<String> {
    let text = text(&place.join("limits")).unwrap_or_default();
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().skip(1).map(squeezed).collect()
}

fn files(place: &Path) -> BTreeMap<u32, String> {
    let place = place.join("fd");
    let leads_to = |number: u32| {
        let target = fs::read_link(place.join(number.to_string())).ok()?;
        Some((number, target.to_string_lossy().into_owned()))
    };
    numbers(&place).into_iter().take(FILES_MAX).filter_map(leads_to).collect()
}

fn mapped(place: &Path) -> BTreeMap<String, u64> {
    let text = text(&place.join("maps")).unwrap_or_default();
    let mut mapped: BTreeMap<String, u64> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(path)) = (words.next(), words.nth(4)) else { continue };
        let bounds = range.split_once('-').map(|(low, high)| {
            let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
            number(high).saturating_sub(number(low))
        });
        if mapped.len() < MAPPED_MAX || mapped.contains_key(path) {
            *mapped.entry(path.to_owned()).or_default() += bounds.unwrap_or(0);
        }
    }
    mapped
}

/// Names of a directory that are numbers, in order.
fn numbers(directory: &Path) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(TEXT_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_with_what_it_has_open() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut evidence = Evidence::default();
        let later = Instant::now() + std::time::Duration::from_secs(60);
        observe(&[std::process::id(), u32::MAX], later, &mut evidence);
        let [own] = &evidence.processes[..] else { panic!("{evidence:?}") };
        assert_eq!(own.pid, std::process::id());
        assert!(own.resident_bytes > 0 && !own.threads.is_empty() && !own.command.is_empty());
        let path = file.path().to_str().unwrap();
        assert!(own.files.values().any(|open| open == path), "{:?}", own.files);
        assert!(own.mapped.keys().any(|path| path.starts_with('/')), "{:?}", own.mapped);
        assert!(own.limits.iter().any(|limit| limit.starts_with("Max open files ")));
    }

    #[test]
    fn what_was_not_reached_in_time_is_said() {
        let mut evidence = Evidence::default();
        observe(&[std::process::id()], Instant::now(), &mut evidence);
        std::thread::yield_now();
        assert_eq!(evidence.processes.len() + evidence.missed.len(), 1);
    }
}
