//! What machines are given on a disk of their own: Hornero, the example site, the packages it is baked from.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{
    archive::Archive,
    image,
    native::{self, strip},
    traces::Traces,
    trial_kind::TrialKind,
};
use crate::{
    package::{self, Wanted},
    run, tree,
};

/// The site that is tried.
const SITE: &str = "examples/site";
/// The profile of Hornero in machines.
const PROFILE: &str = "emulated";
/// And where little time is given: as the tests have built it already.
const QUICK_PROFILE: &str = "dev";
/// The version that the package says which is upgraded from.
pub const PREVIOUS: &str = "0.1.99";
/// The size of the disk with all of it; a sparse file.
const DISK_SIZE: &str = "3G";

/// Builds Hornero, bakes the site once on this host for its packages, and makes the disk.
pub fn make(work: &Path, trial: TrialKind) -> Result<PathBuf> {
    tree::require("examples/site/hornero.hcl")?;
    // Of its own for each kind of trial, so that two kinds can run at once.
    let own = work.join(match trial {
        TrialKind::OperatorQuickly => "quick",
        TrialKind::Newcomer => "newcomer",
        TrialKind::None | TrialKind::Operator | TrialKind::OperatorWithTests => "operator",
    });
    let payload = own.join("payload");
    if payload.exists() {
        fs::remove_dir_all(&payload)?;
    }
    fs::create_dir_all(payload.join("bin"))?;
    let debug = run::target_directory().join("debug");
    let hornero = match trial {
        // Most of a newcomer's time is that of Debian's own programs.
        TrialKind::OperatorQuickly | TrialKind::Newcomer => {
            carry_package(&own, &payload, "current", QUICK_PROFILE, None)?;
            debug.join("hornero")
        }
        _ => {
            carry_package(&own, &payload, "previous", PROFILE, Some(PREVIOUS))?;
            carry_package(&own, &payload, "current", PROFILE, None)?;
            // As tests build it: it makes ten requests a second.
            run::check(run::cargo().args(["build", "--workspace", "--bin", "hornero-load"]))?;
            strip(&debug.join("hornero-load"), &payload.join("bin/hornero-load"))?;
            run::target_directory().join(PROFILE).join("hornero")
        }
    };
    fs::write(payload.join("traces.sh"), Traces::SCRIPT)?;
    carry_site(&hornero, &own.join("bake"), &payload)?;
    if trial == TrialKind::OperatorWithTests {
        let archive = Archive::open(&work.join("apt/bookworm"), "bookworm")?;
        native::carry(&payload, &archive)?;
    }
    let disk = own.join("payload.disk");
    if disk.exists() {
        fs::remove_file(&disk)?;
    }
    image::make_file_system(&payload, &disk, DISK_SIZE)?;
    Ok(disk)
}

/// A Debian package of this source, which may say another version.
fn carry_package(
    work: &Path,
    payload: &Path,
    name: &str,
    profile: &str,
    version: Option<&str>,
) -> Result<()> {
    eprintln!("hosts: building the {name} package");
    fs::create_dir_all(payload.join("packages"))?;
    let version = version.map(str::to_owned);
    let wanted = Wanted { profile: profile.to_owned(), version, sysroot: None, check: false };
    let made = package::make_installable(&wanted, &work.join("packages").join(name))?;
    fs::copy(&made, payload.join("packages").join(name).with_extension("deb"))?;
    Ok(())
}

/// The site with its lock, and a home that has its images and the packages they were baked from: machines have no
/// mirror, and emulated ones need minutes to bake a base.
fn carry_site(hornero: &Path, work: &Path, payload: &Path) -> Result<()> {
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
    let mut build = Command::new(hornero);
    build.arg("--home").arg(&home).arg("build").arg(&site).stdout(std::io::stderr());
    run::check(&mut build)?;
    copy(&site, &payload.join("site"))?;
    copy(&home, &payload.join("home"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run::check(Command::new("cp").arg("-a").arg(from).arg(to))
}
