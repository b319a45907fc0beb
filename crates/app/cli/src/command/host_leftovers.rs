//! What homes that are gone have left on the host: bridges, packet filters, control groups.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hornero_care::{HomeProblem, Severity};

/// Where control groups are mounted.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
/// A hierarchy of version 1 is one directory below, and a service manager's groups are few deep.
const DEPTH: usize = 3;
/// What the control group of a home's servers begins with, and the digits that follow.
const GROUP: (&str, usize) = ("hornero-", 12);
/// Digits of it that the name of the home's bridge has, too.
const BRIDGE_DIGITS: usize = 8;

/// Everything that is left, each a note: no home is the worse for it.
pub fn found() -> Vec<HomeProblem> {
    let note = |text: String, run: &str| HomeProblem {
        severity: Severity::Note,
        code: "host_leftover",
        text,
        run: Some(run.to_owned()),
    };
    // Where the network can't be looked at, another finding says so.
    let network = hornero_net::left_behind().unwrap_or_default().into_iter();
    let network = network.map(|left| {
        note(
            format!("the host has a {left}, a home that is gone"),
            "nothing: the next `hornero up` of any home takes it away",
        )
    });
    let groups = groups(Path::new(CONTROL_GROUPS), DEPTH, &has_bridge).into_iter();
    let groups = groups.map(|path| {
        let path = path.display();
        let text =
            format!("the host has the empty control group `{path}` of a home that does not run");
        note(text, &format!("find {path} -depth -type d -exec rmdir {{}} +"))
    });
    network.chain(groups).collect()
}

/// Whether the home with these digits is up.
fn has_bridge(digits: &str) -> bool {
    Path::new("/sys/class/net").join(format!("hrn{digits}")).exists()
}

/// Control groups of homes without a bridge in which nothing runs.
fn groups(below: &Path, depth: usize, is_up: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in directories(below) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let digits = name.strip_prefix(GROUP.0).filter(|digits| {
            digits.len() == GROUP.1 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        match digits {
            Some(digits) if !is_up(&digits[..BRIDGE_DIGITS]) && is_empty(&path) => found.push(path),
            Some(_) => {}
            None if depth > 1 => found.extend(groups(&path, depth - 1, is_up)),
            None => {}
        }
    }
    found.sort();
    found
}

fn directories(below: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(below).into_iter().flatten().flatten();
    let directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(directory).map(|entry| entry.path()).collect()
}

/// Whether no process is in a control group or below it; one that can't be read may have some.
fn is_empty(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|processes| processes.is_empty())
        && directories(group).iter().all(|below| is_empty(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_groups_of_homes_that_are_not_up_are_left() {
        let root = tempfile::tempdir().unwrap();
        let group = |path: &str, processes: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("cgroup.procs"), processes).unwrap();
        };
        group("memory/hornero-0123456789ab", "");
        group("memory/hornero-0123456789ab/site-1-a", "");
        group("memory/hornero-aaaaaaaaaaaa", "");
        group("memory/hornero-aaaaaaaaaaaa/site-1-a", "377\n");
        group("hornero-bbbbbbbbbbbb", "");
        group("hornero-upgrade", "");
        let found = groups(root.path(), DEPTH, &|digits| digits == "bbbbbbbb");
        assert_eq!(found, [root.path().join("memory/hornero-0123456789ab")]);
    }
}
