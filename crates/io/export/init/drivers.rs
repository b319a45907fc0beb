//! Kernel modules for the devices that are there, found as `udev` finds them: by their `modalias`.

use std::{collections::HashSet, fs, fs::File, os::fd::AsFd};

use super::{config::Driver, say, system};

const EEXIST: i32 = 17;
const ENODEV: i32 = 19;

/// What is not loaded yet.
pub struct Drivers<'a> {
    waiting: Vec<&'a Driver>,
    loaded: HashSet<&'a str>,
}

impl<'a> Drivers<'a> {
    pub fn new(drivers: &'a [Driver]) -> Self {
        Self { waiting: drivers.iter().collect(), loaded: HashSet::new() }
    }

    /// Loads what the devices of now ask for; a loaded bus shows more of them, so this goes on until none asks.
    pub fn load(&mut self) {
        loop {
            let devices = devices();
            let wanted = |driver: &Driver| {
                let asked =
                    |pattern: &String| devices.iter().any(|device| matches(pattern, device));
                driver.devices.is_empty() || driver.devices.iter().any(asked)
            };
            let (now, later): (Vec<_>, Vec<_>) =
                self.waiting.drain(..).partition(|driver| wanted(driver));
            self.waiting = later;
            for file in now.iter().flat_map(|driver| &driver.files) {
                if self.loaded.insert(file) {
                    load(file);
                }
            }
            if now.is_empty() {
                return;
            }
        }
    }
}

/// A driver that cannot be loaded is told; only a missing root is fatal, later.
fn load(path: &str) {
    match File::open(path).and_then(|file| system::load_module(file.as_fd())) {
        Err(error) if !matches!(error.raw_os_error(), Some(EEXIST | ENODEV)) => {
            say(&format!("cannot load `{path}`: {error}"));
        }
        _ => {}
    }
}

fn devices() -> Vec<String> {
    let list = |path: &str| fs::read_dir(path).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for bus in list("/sys/bus") {
        let devices = bus.path().join("devices");
        for device in list(&devices.to_string_lossy()) {
            let alias = fs::read_to_string(device.path().join("modalias")).unwrap_or_default();
            if !alias.trim_end().is_empty() {
                found.push(alias.trim_end().to_owned());
            }
        }
    }
    found
}

/// Whether `text` has the form of a `modules.alias` pattern: `*`, `?` and `[…]` as in a shell.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where to go on when what follows the last `*` does not fit: it then stands for one byte more.
    let mut again: Option<(usize, usize)> = None;
    while seen < text.len() {
        if pattern.get(at) == Some(&b'*') {
            again = Some((at + 1, seen));
            at += 1;
            continue;
        }
        match one(&pattern[at..], text[seen]) {
            Some(len) => (at, seen) = (at + len, seen + 1),
            None => match again {
                Some((after, from)) => {
                    again = Some((after, from + 1));
                    (at, seen) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// The length of the pattern's first element when it stands for `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let end = pattern.iter().position(|byte| *byte == b']')?;
            let mut set = &pattern[1..end];
            while let [first, rest @ ..] = set {
                let (last, rest) = match rest {
                    [b'-', last, rest @ ..] => (last, rest),
                    _ => (first, rest),
                };
                if (*first..=*last).contains(&byte) {
                    return Some(end + 1);
                }
                set = rest;
            }
            None
        }
        first => (first == byte).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text) in [
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4"),
            (
                "pci:v00001AF4d*sv*sd*bc*sc*i*",
                "pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00",
            ),
            ("acpi*:VMBUS:*", "acpi:VMBUS:"),
            ("scsi:t-0x0[0-4e]*", "scsi:t-0x03"),
            ("a?c**", "abc"),
            ("*", ""),
            ("*ab*ab", "xababab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("virtio:d00000002v*", "virtio:d00000001v00001AF4"),
            ("a", ""),
            ("", "a"),
            ("scsi:t-0x0[0-4]", "scsi:t-0x05"),
            ("a[", "a["),
            ("*ab", "abc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
