//! A control process that was stopped, and goes on when another one has taken its place.

use std::{fs, path::Path, process::Command};

use crate::{
    home::{Home, signal, until},
    site::Site,
    traffic::Traffic,
};

/// A process that does not stay stopped, whatever becomes of the test.
struct Stopped(i32);

impl Stopped {
    fn new(pid: i32) -> Self {
        signal(pid, "STOP");
        Self(pid)
    }

    fn is_gone(&self) -> bool {
        !Path::new(&format!("/proc/{}/exe", self.0)).exists()
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-CONT", &self.0.to_string()]).status();
    }
}

/// The locks of a home keep a second control out on one host. Here they are taken away, as by whoever puts files of a copy
/// back in their place; on another host, or with another ledger, nothing else would be between the two.
#[test]
fn a_control_that_goes_on_after_another_one_took_over_changes_nothing_and_ends() {
    let home = Home::new();
    Site::default().write(&home, "one");
    home.up();
    let traffic = Traffic::start(home.port);
    let older = Stopped::new(home.control_pid());
    for name in ["control.lock", "ledger.head"] {
        let (file, copy) = (home.path().join(name), home.path().join("copy"));
        fs::copy(&file, &copy).unwrap();
        fs::rename(&copy, &file).unwrap();
    }
    fs::remove_file(home.path().join("control.sock")).unwrap();
    home.write("public/index.html", "two");
    home.up();
    let newer = home.control_pid();
    assert_ne!(newer, older.0);
    let before = home.status()["services"].clone();

    signal(older.0, "CONT");
    until("the older control to end", || older.is_gone());
    let log = fs::read_to_string(home.path().join("control.log")).unwrap();
    assert!(log.contains("another control process has taken over"), "{log}");
    assert_eq!(home.control_pid(), newer);
    assert_eq!(home.status()["services"], before);
    assert_eq!(home.get("/"), (200, "two".to_owned()));
    traffic.stop_whole();

    let events = home.run(&["audit", "--json"]).expect(0).stdout;
    let terms: Vec<&str> = events.lines().filter(|line| line.contains("control_started")).collect();
    assert_eq!(terms.len(), 2, "{terms:?}");
    assert!(terms[0].contains("\"term\":1") && terms[1].contains("\"term\":2"), "{terms:?}");
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
