//! Roots of real packages with unusual scripts, each beside what apt and dpkg make of the very same packages.
//!
//! `HORNERO_TEST_APT=all` takes every share, `HORNERO_TEST_APT=mail,web` those; without it those of CI are taken.

#[path = "apt/compare.rs"]
mod compare;
#[path = "apt/shares.rs"]
mod shares;
mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use hornero_bake::{BakeContext, BakeOptions, Patience};
use hornero_model::Digest;
use hornero_spec::Base;
use hornero_store::Tree;
use shares::{SHARES, Share};
use support::home::{Home, chain, image, name};

/// Which shares are taken.
const CHOICE: &str = "HORNERO_TEST_APT";

fn chosen() -> Vec<&'static Share> {
    let choice = std::env::var(CHOICE).unwrap_or_default();
    let wanted = |share: &&Share| match &*choice {
        "" => share.in_ci,
        "all" => true,
        names => names.split(',').any(|name| name == share.name),
    };
    let chosen: Vec<&Share> = SHARES.iter().filter(wanted).collect();
    assert!(!chosen.is_empty(), "`{CHOICE}={choice}` names no share");
    chosen
}

#[test]
fn there_are_a_hundred_and_fifty_packages_each_in_one_share() {
    let mut all: Vec<&str> = SHARES.iter().flat_map(|share| share.packages).copied().collect();
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert!(all.len() == count && count >= 150, "{} of {count}", all.len());
}

#[test]
fn every_root_is_what_apt_makes() {
    // apt reads as a user of its own.
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut home = Home::at(&directory.path().join("home"), &directory.path().join("source"));
    let shares = chosen();
    for share in &shares {
        let debian = Base::Debian { suite: suite(), mirror: None, keyring: None };
        home.add(image(share.name, debian, share.packages));
    }
    let mut faults = Vec::new();
    for share in shares {
        let begun = Instant::now();
        let baked = bake(&home, share);
        let baking = begun.elapsed();
        let tree = match &baked {
            Ok(digest) => home.store().tree(digest).unwrap(),
            Err(error) => {
                println!("share {}: {error}", share.name);
                faults.push(format!("share {}: {error}", share.name));
                continue;
            }
        };
        let begun = Instant::now();
        let repository = directory.path().join(format!("repository-{}", share.name));
        let root = directory.path().join(format!("root-{}", share.name));
        let (packages, epoch) = publish(&home, share, &repository);
        reference(&repository, &packages, epoch, &root);
        println!(
            "share {}: {} packages, baked in {:.1} s, by apt in {:.1} s",
            share.name,
            packages.len(),
            baking.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
        faults.extend(differences(&home, &tree, &root, share));
        fs::remove_dir_all(&root).unwrap();
        fs::remove_dir_all(&repository).unwrap();
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The suite of this machine.
fn suite() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.expect("the machine is a Debian one").trim_matches('"').to_owned()
}

fn bake(home: &Home, share: &Share) -> Result<Digest, String> {
    let mut context = BakeContext::new(&home.path, &home.heard);
    context.patience = Patience { answer: Duration::from_secs(60), ..Patience::default() };
    let names = [name(share.name)];
    let (spec, source, options) = (&home.spec, &home.source, BakeOptions::default());
    let baked = hornero_bake::bake(&context, &home.store(), spec, source, &names, options);
    home.heard();
    baked.map(|mut baked| baked.remove(0).digest).map_err(|error| chain(&error))
}

/// Writes the packages of a share, as they were baked, into a directory that apt reads; gives each with its version, and
/// the time that scripts are told.
fn publish(home: &Home, share: &Share, repository: &Path) -> (Vec<String>, u64) {
    fs::create_dir_all(repository).unwrap();
    let lock = hornero_bake::Lock::read(&home.source).unwrap().unwrap();
    let locked = &lock.images[&name(share.name)];
    let mut list = String::new();
    let mut packages = Vec::new();
    for package in &locked.packages {
        let file = format!("{}.deb", package.sha256);
        let cached = find_cached(home, &package.sha256);
        let bytes = fs::read(&cached).unwrap();
        fs::hard_link(&cached, repository.join(&file)).unwrap();
        let control = hornero_dpkg::deb::read_control(&bytes).unwrap();
        list.push_str(control.trim_end());
        list.push_str(&format!(
            "\nFilename: ./{file}\nSize: {}\nSHA256: {}\n\n",
            bytes.len(),
            package.sha256
        ));
        packages.push(format!("{}={}", package.name, package.version));
    }
    fs::write(repository.join("Packages"), list).unwrap();
    (packages, locked.date())
}

fn find_cached(home: &Home, sha256: &str) -> PathBuf {
    let cache = home.path.join("cache/packages");
    let found = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    let mut found = found.filter(|path| path.to_string_lossy().contains(sha256));
    found.next().unwrap_or_else(|| panic!("`{}` has no {sha256}", cache.display()))
}

/// What apt and dpkg make of packages.
fn reference(repository: &Path, packages: &[String], epoch: u64, root: &Path) {
    // Under the host name of every bake, which packages write down; its mounts are nobody else's.
    let under_name = "hostname localhost && exec mmdebstrap \"$@\"";
    let output = Command::new("unshare")
        .args(["--uts", "--mount", "sh", "-c", under_name, "mmdebstrap"])
        .args(["--mode=root", "--variant=essential", "--format=directory"])
        .arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
        // As in every bake, where packages ask for the full name of the host.
        .arg("--essential-hook=printf '127.0.0.1 localhost\\n' > \"$1/etc/hosts\"")
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .args(["--dpkgopt=force-confdef", "--dpkgopt=force-confold", "--dpkgopt=force-unsafe-io"])
        .arg(format!("--include={}", packages.join(",")))
        .arg("")
        .arg(root)
        .arg(format!("deb [trusted=yes] copy://{} ./", repository.display()))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(60)..].join("\n");
    assert!(output.status.success(), "mmdebstrap: {tail}");
}

fn differences(home: &Home, tree: &Tree, root: &Path, share: &Share) -> Vec<String> {
    let store = home.store();
    let faults = compare::differences(&store, tree, root, share);
    faults.into_iter().map(|fault| format!("share {}: {fault}", share.name)).collect()
}
