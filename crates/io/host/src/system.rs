//! Kernel, distribution, container or machine, systemd, memory, and apt's sources.

use hornero_doctor::{ArchiveFacts, Distribution, SystemFacts, SystemdFacts};

use crate::files::Files;

pub(crate) fn read(files: &Files) -> SystemFacts {
    let kernel = files.line("proc/sys/kernel/osrelease").unwrap_or_default();
    let releases = files.names("lib/modules");
    SystemFacts {
        kernel_modules: (!releases.is_empty()).then(|| releases.contains(&kernel)),
        distribution: distribution(files),
        container: container(files, &kernel),
        machine: machine(files),
        systemd: systemd(files),
        memory_available_bytes: memory_available(files),
        kernel,
    }
}

/// As os-release(5) says it.
fn distribution(files: &Files) -> Distribution {
    let text = files.text("etc/os-release").or_else(|| files.text("usr/lib/os-release"));
    let text = text.unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    Distribution {
        id: value("ID"),
        like: value("ID_LIKE").split_whitespace().map(str::to_owned).collect(),
        name: value("PRETTY_NAME"),
    }
}

fn container(files: &Files, kernel: &str) -> Option<String> {
    // systemd writes down what its own manager told it, also in LXC and nspawn.
    if let Some(kind) = files.line("run/systemd/container").filter(|kind| !kind.is_empty()) {
        return Some(kind);
    }
    let environment = files.text("proc/1/environ").unwrap_or_default();
    let told = environment.split('\0').find_map(|pair| pair.strip_prefix("container="));
    if let Some(kind) = told.filter(|kind| !kind.is_empty()) {
        return Some(kind.to_owned());
    }
    let marks = [
        (".dockerenv", "docker"),
        ("run/.containerenv", "podman"),
        ("dev/lxd/sock", "lxd"),
        ("dev/incus/sock", "incus"),
    ];
    if let Some((_, kind)) = marks.iter().find(|(path, _)| files.exists(path)) {
        return Some((*kind).to_owned());
    }
    kernel.to_ascii_lowercase().contains("microsoft").then(|| "WSL".to_owned())
}

fn machine(files: &Files) -> Option<String> {
    let vendor = files.line("sys/class/dmi/id/sys_vendor").unwrap_or_default();
    let product = files.line("sys/class/dmi/id/product_name").unwrap_or_default();
    let known = [
        ("QEMU", "QEMU"),
        ("KVM", "KVM"),
        ("VMware", "VMware"),
        ("VirtualBox", "VirtualBox"),
        ("Virtual Machine", "Hyper-V"),
        ("Amazon EC2", "Amazon EC2"),
        ("Google", "Google Compute Engine"),
        ("Xen", "Xen"),
    ];
    let named = known
        .iter()
        .find(|(mark, _)| vendor.contains(mark) || product.contains(mark))
        .map(|(_, name)| (*name).to_owned());
    let text = files.text("proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find(|line| line.starts_with("flags"));
    let virtual_processor =
        flags.is_some_and(|line| line.split_whitespace().any(|flag| flag == "hypervisor"));
    named.or_else(|| virtual_processor.then(|| "not named".to_owned()))
}

const UNIT: &str = "hornero.service";

fn systemd(files: &Files) -> Option<SystemdFacts> {
    // sd_booted(3).
    if !files.exists("run/systemd/system") {
        return None;
    }
    let places = [
        "etc/systemd/system",
        "run/systemd/system",
        "usr/local/lib/systemd/system",
        "usr/lib/systemd/system",
        "lib/systemd/system",
    ];
    let wants =
        files.names("etc/systemd/system").into_iter().filter(|name| name.ends_with(".wants"));
    let mut wants = wants.map(|name| format!("etc/systemd/system/{name}/{UNIT}"));
    let groups = ["sys/fs/cgroup", "sys/fs/cgroup/systemd", "sys/fs/cgroup/unified"];
    let processes = groups
        .iter()
        .filter_map(|group| files.text(&format!("{group}/system.slice/{UNIT}/cgroup.procs")));
    Some(SystemdFacts {
        unit_installed: places.iter().any(|place| files.exists(&format!("{place}/{UNIT}"))),
        unit_enabled: wants.any(|path| files.exists(&path)),
        unit_active: processes.into_iter().any(|text| !text.trim().is_empty()),
    })
}

fn memory_available(files: &Files) -> Option<u64> {
    let text = files.text("proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

pub(crate) fn archive(files: &Files) -> ArchiveFacts {
    let mut lists = vec!["etc/apt/sources.list".to_owned()];
    lists.extend(
        files
            .names("etc/apt/sources.list.d")
            .iter()
            .map(|name| format!("etc/apt/sources.list.d/{name}")),
    );
    lists.retain(|path| path.ends_with(".list") || path.ends_with(".sources"));
    let has_source = |text: String| {
        text.lines().map(str::trim).any(|line| {
            let words = line.strip_prefix("Types:").unwrap_or(line);
            !line.starts_with('#') && words.split_whitespace().any(|word| word == "deb")
        })
    };
    let keyrings = ["usr/share/keyrings", "etc/apt/trusted.gpg.d", "etc/apt/keyrings"];
    ArchiveFacts {
        sources: lists.iter().filter_map(|path| files.text(path)).any(has_source),
        keyring: keyrings
            .iter()
            .flat_map(|place| files.names(place))
            .any(|name| name.starts_with("debian-archive-")),
    }
}
