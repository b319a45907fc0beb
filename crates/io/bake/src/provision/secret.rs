//! Build secrets: read when a step runs, kept out of everything that it shows and leaves behind.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use hornero_model::{Digest, ImageName};
use hornero_sandbox::ProvidedFile;
use hornero_spec::{SecretName, SecretSource};
use hornero_store::{Entry, EntryKind, Metadata, TreePath};

use super::needle::{self, Cover, Needle};
use crate::{
    BakeError, limits,
    root::clean::{self, Verdict},
};

/// A shorter one could not be told from ordinary words in output and files.
const LEAST_BYTES: usize = 8;
/// Keys and certificates are a few kilobytes; the sandbox takes no larger file either.
const MOST_BYTES: usize = 64 << 10;
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
        let mut waiting = vec![(upper.to_owned(), Vec::new())];
        while let Some((dir, below)) = waiting.pop() {
            for entry in std::fs::read_dir(&dir).map_err(|error| BakeError::file(&dir, error))? {
                let entry = entry.map_err(|error| BakeError::file(&dir, error))?;
                let (disk, name) = (entry.path(), entry.file_name());
                let path = [&below[..], name.as_bytes()].join(&b"/"[..]);
                let path = path.strip_prefix(b"/").unwrap_or(&path).to_vec();
                let kind = entry.file_type().map_err(|error| BakeError::file(&disk, error))?;
                let found = if let Some(secret) = self.find(&mut name.as_bytes())? {
                    Some(secret)
                } else if kind.is_symlink() {
                    let target = std::fs::read_link(&disk);
                    let target = target.map_err(|error| BakeError::file(&disk, error))?;
                    self.find(&mut target.as_os_str().as_bytes())?
                } else if kind.is_file() {
                    let mut file =
                        File::open(&disk).map_err(|error| BakeError::file(&disk, error))?;
                    self.find(&mut file)?
                } else {
                    None
                };
                if let Some(secret) = found {
                    let removed = kind.is_file() && remove(&disk, &path)?;
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

    /// The first secret whose value is in what is read.
    fn find(&self, from: &mut dyn Read) -> Result<Option<&Secret>, BakeError> {
        let values: Vec<&[u8]> =
            self.all.iter().map(|secret| needle::trimmed(&secret.value)).collect();
        let found = needle::position(&values, from)
            .map_err(|error| BakeError::file(Path::new("upper"), error))?;
        Ok(found.map(|index| &self.all[index]))
    }
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
        Verdict::Keep => return Ok(false),
        Verdict::Drop => std::fs::remove_file(disk),
        Verdict::Empty => File::create(disk).map(drop),
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
            limits::read_file(&path, MOST_BYTES as u64)
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
