//! What a killed bake leaves is cleaned away without another bake; one that is at work is left alone.

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hornero_archive::{Archive, shell};
use hornero_bake::BakeOptions;
use hornero_model::Digest;
use support::home::{Home, debian, image, name};

const HOME: &str = "HORNERO_TEST_CLEAN_HOME";
const MIRROR: &str = "HORNERO_TEST_CLEAN_MIRROR";
/// Far beyond what reaching a step takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A bake in a process of its own; killed when dropped.
struct Bake(Child);

impl Drop for Bake {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Bakes when run as the child; there is nothing to do when tests are run.
#[test]
fn bake_that_hangs() {
    let (Some(path), Ok(mirror)) = (std::env::var_os(HOME), std::env::var(MIRROR)) else { return };
    let path = PathBuf::from(path);
    let mut home = Home::at(&path, &path.join("source"));
    let keyring = PathBuf::from(&mirror).join("keyring.asc");
    let mut base = image("base", debian(&mirror, &keyring), &[]);
    base.run = vec![": > /begun; while :; do :; done".to_owned()];
    home.add(base);
    let baked = hornero_bake::bake(
        &home.context(),
        &home.store(),
        &home.spec,
        &home.source,
        &[name("base")],
        BakeOptions::default(),
    );
    panic!("it hangs: {:?}", baked.map(drop));
}

fn groups(home: &Path) -> Vec<String> {
    let path = std::fs::canonicalize(home).unwrap();
    let digest = Digest::of(path.as_os_str().as_encoded_bytes()).hex();
    let groups = hornero_sandbox::groups_below(&format!("hornero-bake-{}", &digest[..8]));
    groups.into_iter().filter(|group| group.starts_with("bake-")).collect()
}

/// Whether the step that never ends has begun.
fn is_hanging(home: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(home.join("tmp")) else { return false };
    entries.flatten().any(|entry| entry.path().join("upper/begun").exists())
}

fn left(home: &Path) -> usize {
    std::fs::read_dir(home.join("tmp")).unwrap().count()
}

#[test]
fn what_a_killed_bake_leaves_goes_and_what_is_at_work_stays() {
    let archive = Archive::with(&[shell()]);
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    std::fs::create_dir(&home).unwrap();
    hornero_bake::clean(&home).unwrap();
    let mut bake = Command::new(std::env::current_exe().unwrap());
    bake.args(["--exact", "bake_that_hangs", "--nocapture", "--test-threads=1"])
        .env(HOME, &home)
        .env(MIRROR, archive.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut bake = Bake(bake.spawn().unwrap());
    let begun = Instant::now();
    // dpkg's own step comes first and ends.
    while !is_hanging(&home) {
        assert!(begun.elapsed() < DEADLINE && bake.0.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    let at_work = (groups(&home), left(&home));
    assert_eq!((at_work.0.len(), at_work.1), (1, 2), "a directory and its lock");
    hornero_bake::clean(&home).unwrap();
    assert_eq!((groups(&home), left(&home)), at_work);
    drop(bake);
    hornero_bake::clean(&home).unwrap();
    assert_eq!((groups(&home), left(&home)), (Vec::new(), 0));
}
