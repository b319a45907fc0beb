//! The commands of the operators' pages, run as they are written.

use std::fs;

use crate::{
    document,
    home::{Home, signal},
    site::Site,
};

#[test]
fn backing_up_restoring_and_moving_work_as_their_page_says() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "page");
    home.up();
    let places = home.directory_beside("places");
    document::run(
        &home,
        "operations/backup.md",
        &[
            ("/mnt/backup", places.join("backup")),
            ("/srv", places.join("srv")),
            ("/var/lib/hornero", home.path()),
        ],
    );
    // What was moved is ended where it is: nothing of it runs.
    assert!(!home.path().exists() && places.join("srv/hornero/ledger.db").exists());
    fs::rename(places.join("srv/hornero"), home.path()).unwrap();
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn each_kind_of_broken_home_is_mended_as_its_page_says() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "page");
    home.up();
    let places = home.directory_beside("places");
    fs::create_dir(places.join("srv")).unwrap();
    fs::create_dir(places.join("backup")).unwrap();
    let backup = places.join("backup/hornero");
    home.run(&["home", "backup", backup.to_str().unwrap()]).expect(0);
    // Control dies; edge and server go on.
    signal(home.control_pid(), "KILL");
    document::run(
        &home,
        "operations/recovery.md",
        &[
            ("/mnt/backup", places.join("backup")),
            ("/srv", places.join("srv")),
            ("/var/lib/hornero", home.path()),
        ],
    );
}
