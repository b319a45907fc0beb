//! The files that a provision reads: looked at where they lie, and staged for what runs with them.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::Path,
};

use hornero_apt::files;
use hornero_model::{Digest, ImageName};
use hornero_spec::{CopyOwner, CopySource, SourceKind};
use sha2::{Digest as _, Sha256};

use crate::{
    BakeError,
    image::{
        copy::{self, Found, FoundKind},
        copy_key,
        secret_files::{Guard, SecretFiles},
    },
};

/// What Ansible looks for beside a playbook; of a directory that holds other things too, only these are read.
const BESIDE: [&str; 13] = [
    "collections",
    "files",
    "filter_plugins",
    "group_vars",
    "handlers",
    "host_vars",
    "library",
    "lookup_plugins",
    "module_utils",
    "roles",
    "tasks",
    "templates",
    "vars",
];

/// Files below one directory, from one or more places.
pub(crate) struct Files {
    parts: Vec<(CopySource, Vec<Found>)>,
    /// The directory of `hornero.hcl` that they are relative to, empty for itself.
    base: String,
}

impl Files {
    /// A playbook and what is beside it; the first is its path below them. All of a directory of its own; of the
    /// directory of `hornero.hcl` only other playbooks and what Ansible looks for by name. Files of secrets, which may
    /// well lie there, are left out: steps find them below `/run/secrets` alone, and no record holds them.
    pub(crate) fn beside(
        image: &ImageName,
        dir: &Path,
        playbook: &str,
        cache: &Path,
        secrets: &SecretFiles,
    ) -> Result<(String, Self), BakeError> {
        let survey = |source: CopySource| -> Result<_, BakeError> {
            let found = copy::survey(image, dir, &source, cache, Guard::LeftOut(secrets))?;
            Ok((source, found))
        };
        refuse_secret(image, dir, playbook, secrets)?;
        if let Some((base, name)) = playbook.rsplit_once('/') {
            let part = survey(source(base, SourceKind::Directory, "/"))?;
            return Ok((name.to_owned(), Self { parts: vec![part], base: base.to_owned() }));
        }
        let mut names: BTreeMap<String, SourceKind> = BTreeMap::new();
        names.insert(playbook.to_owned(), SourceKind::File);
        for entry in fs::read_dir(dir).map_err(|error| BakeError::file(dir, error))? {
            let entry = entry.map_err(|error| BakeError::file(dir, error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_directory = entry.path().is_dir();
            if is_directory && BESIDE.contains(&name.as_str()) {
                names.insert(name, SourceKind::Directory);
            } else if !is_directory && [".yml", ".yaml"].iter().any(|end| name.ends_with(end)) {
                names.insert(name, SourceKind::File);
            }
        }
        let parts = names
            .into_iter()
            .map(|(name, kind)| survey(source(&name, kind, &format!("/{name}"))))
            .filter(|part| !part.as_ref().is_ok_and(|(source, found)| is_left_out(source, found)))
            .collect::<Result<_, _>>()?;
        Ok((playbook.to_owned(), Self { parts, base: String::new() }))
    }

    /// The files that a record tells of.
    pub(crate) fn again(parts: Vec<(CopySource, Vec<Found>)>, base: String) -> Self {
        Self { parts, base }
    }

    /// Its parts.
    pub(crate) fn parts(&self) -> &[(CopySource, Vec<Found>)] {
        &self.parts
    }

    /// Where they are relative to.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The name of one of them, from the directory of `hornero.hcl`.
    pub(crate) fn name(&self, path: &str) -> String {
        if self.base.is_empty() { path.to_owned() } else { format!("{}/{path}", self.base) }
    }

    /// A short word for each.
    pub(crate) fn fingerprints(&self) -> BTreeMap<String, String> {
        self.parts.iter().flat_map(|(source, found)| copy::fingerprints(source, found)).collect()
    }

    /// Their identity.
    pub(crate) fn key(&self) -> Digest {
        let keys: Vec<u8> = self
            .parts
            .iter()
            .flat_map(|(source, found)| *copy_key::key(source, found).as_bytes())
            .collect();
        Digest::of(&keys)
    }

    /// Copies them below `place`, for everyone to read; what is no longer as it was is an error.
    pub(crate) fn stage(&self, image: &ImageName, place: &Path) -> Result<(), BakeError> {
        fs::create_dir_all(place).map_err(|error| BakeError::file(place, error))?;
        for (source, found) in &self.parts {
            let top = place.join(source.to.trim_start_matches('/'));
            for one in found {
                let path = if one.path.is_empty() {
                    top.clone()
                } else {
                    top.join(OsStr::from_bytes(&one.path))
                };
                let refuse = |reason: String| BakeError::Copy {
                    image: image.clone(),
                    path: self.name(&path.strip_prefix(place).unwrap_or(&path).to_string_lossy()),
                    reason,
                };
                put(one, &path).map_err(|error| refuse(error.to_string()))?;
            }
        }
        Ok(())
    }
}

/// Whether a source is the file of a secret.
fn is_left_out(source: &CopySource, found: &[Found]) -> bool {
    source.kind == SourceKind::File && found.is_empty()
}

/// What a step runs can't be a secret: everyone who has the image has it.
fn refuse_secret(
    image: &ImageName,
    dir: &Path,
    path: &str,
    secrets: &SecretFiles,
) -> Result<(), BakeError> {
    let host = fs::canonicalize(dir.join(path)).unwrap_or_else(|_| dir.join(path));
    match secrets.at(&host) {
        None => Ok(()),
        Some(name) => Err(BakeError::Copy {
            image: image.clone(),
            path: path.to_owned(),
            reason: format!("secret `{name}` is read from it, and what a step runs is kept"),
        }),
    }
}

fn source(from: &str, kind: SourceKind, to: &str) -> CopySource {
    let (from, to) = (from.to_owned(), to.to_owned());
    CopySource { from, kind, to, mode: None, owner: CopyOwner::default() }
}

fn put(one: &Found, path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match &one.kind {
        FoundKind::Directory => fs::create_dir_all(path),
        FoundKind::Symlink(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), path),
        FoundKind::File { host, executable, digest, .. } => {
            let mut hasher = Hashing { file: File::create(path)?, hasher: Sha256::new() };
            io::copy(&mut File::open(host)?, &mut hasher)?;
            let mode = if *executable { 0o755 } else { 0o644 };
            hasher.file.set_permissions(fs::Permissions::from_mode(mode))?;
            if Digest::from_bytes(hasher.hasher.finalize().into()) != *digest {
                return Err(io::Error::other("it changed while it was read"));
            }
            Ok(())
        }
    }
}

/// Hashes what is written.
struct Hashing {
    file: File,
    hasher: Sha256,
}

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads a script.
pub(crate) fn script(
    image: &ImageName,
    dir: &Path,
    from: &str,
    most: u64,
    secrets: &SecretFiles,
) -> Result<Vec<u8>, BakeError> {
    refuse_secret(image, dir, from, secrets)?;
    let refuse =
        |reason: String| BakeError::Copy { image: image.clone(), path: from.to_owned(), reason };
    // The path has no symlinks: the parser followed them.
    let path = dir.join(from);
    let inside =
        fs::canonicalize(&path).and_then(|path| Ok(path.starts_with(fs::canonicalize(dir)?)));
    match inside {
        Ok(true) => {}
        Ok(false) => return Err(refuse("it leads out of the directory".to_owned())),
        Err(error) => return Err(refuse(error.to_string())),
    }
    let contents = files::read_file(&path, most).map_err(|error| refuse(error.to_string()))?;
    if contents.starts_with(b"\x7fELF") {
        let reason = "it is a program, not a script: `copy` it in, and call it with `inline`";
        return Err(refuse(reason.to_owned()));
    }
    Ok(contents)
}

/// How the shell calls a script that lies at `path`, where nothing can be executed: as the kernel would, by its first
/// line.
pub(crate) fn call(
    image: &ImageName,
    from: &str,
    contents: &[u8],
    path: &str,
) -> Result<String, BakeError> {
    let Some(line) = contents.strip_prefix(b"#!") else {
        return Ok(format!("exec /bin/sh {path}"));
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    let refuse = |reason: &str| BakeError::Copy {
        image: image.clone(),
        path: from.to_owned(),
        reason: reason.to_owned(),
    };
    let line = std::str::from_utf8(line).map_err(|_| refuse("its first line is not UTF-8"))?;
    let (program, argument) = match line.split_once([' ', '\t']) {
        Some((program, argument)) => (program, Some(argument.trim())),
        None => (line, None),
    };
    if !program.starts_with('/') {
        return Err(refuse("its first line does not name a program by its absolute path"));
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let argument = argument.map(|argument| format!(" {}", quoted(argument))).unwrap_or_default();
    Ok(format!("exec {}{argument} {path}", quoted(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_called_by_its_first_line() {
        let image = ImageName::new("site").unwrap();
        let call = |text: &str| call(&image, "setup.sh", text.as_bytes(), "/s");
        for (text, expected) in [
            ("echo hi\n", "exec /bin/sh /s"),
            ("#!/bin/bash\n", "exec '/bin/bash' /s"),
            ("#! /bin/sh -eu \n", "exec '/bin/sh' '-eu' /s"),
            ("#!/usr/bin/env python3 -B\r\n", "exec '/usr/bin/env' 'python3 -B' /s"),
            ("#!/bin/it's", "exec '/bin/it'\\''s' /s"),
        ] {
            assert_eq!(call(text).unwrap(), expected, "{text}");
        }
        assert!(call("#!python3\n").is_err());
    }

    #[test]
    fn the_file_of_a_secret_beside_a_playbook_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let image = ImageName::new("site").unwrap();
        for path in ["ansible/site.yml", "ansible/.vault", "vars/keys.yml", "keys.yml", "site.yml"]
        {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "a secret\n").unwrap();
        }
        std::os::unix::fs::symlink(".vault", dir.path().join("ansible/link")).unwrap();
        let cache = dir.path().join("cache");
        let files = |secret: &str, playbook: &str| {
            let secrets = SecretFiles::of_one("token", &dir.path().join(secret));
            Files::beside(&image, dir.path(), playbook, &cache, &secrets)
                .map(|(_, files)| files.fingerprints().into_keys().collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        // What leads to it leads nowhere.
        assert_eq!(
            files("ansible/.vault", "ansible/site.yml").unwrap(),
            ["ansible/link", "ansible/site.yml"]
        );
        assert_eq!(files("ansible/link", "ansible/site.yml").unwrap(), ["ansible/site.yml"]);
        assert_eq!(files("keys.yml", "site.yml").unwrap(), ["site.yml", "vars/keys.yml"]);
        assert_eq!(files("vars/keys.yml", "site.yml").unwrap(), ["keys.yml", "site.yml"]);
        assert_eq!(files("none", "site.yml").unwrap().len(), 3);
        assert_eq!(
            files("site.yml", "site.yml").unwrap_err(),
            "copy source `site.yml` of image `site` cannot be copied: secret `token` is read from it, and what a step \
             runs is kept"
        );
    }

    #[test]
    fn only_what_belongs_to_a_playbook_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let image = ImageName::new("site").unwrap();
        for path in
            ["site.yml", "other.yaml", "hornero.lock", "roles/web/tasks/main.yml", "public/x"]
        {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let beside = |playbook: &str| {
            let cache = dir.path().join("cache");
            let none = SecretFiles::default();
            let (path, files) = Files::beside(&image, dir.path(), playbook, &cache, &none).unwrap();
            (path, files.fingerprints().into_keys().collect::<Vec<_>>(), files)
        };
        let (path, names, files) = beside("site.yml");
        assert_eq!(path, "site.yml");
        assert_eq!(
            names,
            ["other.yaml", "roles/web", "roles/web/tasks", "roles/web/tasks/main.yml", "site.yml"]
        );
        let place = dir.path().join("stage");
        files.stage(&image, &place).unwrap();
        assert!(place.join("roles/web/tasks/main.yml").is_file() && !place.join("public").exists());
        fs::write(dir.path().join("site.yml"), "y").unwrap();
        let error = files.stage(&image, &dir.path().join("again")).unwrap_err().to_string();
        assert!(error.ends_with("cannot be copied: it changed while it was read"), "{error}");

        let (path, names, files) = beside("roles/web/tasks/main.yml");
        assert_eq!(
            (path.as_str(), names),
            ("main.yml", vec!["roles/web/tasks/main.yml".to_owned()])
        );
        assert_eq!(files.name(&path), "roles/web/tasks/main.yml");
    }
}
