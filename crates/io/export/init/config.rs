//! What the init is to do: records appended to its program, written by the export and read back here.
//!
//! The end of the file is `records, length of the records (u64, little endian), MARK`. A record is `key NUL value NUL`.

#![allow(dead_code, reason = "the export writes, the init reads: each uses a half")]

use std::{
    fs::File,
    io::{Error, ErrorKind, Read, Result, Seek, SeekFrom},
};

/// The last bytes of a program with a configuration.
pub const MARK: &[u8; 16] = b"hornero-init-v1\n";
/// An image's command and environment are kilobytes; the kernel itself takes 2 MiB of them.
const LEN_MAX: u64 = 4 << 20;

/// Everything the init is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    pub place: Place,
    pub hostname: String,
    /// With `handover`, not used. Empty without: wait to be told to end.
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub workdir: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Writable directories and their sizes in bytes.
    pub scratch: Vec<(String, u64)>,
    /// An init of the image's own that takes over, or empty.
    pub handover: String,
}

/// Where the init runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place {
    /// As a machine's first process, in an initramfs.
    Disk {
        /// Name of the partition that holds the root.
        label: String,
        /// Kernel modules, tried in this order.
        drivers: Vec<Driver>,
    },
    /// In a container, in its root.
    #[default]
    Container,
}

/// A kernel module and what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Driver {
    /// Its file and those it needs, in the order to load them.
    pub files: Vec<String>,
    /// Patterns of the devices it is for; empty: it is always loaded.
    pub devices: Vec<String>,
}

impl Config {
    /// The configuration that is appended to the program `path`.
    pub fn of_program(path: &str) -> Result<Self> {
        let bad = |what| Error::new(ErrorKind::InvalidData, what);
        let mut file = File::open(path)?;
        let mut tail = [0; 24];
        let end = file.seek(SeekFrom::End(-(tail.len() as i64)))?;
        file.read_exact(&mut tail)?;
        if &tail[8..] != MARK {
            return Err(bad("nothing is appended to it"));
        }
        let len = u64::from_le_bytes(tail[..8].try_into().expect("the slice has eight bytes"));
        if len > LEN_MAX || len > end {
            return Err(bad("the length of what is appended is out of range"));
        }
        file.seek(SeekFrom::Start(end - len))?;
        let mut records = vec![0; len as usize];
        file.read_exact(&mut records)?;
        Self::decode(&records).ok_or_else(|| bad("what is appended is no configuration"))
    }

    /// The bytes to append to the program.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |key: &str, value: &str| {
            for part in [key, value] {
                bytes.extend_from_slice(part.as_bytes());
                bytes.push(0);
            }
        };
        if let Place::Disk { label, drivers } = &self.place {
            put("label", label);
            for driver in drivers {
                put("driver", "");
                driver.files.iter().for_each(|file| put("file", file));
                driver.devices.iter().for_each(|device| put("device", device));
            }
        }
        put("hostname", &self.hostname);
        self.command.iter().for_each(|argument| put("command", argument));
        self.env.iter().for_each(|(name, value)| put("env", &format!("{name}={value}")));
        put("workdir", &self.workdir);
        put("uid", &self.uid.to_string());
        put("gid", &self.gid.to_string());
        self.groups.iter().for_each(|group| put("group", &group.to_string()));
        self.scratch.iter().for_each(|(path, size)| put("scratch", &format!("{size}:{path}")));
        put("handover", &self.handover);
        let len = bytes.len() as u64;
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(MARK);
        bytes
    }

    fn drivers(&mut self) -> Option<&mut Vec<Driver>> {
        match &mut self.place {
            Place::Disk { drivers, .. } => Some(drivers),
            Place::Container => None,
        }
    }

    fn decode(records: &[u8]) -> Option<Self> {
        let mut config = Self::default();
        let mut parts = records.split(|byte| *byte == 0);
        loop {
            let key = parts.next()?;
            let Some(value) = parts.next() else {
                return key.is_empty().then_some(config);
            };
            let value = String::from_utf8(value.to_vec()).ok()?;
            match key {
                b"label" => config.place = Place::Disk { label: value, drivers: Vec::new() },
                b"driver" => config.drivers()?.push(Driver::default()),
                b"file" => config.drivers()?.last_mut()?.files.push(value),
                b"device" => config.drivers()?.last_mut()?.devices.push(value),
                b"hostname" => config.hostname = value,
                b"command" => config.command.push(value),
                b"env" => {
                    let (name, value) = value.split_once('=')?;
                    config.env.push((name.to_owned(), value.to_owned()));
                }
                b"handover" => config.handover = value,
                b"workdir" => config.workdir = value,
                b"uid" => config.uid = value.parse().ok()?,
                b"gid" => config.gid = value.parse().ok()?,
                b"group" => config.groups.push(value.parse().ok()?),
                b"scratch" => {
                    let (size, path) = value.split_once(':')?;
                    config.scratch.push((path.to_owned(), size.parse().ok()?));
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Config {
        Config {
            place: Place::Disk {
                label: "root-1".into(),
                drivers: vec![
                    Driver {
                        files: vec!["/modules/a.ko".into(), "/modules/b.ko".into()],
                        devices: vec!["pci:v*".into(), "acpi*:X:*".into()],
                    },
                    Driver { files: vec!["/modules/c.ko".into()], devices: vec![] },
                ],
            },
            hostname: "site".into(),
            command: vec!["/bin/server".into(), String::new(), "a=b c".into()],
            env: vec![("A".into(), "1=2".into()), ("B".into(), String::new())],
            workdir: "/srv".into(),
            uid: 33,
            gid: 34,
            groups: vec![4, 5],
            scratch: vec![("/var/x:y".into(), 4096)],
            handover: "/sbin/init".into(),
        }
    }

    fn written(bytes: &[u8]) -> Result<Config> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Config::of_program(file.path().to_str().unwrap())
    }

    #[test]
    fn reads_what_was_appended() {
        for config in [full(), Config::default()] {
            let program = [b"program".as_slice(), &config.encode()].concat();
            assert_eq!(written(&program).unwrap(), config);
        }
    }

    #[test]
    fn refuses_what_is_none() {
        let whole = full().encode();
        assert!(written(b"").is_err());
        assert!(written(&[0; 100]).is_err());
        assert!(written(&whole[1..]).is_err(), "shorter than its length says");
        let huge = [&u64::MAX.to_le_bytes()[..], MARK].concat();
        assert!(written(&huge).is_err());
        let unknown = [b"what\0x\0".as_slice(), &7_u64.to_le_bytes(), MARK].concat();
        assert!(written(&unknown).is_err());
    }
}
