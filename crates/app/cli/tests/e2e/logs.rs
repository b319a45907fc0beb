//! What servers wrote is found as it was written, and stays within bounds when they are gone.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    home::{Home, until},
    site::Site,
};

/// A server that says all that is hard to keep, and then serves.
const TALKER: &str = r#"["/bin/sh", "-c", "printf tor; sleep 0.3; echo n line; printf 'a\\377\\033[31mred\\n'; head -c 1048576 /dev/zero | tr '\\000' x; echo; echo '{\"level\":\"error\",\"msg\":\"paid\",\"user\":42}' >&2; printf 'Traceback (most recent call last):\\n  File x\\nValueError: y\\n'; echo level=debug msg=small; printf unended; exec /usr/sbin/nginx -g 'daemon off;'"]"#;

#[test]
fn lines_are_found_as_they_were_written_also_of_servers_long_gone() {
    let home = Home::new();
    let rollout = r#"keep_warm = "1s""#;
    let mut site = Site { instances: 1, command: TALKER, rollout, ..Site::default() };
    site.write(&home, "one");
    home.up();
    let asked = |arguments: &[&str]| {
        let all: Vec<&str> = ["logs", "--json"].iter().chain(arguments).copied().collect();
        let told = home.run(&all).expect(0).stdout;
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    until("all of it to be written", || asked(&["site", "--level", "trace"]).len() >= 2);
    let lines = asked(&["site@1"]);
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert!(
        texts.contains(&"torn line") && texts.contains(&"a\u{fffd}\u{1b}[31mred"),
        "{texts:.200?}"
    );
    assert_eq!(texts.iter().map(|text| text.len()).max(), Some(1 << 20), "a long line is whole");
    assert!(texts.contains(&"Traceback (most recent call last):\n  File x\nValueError: y"));
    let error = &asked(&["site", "--level", "warn"])[0];
    assert_eq!(error["message"], "paid", "{error}");
    assert_eq!(error["fields"]["user"], 42);
    let known = ["service", "release", "stream", "level"].map(|key| error[key].to_string());
    assert_eq!(known, ["\"site\"", "1", "\"stderr\"", "\"error\""]);
    for arguments in [["--grep", "pa[i]d"], ["--word", "PAID"], ["--field", "user=42"]] {
        let found = asked(&[&["site"][..], &arguments].concat());
        assert_eq!(found, std::slice::from_ref(error), "{arguments:?}");
    }
    let plain = home.run(&["logs", "site", "--grep", "red"]).expect(0).stdout;
    assert!(plain.ends_with("a\u{fffd}\\u{1b}[31mred\n"), "{plain:?}");
    let raw = home.command(&["logs", "site", "--grep", "red", "--raw"]).output().unwrap().stdout;
    assert_eq!(raw, b"a\xff\x1b[31mred\n");
    home.run(&["logs", "site", "--grep", "("]).expect(2);
    home.run(&["logs", "site", "--level", "loud"]).expect(2);
    // Replaced, it is found as before, and the line that never ended with it.
    site.command = Site::default().command;
    site.write(&home, "two");
    home.up();
    until("the first server to be gone", || asked(&["site@1", "--grep", "^unended"]).len() == 1);
    assert_eq!(asked(&["site", "--field", "user=42", "-n", "5"]), std::slice::from_ref(error));
    assert_eq!(asked(&["site@2", "--field", "user=42"]).len(), 0);
    assert_eq!(asked(&["site", "--until", "1h", "--word", "small"]).len(), 0);
    assert_eq!(asked(&["site", "--since", "1h", "--word", "small"]).len(), 1);
    home.run(&["logs", "site@9"]).expect(5);
}

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
    // 3 MB that can't be made smaller, then a crash a moment after it was healthy.
    let script = r#"["/bin/sh", "-c", "head -c 3000000 /dev/urandom | base64 -w 79; echo last words; /usr/sbin/nginx -g 'daemon off;' & sleep 1; kill $!; exit 3"]"#;
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
