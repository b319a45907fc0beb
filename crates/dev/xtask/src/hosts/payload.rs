//! What machines are given on a disk of their own: Hornero, the example site, the packages it is baked from.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{archive::Archive, image, native, traces::Traces};
use crate::{
    package::{self, Wanted},
    run, tree,
};

/// The site that is tried.
const SITE: &str = "examples/site";
/// The profile of Hornero in machines.
const PROFILE: &str = "emulated";
/// The version that the package says which is upgraded from.
pub const PREVIOUS: &str = "0.1.99";
/// The size of the disk with all of it; a sparse file.
const DISK_SIZE: &str = "3G";

/// Builds Hornero, bakes the site once on this host for its packages, and makes the disk.
pub fn make(work: &Path, with_tests: bool) -> Result<PathBuf> {
    tree::require("examples/site/hornero.hcl")?;
    let payload = work.join("payload");
    if payload.exists() {
        fs::remove_dir_all(&payload)?;
    }
    fs::create_dir_all(payload.join("bin"))?;
    carry_packages(work, &payload)?;
    // As tests build it: it makes ten requests a second.
    run::check(run::cargo().args(["build", "--package", "hornero-load"]))?;
    let built = run::target_directory().join("debug");
    strip(&built.join("hornero-load"), &payload.join("bin/hornero-load"))?;
    fs::write(payload.join("traces.sh"), Traces::SCRIPT)?;
    carry_site(&work.join("bake"), &payload)?;
    if with_tests {
        let archive = Archive::open(&work.join("apt/bookworm"), "bookworm")?;
        native::carry(&payload, &archive)?;
    }
    let disk = work.join("payload.disk");
    if disk.exists() {
        fs::remove_file(&disk)?;
    }
    image::make_file_system(&payload, &disk, DISK_SIZE)?;
    Ok(disk)
}

/// Debian packages of this source: one that says an older version, and the one that replaces it.
fn carry_packages(work: &Path, payload: &Path) -> Result<()> {
    eprintln!("hosts: building packages");
    fs::create_dir_all(payload.join("packages"))?;
    for (name, version) in [("previous", Some(PREVIOUS.to_owned())), ("current", None)] {
        let wanted = Wanted { profile: PROFILE.to_owned(), version, sysroot: None, check: false };
        let made = package::make(&wanted, &work.join("packages").join(name))?;
        fs::copy(&made.package, payload.join("packages").join(name).with_extension("deb"))?;
    }
    Ok(())
}

/// The site with its lock, and a home that has its images and the packages they were baked from: machines have no
/// mirror, and emulated ones need minutes to bake a base.
fn carry_site(work: &Path, payload: &Path) -> Result<()> {
    let (site, home) = (work.join("site"), work.join("home"));
    let locked = fs::read(site.join("hornero.lock")).ok();
    if site.exists() {
        fs::remove_dir_all(&site)?;
    }
    fs::create_dir_all(work)?;
    copy(Path::new(SITE), &site)?;
    // The lock of the last time, whose packages are still there.
    if let Some(locked) = locked {
        fs::write(site.join("hornero.lock"), locked)?;
    }
    eprintln!("hosts: baking the example site");
    let mut hornero = Command::new(run::target_directory().join(PROFILE).join("hornero"));
    hornero.arg("--home").arg(&home).arg("build").arg(&site).stdout(std::io::stderr());
    run::check(&mut hornero)?;
    copy(&site, &payload.join("site"))?;
    copy(&home, &payload.join("home"))
}

/// A program without its symbols: a fifth of its size, which emulated machines feel.
pub fn strip(program: &Path, to: &Path) -> Result<()> {
    run::check(Command::new("strip").arg("-o").arg(to).arg(program))
        .with_context(|| format!("`{}`", program.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run::check(Command::new("cp").arg("-a").arg(from).arg(to))
}
