//! Servers and directories compared with their images, from the command line.

use std::{
    fs,
    os::{fd::AsFd, unix::fs::FileExt},
    path::Path,
};

use hornero_model::Digest;
use hornero_store::Store;
use serde_json::Value;

use crate::{
    home::{Home, pid},
    site::Site,
};

#[test]
fn a_server_that_was_tampered_with_is_told_from_one_that_was_not() {
    let home = Home::new();
    home.run(&["verify"]).expect(6);
    Site::default().write(&home, "page");
    home.up();
    for arguments in [&["verify", "--json"][..], &["verify", "site", "--full", "--json"]] {
        let report = home.run(arguments).expect(0).json();
        let service = &report["services"][0];
        assert_eq!(service["name"], "site");
        let instances = service["instances"].as_array().unwrap();
        assert!(!instances.is_empty());
        for instance in instances {
            assert_eq!(
                (&instance["ok"], &instance["findings"]),
                (&true.into(), &Value::Array(vec![]))
            );
            assert_eq!(instance["release"], 1);
        }
    }
    home.run(&["verify", "shop"]).expect(5);
    home.run(&["verify", "--tree", "/"]).expect(2);

    let running = home.status()["services"][0]["instances"].clone();
    let (victim, id) = (pid(&running[0]["pid"]), running[0]["id"].clone());
    mount_inside(victim, "/srv/site");
    let report = home.run(&["verify", "--json"]).expect(1).json();
    for instance in report["services"][0]["instances"].as_array().unwrap() {
        assert_eq!(instance["ok"], instance["id"] != id, "{report}");
        if instance["id"] == id {
            assert_eq!(instance["findings"][0]["kind"], "mount");
            assert_eq!(instance["findings"][0]["path"], "/srv/site");
        }
    }
    let told = home.run(&["verify"]).expect(1).stderr;
    assert!(told.contains("mount /srv/site: tmpfs"), "{told}");
}

#[test]
fn metadata_altered_under_servers_is_not_forgotten_once_it_is_mended() {
    // Not the store of all tests: it is damaged here.
    let home = Home::with_own_store();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e/cache");
    fs::create_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(cache, home.path().join("cache")).unwrap();
    Site::default().write(&home, "page");
    home.up();
    home.run(&["verify"]).expect(0);
    let site = home.run(&["image", "inspect", "site", "--json"]).expect(0).json();
    let site: Digest = site["digest"].as_str().unwrap().parse().unwrap();
    let store = Store::open(home.path().join("store")).unwrap();
    let metadata = store.root(&site).unwrap().metadata;
    // The last byte is no file's: what is mounted shows the same as before.
    let file = fs::File::options().read(true).write(true).open(metadata).unwrap();
    let (mut byte, last) = ([0], file.metadata().unwrap().len() - 1);
    file.read_exact_at(&mut byte, last).unwrap();
    file.write_all_at(&[byte[0] ^ 1], last).unwrap();
    let kinds = || {
        let report = home.run(&["verify", "--json"]).expect(1).json();
        let instances = report["services"][0]["instances"].as_array().unwrap().clone();
        assert_eq!(instances.len(), 2, "{report}");
        instances.into_iter().map(|one| one["findings"].to_string()).collect::<Vec<_>>()
    };
    assert!(kinds().iter().all(|found| found.contains("\"object\"")), "{:?}", kinds());
    // The first look has mended it.
    for found in kinds() {
        assert!(found.contains("\"root\"") && !found.contains("\"object\""), "{found}");
    }
    home.run(&["verify", "--full"]).expect(0);
}

#[test]
fn a_service_of_which_nothing_runs_is_no_success() {
    let home = Home::new();
    // Its first release never came up: it is declared, and nothing of it is there.
    let site = Site { command: r#"["/bin/false"]"#, image: "", ..Site::default() };
    site.write(&home, "page");
    home.run(&["up"]).expect(1);
    for arguments in [&["verify"][..], &["verify", "site"], &["verify", "site", "--full"]] {
        let told = home.run(arguments).expect(1).stderr;
        assert!(told.contains("nothing of `site` runs"), "{told}");
    }
    let report = home.run(&["verify", "--json"]).expect(1).json();
    assert_eq!(report["services"][0]["instances"], Value::Array(vec![]), "{report}");
}

/// Mounts something in another process' mount namespace, as the host's root can.
fn mount_inside(pid: i32, target: &str) {
    use rustix::{mount, thread};
    let space = fs::File::open(format!("/proc/{pid}/ns/mnt")).unwrap();
    let enter = || {
        // SAFETY: only this thread's root and working directory become its own.
        unsafe { thread::unshare_unsafe(thread::UnshareFlags::FS) }.unwrap();
        let kind = Some(thread::LinkNameSpaceType::Mount);
        thread::move_into_link_name_space(space.as_fd(), kind).unwrap();
        mount::mount("none", target, "tmpfs", mount::MountFlags::empty(), None).unwrap();
    };
    std::thread::scope(|scope| scope.spawn(enter).join().unwrap());
}

#[test]
fn a_directory_is_compared_file_by_file() {
    let home = Home::new();
    Site::default().write(&home, "page");
    home.run(&["build"]).expect(0);
    let tree = home.project().join("tree");
    fs::create_dir(&tree).unwrap();
    let path = tree.to_str().unwrap();
    let verify = |more: &[&str]| {
        let arguments = ["verify", "--tree", path, "--image", "site", "--json"];
        home.run(&[&arguments[..], more].concat())
    };
    let report = verify(&[]).expect(1).json();
    assert_eq!(report["findings"][0]["kind"], "removed", "{report}");
    let ignored = verify(&["--ignore", "bin", "--full"]).expect(1).json();
    let paths: Vec<&str> = ignored["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["path"].as_str())
        .collect();
    assert!(!paths.contains(&"/bin") && paths.contains(&"/etc"), "{paths:?}");
    home.run(&["verify", "--tree", path, "--image", "no-such"]).expect(5);
}
