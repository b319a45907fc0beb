//! Where the volumes of a home lie, and what is written beside their data.

use std::{
    fs,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::{Timestamp, VolumeName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{error::VolumeError, number::SnapshotNumber};

/// The version of what is written here; a reader refuses any other.
pub(crate) const FORMAT: u32 = 1;
/// Ours are some hundred bytes; what is larger was not written by us.
const MAX_RECORD_BYTES: u64 = 1 << 20;

/// What a volume was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nothing: it began empty.
    Empty,
    /// Another volume, or a snapshot of it.
    Clone {
        /// The volume.
        volume: VolumeName,
        /// The snapshot; none where it was the volume itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<SnapshotNumber>,
    },
    /// A directory of the host, which stayed as it is.
    Adopted {
        /// The directory.
        path: PathBuf,
    },
}

/// `volume.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub format: u32,
    pub created: Timestamp,
    pub origin: Origin,
}

/// `snapshots/N.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    pub format: u32,
    pub created: Timestamp,
    pub why: String,
    /// What it was taken for, where that may be asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_until: Option<Timestamp>,
}

/// The directory of one volume.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    directory: PathBuf,
}

impl Place {
    /// That of a volume of a home.
    pub fn of(home: &Path, volume: &VolumeName) -> Self {
        Self { directory: root(home).join(volume.as_str()) }
    }

    /// That of a volume which is not there yet, or not any more. No volume's name begins with a dot.
    pub fn aside(home: &Path, volume: &VolumeName, word: &str) -> Self {
        Self { directory: root(home).join(format!(".{word}-{volume}")) }
    }

    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The file system.
    pub fn image(&self) -> PathBuf {
        self.directory.join("data.img")
    }

    /// Where the highest lease is kept.
    pub fn leases(&self) -> PathBuf {
        self.directory.join("leases")
    }

    pub fn snapshots(&self) -> PathBuf {
        self.directory.join("snapshots")
    }

    pub fn snapshot(&self, number: SnapshotNumber) -> PathBuf {
        self.snapshots().join(format!("{number}.img"))
    }

    fn snapshot_record(&self, number: SnapshotNumber) -> PathBuf {
        self.snapshots().join(format!("{number}.json"))
    }

    pub fn record(&self) -> io::Result<Record> {
        checked(read(&self.directory.join("volume.json"))?, |record: &Record| record.format)
    }

    pub fn write_record(&self, record: &Record) -> io::Result<()> {
        write(&self.directory.join("volume.json"), record)
    }

    pub fn read_snapshot(&self, number: SnapshotNumber) -> io::Result<SnapshotRecord> {
        let record = read(&self.snapshot_record(number))?;
        checked(record, |record: &SnapshotRecord| record.format)
    }

    pub fn write_snapshot(
        &self,
        number: SnapshotNumber,
        record: &SnapshotRecord,
    ) -> io::Result<()> {
        write(&self.snapshot_record(number), record)
    }

    /// The highest number of a snapshot that was removed.
    pub fn last_expired(&self) -> io::Result<Option<SnapshotNumber>> {
        match read(&self.snapshots().join("expired")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Notes that a snapshot is about to be removed, so that its number does not come again.
    pub fn note_expired(&self, number: SnapshotNumber) -> io::Result<()> {
        match self.last_expired()? {
            Some(last) if last >= number => Ok(()),
            Some(_) | None => write(&self.snapshots().join("expired"), &number),
        }
    }

    /// Has a snapshot not count any more, and removes it.
    pub fn remove_snapshot(&self, number: SnapshotNumber) -> io::Result<()> {
        fs::remove_file(self.snapshot_record(number))?;
        fs::remove_file(self.snapshot(number))
    }

    /// Removes data of snapshots that nothing describes: what was left by whoever was killed while taking or removing one.
    pub fn remove_undescribed(&self) -> io::Result<()> {
        let described = self.numbers()?;
        let entries = match fs::read_dir(self.snapshots()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".img"));
            let number = number.and_then(|number| number.parse::<SnapshotNumber>().ok());
            if let Some(number) = number.filter(|number| !described.contains(number)) {
                fs::remove_file(self.snapshot(number))?;
            }
        }
        Ok(())
    }

    /// Its snapshots, oldest first. One counts once it is described, which it is when it is whole.
    pub fn numbers(&self) -> io::Result<Vec<SnapshotNumber>> {
        let entries = match fs::read_dir(self.snapshots()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
            numbers.extend(number.and_then(|number| number.parse::<SnapshotNumber>().ok()));
        }
        numbers.sort();
        Ok(numbers)
    }
}

/// Makes a directory of a home where it is not there.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    Ok(hornero_home::directory(directory).map(drop)?)
}

/// `HOME/volumes`.
pub(crate) fn root(home: &Path) -> PathBuf {
    home.join("volumes")
}

/// The volumes of a home, by name.
pub(crate) fn names(home: &Path) -> io::Result<Vec<VolumeName>> {
    let entries = match fs::read_dir(root(home)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        names.extend(name.to_str().and_then(|name| VolumeName::new(name).ok()));
    }
    names.sort();
    Ok(names)
}

/// Has what a directory lists reach the disk.
pub(crate) fn sync(directory: &Path) -> Result<(), VolumeError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(VolumeError::failed(format!("sync `{}`", directory.display())))
}

fn checked<T>(record: T, format: impl Fn(&T) -> u32) -> io::Result<T> {
    match format(&record) {
        FORMAT => Ok(record),
        other => Err(io::Error::other(format!(
            "its format is {other}, this version of Hornero reads {FORMAT}"
        ))),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let file = hornero_home::open(path, Opening::Read)?;
    let text = io::read_to_string(io::Read::take(file, MAX_RECORD_BYTES))?;
    Ok(serde_json::from_str(&text)?)
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    hornero_home::put(path, &serde_json::to_vec(value)?)
}
