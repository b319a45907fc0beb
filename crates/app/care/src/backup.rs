//! A backup of a home that may be running: the ledger as of one commit, and everything that it leads to.
//!
//! `OUT/home-N` has the ledger, keys and small files of backup number N; `OUT/store` has contents, layers and images, by
//! digest, so that the next backup copies only those that are new. `OUT/backup.json` is replaced last: an interrupted
//! backup leaves the one of before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use hornero_ledger::{ReadOnlyLedger, VerifyingKey};
use hornero_model::{Digest, Timestamp};
use hornero_store::Store;
use rustix::fs::{FlockOperation, flock};

use crate::{
    BackupManifest, CareError, CareStep,
    copy::{self, copy},
    error::failed,
    manifest::{self, BackupHead, Checksums, MARKER, VERSION},
    parts::{self, STEP_FILES},
};

/// The key of the secrets. Whoever has it and a backup has their values.
const SECRETS_KEY: &str = "keys/secrets.key";

/// What a backup shall hold.
#[derive(Debug, Clone)]
pub struct BackupPlan {
    /// Which images.
    pub images: BTreeSet<Digest>,
    /// What to call that choice: `used`, `all` or `none`.
    pub choice: &'static str,
    /// Whether the private signing key goes with it.
    pub keys: bool,
    /// Whether the key of the secrets goes with it; the encrypted values always do.
    pub secrets_key: bool,
}

/// What a backup holds.
#[derive(Debug)]
pub struct BackupReport {
    /// What the marker says.
    pub manifest: BackupManifest,
    /// Files that were copied; the others were there already.
    pub copied_files: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// What is damaged in the home and so is not in the backup.
    pub damaged: Vec<String>,
}

/// What is in the making.
struct BackupInMaking<'a> {
    out: &'a Path,
    before: Checksums,
    sums: Checksums,
    bytes: u64,
    copied_files: u64,
    copied_bytes: u64,
    damaged: Vec<String>,
}

/// Writes a backup of `home` to the directory `out`, which is new, empty or holds an older backup.
///
/// # Errors
/// Where `out` is something else, or anything can't be read or written. Damaged contents are no error: they are named,
/// and all others are in the backup.
pub fn backup(
    home: &Path,
    out: &Path,
    plan: &BackupPlan,
    show: &dyn Fn(CareStep),
) -> Result<BackupReport, CareError> {
    if !home.is_dir() {
        return Err(CareError::NoHome { path: home.to_owned() });
    }
    let out = prepare(out)?;
    let _lock = lock(&out)?;
    let last = BackupManifest::read(&out)?;
    let before = match &last {
        // Damaged lists lead to nothing that could be relied on: everything is copied anew.
        Some(last) => last.checksums(&out).unwrap_or_default(),
        None => Checksums::new(),
    };
    let number = last.as_ref().map_or(0, |last| last.number) + 1;
    let own = format!("home-{number}");
    let mut making = BackupInMaking {
        out: &out,
        before,
        sums: Checksums::new(),
        bytes: 0,
        copied_files: 0,
        copied_bytes: 0,
        damaged: Vec::new(),
    };
    // What an interrupted backup left under this number.
    remove_if_there(&out.join(&own))?;
    let store = open_store(home)?;
    // Nothing that the ledger leads to may be collected before it is copied.
    let lease = store.as_ref().map(Store::lease_to_read).transpose()?;
    show(CareStep::Ledger);
    let head = making.copy_home(home, &own, plan)?;
    if let Some(store) = &store {
        making.copy_store(store, &plan.images, show)?;
    }
    drop(lease);
    rustix::fs::syncfs(fs::File::open(&out).map_err(failed("open", &out))?)
        .map_err(|error| failed("sync", &out)(error.into()))?;
    let list = format!("SHA256SUMS-{number}");
    let text = manifest::listed(&making.sums);
    manifest::put(&out.join(&list), text.as_bytes())?;
    let manifest = BackupManifest {
        kind: "hornero-backup".to_owned(),
        version: VERSION,
        hornero: env!("CARGO_PKG_VERSION").to_owned(),
        created: Timestamp::now(),
        home: home.display().to_string(),
        number,
        head,
        keys: plan.keys && home.join("keys/signing.pk8").exists(),
        secrets_key: plan.secrets_key && home.join(SECRETS_KEY).exists(),
        images: plan.choice.to_owned(),
        image_count: plan.images.len() as u64,
        files: making.sums.len() as u64,
        bytes: making.bytes,
        list_digest: Digest::of(text.as_bytes()),
        list,
    };
    let mut marker = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| failed("write", &out)(error.into()))?;
    marker.push(b'\n');
    manifest::put(&out.join(MARKER), &marker)?;
    making.sweep(&manifest);
    let BackupInMaking { copied_files, copied_bytes, damaged, .. } = making;
    Ok(BackupReport { manifest, copied_files, copied_bytes, damaged })
}

impl BackupInMaking<'_> {
    /// The ledger, keys and small files.
    fn copy_home(
        &mut self,
        home: &Path,
        own: &str,
        plan: &BackupPlan,
    ) -> Result<Option<BackupHead>, CareError> {
        make(&self.out.join(own))?;
        let ledger = home.join("ledger.db");
        let mut head = None;
        // The public half always: with it the ledger can be verified.
        for (name, wanted) in [
            ("keys/signing.pub", true),
            ("keys/signing.pk8", plan.keys),
            (SECRETS_KEY, plan.secrets_key),
        ] {
            if wanted && home.join(name).exists() {
                self.take(&home.join(name), &format!("{own}/{name}"))?;
            }
        }
        if ledger.exists() {
            let key = VerifyingKey::load(&home.join("keys"))?;
            let copied = ReadOnlyLedger::open(&ledger, key)?.copy_to(&self.out.join(own))?;
            head = Some(BackupHead { sequence: copied.sequence, hash: copied.hash });
            for name in ["ledger.db", "ledger.head"] {
                let path = format!("{own}/{name}");
                let read = copy::digest(&self.out.join(&path))
                    .map_err(failed("read", &self.out.join(&path)))?;
                self.enter(path, read.digest, read.bytes);
                self.copied_files += 1;
                self.copied_bytes += read.bytes;
            }
        }
        for file in parts::of_home(home)? {
            let name = format!("{own}/{}", file.display());
            self.take(&home.join(&file), &name)?;
        }
        Ok(head)
    }

    /// What the images consist of; contents that are there already are not read again.
    fn copy_store(
        &mut self,
        store: &Store,
        images: &BTreeSet<Digest>,
        show: &dyn Fn(CareStep),
    ) -> Result<(), CareError> {
        let parts = parts::of_images(store, images)?;
        self.damaged.extend(parts.damaged);
        self.take(&store.dir().join("format"), "store/format")?;
        let of = (parts.files.len() + parts.references.len()) as u64;
        for (done, file) in (0_u64..).zip(&parts.files) {
            if done % STEP_FILES == 0 {
                show(CareStep::Store { done, of });
            }
            self.copy_part(store.dir(), file)?;
        }
        for (file, image) in &parts.references {
            self.write_reference(file, image)?;
        }
        show(CareStep::Store { done: of, of });
        Ok(())
    }

    fn copy_part(&mut self, store: &Path, file: &Path) -> Result<(), CareError> {
        let name = format!("store/{}", file.display());
        let (from, to) = (store.join(file), self.out.join(&name));
        let by_digest = digest_of_name(file);
        if let (Some(known), Some(digest)) = (self.before.get(&name), by_digest)
            && *known == digest
            && let Ok(found) = fs::symlink_metadata(&to)
            && fs::symlink_metadata(&from).is_ok_and(|source| source.size() == found.size())
        {
            self.enter(name, digest, found.size());
            return Ok(());
        }
        // What is not named by its digest is small: it is read, and written only where it is another.
        if by_digest.is_none()
            && let Some(known) = self.before.get(&name).copied()
            && let Ok(read) = copy::digest(&from)
            && read.digest == known
            && fs::symlink_metadata(&to).is_ok_and(|found| found.size() == read.bytes)
        {
            self.enter(name, known, read.bytes);
            return Ok(());
        }
        make(to.parent().unwrap_or(&to))?;
        match copy(&from, &to) {
            Ok(copied) if by_digest.is_none_or(|digest| digest == copied.digest) => {
                self.enter(name, copied.digest, copied.bytes);
                self.copied_files += 1;
                self.copied_bytes += copied.bytes;
            }
            Ok(_) => {
                let _ = fs::remove_file(&to);
                self.damaged.push(format!("`{}` is not what its name says", from.display()));
            }
            // What is known about an image may be taken away at any time; contents may not.
            Err(error) if error.kind() == io::ErrorKind::NotFound && by_digest.is_none() => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.damaged.push(format!("`{}` is missing", from.display()));
            }
            Err(error) => return Err(failed("copy", &from)(error)),
        }
        Ok(())
    }

    /// A reference to an image that this backup has, whatever it leads to in the home by now.
    fn write_reference(&mut self, file: &Path, image: &Digest) -> Result<(), CareError> {
        let name = format!("store/{}", file.display());
        let (to, text) = (self.out.join(&name), hornero_store::reference_text(image));
        let (digest, bytes) = (Digest::of(text.as_bytes()), text.len() as u64);
        let is_there = self.before.get(&name) == Some(&digest)
            && fs::symlink_metadata(&to).is_ok_and(|found| found.size() == bytes);
        if !is_there {
            make(to.parent().unwrap_or(&to))?;
            manifest::put(&to, text.as_bytes())?;
            self.copied_files += 1;
            self.copied_bytes += bytes;
        }
        self.enter(name, digest, bytes);
        Ok(())
    }

    /// Copies a file that has to be there.
    fn take(&mut self, from: &Path, name: &str) -> Result<(), CareError> {
        let to = self.out.join(name);
        make(to.parent().unwrap_or(&to))?;
        let copied = copy(from, &to).map_err(failed("copy", from))?;
        self.enter(name.to_owned(), copied.digest, copied.bytes);
        self.copied_files += 1;
        self.copied_bytes += copied.bytes;
        Ok(())
    }

    fn enter(&mut self, name: String, digest: Digest, bytes: u64) {
        self.sums.insert(name, digest);
        self.bytes += bytes;
    }

    /// Removes what the backup of before had and this one has not. What can't be removed takes space, no more.
    fn sweep(&self, manifest: &BackupManifest) {
        for name in self.before.keys().filter(|name| !self.sums.contains_key(*name)) {
            let _ = fs::remove_file(self.out.join(name));
        }
        for entry in fs::read_dir(self.out).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_own = name == manifest.list || name == format!("home-{}", manifest.number);
            if name.starts_with("SHA256SUMS-") && !is_own {
                let _ = fs::remove_file(entry.path());
            } else if name.starts_with("home-") && !is_own {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// The digest that a file of the store is named by; others are known by what they hold only.
fn digest_of_name(file: &Path) -> Option<Digest> {
    let mut parts: BTreeMap<usize, &str> = BTreeMap::new();
    for (position, part) in file.iter().enumerate() {
        parts.insert(position, part.to_str()?);
    }
    match parts.get(&0).copied()? {
        "objects" => Digest::from_hex(&format!("{}{}", parts.get(&1)?, parts.get(&2)?)).ok(),
        "layers" | "images" => Digest::from_hex(parts.get(&1)?).ok(),
        _ => None,
    }
}

/// The directory of a backup, without links in its path.
fn prepare(out: &Path) -> Result<PathBuf, CareError> {
    make(out)?;
    let out = fs::canonicalize(out).map_err(failed("find", out))?;
    let is_backup = out.join(MARKER).exists() || out.join(UNFINISHED).exists();
    let mut entries = fs::read_dir(&out).map_err(failed("list", &out))?;
    if !is_backup && entries.next().is_some() {
        return Err(CareError::NotABackup { path: out });
    }
    Ok(out)
}

/// Tells a directory that a backup was begun in from somebody's data.
const UNFINISHED: &str = "backup.lock";

fn lock(out: &Path) -> Result<fs::File, CareError> {
    let path = out.join(UNFINISHED);
    let file = fs::File::create(&path).map_err(failed("make", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(CareError::Busy { path: out.to_owned() }),
        Err(error) => Err(failed("lock", &path)(error.into())),
    }
}

fn open_store(home: &Path) -> Result<Option<Store>, CareError> {
    let path = home.join("store");
    match path.join("format").exists() {
        true => Ok(Some(Store::open(path)?)),
        false => Ok(None),
    }
}

/// Makes a directory that only its owner can enter, with those above it.
fn make(path: &Path) -> Result<(), CareError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))
}

fn remove_if_there(path: &Path) -> Result<(), CareError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use hornero_model::ImageConfig;
    use hornero_store::ImageManifest;

    use super::*;

    fn image(store: &Store, number: u16) -> Digest {
        let config = ImageConfig { workdir: format!("/{number}"), ..ImageConfig::default() };
        store.put_image(&ImageManifest::new(Vec::new(), config)).unwrap()
    }

    #[test]
    fn a_name_leads_to_what_the_backup_has_though_it_is_given_to_another_image_meanwhile() {
        let place = tempfile::tempdir().unwrap();
        let (home, out) = (place.path().join("home"), place.path().join("out"));
        let store = Store::open(home.join("store")).unwrap();
        let (old, new) = (image(&store, 1), image(&store, 2));
        store.set_ref("image/base", &old).unwrap();
        let plan = BackupPlan {
            images: BTreeSet::from([old]),
            choice: "used",
            keys: false,
            secrets_key: false,
        };
        // A bake beside it ends once what is to be copied is known.
        let bake = |step: CareStep| {
            if matches!(step, CareStep::Store { done: 0, .. }) {
                store.set_ref("image/base", &new).unwrap();
            }
        };
        for number in [1, 2] {
            store.set_ref("image/base", &old).unwrap();
            let made = backup(&home, &out, &plan, &bake).unwrap();
            assert_eq!((made.manifest.number, made.damaged.len()), (number, 0));
            assert_eq!(store.get_ref("image/base").unwrap(), Some(new));
            let restored = place.path().join(format!("restored-{number}"));
            crate::restore(&out, &restored, &|_| {}).unwrap();
            let copy = Store::open(restored.join("store")).unwrap();
            assert_eq!(copy.get_ref("image/base").unwrap(), Some(old));
            assert_eq!(copy.fsck().unwrap(), []);
        }
    }
}
