//! Attaching a volume: its file system as a detached mount, for whoever has the newest lease and the lock.

use std::{fs::File, os::fd::OwnedFd, path::Path, time::Duration};

use hornero_home::{TermError, Terms};
use hornero_model::{LeaseToken, Term, VolumeName};
use hornero_sandbox::mount_ext4;

use crate::{directory::Place, error::VolumeError, lock::lock, system};

/// How long the holder before is waited for: its processes are gone by then, and a busy kernel takes seconds to let go of what
/// they had mounted.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Attaches a volume under a lease: its file system, detached, seen by no mount namespace. It is the volume's lock as well,
/// until the last copy of it is gone.
///
/// # Errors
/// [`VolumeError::LeaseOver`] for a lease that is not the newest, [`VolumeError::Held`] where the holder before did not let go
/// within `patience`, [`VolumeError::Damaged`] where its file system has errors. Then nothing was changed.
pub fn attach(
    home: &Path,
    volume: &VolumeName,
    lease: LeaseToken,
    patience: Duration,
) -> Result<OwnedFd, VolumeError> {
    let place = Place::of(home, volume);
    if !place.path().exists() {
        return Err(VolumeError::Missing { volume: volume.clone() });
    }
    open(&place, volume, locked(&place, volume, lease, patience)?)
}

/// Locks a volume that is to be copied or restored for who has its newest lease, and whose server is gone.
pub(crate) fn lock_under(
    place: &Place,
    volume: &VolumeName,
    lease: LeaseToken,
) -> Result<File, VolumeError> {
    locked(place, volume, lease, PATIENCE)
}

fn locked(
    place: &Place,
    volume: &VolumeName,
    lease: LeaseToken,
    patience: Duration,
) -> Result<File, VolumeError> {
    admit(place, volume, lease)?;
    let file = lock(&place.image(), volume, patience)?;
    // Whoever has a newer one may have come while this one waited.
    admit(place, volume, lease)?;
    Ok(file)
}

/// The file system of a volume that is locked, mended and as large as its file.
pub(crate) fn open(place: &Place, volume: &VolumeName, file: File) -> Result<OwnedFd, VolumeError> {
    let image = place.image();
    if let Err(found) = system::mend(&image)? {
        return Err(VolumeError::Damaged { volume: volume.clone(), found });
    }
    if let Err(found) = system::fill_file(&image, &file)? {
        return Err(VolumeError::Damaged { volume: volume.clone(), found });
    }
    let failed = VolumeError::failed(format!("attach volume `{volume}`"));
    mount_ext4(&file.into(), &image).map_err(failed)
}

/// Lets in who has the newest lease.
fn admit(place: &Place, volume: &VolumeName, lease: LeaseToken) -> Result<(), VolumeError> {
    Terms::of(&place.leases()).admit(Term(lease.0)).map_err(|error| match error {
        TermError::Over { given, newest } => VolumeError::LeaseOver {
            volume: volume.clone(),
            given: LeaseToken(given.0),
            newest: LeaseToken(newest.0),
        },
        TermError::File { .. } => {
            VolumeError::failed(format!("tell which lease of `{volume}` holds"))(error)
        }
    })
}
