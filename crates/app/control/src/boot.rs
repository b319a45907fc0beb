//! This start of the host.

use std::fs;

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

/// What processes of this home are told, so that all of them agree.
pub(crate) fn inherited() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os(OVERRIDE).map(|given| (OVERRIDE, given))
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
