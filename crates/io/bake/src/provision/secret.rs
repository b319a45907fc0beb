//! Build secrets: read when a step runs, kept out of everything that it shows and leaves behind.

use std::{
    ffi::OsString,
    fs::{File, FileType},
    io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use hornero_apt::files;
use hornero_model::{Digest, ImageName};
use hornero_sandbox::ProvidedFile;
use hornero_spec::{SecretName, SecretSource};
use hornero_store::{Entry, EntryKind, Metadata, TreePath};

use rustix::{
    fs::{lgetxattr, llistxattr},
    io::Errno,
};

use super::{
    needle::{self, Cover, Needle},
    search::Search,
};
use crate::{
    BakeError,
    clean::{self, EntryFate},
};

/// A shorter one could not be told from ordinary words in output and files.
const LEAST_BYTES: usize = 8;
/// Keys and certificates are a few kilobytes; the sandbox takes no larger file either.
const MOST_BYTES: usize = 64 << 10;
/// The kernel's own limit of an attribute's value and of a list of their names, `XATTR_SIZE_MAX` and `XATTR_LIST_MAX`.
const ATTRIBUTE_BYTES: usize = 64 << 10;
/// Where a step finds its secrets.
const DIRECTORY: &str = "/run/secrets";

/// Reads an environment variable of the process that bakes.
pub type Environment = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// A secret with its value.
pub(crate) struct Secret {
    name: SecretName,
    value: Vec<u8>,
}

/// The secrets of one step.
#[derive(Default)]
pub(crate) struct Secrets {
    all: Vec<Secret>,
}

/// A secret that a step wants, and where its value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its name.
    pub name: SecretName,
    /// Where its value comes from; a file is absolute.
    pub source: SecretSource,
}

impl Secrets {
    /// Reads the values.
    pub(crate) fn read(
        image: &ImageName,
        wanted: &[Wanted],
        environment: &Environment,
    ) -> Result<Self, BakeError> {
        let read = |wanted: &Wanted| {
            let refuse = |reason: String| BakeError::Secret {
                image: image.clone(),
                name: wanted.name.to_string(),
                reason,
            };
            let value = value(&wanted.source, environment).map_err(refuse)?;
            if needle::trimmed(&value).len() < LEAST_BYTES {
                let reason = format!(
                    "its value is shorter than {LEAST_BYTES} bytes, too short to be kept out of what is shown"
                );
                return Err(refuse(reason));
            }
            Ok(Secret { name: wanted.name.clone(), value })
        };
        Ok(Self { all: wanted.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// The files that a step gets.
    pub(crate) fn files(&self) -> impl Iterator<Item = ProvidedFile> {
        self.all.iter().map(|secret| {
            let path = format!("{DIRECTORY}/{}", secret.name);
            ProvidedFile { mode: 0o400, ..ProvidedFile::new(path, secret.value.clone()) }
        })
    }

    /// What must not be shown, each with what is shown instead.
    pub(crate) fn needles(&self) -> Vec<Needle> {
        self.all.iter().flat_map(|secret| Needle::of(secret.name.as_str(), &secret.value)).collect()
    }

    /// Looks through all that a step wrote, before any of it is stored. What is no part of an image goes where it
    /// holds a secret; anything else that does is an error.
    pub(crate) fn keep_out_of(&self, upper: &Path, step: &Scanned<'_>) -> Result<(), BakeError> {
        if self.all.is_empty() {
            return Ok(());
        }
        let texts = self.all.iter().enumerate();
        let search = Search::new(texts.flat_map(|(number, secret)| {
            needle::forbidden(&secret.value).into_iter().map(move |text| (number, text))
        }));
        let mut waiting = vec![(upper.to_owned(), Vec::new())];
        while let Some((dir, below)) = waiting.pop() {
            for entry in std::fs::read_dir(&dir).map_err(|error| BakeError::file(&dir, error))? {
                let entry = entry.map_err(|error| BakeError::file(&dir, error))?;
                let (disk, name) = (entry.path(), entry.file_name());
                let path = [&below[..], name.as_bytes()].join(&b"/"[..]);
                let path = path.strip_prefix(b"/").unwrap_or(&path).to_vec();
                let kind = entry.file_type().map_err(|error| BakeError::file(&disk, error))?;
                let found = find(&search, &disk, kind);
                let found = found.map_err(|error| BakeError::file(&disk, error))?;
                if let Some(Hit { number, in_content }) = found {
                    let secret = &self.all[number];
                    let removed = in_content && kind.is_file() && remove(&disk, &path)?;
                    if !removed {
                        return Err(BakeError::SecretKept {
                            image: step.image.clone(),
                            step: step.title.to_owned(),
                            name: secret.name.to_string(),
                            path: self.covered(&path),
                        });
                    }
                }
                if kind.is_dir() {
                    waiting.push((disk, path));
                }
            }
        }
        Ok(())
    }

    /// A path in the image, for people; it may hold a secret itself.
    fn covered(&self, path: &[u8]) -> String {
        let mut cover = Cover::new(self.needles());
        let shown = [cover.pass(path), cover.finish()].concat();
        format!("/{}", String::from_utf8_lossy(&shown))
    }
}

/// A secret that was found.
struct Hit {
    number: usize,
    /// In the contents of a file, which can be taken away, not in its name or attributes.
    in_content: bool,
}

/// Looks for secrets in a name, in what it stands for and in its extended attributes.
fn find(search: &Search, disk: &Path, kind: FileType) -> io::Result<Option<Hit>> {
    let elsewhere = |number| Some(Hit { number, in_content: false });
    let name = disk.file_name().unwrap_or_default();
    if let Some(number) = search.first_in(&mut name.as_bytes())? {
        return Ok(elsewhere(number));
    }
    for attribute in attributes(disk)? {
        if let Some(number) = search.first_in(&mut attribute.as_slice())? {
            return Ok(elsewhere(number));
        }
    }
    if kind.is_symlink() {
        let target = std::fs::read_link(disk)?;
        let number = search.first_in(&mut target.as_os_str().as_bytes())?;
        return Ok(number.and_then(elsewhere));
    }
    if kind.is_file() {
        let number = search.first_in(&mut File::open(disk)?)?;
        return Ok(number.map(|number| Hit { number, in_content: true }));
    }
    Ok(None)
}

/// The extended attributes of a file, each its name and value, not following a symlink.
fn attributes(disk: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut names = vec![0_u8; 256];
    let length = loop {
        match llistxattr(disk, &mut names) {
            Ok(length) => break length,
            Err(Errno::RANGE) if names.len() < ATTRIBUTE_BYTES => names.resize(ATTRIBUTE_BYTES, 0),
            // The file system has none.
            Err(Errno::OPNOTSUPP) => break 0,
            Err(error) => return Err(error.into()),
        }
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let read = |name: &[u8]| {
        let mut value = vec![0_u8; ATTRIBUTE_BYTES];
        let length = lgetxattr(disk, name, &mut value)?;
        value.truncate(length);
        Ok([name, b"=", &value].concat())
    };
    names.map(read).collect()
}

/// The step whose files are looked through.
pub(crate) struct Scanned<'s> {
    /// The image.
    pub image: &'s ImageName,
    /// The step, for people.
    pub title: &'s str,
}

/// Removes a file that is no part of an image anyway; whether it was one.
fn remove(disk: &Path, path: &[u8]) -> Result<bool, BakeError> {
    let Ok(tree_path) = TreePath::new(path) else { return Ok(false) };
    let kind = EntryKind::File { digest: Digest::of(b""), size: 1 };
    let entry = Entry { path: tree_path, kind, metadata: Metadata::default() };
    let done = match clean::judge(&entry) {
        EntryFate::Keep => return Ok(false),
        EntryFate::Drop => std::fs::remove_file(disk),
        EntryFate::Empty => File::create(disk).map(drop),
    };
    done.map_err(|error| BakeError::file(disk, error))?;
    Ok(true)
}

fn value(source: &SecretSource, environment: &Environment) -> Result<Vec<u8>, String> {
    match source {
        SecretSource::Environment(variable) => match environment(variable) {
            None => Err(format!("environment variable `{variable}` is not set")),
            Some(value) if value.len() > MOST_BYTES => {
                Err(format!("environment variable `{variable}` is over {MOST_BYTES} bytes"))
            }
            Some(value) => Ok(value.into_vec()),
        },
        SecretSource::File(path) => {
            let path = PathBuf::from(path);
            files::read_file(&path, MOST_BYTES as u64)
                .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(value: &str) -> Secrets {
        let name = SecretName::new("token").unwrap();
        Secrets { all: vec![Secret { name, value: value.into() }] }
    }

    #[test]
    fn what_a_step_kept_is_found_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let image = ImageName::new("site").unwrap();
        let secrets = secrets("hunter2-hunter2\n");
        let scan = || {
            let scanned = Scanned { image: &image, title: "shell `x`" };
            secrets.keep_out_of(dir.path(), &scanned).map_err(|error| error.to_string())
        };
        for dirs in ["root", "var/tmp", "var/log"] {
            std::fs::create_dir_all(dir.path().join(dirs)).unwrap();
        }
        std::fs::write(dir.path().join("var/tmp/cache"), "a hunter2-hunter2 b").unwrap();
        std::fs::write(dir.path().join("var/log/app.log"), "hunter2-hunter2").unwrap();
        std::fs::write(dir.path().join("root/.npmrc"), "hunter2-hunter").unwrap();
        scan().unwrap();
        assert!(!dir.path().join("var/tmp/cache").exists());
        assert_eq!(std::fs::read(dir.path().join("var/log/app.log")).unwrap(), b"");

        let error =
            |path: &str| format!("shell `x` of image `site` wrote secret `token` to `{path}`");
        std::fs::write(dir.path().join("root/.npmrc"), "x=hunter2-hunter2").unwrap();
        assert_eq!(scan().unwrap_err(), error("/root/.npmrc"));
        std::fs::remove_file(dir.path().join("root/.npmrc")).unwrap();
        std::os::unix::fs::symlink("/x/hunter2-hunter2", dir.path().join("root/link")).unwrap();
        assert_eq!(scan().unwrap_err(), error("/root/link"));
        std::fs::remove_file(dir.path().join("root/link")).unwrap();
        std::fs::create_dir(dir.path().join("root/hunter2-hunter2")).unwrap();
        assert_eq!(scan().unwrap_err(), error("/root/[secret token]"));
    }

    #[test]
    fn a_part_of_a_key_is_found_in_other_clothes_and_in_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let image = ImageName::new("site").unwrap();
        let key = "-----BEGIN PRIVATE KEY-----\nMIIEvgIBADANBgkqhkiG9w0B\nAQEFAASCBKgwggSk\n\
                   -----END PRIVATE KEY-----\n";
        let secrets = secrets(key);
        let scan = || {
            let scanned = Scanned { image: &image, title: "shell `x`" };
            secrets.keep_out_of(dir.path(), &scanned).map_err(|error| error.to_string())
        };
        let file = dir.path().join("found");
        let refused = Err("shell `x` of image `site` wrote secret `token` to `/found`".to_owned());
        for text in [
            key.to_owned(),
            serde_json::json!({ "key": key }).to_string(),
            "key = AQEFAASCBKgwggSk;".to_owned(),
        ] {
            std::fs::write(&file, &text).unwrap();
            assert_eq!(scan(), refused, "{text}");
        }
        // What programs that read keys have in them says nothing of this one.
        std::fs::write(&file, "-----BEGIN PRIVATE KEY-----").unwrap();
        assert_eq!(scan(), Ok(()));
        for file in [file.clone(), dir.path().join("var")] {
            if !file.exists() {
                std::fs::create_dir(&file).unwrap();
            }
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&file, "trusted.note", b"AQEFAASCBKgwggSk", flags).unwrap();
            let name = file.file_name().unwrap().to_str().unwrap();
            let expected = format!("wrote secret `token` to `/{name}`");
            assert!(scan().unwrap_err().ends_with(&expected), "{:?}", scan());
            rustix::fs::removexattr(&file, "trusted.note").unwrap();
        }
        assert_eq!(scan(), Ok(()));
    }

    #[test]
    fn values_come_from_the_environment_or_a_file() {
        let image = ImageName::new("site").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let environment: Environment =
            Arc::new(|name| (name == "TOKEN").then(|| "from the environment".into()));
        let read = |source: SecretSource| {
            let wanted = Wanted { name: SecretName::new("token").unwrap(), source };
            let secrets = Secrets::read(&image, &[wanted], &environment);
            secrets.map(|secrets| secrets.all[0].value.clone()).map_err(|error| error.to_string())
        };
        let variable = |name: &str| SecretSource::Environment(name.to_owned());
        let from_file = || SecretSource::File(file.to_str().unwrap().to_owned());
        assert_eq!(read(variable("TOKEN")).unwrap(), b"from the environment");
        assert!(read(variable("OTHER")).unwrap_err().ends_with("variable `OTHER` is not set"));
        assert!(read(from_file()).unwrap_err().contains("cannot be read"));
        std::fs::write(&file, "short\n\n\n\n\n").unwrap();
        let error = read(from_file()).unwrap_err();
        assert!(error.contains("shorter than 8 bytes") && !error.contains("short\n"), "{error}");
        std::fs::write(&file, vec![b'x'; MOST_BYTES + 1]).unwrap();
        assert!(read(from_file()).is_err());
        std::fs::write(&file, "from the file\n").unwrap();
        assert_eq!(read(from_file()).unwrap(), b"from the file\n");
    }
}
