//! Parts of the kernel that are modules: the line that brings one which is missing.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Loads a module where the kernel does not by itself; says whether it is there now.
pub(crate) fn load(module: &str) -> bool {
    let programs = ["/sbin/modprobe", "/usr/sbin/modprobe"];
    let Some(program) = programs.into_iter().find(|program| Path::new(program).exists()) else {
        return false;
    };
    let loaded = Command::new(program)
        .args(["-q", module])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // Where nobody may wait for children, the attempt that follows tells.
    loaded.map_or(true, |status| status.success())
}

/// The package that brings modules which this distribution keeps apart, as a line to run.
pub(crate) fn install_line(module: &str) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut os_release = read("/etc/os-release");
    if os_release.is_empty() {
        os_release = read("/usr/lib/os-release");
    }
    let words: Vec<&str> = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .collect();
    let release = read("/proc/sys/kernel/osrelease");
    let installed = Path::new("/lib/modules").join(release.trim());
    hornero_model::install_line(&words, release.trim(), module, installed.is_dir())
}
