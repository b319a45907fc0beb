//! The Debian packages: control data and maintainer scripts around the contents, written by dpkg-deb.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{
    architecture, changelog::MAINTAINER, contents, contents::Contents, program::Program,
    wanted::Source,
};
use crate::run;

/// The scripts that dpkg runs.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

const DESCRIPTION: &str = "\
Description: golden images that replace running servers atomically
 Hornero bakes images from one declarative file, proves them, and replaces
 running servers by new ones made from them, moving the traffic over in one
 step with nothing lost. Rolling back is the same step to a release that was
 proven before. It runs whole on one machine: no container engine, no proxy
 and no package manager are needed beside it.
";

/// Writes `hornero_VERSION_ARCHITECTURE.deb` into `directory`.
pub fn write(
    source: &Source,
    contents: &Contents,
    program: &Program,
    directory: &Path,
) -> Result<PathBuf> {
    let stage = contents::fresh(&directory.join("stage/hornero"))?;
    contents::write(contents, &stage, placed, source.epoch)?;
    let (major, minor) = program.glibc;
    let control = format!(
        "Package: hornero\nVersion: {}\nSection: admin\nPriority: optional\nArchitecture: {}\n\
         Maintainer: {MAINTAINER}\nInstalled-Size: {}\n\
         Depends: libc6 (>= {major}.{minor}), libgcc-s1 (>= 3.0)\n\
         Recommends: ca-certificates, debian-archive-keyring, kmod\n{DESCRIPTION}",
        source.version,
        architecture::host()?.debian,
        kibibytes(&stage)?,
    );
    let scripts =
        SCRIPTS.iter().map(|name| Ok((*name, fs::read(format!("packaging/debian/{name}"))?)));
    let scripts = scripts.collect::<Result<_>>()?;
    let compression = compression(program);
    build(source, "hornero", &stage, &Package { control, scripts, compression }, directory)
}

/// Writes the package with the debug symbols, as Debian's own are: debuggers find them by the build id.
pub fn write_symbols(source: &Source, program: &Program, directory: &Path) -> Result<PathBuf> {
    let stage = contents::fresh(&directory.join("stage/hornero-dbgsym"))?;
    let (first, rest) = program.build_id.split_at(2);
    let symbols =
        contents::Item { bytes: fs::read(&program.debug)?, executable: false, compressed: false };
    let file = format!("usr/lib/debug/.build-id/{first}/{rest}.debug");
    contents::write(&Contents::from([(file, symbols)]), &stage, str::to_owned, source.epoch)?;
    let documents = stage.join("usr/share/doc");
    fs::create_dir_all(&documents)?;
    std::os::unix::fs::symlink("hornero", documents.join("hornero-dbgsym"))?;
    let control = format!(
        "Package: hornero-dbgsym\nVersion: {version}\nAuto-Built-Package: debug-symbols\nSection: debug\n\
         Priority: optional\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {}\n\
         Depends: hornero (= {version})\nBuild-Ids: {}\nDescription: debug symbols for hornero\n",
        architecture::host()?.debian,
        kibibytes(&stage)?,
        program.build_id,
        version = source.version,
    );
    let compression = compression(program);
    let package = Package { control, scripts: Vec::new(), compression };
    build(source, "hornero-dbgsym", &stage, &package, directory)
}

/// Where Debian has what lies at `path` below the prefix.
fn placed(path: &str) -> String {
    let zsh = "share/zsh/vendor-completions/_hornero";
    format!("usr/{}", if path == contents::ZSH { zsh } else { path })
}

/// What a package is beside its files.
struct Package {
    control: String,
    scripts: Vec<(&'static str, Vec<u8>)>,
    compression: &'static [&'static str],
}

/// xz, since Debian 11 does not read zstd; what is only tried is packed quickly.
fn compression(program: &Program) -> &'static [&'static str] {
    if program.portable { &["-Zxz"] } else { &["-Zgzip", "-z1"] }
}

fn build(
    source: &Source,
    name: &str,
    stage: &Path,
    package: &Package,
    directory: &Path,
) -> Result<PathBuf> {
    let sums = sums(stage)?;
    let own = stage.join("DEBIAN");
    fs::create_dir_all(&own)?;
    fs::set_permissions(&own, Permissions::from_mode(0o755))?;
    let mut files = vec![
        ("control", package.control.clone().into_bytes(), 0o644),
        ("md5sums", sums.into_bytes(), 0o644),
    ];
    files.extend(package.scripts.iter().map(|(name, bytes)| (*name, bytes.clone(), 0o755)));
    for (name, bytes, mode) in files {
        fs::write(own.join(name), bytes)?;
        fs::set_permissions(own.join(name), Permissions::from_mode(mode))?;
    }
    let file =
        directory.join(format!("{name}_{}_{}.deb", source.version, architecture::host()?.debian));
    run::check(
        Command::new("dpkg-deb")
            // No file younger than this; the archive's members too have this time.
            .env("SOURCE_DATE_EPOCH", source.epoch.to_string())
            // The same blocks on every machine.
            .env("DPKG_DEB_THREADS_MAX", "1")
            .arg("--root-owner-group")
            .args(package.compression)
            .arg("--build")
            .arg(stage)
            .arg(&file)
            .stdout(std::io::stderr()),
    )?;
    Ok(file)
}

/// What `Installed-Size` counts.
fn kibibytes(directory: &Path) -> Result<u64> {
    let mut sum = 1;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        sum += if kind.is_dir() {
            kibibytes(&entry.path())?
        } else if kind.is_file() {
            entry.metadata()?.len().div_ceil(1024)
        } else {
            1
        };
    }
    Ok(sum)
}

/// The list by which `dpkg --verify` finds files that were changed.
fn sums(stage: &Path) -> Result<String> {
    let mut find = Command::new("find");
    find.current_dir(stage).args(["usr", "-type", "f", "-print0"]);
    let listed = run::read(&mut find)?;
    let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    run::read(Command::new("md5sum").current_dir(stage).arg("--").args(paths))
}
