//! What names lead to: each directory's own names, and the home's, which go with whatever was made last.
//!
//! Two directories may call different images by one name. So a directory's names are remembered as well, in
//! `names/DIRECTORY/NAME` of the home: the image on the first line, the directory's path on the second. They keep their
//! images for as long as the directory has a `hornero.hcl`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::{Digest, ImageName};
use hornero_spec::FILE_NAME;
use hornero_store::{Store, StoreError};

use crate::failure::Failure;

/// What a name that was moved by hand, but that leads elsewhere itself, begins with.
pub const REBASED: &str = "rebased/";
const NAMES: &str = "names";
/// A digest and a path, which the kernel lets have 4,096 bytes.
const FILE_BYTES_MAX: u64 = 8192;
/// Hex digits that tell directories apart.
const DIRECTORY_DIGITS: usize = 16;

/// A name as one directory means it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The directory with `hornero.hcl`, with no symlink in its path.
    pub directory: PathBuf,
    /// The image's name there.
    pub name: String,
    /// What it leads to.
    pub image: Digest,
    /// Where this is remembered.
    file: PathBuf,
}

impl Named {
    /// Whether the directory may declare images still.
    pub fn is_live(&self) -> bool {
        is_live(&self.directory)
    }

    /// Forgets it; one that was forgotten meanwhile is fine.
    pub fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at(&self.file, &error));
            }
            _ => {}
        }
        // Fails while the directory has other names.
        let _ = self.file.parent().map(fs::remove_dir);
        Ok(())
    }
}

/// Whether a directory may declare anything still. One that is there without a `hornero.hcl`, or that is gone from below a
/// directory that is there, does not: what can't be looked at, or is not mounted, is no evidence.
pub fn is_live(directory: &Path) -> bool {
    let is_missing = |path: &Path| {
        fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    // An empty directory may be where something is mounted at other times.
    let is_there =
        |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    if is_missing(directory) {
        let above = directory.ancestors().skip(1).find(|above| !is_missing(above));
        return !above.is_some_and(is_there);
    }
    let is_other = fs::symlink_metadata(directory).is_ok_and(|found| !found.is_dir());
    let declares_nothing = is_there(directory) && is_missing(&directory.join(FILE_NAME));
    !is_other && !declares_nothing
}

/// The names of directories that a home remembers.
#[derive(Debug, Default)]
pub struct Known {
    /// Sorted.
    pub names: Vec<Named>,
    /// Files that should hold one and do not: nobody knows what they keep.
    pub damaged: Vec<PathBuf>,
}

/// Lets a name lead to an image, in the home and for `directory`.
pub fn lead(
    home: &Path,
    store: &Store,
    directory: &Path,
    name: &ImageName,
    image: &Digest,
) -> Result<(), Failure> {
    // Written only where it changed: a bake that has nothing to do stays fast.
    let key = key(name.as_str());
    if leads(store, &key)? != Some(*image) {
        store.set_ref(&key, image)?;
    }
    let directory = fs::canonicalize(directory)?;
    let file = file(home, &directory).join(name.as_str());
    // A damaged one is written anew.
    let known = read(&file).ok();
    if known.is_none_or(|known| known.image != *image || known.directory != directory) {
        write(&file, &directory, image).map_err(|error| at(&file, &error))?;
    }
    Ok(())
}

/// The store's reference for a name of the home.
pub fn key(name: &str) -> String {
    match name.starts_with(REBASED) {
        true => name.to_owned(),
        false => format!("image/{name}"),
    }
}

/// What a reference of the store leads to; a damaged one leads nowhere, and is written anew by whoever sets it.
pub fn leads(store: &Store, key: &str) -> Result<Option<Digest>, StoreError> {
    match store.get_ref(key) {
        Err(StoreError::DamagedRef { .. }) => Ok(None),
        led => led,
    }
}

/// What a name leads to in a directory.
pub fn of(home: &Path, directory: &Path, name: &str) -> Option<Named> {
    // A name that is none could lead out of the home.
    let name: ImageName = name.parse().ok()?;
    let directory = fs::canonicalize(directory).ok()?;
    let found = read(&file(home, &directory).join(name.as_str())).ok()?;
    (found.directory == directory && found.is_live()).then_some(found)
}

/// All names of all directories.
pub fn all(home: &Path) -> io::Result<Known> {
    let mut known = Known::default();
    for directory in entries(&home.join(NAMES))? {
        for file in entries(&directory)? {
            // What a killed command left begins with a dot.
            let is_name =
                file.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
            match read(&file) {
                _ if !is_name => {}
                Ok(named) => known.names.push(named),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => known.damaged.push(file),
            }
        }
    }
    known.names.sort();
    known.damaged.sort();
    Ok(known)
}

/// All names of the home and of its directories, by what they lead to; a pin is no name.
pub fn by_image(home: &Path, store: &Store) -> Result<BTreeMap<Digest, Vec<String>>, Failure> {
    let mut found: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
    let refs = store.ref_listing()?.refs;
    for (name, image) in refs.into_iter().filter(|(name, _)| !name.starts_with("pin/")) {
        let name = name.strip_prefix("image/").unwrap_or(&name);
        found.entry(image).or_default().insert(name.to_owned());
    }
    for named in all(home)?.names.into_iter().filter(Named::is_live) {
        found.entry(named.image).or_default().insert(named.name);
    }
    Ok(found.into_iter().map(|(image, names)| (image, names.into_iter().collect())).collect())
}

/// The names of one image.
pub fn listed<'n>(names: &'n BTreeMap<Digest, Vec<String>>, image: &Digest) -> Vec<&'n str> {
    names.get(image).map(|names| names.iter().map(String::as_str).collect()).unwrap_or_default()
}

fn file(home: &Path, directory: &Path) -> PathBuf {
    let digest = Digest::of(directory.as_os_str().as_encoded_bytes());
    home.join(NAMES).join(&digest.hex()[..DIRECTORY_DIGITS])
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// An error that names its file.
fn at(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", file.display()))
}

fn read(file: &Path) -> io::Result<Named> {
    use std::os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _};
    // A pipe in its place must not be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let mut open = fs::OpenOptions::new();
    let opened = open.read(true).custom_flags(flags.bits().cast_signed()).open(file)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it holds no name");
    if !opened.metadata()?.is_file() {
        return Err(damaged());
    }
    let mut bytes = Vec::new();
    opened.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let parsed = || {
        let name: ImageName = file.file_name()?.to_str()?.parse().ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let image = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
        let directory = std::ffi::OsStr::from_bytes(bytes[end + 1..].strip_suffix(b"\n")?);
        let (directory, name) = (PathBuf::from(directory), name.to_string());
        directory.is_absolute().then(|| Named { directory, name, image, file: file.to_owned() })
    };
    parsed().ok_or_else(damaged)
}

fn write(file: &Path, directory: &Path, image: &Digest) -> io::Result<()> {
    let parent = file.parent().unwrap_or(file);
    fs::create_dir_all(parent)?;
    // No name begins with a dot.
    let fresh = parent.join(format!(".{}", std::process::id()));
    let mut bytes = format!("{image}\n").into_bytes();
    bytes.extend_from_slice(directory.as_os_str().as_encoded_bytes());
    bytes.push(b'\n');
    let mut written = hornero_home::open(&fresh, Opening::Replace)?;
    written.write_all(&bytes)?;
    written.sync_all()?;
    fs::rename(&fresh, file)?;
    fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_have_names_of_their_own() {
        let scratch = tempfile::tempdir().unwrap();
        let home = scratch.path().join("home");
        let store = Store::open(home.join("store")).unwrap();
        let name: ImageName = "site".parse().unwrap();
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let directories = [scratch.path().join("a"), scratch.path().join("b\nc")];
        for (directory, image) in directories.iter().zip([one, two]) {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join(FILE_NAME), "").unwrap();
            fs::write(directory.join("page"), "").unwrap();
            lead(&home, &store, directory, &name, &image).unwrap();
        }
        assert_eq!(store.get_ref("image/site").unwrap(), Some(two), "the last one made");
        let leads = |directory: &Path| of(&home, directory, "site").map(|found| found.image);
        assert_eq!(leads(&directories[0]), Some(one));
        assert_eq!(leads(&directories[1]), Some(two));
        assert_eq!(leads(scratch.path()), None);
        assert_eq!(of(&home, &directories[0], "../a/site"), None);
        assert_eq!(all(&home).unwrap().names.len(), 2);

        fs::remove_file(directories[0].join(FILE_NAME)).unwrap();
        assert_eq!(leads(&directories[0]), None, "a directory that declares nothing has no names");
        let gone: Vec<Named> =
            all(&home).unwrap().names.into_iter().filter(|one| !one.is_live()).collect();
        gone.iter().for_each(|one| one.forget().unwrap());
        assert_eq!(all(&home).unwrap().names.len(), 1);

        // A directory that is empty may be one that is not mounted.
        let lonely = &directories[1];
        fs::remove_file(lonely.join(FILE_NAME)).unwrap();
        assert_eq!(leads(lonely), None);
        fs::remove_file(lonely.join("page")).unwrap();
        assert!(all(&home).unwrap().names[0].is_live());
        fs::write(lonely.join(FILE_NAME), "").unwrap();

        // What is gone with all that was above it is gone.
        let deep = scratch.path().join("jobs/7/repository");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join(FILE_NAME), "").unwrap();
        lead(&home, &store, &deep, &name, &one).unwrap();
        let lives = || {
            all(&home).unwrap().names.iter().find(|one| one.directory == deep).unwrap().is_live()
        };
        assert!(lives());
        fs::remove_dir_all(scratch.path().join("jobs")).unwrap();
        assert!(!lives());
        all(&home)
            .unwrap()
            .names
            .iter()
            .filter(|one| !one.is_live())
            .for_each(|one| one.forget().unwrap());

        // What is damaged leads nowhere.
        let left = all(&home).unwrap().names.remove(0);
        for bytes in [&b""[..], b"sha256:12\n/x\n", b"\n\n", b"\xff\xff"] {
            fs::write(&left.file, bytes).unwrap();
            assert_eq!(leads(&directories[1]), None);
            assert_eq!(all(&home).unwrap().damaged, std::slice::from_ref(&left.file));
        }
        lead(&home, &store, &directories[1], &name, &one).unwrap();
        assert_eq!(leads(&directories[1]), Some(one), "written anew");
    }
}
