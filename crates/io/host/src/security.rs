//! What the command may do, and what confines it.

use hornero_doctor::{RightsFacts, SecurityFacts};

use crate::files::Files;

pub(crate) fn rights(files: &Files) -> RightsFacts {
    let map = files.text("proc/self/uid_map");
    let capabilities = status(files, "CapEff:").and_then(|hex| u64::from_str_radix(&hex, 16).ok());
    RightsFacts {
        user: 0,
        // A kernel without user namespaces has no map, and every id.
        every_id: map.is_none_or(|map| map.split_whitespace().eq(["0", "0", "4294967295"])),
        capabilities,
    }
}

/// A field of the command's own status (proc_pid_status(5)).
fn status(files: &Files, field: &str) -> Option<String> {
    let text = files.text("proc/self/status")?;
    text.lines().find_map(|line| Some(line.strip_prefix(field)?.trim().to_owned()))
}

pub(crate) fn read(files: &Files) -> SecurityFacts {
    let apparmor = files.flag("sys/module/apparmor/parameters/enabled") == Some(true);
    let label = files
        .line("proc/self/attr/apparmor/current")
        .or_else(|| files.line("proc/self/attr/current"));
    let label = label.map(|label| label.trim_matches('\0').to_owned());
    SecurityFacts {
        apparmor,
        selinux_enforcing: files.flag("sys/fs/selinux/enforce"),
        label: label.filter(|label| !label.is_empty()),
        filtered: status(files, "Seccomp:").is_some_and(|mode| mode == "2"),
    }
}
