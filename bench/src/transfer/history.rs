//! The image's states: packages of this machine, patched one after the other, and baked.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, ensure};
use flate2::{Compression, write::GzEncoder};
use hornero_archive::{Archive, Package, SUITE};
use hornero_bake::{
    BakeContext, BakeOptions, LockMode, progress::Silent, sources::DirectorySources,
};
use hornero_model::{Digest, ImageName};
use hornero_spec::{Spec, Variables};
use hornero_store::Store;

use crate::process;

/// Packages of a Debian root, each patched in turn.
pub(super) const PACKAGES: [&str; 24] = [
    "libc6",
    "bash",
    "libssl3",
    "coreutils",
    "tar",
    "perl-base",
    "gzip",
    "dpkg",
    "zlib1g",
    "util-linux",
    "grep",
    "login",
    "libstdc++6",
    "sed",
    "passwd",
    "libsystemd0",
    "findutils",
    "apt",
    "e2fsprogs",
    "libapt-pkg6.0",
    "debianutils",
    "mount",
    "diffutils",
    "libgnutls30",
];
/// Fields that packages keep as they are; relations would ask for packages that are not there.
const SAID: [&str; 5] = ["Maintainer", "Section", "Homepage", "Installed-Size", "Description"];
/// The note that says which build a program is of, up to its twenty bytes.
const BUILD_ID: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";

/// The image's states, baked one after the other from an archive whose packages are patched.
pub(super) struct History {
    archive: Archive,
    packages: Vec<Package>,
    home: PathBuf,
    project: PathBuf,
    spec: Spec,
    pub(super) store: Store,
    pub(super) images: Vec<Digest>,
}

impl History {
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let packages = PACKAGES.iter().map(|name| installed(name)).collect::<Result<Vec<_>>>()?;
        let mut archive = Archive::new(&directory.join("archive"));
        for package in &packages {
            archive.put(package.clone());
        }
        let (project, home) = (directory.join("project"), directory.join("home"));
        fs::create_dir_all(&project)?;
        fs::create_dir_all(&home)?;
        let text = format!(
            "image \"app\" {{\n  debian   = \"{SUITE}\"\n  mirror   = \"file://{}\"\n  keyring  = \"{}\"\n  packages = {PACKAGES:?}\n}}\n",
            archive.path().display(),
            archive.keyring().display(),
        );
        let sources = DirectorySources::new(&project);
        let spec = hornero_spec::parse("hornero.hcl", text.as_bytes(), &Variables::new(), &sources)
            .map_err(|errors| anyhow!("{}", errors.render(false)))?;
        let store = Store::open(home.join("store"))?;
        Ok(Self { archive, packages, home, project, spec, store, images: Vec::new() })
    }

    /// Bakes the next state: the first has the packages as they are, each further one patches one of them.
    pub(super) fn bake(&mut self, number: usize) -> Result<Digest> {
        if number > 0 {
            let package = &mut self.packages[(number - 1) % PACKAGES.len()];
            patch(package, number)?;
            self.archive.put(package.clone());
        }
        self.archive.publish();
        let context = BakeContext::new(&self.home, &Silent);
        let lock = hornero_bake::lock(&context, &self.spec, &self.project, LockMode::Update)?;
        lock.write(&self.project)?;
        let names = [ImageName::new("app")?];
        let options = BakeOptions::default();
        let baked =
            hornero_bake::bake(&context, &self.store, &self.spec, &self.project, &names, options)?;
        let image = baked.first().context("a bake gives its image")?.digest;
        ensure!(!self.images.contains(&image), "state {number} is no new image");
        self.images.push(image);
        Ok(image)
    }

    /// Compressed size of the contents that a state has and the one before does not.
    pub(super) fn changed_bytes(&self, number: usize) -> Result<u64> {
        let contents = |number: usize| -> Result<BTreeSet<Digest>> {
            let tree = self.store.tree(&self.images[number])?;
            Ok(tree.contents().map(|(digest, _)| digest).collect())
        };
        let before = if number == 0 { BTreeSet::new() } else { contents(number - 1)? };
        let mut bytes = 0;
        for digest in contents(number)?.difference(&before) {
            bytes += gzip(&self.store.read_object(digest)?)?.len() as u64;
        }
        Ok(bytes)
    }

    /// Packages that were patched up to a state, as they are now.
    pub(super) fn upgraded(&self, number: usize) -> &[Package] {
        &self.packages[..number.min(PACKAGES.len())]
    }
}

/// A package of this machine with the files it has here, without relations and scripts.
fn installed(name: &str) -> Result<Package> {
    let mut package = Package::new(name, "1");
    package.files.clear();
    let listed = process::read("dpkg-query", &["-L", name])?;
    let mut added = BTreeSet::new();
    for path in listed.lines().filter(|path| path.len() > 2) {
        // Where the root is merged, packages name some files by links.
        let path = Path::new(path);
        let (Some(parent), Some(file)) = (path.parent(), path.file_name()) else { continue };
        // Not everything that a package lists is there: documentation may be left out.
        let Ok(real) = parent.canonicalize().map(|parent| parent.join(file)) else { continue };
        let Ok(metadata) = fs::symlink_metadata(&real) else { continue };
        let inside = real.to_str().context("a path is no text")?.trim_start_matches('/');
        if !added.insert(inside.to_owned()) {
            continue;
        }
        if metadata.is_symlink() {
            let target = fs::read_link(&real)?;
            package = package.link(inside, target.to_str().context("a link is no text")?);
        } else if metadata.is_file() {
            let mode = metadata.permissions().mode() & 0o7777;
            package = package.file(inside, mode, fs::read(&real)?);
        }
    }
    ensure!(!package.files.is_empty(), "package `{name}` has no files on this machine");
    // What dpkg's status says of a package is part of what a fix of it changes.
    for field in SAID {
        let format = format!("-f=${{{field}}}");
        let value = process::read("dpkg-query", &["-W", &format, name])?;
        if !value.is_empty() {
            package = package.field(field, value.trim_end());
        }
    }
    if name == "bash" {
        package = package.essential().link("usr/bin/sh", "bash");
        package = package.file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n");
        package = package.file("etc/group", 0o644, "root:x:0:\n");
    }
    Ok(package)
}

/// Gives a package what a fix changes at the least: its version, its changelog, and the build ids of its programs.
fn patch(package: &mut Package, number: usize) -> Result<()> {
    package.version = format!("{}", number + 1);
    let entry = format!("{} ({}) stable; urgency=high\n", package.name, package.version);
    // Beside the package's own, whose directory may be a symlink.
    let changelog = format!("usr/share/changes/{}.gz", package.name);
    let id = Digest::of(entry.as_bytes());
    let mut found = false;
    for (path, mode, bytes) in &mut package.files {
        if *path == changelog && *mode != 0 {
            // Readers join members.
            *bytes = [gzip(entry.as_bytes())?, std::mem::take(bytes)].concat();
            found = true;
        } else if *mode != 0 && bytes.starts_with(b"\x7fELF") {
            let note = bytes.windows(BUILD_ID.len()).position(|window| window == BUILD_ID);
            match note.map(|at| at + BUILD_ID.len()) {
                Some(at) if at + 20 <= bytes.len() => {
                    bytes[at..at + 20].copy_from_slice(&id.hex().as_bytes()[..20]);
                }
                _ => bytes.extend_from_slice(&id.hex().as_bytes()[..20]),
            }
        }
    }
    if !found {
        package.files.push((changelog, 0o644, gzip(entry.as_bytes())?));
    }
    Ok(())
}

/// Packed as `gzip` does by default.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
