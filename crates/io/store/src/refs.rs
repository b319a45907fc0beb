//! Named references: `image/site` and the like, each a small file that holds one digest.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hornero_model::Digest;

use crate::{
    Result, Store, StoreError,
    error::RefNameError,
    files::{is_not_plain, is_unreadable, read_limited},
    format::REFS,
    sync,
};

/// A digest and a newline have 72 bytes.
const REF_BYTES_MAX: u64 = 128;
/// Names are people's words; deeper nesting has no use here.
const REF_DEPTH_MAX: usize = 8;
/// The limit of a file name on every file system of ours.
const REF_COMPONENT_MAX: usize = 255;

/// All references: those that lead somewhere, and those whose files are damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefListing {
    /// Names and what they lead to, sorted by name.
    pub refs: Vec<(String, Digest)>,
    /// Names that hold no digest any more, sorted.
    pub damaged: Vec<String>,
}

/// What the file of a reference to an image or a layer holds.
pub fn reference_text(digest: &Digest) -> String {
    format!("{digest}\n")
}

impl Store {
    /// Lets `name` lead to `digest`, durably and in one step; also one that is damaged.
    pub fn set_ref(&self, name: &str, digest: &Digest) -> Result<()> {
        let path = self.ref_path(name)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| StoreError::io("create", parent, error))?;
            // A new directory has to be on disk as well, up to the one that always is.
            for ancestor in parent.ancestors().take_while(|dir| *dir != self.dir()) {
                sync::directory(ancestor)?;
            }
        }
        self.staging().replace(&path, reference_text(digest).as_bytes(), true)
    }

    /// What `name` leads to.
    ///
    /// # Errors
    /// [`StoreError::DamagedRef`] when its file holds no digest.
    pub fn get_ref(&self, name: &str) -> Result<Option<Digest>> {
        let path = self.ref_path(name)?;
        let text = match read_limited(&path, REF_BYTES_MAX) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) || (is_not_plain(&error) && is_directory(&path)) =>
            {
                return Ok(None);
            }
            Err(error) if is_not_plain(&error) || is_unreadable(&error) => Vec::new(),
            Err(error) => return Err(StoreError::io("read", path, error)),
        };
        let parsed = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
        parsed.map(Some).ok_or_else(|| StoreError::DamagedRef { name: name.to_owned() })
    }

    /// Removes `name`, also one that is damaged; says whether it was there.
    pub fn remove_ref(&self, name: &str) -> Result<bool> {
        let path = self.ref_path(name)?;
        match fs::remove_file(&path) {
            Ok(()) => {
                path.parent().map_or(Ok(()), sync::directory)?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", path, error)),
        }
    }

    /// All references and what they lead to, sorted by name; for those who must not miss one.
    ///
    /// # Errors
    /// [`StoreError::DamagedRef`] when one is damaged: nobody knows what it led to.
    pub fn refs(&self) -> Result<Vec<(String, Digest)>> {
        let RefListing { refs, damaged } = self.ref_listing()?;
        match damaged.into_iter().next() {
            Some(name) => Err(StoreError::DamagedRef { name }),
            None => Ok(refs),
        }
    }

    /// All references, the damaged ones apart; for those who tell people what there is.
    pub fn ref_listing(&self) -> Result<RefListing> {
        let mut found = RefListing::default();
        let mut pending = vec![String::new()];
        while let Some(prefix) = pending.pop() {
            let dir = self.dir().join(REFS).join(&prefix);
            let entries =
                fs::read_dir(&dir).map_err(|error| StoreError::io("list", &dir, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| StoreError::io("list", &dir, error))?;
                let Ok(part) = entry.file_name().into_string() else { continue };
                let name = if prefix.is_empty() { part } else { format!("{prefix}/{part}") };
                if check(&name).is_err() {
                    continue;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    pending.push(name);
                    continue;
                }
                match self.get_ref(&name) {
                    Ok(Some(digest)) => found.refs.push((name, digest)),
                    Ok(None) => {}
                    Err(StoreError::DamagedRef { name }) => found.damaged.push(name),
                    Err(error) => return Err(error),
                }
            }
        }
        found.refs.sort();
        found.damaged.sort();
        Ok(found)
    }

    fn ref_path(&self, name: &str) -> Result<PathBuf> {
        check(name)?;
        Ok(self.dir().join(REFS).join(name))
    }
}

/// Itself, not what a link leads to.
fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn check(name: &str) -> Result<(), RefNameError> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let good = |part: &str| {
        !part.is_empty()
            && part.len() <= REF_COMPONENT_MAX
            && !part.starts_with('.')
            && part.bytes().all(allowed)
    };
    if name.split('/').count() <= REF_DEPTH_MAX && name.split('/').all(good) {
        return Ok(());
    }
    Err(RefNameError(name.chars().take(80).collect()))
}
