//! Bakes that are killed, run side by side, or find the disk full: the next one goes on, and nothing half is seen.

mod support;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use hornero_archive::{Archive, Package, shell};
use hornero_bake::BakeOptions;
use hornero_spec::Base;
use support::home::{Home, chain, debian, image, name};

const HOME: &str = "HORNERO_TEST_BAKE_HOME";
const MIRROR: &str = "HORNERO_TEST_BAKE_MIRROR";
/// Set where no step can run, since EROFS cannot be mounted from a tmpfs.
const WITHOUT_STEPS: &str = "HORNERO_TEST_BAKE_WITHOUT_STEPS";

fn prepare(home: &mut Home, mirror: &str) {
    let keyring = PathBuf::from(mirror).join("keyring.asc");
    home.add(image("base", debian(mirror, &keyring), &["many"]));
    let mut site = image("site", Base::Image(name("base")), &["extra"]);
    if std::env::var_os(WITHOUT_STEPS).is_none() {
        site.run = vec!["echo one > /etc/one".to_owned(), "echo two > /etc/two".to_owned()];
    }
    home.add(site);
}

fn archive() -> Archive {
    let mut many = Package::new("many", "1");
    for number in 0..300 {
        many = many.file(
            &format!("usr/share/many/{number}"),
            0o644,
            format!("file {number}\n").repeat(50),
        );
    }
    Archive::with(&[shell(), many, Package::new("extra", "1")])
}

/// The bake that the other tests run as a process of its own; alone it bakes a home of its own.
#[test]
fn bake_in_a_process() {
    let own = archive();
    let (mut home, mirror) = match (std::env::var_os(HOME), std::env::var(MIRROR)) {
        (Some(home), Ok(mirror)) => {
            let home = PathBuf::from(home);
            (Home::at(&home, &home.join("source")), mirror)
        }
        _ => (Home::new(), own.path().to_str().unwrap().to_owned()),
    };
    prepare(&mut home, &mirror);
    let store = match hornero_store::Store::open(home.path.join("store")) {
        Ok(store) => store,
        Err(error) => panic!("STORE {}", chain(&error)),
    };
    let context = home.context();
    let baked = hornero_bake::bake(
        &context,
        &store,
        &home.spec,
        &home.source,
        &[name("site")],
        BakeOptions::default(),
    );
    match baked {
        Ok(baked) => println!("BAKED {}", baked[0].digest),
        Err(error) => {
            println!("REFUSED {} HINT {}", chain(&error), error.hint().unwrap_or_default());
            panic!("refused");
        }
    }
}

fn child(home: &std::path::Path, archive: &Archive) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "bake_in_a_process", "--nocapture", "--test-threads=1"])
        .env(HOME, home)
        .env(MIRROR, archive.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Every image that can be seen is whole.
fn check_whole(home: &Home) {
    let store = home.store();
    for image in store.images().unwrap() {
        store.verify_for_start(&image).unwrap();
        assert!(store.root(&image).unwrap().metadata.is_file());
    }
}

#[test]
fn a_bake_that_is_killed_is_taken_up_by_the_next() {
    let archive = archive();
    let mirror = archive.path().to_str().unwrap();
    let mut clean = Home::new();
    prepare(&mut clean, mirror);
    let started = Instant::now();
    let expected = clean.bake_one("site").digest;
    let whole = started.elapsed();

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("home");
    let mut home = Home::at(&path, &path.join("source"));
    prepare(&mut home, mirror);
    // Killed at ever later points until one bake is through.
    const POINTS: u32 = 12;
    for point in 1..=POINTS {
        let mut bake = child(&path, &archive).spawn().unwrap();
        std::thread::sleep(whole * point / POINTS);
        bake.kill().unwrap();
        bake.wait().unwrap();
        check_whole(&home);
    }
    assert_eq!(home.bake_one("site").digest, expected);
    assert!(home.bake_one("site").cached);
    check_whole(&home);
    let left: Vec<_> = std::fs::read_dir(path.join("tmp")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn bakes_side_by_side_end_with_the_same_image() {
    let archive = archive();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("home");
    let children: Vec<_> =
        (0..3).map(|_| child(&path, &archive).stdout(Stdio::piped()).spawn().unwrap()).collect();
    let outputs: Vec<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{text}");
            text.lines().find_map(|line| line.split_once("BAKED ")).unwrap().1.to_owned()
        })
        .collect();
    assert!(outputs.iter().all(|digest| *digest == outputs[0]), "{outputs:?}");
}

#[test]
fn a_full_disk_is_named_and_nothing_half_is_seen() {
    let archive = archive();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    std::fs::create_dir(&path).unwrap();
    // The file system lives and dies with the child's mount namespace.
    let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$2\" || exit 99; mkdir \"$2/home\"; shift 2; \
                  \"$@\"; code=$?; ls \"$HORNERO_TEST_BAKE_HOME/store/images\" | sed 's/^/IMAGE /'; exit $code";
    let run = |size: &str| {
        let home = path.join("home");
        let inner = child(&home, &archive);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", size]).arg(&path);
        command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
        command.env(HOME, &home).env(MIRROR, archive.path()).env(WITHOUT_STEPS, "1");
        let output = command.output().unwrap();
        assert_ne!(output.status.code(), Some(99), "the test needs to mount a tmpfs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let mut refused = 0;
    for size in ["1m", "2m", "3m", "4m"] {
        let (succeeded, text) = run(size);
        if succeeded {
            continue;
        }
        refused += 1;
        assert!(text.contains("REFUSED the disk is full"), "{size}: {text}");
        assert!(text.contains("HINT free some space"), "{size}: {text}");
        assert!(!text.contains("IMAGE"), "{size}: {text}");
    }
    assert!(refused > 0);
    let (succeeded, text) = run("200m");
    assert!(succeeded && text.contains("BAKED"), "{text}");
}
