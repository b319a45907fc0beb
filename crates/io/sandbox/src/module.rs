//! Parts of the kernel that are modules: whether one is missing, and which package brings it.

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
///
/// Source: `os-release(5)`; Ubuntu splits its modules since 18.04, the RHEL and Fedora families since 8 and 21.
pub(crate) fn install_line(module: &str) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut os_release = read("/etc/os-release");
    if os_release.is_empty() {
        os_release = read("/usr/lib/os-release");
    }
    let release = read("/proc/sys/kernel/osrelease");
    let installed = Path::new("/lib/modules").join(release.trim());
    line(&os_release, release.trim(), module, installed.is_dir())
}

fn line(os_release: &str, release: &str, module: &str, modules_there: bool) -> String {
    let words: Vec<&str> = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .collect();
    let is = |names: &[&str]| words.iter().any(|word| names.contains(word));
    let package = if is(&["ubuntu"]) {
        format!("apt-get install linux-modules-extra-{release}")
    } else if is(&["rhel", "fedora", "centos"]) {
        format!("dnf install kernel-modules-extra-{release}")
    } else if is(&["suse", "opensuse", "sles"]) {
        "zypper install kernel-default".to_owned()
    } else if is(&["debian"]) && !modules_there {
        format!("apt-get install linux-image-{release}")
    } else if modules_there {
        return format!("modprobe {module}");
    } else {
        format!("install the modules of kernel {release}")
    };
    format!("{package} && modprobe {module}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_that_of_the_distribution() {
        let check = |os_release, there, expected: &str| {
            assert_eq!(line(os_release, "6.8.0-1-generic", "erofs", there), expected);
        };
        check(
            "NAME=Ubuntu\nID=ubuntu\nID_LIKE=debian\n",
            true,
            "apt-get install linux-modules-extra-6.8.0-1-generic && modprobe erofs",
        );
        check(
            "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
            true,
            "dnf install kernel-modules-extra-6.8.0-1-generic && modprobe erofs",
        );
        check("ID=debian\n", true, "modprobe erofs");
        check(
            "ID=debian\n",
            false,
            "apt-get install linux-image-6.8.0-1-generic && modprobe erofs",
        );
        check("ID=arch\n", true, "modprobe erofs");
        check("", false, "install the modules of kernel 6.8.0-1-generic && modprobe erofs");
    }
}
