//! This start of the host.

use std::{ffi::OsString, fs, io, os::fd::AsFd as _, process::Stdio, sync::OnceLock};

use hornero_model::BootId;

/// A name for this start of the host instead of the kernel's: tests cut the power of a home without that of the host.
const OVERRIDE: &str = "HORNERO_BOOT_ID";

/// This start of the host: Linux's boot id, and when the first process was started, which a container has anew while its
/// host runs on. None where `/proc` tells neither; nothing is then held to be of another start.
pub fn boot_id() -> Option<BootId> {
    if let Some(given) = std::env::var_os(OVERRIDE) {
        return Some(BootId::new(given.to_string_lossy()));
    }
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = fs::read_to_string("/proc/1/stat").ok()?;
    // proc_pid_stat(5): the name in brackets may hold anything; the start time is the 20th field after it.
    let started = stat.rsplit(')').next()?.split_whitespace().nth(19)?.to_owned();
    Some(BootId::new(format!("{}-{started}", id.trim())))
}

/// What an edge that is started here gets as its environment.
static HANDED_ON: OnceLock<Vec<(&'static str, OsString)>> = OnceLock::new();

/// Has every edge that this process starts get these variables.
pub(crate) fn hand_on(variables: &[(&'static str, OsString)]) {
    // Set once, by the one control process that this process is.
    let _ = HANDED_ON.set(variables.to_vec());
}

/// What an edge of this process is told, so that both agree: on the start of the host, and on how to log.
pub(crate) fn inherited() -> impl Iterator<Item = (&'static str, OsString)> {
    let boot = std::env::var_os(OVERRIDE).map(|given| (OVERRIDE, given));
    boot.into_iter().chain(HANDED_ON.get().into_iter().flatten().cloned())
}

/// Where an edge of this process logs: to the same journal where this one does, else to a file of its own.
pub(crate) fn edge_log(path: &std::path::Path) -> io::Result<Stdio> {
    let journal = HANDED_ON.get().is_some_and(|variables| {
        variables.iter().any(|(name, value)| *name == "HORNERO_LOG_FORMAT" && value == "journal")
    });
    if journal {
        return Ok(rustix::stdio::stderr().as_fd().try_clone_to_owned()?.into());
    }
    Ok(hornero_home::open(path, hornero_home::Opening::Append)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_of_the_host_has_one_name() {
        let boot = boot_id().expect("/proc is mounted");
        assert_eq!(boot_id(), Some(boot.clone()));
        assert!(boot.as_str().len() > 36, "{boot}");
    }
}
