//! The key that a home's secrets are encrypted for: an age identity in a file.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use zeroize::Zeroizing;

use crate::{SecretError, age::Identity};

/// Where it is below a home.
pub const KEY_FILE: &str = "keys/secrets.key";
/// The environment variable that names another file.
pub const KEY_VARIABLE: &str = "HORNERO_SECRETS_KEY_FILE";
/// A line with the key, and some comments.
const FILE_BYTES_MAX: usize = 4 << 10;

/// The file that the key is read from, and whether it is the home's own.
pub(crate) fn place(home: &Path) -> (PathBuf, bool) {
    match std::env::var_os(KEY_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => (PathBuf::from(path), false),
        None => (home.join(KEY_FILE), true),
    }
}

/// Reads the key.
pub(crate) fn read(path: &Path) -> Result<Identity, SecretError> {
    let failed = |what| move |source| SecretError::Io { what, path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(SecretError::KeyMissing { path: path.to_owned() });
        }
        opened => opened.map_err(failed("open"))?,
    };
    let found = file.metadata().map_err(failed("look at"))?;
    let own = rustix::process::geteuid().as_raw();
    let reason = match found.mode() & 0o777 {
        _ if !found.is_file() => Some("is no file".to_owned()),
        _ if found.uid() != 0 && found.uid() != own => Some("belongs to somebody else".to_owned()),
        mode if mode & 0o077 != 0 => Some(format!("may be read by others (mode {mode:o})")),
        _ => None,
    };
    if let Some(reason) = reason {
        return Err(SecretError::KeyExposed { path: path.to_owned(), reason });
    }
    // As large as it may get: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
    let mut limited = file.take(FILE_BYTES_MAX as u64);
    limited.read_to_end(&mut text).map_err(failed("read"))?;
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut keys = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let invalid = || SecretError::KeyInvalid { path: path.to_owned() };
    let identity = keys.next().and_then(Identity::parse).ok_or_else(invalid)?;
    if keys.next().is_some() {
        return Err(invalid());
    }
    Ok(identity)
}

/// Makes a key where there is none; another process may have been faster.
pub(crate) fn make(path: &Path) -> Result<(), SecretError> {
    let failed = |what| move |source| SecretError::Io { what, path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(path);
    hornero_home::directory(directory).map_err(|error| failed("make")(error.into()))?;
    let identity = Identity::generate();
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
    text.push_str("# The key of this home's secrets, as age has them. Public half: ");
    text.push_str(&identity.recipient());
    text.push('\n');
    text.push_str(&identity.text());
    text.push('\n');
    let temporary = directory.join(format!(".secrets.key.{}", std::process::id()));
    let written = (|| {
        let mut file = hornero_home::open(&temporary, Opening::Replace)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // One that is there already stays.
        std::fs::hard_link(&temporary, path)?;
        File::open(directory)?.sync_all()
    })();
    let removed = std::fs::remove_file(&temporary);
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        written => written.and(removed).map_err(failed("write")),
    }
}
