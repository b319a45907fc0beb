//! A disk that is full, or read-only: what runs goes on, and control goes on by itself once it can write.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    home::{Home, pid, signal, until},
    site::Site,
};

/// A home on a small file system of its own, whose images are those of all tests.
struct Small(Home);

impl Small {
    fn new() -> Self {
        let shared = Home::new();
        let home = Home::with_own_store();
        mount(&["-t", "tmpfs", "-o", "size=400m,mode=700", "none"], &home.path());
        for part in ["store", "cache"] {
            let target = fs::read_link(shared.path().join(part)).unwrap();
            std::os::unix::fs::symlink(target, home.path().join(part)).unwrap();
        }
        Self(home)
    }

    /// Takes all space that is left; gives the file that does.
    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = fs::File::create(&path).unwrap();
        for size in [1 << 20, 4 << 10, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.0.run(&["down"]);
        // Processes that were just told to end may still have files open.
        let deadline = Instant::now() + Duration::from_secs(20);
        let unmounted = || {
            let done = Command::new("umount").arg(self.0.path()).output();
            done.is_ok_and(|output| output.status.success())
        };
        while !unmounted() {
            if Instant::now() > deadline {
                eprintln!("`{}` is still mounted", self.0.path().display());
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[track_caller]
fn mount(arguments: &[&str], path: &std::path::Path) {
    assert!(Command::new("mount").args(arguments).arg(path).status().unwrap().success());
}

fn site(home: &Home, page: &str) {
    Site { instances: 1, ..Site::default() }.write(home, page);
}

#[test]
fn a_full_disk_ends_nothing_and_control_goes_on_once_there_is_space() {
    let small = Small::new();
    let home = &small.0;
    Site { instances: 2, ..Site::default() }.write(home, "first");
    home.up();
    let control = home.control_pid();
    let filler = small.fill();
    // A server ends: that, and what follows from it, has to be written down first.
    let ended = home.status()["services"][0]["instances"][0].clone();
    signal(pid(&ended["pid"]), "KILL");
    until("status to say that nothing can be written", || {
        home.status()["control"]["journal_fault"]
            .as_str()
            .is_some_and(|fault| fault.contains("full"))
    });
    assert!(
        home.run(&["status"]).expect(0).stdout.contains("warning: the ledger can't be written to")
    );
    assert_eq!(home.get("/").1, "first", "the other server goes on");
    assert_eq!(home.run(&["up", "--json"]).expect(1).json()["error"]["code"], "host.home_space");
    assert_eq!(home.control_pid(), control);
    fs::remove_file(filler).unwrap();
    until("the server to be replaced", || {
        let status = home.status();
        let instances = status["services"][0]["instances"].as_array().cloned().unwrap_or_default();
        let serving = |instance: &&serde_json::Value| {
            instance["state"] == "serving" && instance["id"] != ended["id"]
        };
        status["control"].get("journal_fault").is_none()
            && instances.iter().filter(serving).count() == 2
    });
    assert_eq!(home.control_pid(), control);
    home.run(&["audit", "verify"]).expect(0);
}

#[test]
fn a_read_only_disk_is_named_and_serves_again_once_it_is_writable() {
    let small = Small::new();
    let home = &small.0;
    site(home, "first");
    home.up();
    home.run(&["down"]).expect(0);
    // A file system with files open for writing can't be remounted so.
    until("nothing to write there", || remount(home, "ro"));
    let checked = home.run(&["home", "check", "--json"]).expect(1).json();
    let problems = checked["problems"].as_array().unwrap();
    assert!(problems.iter().any(|problem| problem["code"] == "disk_read_only"), "{checked}");
    assert_ne!(home.run(&["up"]).code, 0);
    assert!(remount(home, "rw"));
    home.up();
    assert_eq!(home.get("/").1, "first");
    home.run(&["audit", "verify"]).expect(0);
}

fn remount(home: &Home, how: &str) -> bool {
    let options = format!("remount,{how}");
    let done = Command::new("mount").args(["-o", &options]).arg(home.path()).output();
    done.is_ok_and(|output| output.status.success())
}
