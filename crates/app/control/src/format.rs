//! Which format a home has, checked before anything in it is opened, so that an older Hornero leaves a newer home alone.
//!
//! `HOME/format` holds one number for everything that is written below a home, and the version that wrote it last. A
//! home without it is of format 1: the first version wrote none. `docs/reference/formats.md` says which files there are
//! and by which rules they change.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The format that this version writes, and the newest that it reads. Raised at most once a release, by the first change
/// that the release before could not read: a new field, kind of event or file counts as one.
pub const FORMAT: u32 = 2;
/// That of homes from before there was a file for it.
const FIRST: u32 = 1;
/// The file holds under 200 bytes; more than a page is not ours.
const BYTES_MAX: u64 = 4096;
const KIND: &str = "hornero-home";
const NAME: &str = "format";

/// What `HOME/format` says. Later formats may add fields to it; these stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    kind: String,
    format: u32,
    /// The version of Hornero that wrote below the home last, for people.
    written_by: String,
}

/// Why a home can't be worked on by this version.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A newer version wrote it.
    #[error(
        "home `{home}` has format {found}, written by Hornero {written_by}; this is Hornero {version}, which reads up to format {FORMAT}",
        version = hornero_model::program_version()
    )]
    Newer {
        /// The home.
        home: PathBuf,
        /// Its format.
        found: u32,
        /// The version that wrote it last.
        written_by: String,
    },
    /// The file is not as it was written.
    #[error("`{path}` can't be read: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file failed.
    #[error("can't {action} `{path}`")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FormatError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Newer { written_by, .. } => Some(format!(
                "nothing was changed: use Hornero {written_by} or newer, or another home with `--home`"
            )),
            Self::Damaged { path, .. } => Some(format!(
                "nothing was changed: put `{}` back from a backup, or write what `docs/reference/formats.md` says",
                path.display()
            )),
            Self::File { .. } => None,
        }
    }

    /// Its stable word, for scripts.
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Newer { .. } => Some("newer_home"),
            Self::Damaged { .. } => Some("damaged_home"),
            Self::File { .. } => None,
        }
    }
}

/// Refuses a home that a newer version wrote. Changes nothing; a home that is not there yet is fine, and one that this
/// user may not look into is refused by whatever is opened next, in better words.
///
/// # Errors
/// Where the home's format is newer than [`FORMAT`], or the file that says so can't be read.
pub fn check(home: &Path) -> Result<(), FormatError> {
    match read(home) {
        Err(FormatError::File { source, .. })
            if matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Says on disk that this version writes below the home from now on: an older one refuses it after that. Called before
/// the first thing is written that an older version might not know, and not earlier.
///
/// # Errors
/// As [`check`], and where the file can't be written.
pub fn claim(home: &Path) -> Result<(), FormatError> {
    let stamp = Stamp {
        kind: KIND.to_owned(),
        format: FORMAT,
        written_by: hornero_model::program_version().to_owned(),
    };
    if read(home)?.as_ref() == Some(&stamp) {
        return Ok(());
    }
    let path = home.join(NAME);
    let fresh = home.join("format.new");
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644).custom_flags(NOT_THROUGH_LINKS);
        let mut file = options.open(&fresh)?;
        let mut text = serde_json::to_string_pretty(&stamp)?;
        text.push('\n');
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(home)?.sync_all()
    };
    write().map_err(|source| FormatError::File { action: "write", path, source })
}

const NOT_THROUGH_LINKS: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

fn read(home: &Path) -> Result<Option<Stamp>, FormatError> {
    let path = home.join(NAME);
    let failed = |source| FormatError::File { action: "read", path: path.clone(), source };
    let file = match OpenOptions::new().read(true).custom_flags(NOT_THROUGH_LINKS).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    let damaged = |reason: String| FormatError::Damaged { path: path.clone(), reason };
    if bytes.len() as u64 > BYTES_MAX {
        return Err(damaged(format!("it is longer than {BYTES_MAX} bytes")));
    }
    let stamp: Stamp =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if stamp.kind != KIND || stamp.format < FIRST {
        return Err(damaged(format!("it is no `{KIND}` of a known format")));
    }
    if stamp.format > FORMAT {
        let written_by = stamp.written_by.chars().take(80).collect();
        return Err(FormatError::Newer { home: home.to_owned(), found: stamp.format, written_by });
    }
    Ok(Some(stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_has_the_number_of_the_home() {
        // A version from before this file looks at the ledger alone.
        assert_eq!(hornero_ledger::FORMAT, FORMAT);
    }

    #[test]
    fn a_home_without_a_format_is_an_old_one_until_it_is_claimed() {
        let home = tempfile::tempdir().unwrap();
        check(&home.path().join("not there")).unwrap();
        check(home.path()).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "a check changes nothing");
        claim(home.path()).unwrap();
        claim(home.path()).unwrap();
        check(home.path()).unwrap();
        let text = fs::read_to_string(home.path().join(NAME)).unwrap();
        let version = hornero_model::program_version();
        assert_eq!(
            text,
            format!(
                "{{\n  \"kind\": \"hornero-home\",\n  \"format\": 2,\n  \"written_by\": \"{version}\"\n}}\n"
            )
        );
    }

    #[test]
    fn newer_and_damaged_homes_are_refused_and_left_as_they_are() {
        for (text, message) in [
            (
                r#"{"kind":"hornero-home","format":3,"written_by":"7.8.9","more":1}"#,
                "has format 3, written by Hornero 7.8.9; this is Hornero",
            ),
            (
                r#"{"kind":"hornero-store","format":1,"written_by":"0.1.0"}"#,
                "it is no `hornero-home`",
            ),
            (r#"{"kind":"hornero-home","format":0,"written_by":"0.1.0"}"#, "of a known format"),
            (r#"{"kind":"hornero-home""#, "EOF"),
            ("", "EOF"),
        ] {
            let home = tempfile::tempdir().unwrap();
            fs::write(home.path().join(NAME), text).unwrap();
            for refused in [check(home.path()), claim(home.path())] {
                let error = refused.unwrap_err();
                assert!(error.to_string().contains(message), "{error}");
                assert!(error.hint().unwrap().contains("nothing was changed"), "{error}");
            }
            assert_eq!(fs::read_to_string(home.path().join(NAME)).unwrap(), text);
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        }
    }
}
