//! Logs of servers that are gone stay within bounds, and the newest of them stay readable.

use std::{fs, path::Path};

use crate::{
    home::{Home, until},
    site::Site,
};

/// Bytes of all files below a directory.
fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
            _ => entry.metadata().map_or(0, |found| found.len()),
        })
        .sum()
}

const MIB: u64 = 1 << 20;

#[test]
fn a_service_that_prints_much_and_crashes_in_a_loop_stays_within_its_bound() {
    let home = Home::with_shared_packages();
    // 5 MB of numbered lines, then a crash a moment after it was healthy.
    let script = r#"["/bin/sh", "-c", "seq -f 'line %.0f of a server that prints much before it goes' 100000; echo last words; /usr/sbin/nginx -g 'daemon off;' & sleep 1; kill $!; exit 3"]"#;
    let site = Site { instances: 1, command: script, image: "", ..Site::default() };
    site.write(&home, "here");
    let mut up = home.command(&["up", "--json"]);
    up.env("HORNERO_LOG_SERVICE_SIZE", "2MiB").env("HORNERO_LOG_SIZE", "3MiB");
    // Whether the rollout holds is not the question: its instances come and go.
    let _ = up.output().unwrap();
    let archive = home.path().join("instances/.archived");
    let archived = || fs::read_dir(&archive).into_iter().flatten().count();
    until("several instances to be gone", || archived() >= 3);
    until("their logs to be within the bound", || {
        let logs: u64 = fs::read_dir(&archive)
            .unwrap()
            .flatten()
            .map(|entry| bytes_below(&entry.path().join("log")))
            .sum();
        logs > MIB && logs <= 2 * MIB
    });
    let text = home.run(&["logs", "site"]).expect(0).stdout;
    assert!(text.contains("last words"), "the newest lines of the dead stay");
    assert!(text.contains("bytes of older lines were dropped"));
    // Everything that stops with `down` is within the bound as well.
    home.run(&["down"]).expect(0);
    assert!(bytes_below(&archive) <= 2 * MIB + MIB / 2, "{}", bytes_below(&archive));
    let collected =
        home.run(&["image", "gc", "--json", "--log-service-size", "100KiB"]).expect(0).json();
    assert!(collected["freed_log_bytes"].as_u64().unwrap() > MIB, "{collected}");
    home.assert_clean();
}
