//! A new home from a backup: copied beside its place, compared with the list, verified, and only then put in place.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use hornero_ledger::{AuditVerdict, ReadOnlyLedger, VerifyingKey};
use hornero_model::Timestamp;
use hornero_store::Store;
use serde_json::json;

use crate::{
    BackupManifest, CareError, CareStep, copy::copy, error::failed, manifest::put,
    parts::STEP_FILES,
};

/// What was restored.
#[derive(Debug)]
pub struct RestoreReport {
    /// What the backup said of itself.
    pub manifest: BackupManifest,
    /// The new home.
    pub home: PathBuf,
}

/// Makes the home `to`, which must not be there or be an empty directory, from a backup.
///
/// # Errors
/// Where anything of the backup is not as it was written, or `to` can't be made. Then nothing is at `to` that was not
/// there before.
pub fn restore(
    from: &Path,
    to: &Path,
    show: &dyn Fn(CareStep),
) -> Result<RestoreReport, CareError> {
    let to = hornero_home::resolve(to)?;
    check_place(&to)?;
    let from = fs::canonicalize(from).map_err(failed("find", from))?;
    let manifest =
        BackupManifest::read(&from)?.ok_or_else(|| CareError::Unfinished { path: from.clone() })?;
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let staged = to.with_file_name(format!(".{name}.restoring-{}", std::process::id()));
    if let Some(parent) = staged.parent() {
        fs::create_dir_all(parent).map_err(failed("make", parent))?;
    }
    let restored = fill(&from, &manifest, &staged, show).and_then(|()| place(&staged, &to));
    if restored.is_err() {
        // The first error counts.
        let _ = fs::remove_dir_all(&staged);
    }
    restored?;
    Ok(RestoreReport { manifest, home: to })
}

fn check_place(to: &Path) -> Result<(), CareError> {
    let found = match fs::symlink_metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed("look at", to))?,
    };
    let is_empty = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
    if !is_empty {
        return Err(CareError::NotEmpty { path: to.to_owned() });
    }
    let above = to.parent().and_then(|parent| fs::symlink_metadata(parent).ok());
    if above.is_some_and(|above| above.dev() != found.dev()) {
        return Err(CareError::MountPoint { path: to.to_owned() });
    }
    Ok(())
}

fn fill(
    from: &Path,
    manifest: &BackupManifest,
    staged: &Path,
    show: &dyn Fn(CareStep),
) -> Result<(), CareError> {
    let sums = manifest.checksums(from)?;
    hornero_home::directory(staged)?;
    // Makes all directories of a store.
    let store = staged.join("store");
    drop(Store::open(&store)?);
    let own = format!("home-{}/", manifest.number);
    let of = sums.len() as u64;
    for (done, (name, digest)) in (0_u64..).zip(&sums) {
        if done % STEP_FILES == 0 {
            show(CareStep::Verify { done, of });
        }
        let target = match name.strip_prefix(&own) {
            Some(rest) => staged.join(rest),
            None if name.starts_with("store/") => staged.join(name),
            None => {
                let reason = "belongs to no part of a home".to_owned();
                return Err(CareError::Damaged { path: from.join(name), reason });
            }
        };
        make_above(staged, &target)?;
        let source = from.join(name);
        let damaged = |reason: String| CareError::Damaged { path: source.clone(), reason };
        match copy(&source, &target) {
            Ok(copied) if copied.digest == *digest => {}
            Ok(_) => return Err(damaged("is not what was written".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("is missing".to_owned()));
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                return Err(failed("write", &target)(error));
            }
            Err(error) => return Err(damaged(format!("can't be read: {error}"))),
        }
    }
    show(CareStep::Verify { done: of, of });
    // Also refuses a store of a newer version.
    drop(Store::open(&store)?);
    verify_ledger(manifest, staged)?;
    let note = json!({
        "version": 1, "from": from, "home": manifest.home, "created": manifest.created,
        "restored": Timestamp::now(), "head": manifest.head,
    });
    put(&staged.join("restored.json"), format!("{note:#}\n").as_bytes())
}

/// Directories up to a file, each for its owner only.
fn make_above(staged: &Path, target: &Path) -> Result<(), CareError> {
    let Some(parent) = target.parent() else { return Ok(()) };
    if parent.is_dir() || parent == staged {
        return Ok(());
    }
    make_above(staged, parent)?;
    hornero_home::directory(parent)?;
    Ok(())
}

/// The ledger has to be intact and to end where the backup says.
fn verify_ledger(manifest: &BackupManifest, staged: &Path) -> Result<(), CareError> {
    let Some(expected) = manifest.head else { return Ok(()) };
    let path = staged.join("ledger.db");
    let key = VerifyingKey::load(&staged.join("keys"))?;
    match ReadOnlyLedger::open(&path, key)?.verify()? {
        AuditVerdict::Intact { head }
            if (head.sequence, head.hash) == (expected.sequence, expected.hash) =>
        {
            Ok(())
        }
        AuditVerdict::Intact { head } => Err(CareError::Touched {
            sequence: head.sequence,
            reason: format!(
                "ends the ledger, and the backup says it ends with `{}`",
                expected.sequence
            ),
        }),
        AuditVerdict::Touched { sequence, reason } => Err(CareError::Touched { sequence, reason }),
    }
}

/// Puts a whole home in its place in one step.
fn place(staged: &Path, to: &Path) -> Result<(), CareError> {
    rustix::fs::syncfs(fs::File::open(staged).map_err(failed("open", staged))?)
        .map_err(|error| failed("sync", staged)(error.into()))?;
    // A directory that is empty is replaced; one that was filled meanwhile is not.
    fs::rename(staged, to).map_err(failed("put in place", to))?;
    let parent = to.parent().unwrap_or(to);
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed("sync", parent))
}
