//! What changes of a line take on disk, from the command line.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use crate::{
    home::{Home, until},
    site::Site,
};

/// What a changed line may take on disk.
const CHANGE_BYTES: u64 = 100_000;

/// Bytes on disk of all files and directories below a path: blocks, not lengths.
fn allocated(path: &Path) -> u64 {
    // What is written and renamed meanwhile is counted or not.
    let Ok(own) = fs::symlink_metadata(path) else { return 0 };
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    own.blocks() * 512 + entries.map(|entry| allocated(&entry.path())).sum::<u64>()
}

/// Metadata images in the home's store.
fn metadata(home: &Home) -> usize {
    let entries = fs::read_dir(home.path().join("store/metadata")).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    entries.map(name).filter(|name| name.to_string_lossy().ends_with(".erofs")).count()
}

#[test]
fn ten_changes_take_little_room_and_releases_of_before_still_start() {
    let home = Home::with_own_store();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e/cache");
    fs::create_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(cache, home.path().join("cache")).unwrap();
    // A copy and a step: two layers, and a state between them.
    let site = Site {
        image: r#"run = ["cksum /srv/site/index.html > /srv/site/sum"]"#,
        rollout: r#"keep_warm = "1s""#,
        instances: 1,
        ..Site::default()
    };
    let write = |line: usize| site.write(&home, &format!("line {line}"));
    let up = |line: usize| {
        write(line);
        home.up();
    };
    let settled = || {
        until("what serves and what a rollback goes to alone to have metadata", || {
            let status = home.status();
            let instances = status["services"][0]["instances"].as_array().map_or(0, Vec::len);
            instances == 1 && metadata(&home) <= 2
        });
        allocated(&home.path().join("store"))
    };
    (0..2).for_each(up);
    let before = settled();
    for line in 2..9 {
        write(line);
        home.run(&["build"]).expect(0);
        assert!(metadata(&home) <= 2, "nothing was started");
    }
    (9..12).for_each(up);
    let grown = settled().saturating_sub(before);
    assert!(grown <= 10 * CHANGE_BYTES, "ten changes take {grown} bytes");
    // Their metadata was let go of.
    for (release, line) in [(1, 0), (3, 9)] {
        home.run(&["rollback", "site", "--to", &release.to_string()]).expect(0);
        assert_eq!(home.get("/"), (200, format!("line {line}")));
    }
    home.run(&["verify"]).expect(0);
    home.run(&["down"]).expect(0);
    assert_eq!(metadata(&home), 0, "nothing is served");
    assert_eq!(
        home.run(&["image", "fsck", "--json"]).expect(0).json()["findings"],
        serde_json::json!([])
    );
}
