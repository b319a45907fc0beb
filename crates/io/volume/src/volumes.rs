//! The volumes of a home: what they are, and what people do with them while nobody has them.

use std::{
    fs, io,
    os::{fd::BorrowedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::{LeaseToken, SnapshotPurpose, Timestamp, VolumeName};
use rustix::fs::{FlockOperation, flock};

use crate::{
    change,
    directory::{self, Origin, Place},
    error::VolumeError,
    lock,
    number::SnapshotNumber,
    snapshots::{self, Cost, Snapshot},
    system,
};

/// A volume as its files tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Its name.
    pub name: VolumeName,
    /// How much it can hold, with what its file system takes for itself.
    pub size_bytes: u64,
    /// What it takes from the host.
    pub stored_bytes: u64,
    /// When it was made.
    pub created: Timestamp,
    /// What from.
    pub origin: Origin,
    /// Whether somebody has it attached.
    pub attached: bool,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// What a snapshot costs.
    pub cost: Cost,
}

/// The volumes of one home. What is done with one of them is done by one process at a time, also where two try.
#[derive(Debug, Clone)]
pub struct Volumes {
    home: PathBuf,
}

impl Volumes {
    /// Those of `home`, the true path of an existing directory.
    pub fn of(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    /// The home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Every volume, by name.
    ///
    /// # Errors
    /// What the system says.
    pub fn list(&self) -> Result<Vec<VolumeFacts>, VolumeError> {
        let names =
            directory::names(&self.home).map_err(VolumeError::failed("list the volumes"))?;
        let cost = self.cost();
        names.iter().map(|name| self.look_at(name, cost)).collect()
    }

    /// One volume.
    ///
    /// # Errors
    /// [`VolumeError::Missing`], and what the system says.
    pub fn facts(&self, volume: &VolumeName) -> Result<VolumeFacts, VolumeError> {
        self.look_at(volume, self.cost())
    }

    fn look_at(&self, volume: &VolumeName, cost: Cost) -> Result<VolumeFacts, VolumeError> {
        let place = self.place(volume)?;
        let opening = || VolumeError::opening(volume);
        let record = place.record().map_err(opening())?;
        let data = hornero_home::open(&place.image(), Opening::Read).map_err(opening())?;
        let found = data.metadata().map_err(opening())?;
        let free = flock(&data, FlockOperation::NonBlockingLockShared).is_ok();
        Ok(VolumeFacts {
            name: volume.clone(),
            size_bytes: found.len(),
            stored_bytes: found.blocks() * 512,
            created: record.created,
            origin: record.origin,
            attached: !free,
            snapshots: snapshots::list(&place).map_err(opening())?,
            cost,
        })
    }

    /// Makes an empty volume; one that is there stays as it is, whatever its size. Says whether it was made.
    ///
    /// # Errors
    /// [`VolumeError::TooSmall`], [`VolumeError::Lacks`], and what the system says; then there is none.
    pub fn make(&self, volume: &VolumeName, size_bytes: u64) -> Result<bool, VolumeError> {
        let _turn = change::turn(&self.home)?;
        if Place::of(&self.home, volume).path().exists() {
            return Ok(false);
        }
        change::make(&self.home, volume, size_bytes, Origin::Empty, &mut change::filesystem)?;
        Ok(true)
    }

    /// Makes a volume of a directory of the host, which is copied.
    ///
    /// # Errors
    /// [`VolumeError::Exists`], as for [`Self::make`], and where it does not fit; then there is none.
    pub fn adopt(
        &self,
        volume: &VolumeName,
        path: &Path,
        size_bytes: u64,
    ) -> Result<VolumeFacts, VolumeError> {
        let _turn = change::turn(&self.home)?;
        self.absent(volume)?;
        change::adopt(&self.home, volume, path, size_bytes)?;
        self.facts(volume)
    }

    /// Makes a volume of what another one has now, or had when a snapshot was taken.
    ///
    /// # Errors
    /// [`VolumeError::Exists`], [`VolumeError::Held`] where the other one is attached and no snapshot is named.
    pub fn clone_to(
        &self,
        volume: &VolumeName,
        snapshot: Option<SnapshotNumber>,
        to: &VolumeName,
    ) -> Result<VolumeFacts, VolumeError> {
        let _turn = change::turn(&self.home)?;
        let place = self.place(volume)?;
        self.absent(to)?;
        change::clone_to(&self.home, &place, volume, snapshot, to)?;
        self.facts(to)
    }

    /// Takes a snapshot; of a volume that is attached `attached` is a directory in it.
    ///
    /// # Errors
    /// [`VolumeError::NeedsCopy`] where it is attached and copies cost what the data is, [`VolumeError::Held`] where it is
    /// attached and `attached` is missing.
    pub fn snapshot(
        &self,
        volume: &VolumeName,
        why: &str,
        attached: Option<BorrowedFd<'_>>,
    ) -> Result<Snapshot, VolumeError> {
        let _turn = change::turn(&self.home)?;
        let place = self.place(volume)?;
        snapshots::take(&place, volume, why, attached, self.cost())
    }

    /// Puts a snapshot in the place of what a volume has, which becomes a snapshot itself; that one is told.
    ///
    /// # Errors
    /// [`VolumeError::Held`] where it is attached, [`VolumeError::NoSnapshot`].
    pub fn restore(
        &self,
        volume: &VolumeName,
        snapshot: SnapshotNumber,
    ) -> Result<Snapshot, VolumeError> {
        let _turn = change::turn(&self.home)?;
        change::restore(&self.place(volume)?, volume, snapshot, None)
    }

    /// Takes a snapshot of a volume that nobody has, for who has its newest lease. Asked for twice with one tag, it is taken
    /// once.
    ///
    /// # Errors
    /// [`VolumeError::LeaseOver`] for a lease that is not the newest, [`VolumeError::Held`] where its server did not let go.
    pub fn preserve(
        &self,
        volume: &VolumeName,
        lease: LeaseToken,
        purpose: &SnapshotPurpose,
    ) -> Result<Snapshot, VolumeError> {
        let _turn = change::turn(&self.home)?;
        snapshots::take_once(&self.place(volume)?, volume, lease, purpose)
    }

    /// As [`Self::restore`], for who has the volume's newest lease.
    ///
    /// # Errors
    /// As [`Self::preserve`] and [`Self::restore`].
    pub fn restore_under(
        &self,
        volume: &VolumeName,
        lease: LeaseToken,
        snapshot: SnapshotNumber,
    ) -> Result<Snapshot, VolumeError> {
        let _turn = change::turn(&self.home)?;
        change::restore(&self.place(volume)?, volume, snapshot, Some(lease))
    }

    /// Removes the snapshots that were to be kept until before `now`; gives which.
    ///
    /// # Errors
    /// What the system says.
    pub fn expire(&self, now: Timestamp) -> Result<Vec<(VolumeName, SnapshotNumber)>, VolumeError> {
        let failed = || VolumeError::failed("remove snapshots whose time is over");
        let names = directory::names(&self.home).map_err(failed())?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let _turn = change::turn(&self.home)?;
        let mut expired = Vec::new();
        for name in names {
            let numbers = snapshots::expire(&self.place(&name)?, now).map_err(failed())?;
            expired.extend(numbers.into_iter().map(|number| (name.clone(), number)));
        }
        Ok(expired)
    }

    /// Makes a volume larger. Says whether whoever has it can use that; else it is so when it is attached next.
    ///
    /// # Errors
    /// [`VolumeError::Shrinks`].
    pub fn grow(&self, volume: &VolumeName, size_bytes: u64) -> Result<bool, VolumeError> {
        let _turn = change::turn(&self.home)?;
        change::grow(&self.place(volume)?, volume, size_bytes)
    }

    /// Removes a volume with its snapshots.
    ///
    /// # Errors
    /// [`VolumeError::Held`] where it is attached.
    pub fn remove(&self, volume: &VolumeName) -> Result<(), VolumeError> {
        let _turn = change::turn(&self.home)?;
        change::remove(&self.home, &self.place(volume)?, volume)
    }

    /// Looks through all of a volume that nobody has, and says what is wrong with it; it changes nothing.
    ///
    /// # Errors
    /// [`VolumeError::Held`] where it is attached.
    pub fn look_through(&self, volume: &VolumeName) -> Result<Option<String>, VolumeError> {
        let place = self.place(volume)?;
        let _held = lock::lock(&place.image(), volume, lock::TURN)?;
        Ok(system::look_through(&place.image())?.err())
    }

    /// What copies cost: the volumes of a home lie on one file system.
    fn cost(&self) -> Cost {
        snapshots::cost(&directory::root(&self.home))
    }

    fn place(&self, volume: &VolumeName) -> Result<Place, VolumeError> {
        let place = Place::of(&self.home, volume);
        match fs::symlink_metadata(place.path()) {
            Ok(found) if found.is_dir() => Ok(place),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(VolumeError::opening(volume)(error))
            }
            Ok(_) | Err(_) => Err(VolumeError::Missing { volume: volume.clone() }),
        }
    }

    fn absent(&self, volume: &VolumeName) -> Result<(), VolumeError> {
        match self.place(volume) {
            Ok(_) => Err(VolumeError::Exists { volume: volume.clone() }),
            Err(VolumeError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
