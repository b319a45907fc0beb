//! From the initramfs into the root of the disk.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use super::{config::Driver, drivers::Drivers, say, system};

/// Firmware hands over with its disks at rest: spinning up a slow one takes seconds.
const DISK_DEADLINE: Duration = Duration::from_secs(30);

/// Loads the drivers of the devices that are there, waits for the partition of this label, and makes its file system the root.
pub fn enter_root(label: &str, drivers: &[Driver]) -> Result<(), String> {
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        mount(kind, target, kind, system::MS_NOSUID, "")?;
    }
    let device = wait_for(label, &mut Drivers::new(drivers))?;
    mount(&device, "/root", "erofs", system::MS_RDONLY, "")?;
    for moved in ["/dev", "/proc", "/sys"] {
        mount(moved, &format!("/root{moved}"), "", system::MS_MOVE, "")?;
    }
    // The initramfs stays mounted beneath the root; what is in it would only hold memory.
    for file in drivers.iter().flat_map(|driver| &driver.files) {
        let _ = fs::remove_file(file);
    }
    let _ = fs::remove_file("/init");
    std::env::set_current_dir("/root")
        .map_err(|error| format!("cannot enter the root: {error}"))?;
    mount(".", "/", "", system::MS_MOVE, "")?;
    std::os::unix::fs::chroot(".").map_err(|error| format!("cannot enter the root: {error}"))?;
    std::env::set_current_dir("/").map_err(|error| format!("cannot enter the root: {error}"))
}

/// Turns the machine off; what it could not save is lost by design.
pub fn power_off() -> ! {
    let error = system::power_off_machine();
    say(&format!("cannot turn the machine off: {error}"));
    loop {
        thread::park();
    }
}

fn mount(source: &str, target: &str, kind: &str, flags: u64, data: &str) -> Result<(), String> {
    system::mount_at(source, target, kind, flags, data)
        .map_err(|error| format!("cannot mount `{source}` at `{target}`: {error}"))
}

fn wait_for(label: &str, drivers: &mut Drivers<'_>) -> Result<String, String> {
    let begun = Instant::now();
    loop {
        drivers.load();
        if let Some(device) = find(label) {
            return Ok(device);
        }
        if begun.elapsed() > DISK_DEADLINE {
            return Err(format!("no disk with a partition `{label}` appeared"));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn find(label: &str) -> Option<String> {
    let wanted = format!("PARTNAME={label}");
    for entry in fs::read_dir("/sys/class/block").ok()?.flatten() {
        let text = fs::read_to_string(entry.path().join("uevent")).unwrap_or_default();
        if text.lines().any(|line| line == wanted) {
            let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
            let device = format!("/dev/{name}");
            // The node may come a moment after the name.
            return fs::exists(&device).unwrap_or(false).then_some(device);
        }
    }
    None
}
